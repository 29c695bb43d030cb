"""Where words go: results to standard output, progress and messages to standard error."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from typing import Any

from rich import markup
from rich.table import Table

from charloom.characters import harmless, harmless_json, printable
from charloom.cli.streams import Harmless, Messages
from charloom.errors import CharloomError

COMMANDS = (
    "quickstart",
    "describe",
    "count",
    "check",
    "train",
    "find-lr",
    "sample",
    "best",
    "score",
    "evaluate",
    "ladder",
    "experiment",
    "recall",
    "runs",
)

out = Harmless(soft_wrap=False)
err = Harmless(file=Messages())


def typed(text: str) -> str:
    """``text`` with the command as the user typed it, which `./lab` tells, in place of `charloom`."""
    command = os.environ.get("CHARLOOM_COMMAND", "charloom")
    return re.sub(rf"\bcharloom (?=({'|'.join(COMMANDS)})\b)", lambda _: f"{shlex.quote(command)} ", text)


def escape(name: object) -> str:
    """A name as it can stand in rich markup, on one line."""
    return markup.escape(printable(str(name)))


def log(message: str) -> None:
    """A message on standard error; rich markup is understood."""
    err.print(message)


def explain(error: CharloomError) -> None:
    """An error as a person reads it: what, where, and what to do."""
    place = f"{markup.escape(error.where)}: " if error.where else ""
    err.print(f"[bold red]Error:[/] {place}{markup.escape(error.fact)}", soft_wrap=True)
    if error.remedy:
        err.print(markup.escape(typed(error.remedy)), soft_wrap=True)


def print_json(content: Any) -> None:
    """JSON on standard output, in UTF-8 whatever the terminal's encoding."""
    line(harmless_json(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)))


def line(text: str) -> None:
    """A line of plain text on standard output, in UTF-8, with no markup and no wrapping."""
    raw(text.encode("utf-8", "replace") + b"\n")


def escaped(text: str) -> str:
    """Text as one field of a tab-separated line."""
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")


def raw(content: bytes) -> None:
    """Text in UTF-8 on standard output, at once; to a file or a pipe just as it is."""
    if sys.stdout.isatty():
        content = harmless(content.decode(errors="replace")).encode()
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def table(title: str, columns: dict[str, str], rows: list[list[str]], caption: str | None = None) -> None:
    """A table on standard output, its title and caption optional. ``columns`` maps headings to `left` or `right`.

    Cells are rich markup: names in them are to be escaped.
    """
    drawn = Table(title=escape(title) or None, title_justify="left", title_style="bold")
    for heading, justification in columns.items():
        drawn.add_column(escape(heading), justify="right" if justification == "right" else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*row)
    out.print(drawn)
    if caption:
        out.print(escape(caption), style="dim")


def number(value: float | None, digits: int = 4) -> str:
    """A number for a table; an infinite one as ∞."""
    return "∞" if value is None else f"{value:.{digits}f}"
