"""The documentation site: it is made without a warning, all that is linked is there, and it needs no network."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

import charloom
import telltales
import telltales.report
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
    assert list(folder.parent.iterdir()) == [folder]
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
    for package in (charloom, telltales, telltales.report):
        page = read(made / "reference" / f"{package.__name__}.html")
        for name in package.__all__:
            assert f'id="{package.__name__}.{name}"' in page, name
    page = read(made / "reference/telltales.bridges.html")
    bridges = {
        "huggingface": "TelltalesCallback",
        "lightning": "TelltalesCallback",
        "trackers": "track",
        "services": "WandB",
    }
    for module, name in bridges.items():
        assert f'id="telltales.bridges.{module}.{name}"' in page, module


def test_signatures_are_readable(made: Path) -> None:
    for page in (made / "reference").glob("*.html"):
        for signature in re.findall(r'<dt class="sig.*?</dt>', read(page), flags=re.DOTALL):
            text = re.sub(r"<[^>]+>", "", signature)
            assert "~" not in text, text
            assert "factory" not in text, text


def test_linked_programs_have_pages(made: Path) -> None:
    rule = read(made / "docs/rules/poor-init.html")
    assert 'href="../../sources/docs/examples.html"' in rule
    page = read(made / "sources/docs/examples.html")
    for file in (DOCS / "examples").glob("*.py"):
        assert f">{file.name}</span>" in page, file


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


def test_other_files_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work", encoding="utf-8")
    (told,) = site.build(tmp_path)
    assert "something else" in told
    (told,) = site.build(tmp_path / "thesis.txt")
    assert "something else" in told
    assert read(tmp_path / "thesis.txt") == "years of work"


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


@pytest.mark.parametrize("rule", ["@import '//example.org/x.css';", "i { src: url(https://example.org/x.woff) }"])
def test_a_style_sheet_from_elsewhere_is_found(tmp_path: Path, rule: str) -> None:
    (tmp_path / "x.css").write_text(f"b {{ background: url(near.png) }}\n{rule}\n", encoding="utf-8")
    (told,) = site.broken(tmp_path)
    assert "would be loaded from elsewhere" in told


def test_a_warning_of_sphinx_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = site.stage

    def with_a_fault(sources: Path) -> None:
        stage(sources)
        shutil.rmtree(sources / "docs/rules")
        (sources / "docs/findings.md").write_text("# Findings\n\n```{nonsense}\n```\n", encoding="utf-8")

    monkeypatch.setattr(site, "stage", with_a_fault)
    assert site.build(tmp_path / "pages") == ["Sphinx warned, as it says above"]
