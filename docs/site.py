"""Makes web pages of the documents, the notebooks and the docstrings: offline, and readable without a network.

    python docs/site.py            into build/site
    python docs/site.py FOLDER     elsewhere

The sources stay as they are, to be read where they lie: they are copied into a temporary folder of the same layout, the
navigation and the reference are added, and Sphinx turns it into pages. Then every link, anchor and picture of the pages
is looked up. Exit status 1: Sphinx warned of something, or something that is linked is not there.
"""

from __future__ import annotations

import argparse
import importlib
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sphinx.cmd.build import build_main

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "docs", "notebooks", "benchmarks/watching.py")
REFERENCE = {
    "telltales": "Watching and judging any PyTorch model.",
    "telltales.report": "Drawing records.",
    "charloom": "The language models.",
}
NAVIGATION = {
    "Start": ("README", "docs/what-i-check-first"),
    "Notebooks": ("notebooks/02-bigram", "notebooks/03-mlp-lm", "notebooks/04-init-and-batchnorm"),
    "Learn": ("docs/recall", "docs/towards-the-transformer"),
    "Guides": ("docs/watching", "docs/findings", "docs/bridges", "docs/record", "docs/cost", "docs/faultbench"),
    "Reference": (
        "docs/statistics/README",
        "docs/rules/README",
        *(f"reference/{module}" for module in REFERENCE),
        "CONTRIBUTING",
        "CHANGELOG",
    ),
}


def build(folder: Path) -> list[str]:
    """Make the site; what is wrong with it, if anything is."""
    with tempfile.TemporaryDirectory() as staged, tempfile.TemporaryDirectory() as doctrees:
        sources = Path(staged)
        stage(sources)
        if folder.exists():
            shutil.rmtree(folder)
        arguments = ["-b", "html", "-q", "-W", "--keep-going", "-c", str(ROOT / "docs/site"), "-d", doctrees]
        if build_main([*arguments, staged, str(folder)]):
            return ["Sphinx warned, as it says above"]
    return list(broken(folder))


def stage(sources: Path) -> None:
    """Copy what is shown, and write what only the site has: the index, the reference, lists of folders."""
    for name in COPIED:
        place = sources / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, place, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        else:
            shutil.copy(ROOT / name, place)
    for page in sources.rglob("*.md"):
        page.write_text(_for_the_site(page.read_text(encoding="utf-8"), page.relative_to(sources)), encoding="utf-8")
    (sources / "index.md").write_text(_index(sources), encoding="utf-8")
    (sources / "reference").mkdir()
    for module, said in REFERENCE.items():
        (sources / "reference" / f"{module}.rst").write_text(_reference(module, said), encoding="utf-8")


def broken(folder: Path) -> Iterator[str]:
    """Links, anchors and pictures of the pages that lead nowhere, and whatever would be loaded from elsewhere."""
    pages = {page.resolve(): Page.read(page) for page in sorted(folder.rglob("*.html"))}
    for path, page in pages.items():
        name = path.relative_to(folder.resolve())
        yield from (f"{name}: {address} would be loaded from elsewhere" for address in page.loaded if _is_far(address))
        for address in [*page.links, *page.loaded]:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            there = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not there.exists():
                yield f"{name}: {address} is not there"
            elif parts.fragment and there in pages and unquote(parts.fragment) not in pages[there].anchors:
                yield f"{name}: {address} has no such anchor"


class Page(HTMLParser):
    """What a page links to, what it loads, and which anchors it has."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()

    @classmethod
    def read(cls, path: Path) -> Page:
        page = cls()
        page.feed(path.read_text(encoding="utf-8"))
        return page

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value for name, value in attributes if value}
        if "id" in given:
            self.anchors.add(given["id"])
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag in ("img", "script", "iframe") and "src" in given:
            self.loaded.append(given["src"])
        if tag == "link" and given.get("rel") in ("stylesheet", "icon", "preload"):
            self.loaded.append(given["href"])


def _is_far(address: str) -> bool:
    parts = urlsplit(address)
    return bool(parts.netloc) or parts.scheme in ("http", "https")


def _for_the_site(text: str, page: Path) -> str:
    """Links to what is not copied become code, and Markdown's own fences keep their first word only."""

    def link(found: re.Match[str]) -> str:
        target = found[2].partition("#")[0]
        if "://" in target or not target:
            return found[0]
        there = (ROOT / page.parent / target).resolve()
        shown = any(there.is_relative_to(ROOT / name) for name in COPIED) and there.is_file()
        return found[0] if shown else found[1]

    text = re.sub(r"(?<!!)\[([^\[\]]+)\]\(([^()\s]+)\)", link, text)
    return re.sub(r"^(```\w+) \w+$", r"\1", text, flags=re.MULTILINE)


def _index(sources: Path) -> str:
    lines = ["# telltales", "", "Train small language models, and see what goes on inside any PyTorch model.", ""]
    for caption, pages in NAVIGATION.items():
        lines += ["```{toctree}", f":caption: {caption}", ":maxdepth: 1", "", *pages, "```", ""]
    for name in ("rules", "statistics"):
        readme = sources / "docs" / name / "README.md"
        pages = sorted(page.stem for page in readme.parent.glob("*.md") if page != readme)
        listed = "\n".join(["", "```{toctree}", ":hidden:", "", *pages, "```", ""])
        readme.write_text(readme.read_text(encoding="utf-8") + listed, encoding="utf-8")
    return "\n".join(lines)


def _reference(module: str, said: str) -> str:
    """A page in reStructuredText with what a package offers by name."""
    package = importlib.import_module(module)
    lines = [module, "=" * len(module), "", said, ""]
    for name in package.__all__:
        offered = getattr(package, name)
        kind = "autoclass" if isinstance(offered, type) else "autofunction" if callable(offered) else "autodata"
        lines += [f".. {kind}:: {module}.{name}", *(["   :no-value:"] if kind == "autodata" else []), ""]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "build/site", metavar="FOLDER")
    folder = parser.parse_args().folder
    print("making pages …", file=sys.stderr, flush=True)
    wrong = build(folder)
    for one in wrong:
        print(one, file=sys.stderr)
    if wrong:
        sys.exit(1)
    print(f"{folder / 'index.html'}")


if __name__ == "__main__":
    main()
