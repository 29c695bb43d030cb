"""The pages of docs/rules: each fault is found in its example and not without it, and the page says what was told."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "docs"))

import rules
from examples import EXAMPLES
from references import REFERENCES

from telltales.catalogue import CATALOGUE

PAGES = Path(rules.__file__).parent / "rules"


def masked(text: str) -> str:
    """Without the numbers of what was told, whose last digits depend on the processor."""
    told = re.compile(r"^```text\n.*?^```$", flags=re.MULTILINE | re.DOTALL)
    return told.sub(lambda found: re.sub(r"\d[\d.,]*(e[+-]\d+)?", "#", found[0]), text)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("rule", CATALOGUE)
def test_a_page_says_what_its_example_shows(rule: str) -> None:
    text, drawn = rules.page(CATALOGUE[rule], EXAMPLES.get(rule))
    assert masked(text) == masked((PAGES / f"{rule}.md").read_text(encoding="utf-8"))
    picture = PAGES / "pictures" / f"{rule}.svg"
    assert picture.exists() == (drawn is not None)


def test_the_list_is_as_the_script_writes_it() -> None:
    assert rules.index() == (PAGES / "README.md").read_text(encoding="utf-8")
    assert set(CATALOGUE) - set(EXAMPLES) == set(rules.WITHOUT_EXAMPLE)
    pages = {path.stem for path in PAGES.glob("*.md")} - {"README"}
    assert pages == set(CATALOGUE)
    assert set(REFERENCES) <= set(CATALOGUE)
