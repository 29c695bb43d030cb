"""The pages of docs/: their Python runs, their pictures are there, and every number of a record is explained."""

from __future__ import annotations

import functools
import inspect
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import telltales
from telltales.cli import main
from telltales.observation import COLUMNS, SCALARS

DOCS = Path(__file__).parent.parent / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
STATISTICS = [page for page in PAGES if page.parent.name == "statistics" and page.name != "README.md"]


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path, kind: str) -> list[str]:
    """Each after as many empty lines as the page has before it, so that an error names the page's line."""
    text = read(page)
    found = re.finditer(rf"^```{kind}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    return ["\n" * text.count("\n", 0, block.start(1)) + block[1] for block in found]


def run(page: Path) -> dict[str, Any]:
    """Every Python block, in order, in one namespace."""
    namespace: dict[str, Any] = {}
    for block in blocks(page, "python"):
        exec(compile(block, str(page), "exec"), namespace)  # noqa: S102 -- the project's own page
    return namespace


def links(page: Path) -> list[str]:
    """What a page links to or shows, without web addresses."""
    return [target for target in re.findall(r"\]\(([^)\s]+)\)", read(page)) if "://" not in target]


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", read(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# PyTorch itself raises these while it traces an autograd function.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
def test_the_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # A backend that needs no C++ compiler.
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    torch._dynamo.reset()
    with torch.random.fork_rng():
        run(DOCS / "watching.md")
    torch._dynamo.reset()
    assert (tmp_path / "report.html").exists()
    (commands,) = blocks(DOCS / "watching.md", "sh")
    for command in commands.strip().splitlines():
        program, *arguments = command.split()
        assert program == "telltales"
        assert main(arguments) == 0
    assert (tmp_path / "compared.html").exists()


def test_no_page_has_a_place_left_to_fill() -> None:
    for page in [DOCS.parent / "README.md", *DOCS.rglob("*.md")]:
        assert re.findall(r"^[A-Z]+_[A-Z]+$|\bRATE\b|\bTODO\b", read(page), re.MULTILINE) == []


@pytest.mark.parametrize("page", ["findings.md", "towards-the-transformer.md"])
def test_a_page_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with torch.random.fork_rng():
        run(DOCS / page)


def test_the_guide_shows_every_argument() -> None:
    named = re.findall(r"\*\*`(\w+)`\*\*", read(DOCS / "watching.md"))
    arguments = set(inspect.signature(telltales.watch).parameters)
    assert set(named) == arguments
    code = "\n".join(blocks(DOCS / "watching.md", "python"))
    assert {name for name in arguments if f"{name}=" in code} == arguments - {"model", "optimizer"}


def test_the_reader_without_telltales_reads_every_number(tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with telltales.watch(model, optimizer, path=tmp_path / "record.jsonl") as w:
        for x in torch.linspace(-1, 1, 12 * 15).reshape(12, 5, 3).unbind():
            loss = model(x).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            w.step(loss)
    (block,) = blocks(DOCS / "record.md", "python")
    assert "telltales" not in "".join(line for line in block.splitlines() if "import" in line)
    found = list(run(DOCS / "record.md")["readings"](tmp_path / "record.jsonl"))
    assert len(found) == sum(len(w.record) * len(w.record.names(kind)) for kind in COLUMNS)
    for step, kind, name, numbers in found:
        (row,) = np.flatnonzero(w.record.steps == step)
        for column, value in numbers.items():
            np.testing.assert_array_equal(np.float32(value), w.record.series(kind, name, column)[row])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_link_and_every_picture_is_there(page: Path) -> None:
    for target in links(page):
        name, _, anchor = target.partition("#")
        there = page.parent / name if name else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


def test_every_page_is_linked_from_the_index_and_shows_a_picture() -> None:
    index = DOCS / "statistics/README.md"
    linked = {(index.parent / target).resolve() for target in links(index)}
    assert len(STATISTICS) == 10
    assert set(STATISTICS) <= linked
    assert all(any(target.endswith(".svg") for target in links(page)) for page in STATISTICS)


def test_every_picture_is_shown() -> None:
    shown = {Path(target).name for page in STATISTICS for target in links(page) if target.endswith(".svg")}
    assert shown == {path.name for path in (DOCS / "pictures").glob("*.svg")}


def test_the_pictures_script_draws_those_that_are_there() -> None:
    script = read(DOCS / "pictures.py")
    drawn = set(re.findall(r'Shown\(\s*"([\w-]+)"', script))
    assert drawn == {path.stem for path in (DOCS / "pictures").glob("*.svg")}


def test_every_number_of_a_record_is_explained() -> None:
    text = "\n".join(map(read, STATISTICS))
    for kind, columns in COLUMNS.items():
        (table,) = [page for page in STATISTICS if f"Table `{kind}`, a row" in read(page)]
        for column in columns:
            assert f"`{column}`" in read(table), f"{kind}: {column}"
    assert not [name for name in SCALARS if f"`{name}`" not in text]
