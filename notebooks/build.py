"""Executes the notebooks: NAME.py, the text that is reviewed, becomes NAME.ipynb with its outputs.

    python notebooks/build.py              all of them, a minute each at most
    python notebooks/build.py 03 04        some, by the beginnings of their names
    FULL=1 python notebooks/build.py 03    the long runs; what they print is shown, and nothing is written

A text form is in jupytext's percent format. An output of the cell that is tagged ``picture`` is kept as
docs/pictures/NAME.png, for the README. What is stated under *What you should see* must be in the outputs:
`stated_figures` and `printed_figures` are what the tests compare.
"""

from __future__ import annotations

import argparse
import base64
import os
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parent
PICTURES = FOLDER.parent / "docs/pictures"
SOLUTION = re.compile(r"<details>.*?```python\n(.*?)```.*?</details>", re.DOTALL)
STATED = re.compile(r"\*\*(What you should see|With `FULL=1`)\.\*\*(.*?)(?=\n\s*\n|\Z)", re.DOTALL)
FIGURE = re.compile(r"(?<![\w.,])[-−]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?%?(?!\w)")
SECONDS = 600
"""The most that one cell may take."""


def texts() -> list[Path]:
    """The text forms, in reading order."""
    return sorted(path for path in FOLDER.glob("[0-9]*.py"))


def read(text: Path) -> Any:
    """A notebook without outputs, the same for the same text."""
    notebook = jupytext.read(text)
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for place, cell in enumerate(notebook.cells):
        cell.id = f"cell-{place}"
    return notebook


def executed(text: Path, *, full: bool = False, solutions: bool = False) -> Any:
    """The notebook with its outputs, run from top to bottom in an empty folder.

    ``solutions``: run those of the exercises too, each in a cell of its own after the one that holds it, on a copy of
    the names. Raises `nbclient.exceptions.CellExecutionError` where a cell fails.
    """
    notebook = read(text)
    if solutions:
        notebook.cells = list(_with_solutions(notebook.cells))
    kept = os.environ.get("FULL")
    os.environ["FULL"] = "1" if full else "0"
    try:
        with tempfile.TemporaryDirectory() as folder:
            client = NotebookClient(
                notebook, timeout=None if full else SECONDS, resources={"metadata": {"path": folder}}
            )
            # Of warnings, the kernel has one only: that whoever is on this machine could listen.
            client.extra_arguments = ["--IPKernelApp.log_level=ERROR"]
            client.execute()
    finally:
        if kept is None:
            del os.environ["FULL"]
        else:
            os.environ["FULL"] = kept
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    return notebook


def sections(notebook: Any) -> Iterator[tuple[str, str, str]]:
    """Heading, prose and printed text of each part that begins with a second-level heading."""
    heading, prose, printed = "", "", ""
    for cell in notebook.cells:
        begins = re.match(r"## (.+)", cell.source) if cell.cell_type == "markdown" else None
        if begins:
            if heading:
                yield heading, prose, printed
            heading, prose, printed = begins[1], "", ""
        if cell.cell_type == "markdown":
            prose += cell.source + "\n\n"
        else:
            printed += "".join(_text_of(output) for output in cell.outputs)
    yield heading, prose, printed


def stated_figures(prose: str, *, full: bool = False) -> list[str]:
    """The numbers of a section's *What you should see*, or of its *With `FULL=1`*.

    Whole numbers without a thousands separator or a percent sign are words of the text, and left out.
    """
    wanted = "With `FULL=1`" if full else "What you should see"
    told = " ".join(match[2] for match in STATED.finditer(prose) if match[1] == wanted)
    return [figure for figure in FIGURE.findall(told) if re.search(r"[.,%e]", figure)]


def printed_figures(printed: str) -> list[float]:
    """Every number of an output."""
    return [value(figure) for figure in FIGURE.findall(printed)]


def value(figure: str) -> float:
    """``12.5%`` is 12.5, as a percentage is compared with a percentage."""
    return float(figure.replace(",", "").replace("−", "-").rstrip("%"))


def is_among(figure: str, printed: list[float], share: float = 0.01) -> bool:
    """Whether a stated figure is printed: to half a unit of its last digit, or to ``share`` of itself."""
    digits = figure.rstrip("%").partition(".")[2].partition("e")[0]
    exponent = int(figure.rstrip("%").partition("e")[2] or 0)
    near = max(0.501 * 10.0 ** (exponent - len(digits)), share * abs(value(figure)))
    return any(abs(value(figure) - one) <= near for one in printed)


def _with_solutions(cells: list[Any]) -> Iterator[Any]:
    for cell in cells:
        yield cell
        if cell.cell_type == "markdown":
            for solution in SOLUTION.findall(cell.source):
                yield nbformat.v4.new_code_cell(f"exec({solution!r}, dict(globals()))")


def _text_of(output: Any) -> str:
    if output.output_type == "stream":
        return output.text if output.name == "stdout" else ""
    return output.get("data", {}).get("text/plain", "") + "\n"


def _keep_picture(text: Path, notebook: Any) -> None:
    for cell in notebook.cells:
        if "picture" in cell.metadata.get("tags", ()):
            (drawn,) = (output.data["image/png"] for output in cell.outputs if "image/png" in output.get("data", {}))
            (PICTURES / f"{text.stem}.png").write_bytes(base64.b64decode(drawn))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="beginnings of names; all, if none is given")
    names = parser.parse_args().names
    chosen = [text for text in texts() if not names or text.stem.startswith(tuple(names))]
    if not chosen:
        parser.error(f"there are {', '.join(text.stem for text in texts())}")
    full = os.environ.get("FULL", "0") not in ("", "0")
    for text in chosen:
        started = time.perf_counter()
        print(f"{text.stem} …", flush=True)
        notebook = executed(text, full=full)
        for heading, prose, printed in sections(notebook):
            if full:
                print(f"## {heading}\n{printed}")
            for figure in stated_figures(prose, full=full):
                if not is_among(figure, printed_figures(printed)):
                    print(f"  {heading}: {figure} is stated, and not printed")
        if not full:
            jupytext.write(notebook, text.with_suffix(".ipynb"))
            _keep_picture(text, notebook)
        print(f"{text.stem}: {time.perf_counter() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
