"""The notebooks: their text forms run, they print what they state, and the committed outputs are of this text."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError

from scripts import load
from torture.network import GUARD

FOLDER = Path(__file__).parent.parent / "notebooks"


build = load(FOLDER / "build.py")
TEXTS = build.texts()
BY_NAME = pytest.mark.parametrize("text", TEXTS, ids=[text.stem for text in TEXTS])


def committed(text: Path) -> Any:
    return nbformat.read(text.with_suffix(".ipynb"), as_version=4)


def figures_not_printed(notebook: Any) -> list[str]:
    return [
        f"{heading}: {figure}"
        for heading, prose, printed in build.sections(notebook)
        for figure in build.stated_figures(prose)
        if not build.is_among(figure, build.printed_figures(printed))
    ]


def code(notebook: Any) -> str:
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")


@BY_NAME
def test_it_runs_without_a_network_and_prints_what_it_states(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "attempts.txt"
    monkeypatch.setenv("PYTHONPATH", str(GUARD), prepend=os.pathsep)
    monkeypatch.setenv("GUARD_LOG", str(log))
    # The kernel and who asks it talk to each other.
    monkeypatch.setenv("GUARD_LOOPBACK", "1")
    assert figures_not_printed(build.executed(text, solutions=True)) == []
    assert not log.exists(), log.read_text()


def test_a_notebook_that_asks_the_network_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asking = tmp_path / "asking.py"
    asking.write_text('import socket\nsocket.getaddrinfo("nobody.invalid", 80)\n')
    monkeypatch.setenv("PYTHONPATH", str(GUARD), prepend=os.pathsep)
    monkeypatch.setenv("GUARD_LOOPBACK", "1")
    with pytest.raises(CellExecutionError, match=r"no network here: socket\.getaddrinfo"):
        build.executed(asking)


@BY_NAME
def test_the_committed_outputs_are_of_this_text(text: Path) -> None:
    notebook, source = committed(text), build.read(text)
    assert [(cell.cell_type, cell.source) for cell in notebook.cells] == [
        (cell.cell_type, cell.source) for cell in source.cells
    ]
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert figures_not_printed(notebook) == []
    assert not [output for cell in cells for output in cell.outputs if output.get("name") == "stderr"]


@BY_NAME
def test_each_section_has_its_parts(text: Path) -> None:
    for heading, prose, _ in build.sections(build.read(text)):
        if heading.startswith("What "):
            continue
        for part in ("Goal", "Predict first", "What you should see", "Learned", "Done when", "Exercise"):
            assert f"**{part}.**" in prose, f"{heading}: {part}"
        assert build.SOLUTION.search(prose), f"{heading}: no solution"
        assert build.stated_figures(prose), f"{heading}: no figure is stated"


@BY_NAME
def test_it_needs_no_network_and_nothing_but_the_packages(text: Path) -> None:
    source = code(build.read(text))
    assert not re.search(r"https?://|urllib|requests|download", source)
    assert not re.search(r"^(from|import) (?!charloom|telltales|torch|numpy|matplotlib|__future__)\w+", _third(source))


def _third(source: str) -> str:
    own = sys.stdlib_module_names
    lines = re.findall(r"^(?:from|import) .*$", source, flags=re.MULTILINE)
    return "\n".join(line for line in lines if re.split(r"[ .]", line)[1] not in own)


def test_a_figure_that_is_not_printed_is_noticed() -> None:
    prose = "**What you should see.** A loss of 2.4545, 13% and 1,234.\n\nNot this: 9.99"
    assert build.stated_figures(prose) == ["2.4545", "13%", "1,234"]
    printed = build.printed_figures("loss 2.4549, 12.6%, 1234")
    assert [build.is_among(figure, printed) for figure in ("2.4545", "13%", "1,234")] == [True, True, True]
    assert not build.is_among("2.6", printed)
    assert not build.is_among("2.45", build.printed_figures("2.4"))
    assert build.is_among("1.5e-3", build.printed_figures("0.00149"))
    assert build.is_among("-0.25", build.printed_figures("x = -0.2502"))
