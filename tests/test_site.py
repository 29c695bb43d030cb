"""The documentation site: it is made without a warning, all that is linked is there, and it needs no network."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

import charloom
import telltales
from scripts import load

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


# Sphinx and its extensions warn of one another's future.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")
site = load(DOCS / "site.py")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site") / "pages"
    assert site.build(folder) == []
    return folder


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def test_every_document_has_a_page(made: Path) -> None:
    documents = [*DOCS.rglob("*.md"), *(ROOT / "notebooks").glob("*.ipynb"), ROOT / "README.md", ROOT / "CHANGELOG.md"]
    for document in documents:
        page = made / document.relative_to(ROOT).with_suffix(".html")
        assert page.exists(), page
        assert '<nav class="sidebar' in read(page) or "sidebar-tree" in read(page)


def test_every_name_that_is_offered_is_in_the_reference(made: Path) -> None:
    for package in (charloom, telltales):
        page = read(made / "reference" / f"{package.__name__}.html")
        for name in package.__all__:
            assert f'id="{package.__name__}.{name}"' in page, name


def test_formulas_are_drawn_by_the_browser(made: Path) -> None:
    page = read(made / "docs/statistics/updates.html")
    assert "<math" in page
    assert "<mfrac>" in page
    assert not re.search(r"<script[^>]*mathjax", page, flags=re.IGNORECASE)
    text = re.sub(r"<(script|style|code|pre)\b.*?</\1>", "", page, flags=re.DOTALL)
    assert "$" not in re.sub(r"<[^>]+>", "", text)


def test_the_notebooks_show_their_pictures_and_fold_their_solutions(made: Path) -> None:
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        page = read(made / "notebooks" / f"{notebook.stem}.html")
        assert page.count("<img") >= read(notebook).count('"image/png": ')
        assert page.count("<details>") == read(notebook).count("<details>")


def test_the_search_has_the_rules(made: Path) -> None:
    assert "poor-init" in read(made / "searchindex.js")


@pytest.mark.parametrize(
    ("added", "told"),
    [
        ('<a href="nowhere.html">x</a>', "nowhere.html is not there"),
        ('<a href="README.html#no-such">x</a>', "README.html#no-such has no such anchor"),
        ('<img src="lost.png">', "lost.png is not there"),
        ('<script src="https://example.org/x.js"></script>', "would be loaded from elsewhere"),
        ('<link rel="stylesheet" href="//example.org/x.css">', "would be loaded from elsewhere"),
    ],
)
def test_what_leads_nowhere_is_found(made: Path, tmp_path: Path, added: str, told: str) -> None:
    pages = tmp_path / "pages"
    pages.mkdir()
    shutil.copy(made / "README.html", pages / "README.html")
    assert not [one for one in site.broken(pages) if told in one]
    page = pages / "README.html"
    page.write_text(read(page).replace("</body>", f"{added}</body>"), encoding="utf-8")
    assert [one for one in site.broken(pages) if told in one]


def test_a_warning_of_sphinx_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = site.stage

    def with_a_fault(sources: Path) -> None:
        stage(sources)
        shutil.rmtree(sources / "docs/rules")
        (sources / "docs/findings.md").write_text("# Findings\n\n```{nonsense}\n```\n", encoding="utf-8")

    monkeypatch.setattr(site, "stage", with_a_fault)
    assert site.build(tmp_path / "pages") == ["Sphinx warned, as it says above"]
