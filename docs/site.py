"""Makes web pages of the documents, the notebooks and the docstrings: offline, and readable without a network.

    python docs/site.py            into build/site
    python docs/site.py FOLDER     elsewhere

The sources stay as they are, to be read where they lie: they are copied into a temporary folder of the same layout, the
navigation, the reference and the program files that are linked are added, and Sphinx turns it into pages. Then every
link, anchor and picture of the pages is looked up. Exit status 1: Sphinx warned of something, something that is linked
is not there, or FOLDER holds something else than such pages.
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
from types import ModuleType
from urllib.parse import unquote, urlsplit

from sphinx.cmd.build import build_main

ROOT = Path(__file__).resolve().parent.parent
COPIED = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "LICENSE",
    "docs",
    "notebooks",
    "benchmarks/watching.py",
)
REFERENCE = {
    "telltales": ("telltales",),
    "telltales.report": ("telltales.report",),
    "telltales.bridges": tuple(
        f"telltales.bridges.{name}" for name in ("huggingface", "lightning", "trackers", "services")
    ),
    "charloom": ("charloom",),
}
"""Pages of the reference, each with its modules."""
DATA = {
    "PRESETS": "How much `watch` looks at, by name: economy, standard and full, each a `Preset`.",
    "RULES": "All rules that a record can show.",
}
"""What autodoc can't read where it is offered."""
NAVIGATION = {
    "Start": ("README", "docs/what-i-check-first"),
    "Notebooks": ("notebooks/02-bigram", "notebooks/03-mlp-lm", "notebooks/04-init-and-batchnorm"),
    "Learn": ("docs/recall", "docs/towards-the-transformer"),
    "Guides": (
        "docs/watching",
        "docs/findings",
        "docs/bridges",
        "docs/record",
        "docs/cost",
        "docs/speed",
        "docs/counting",
        "docs/faultbench",
    ),
    "Reference": ("docs/statistics/README", "docs/rules/README"),
    "API": tuple(f"reference/{name}" for name in REFERENCE),
    "Project": ("SECURITY", "CONTRIBUTING", "CHANGELOG", "docs/licences"),
}


def build(folder: Path) -> list[str]:
    """Make the site; what is wrong with it, if anything is."""
    if folder.exists() and not (folder / ".buildinfo").is_file() and (not folder.is_dir() or any(folder.iterdir())):
        return [f"{folder} holds something else than this site: name another folder, or remove it"]
    with tempfile.TemporaryDirectory() as work:
        sources, pages = Path(work, "sources"), Path(work, "pages")
        stage(sources)
        arguments = ["-b", "html", "-q", "-W", "--keep-going", "-c", str(ROOT / "docs/site"), "-d", f"{work}/doctrees"]
        if build_main([*arguments, str(sources), str(pages)]):
            return ["Sphinx warned, as it says above"]
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(pages, folder)
    return list(broken(folder))


def stage(sources: Path) -> None:
    """Copy what is shown; write what only the site has: the index, the reference, program files, lists of folders."""
    for name in COPIED:
        place = sources / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, place, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        else:
            shutil.copy(ROOT / name, place)
    linked: set[Path] = set()
    for page in sources.rglob("*.md"):
        text = _for_the_site(page.read_text(encoding="utf-8"), page.relative_to(sources), linked)
        page.write_text(text, encoding="utf-8")
    for path in linked:
        page = sources / "sources" / f"{path}.md"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(_program(path), encoding="utf-8")
    (sources / "index.md").write_text(_index(sources), encoding="utf-8")
    (sources / "reference").mkdir()
    for name, modules in REFERENCE.items():
        (sources / "reference" / f"{name}.rst").write_text(_reference(name, modules), encoding="utf-8")


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
    for sheet in sorted(folder.rglob("*.css")):
        for address in re.findall(r"""(?:url\(|@import)\s*['"]?([^'")\s]+)""", sheet.read_text(encoding="utf-8")):
            if _is_far(address):
                yield f"{sheet.relative_to(folder)}: {address} would be loaded from elsewhere"


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
        if "src" in given:
            self.loaded.append(given["src"])
        if tag == "link" and "href" in given:
            self.loaded.append(given["href"])


def _is_far(address: str) -> bool:
    parts = urlsplit(address)
    return bool(parts.netloc) or parts.scheme in ("http", "https")


def _for_the_site(text: str, page: Path, linked: set[Path]) -> str:
    """Links to what is not copied lead to a page with it, and Markdown's own fences keep their first word only."""

    def link(found: re.Match[str]) -> str:
        target = found[2].partition("#")[0]
        there = (ROOT / page.parent / target).resolve()
        copied = any(there.is_relative_to(ROOT / name) for name in COPIED) and there.is_file()
        if not target or copied or not there.exists():
            return found[0]
        path = there.relative_to(ROOT)
        linked.add(path)
        return f"[{found[1]}](/sources/{path}.md)"

    text = re.sub(r"(?<!!)\[([^\[\]]+)\]\(([^()\s]+)\)", link, text)
    return re.sub(r"^(```\w+) \w+$", r"\1", text, flags=re.MULTILINE)


def _program(path: Path) -> str:
    """A page with a file, or with the Python files of a folder."""
    there = ROOT / path
    files = sorted(there.glob("*.py")) if there.is_dir() else [there]
    lines = ["---", "orphan: true", "---", f"# {path}", ""]
    for file in files:
        language = "python" if file.suffix == ".py" else "text"
        heading = [f"## `{file.name}`", ""] if there.is_dir() else []
        lines += [*heading, f"````{language}", file.read_text(encoding="utf-8").rstrip(), "````", ""]
    return "\n".join(lines)


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


def _reference(title: str, modules: tuple[str, ...]) -> str:
    """A page in reStructuredText with what modules say of themselves, and what they offer by name."""
    lines = [title, "=" * len(title), ""]
    for name in modules:
        module = importlib.import_module(name)
        lines += [name, "-" * len(name), ""] if len(modules) > 1 else []
        lines += [f".. automodule:: {name}", "   :no-members:", ""]
        for offered in _offered(module):
            value = getattr(module, offered)
            if callable(value):
                lines += [f".. auto{'class' if isinstance(value, type) else 'function'}:: {name}.{offered}", ""]
            else:
                lines += [f".. data:: {offered}", f"   :module: {name}", "", f"   {DATA[offered]}", ""]
    return "\n".join(lines)


def _offered(module: ModuleType) -> list[str]:
    """What a module lists, or else the public classes and functions that it defines, in its order."""
    own = [name for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
    return getattr(module, "__all__", [name for name in own if not name.startswith("_")])


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
