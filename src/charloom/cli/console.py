"""Where words go: results to standard output, progress and messages to standard error."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

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

out = Console(highlight=False, soft_wrap=False)
err = Console(stderr=True, highlight=False)


def typed(text: str) -> str:
    """``text`` with the command as the user typed it, which `./lab` tells, in place of `charloom`."""
    command = os.environ.get("CHARLOOM_COMMAND", "charloom")
    return re.sub(rf"\bcharloom (?=({'|'.join(COMMANDS)})\b)", lambda _: f"{shlex.quote(command)} ", text)


def log(message: str) -> None:
    """A message on standard error; rich markup is understood."""
    err.print(message)


def explain(error: CharloomError) -> None:
    """An error as a person reads it: what, where, and what to do."""
    place = f"{escape(error.where)}: " if error.where else ""
    err.print(f"[bold red]Error:[/] {place}{escape(error.fact)}", soft_wrap=True)
    if error.remedy:
        err.print(escape(typed(error.remedy)), soft_wrap=True)


def print_json(content: Any) -> None:
    """JSON on standard output, in UTF-8 whatever the terminal's encoding."""
    line(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False))


def line(text: str) -> None:
    """One line of plain text on standard output, in UTF-8, with no markup and no wrapping."""
    raw(text.encode("utf-8", "replace") + b"\n")


def escaped(text: str) -> str:
    """Text as one field of a tab-separated line."""
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")


def raw(content: bytes) -> None:
    """Bytes on standard output, at once."""
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def table(title: str, columns: dict[str, str], rows: list[list[str]], caption: str | None = None) -> None:
    """A table on standard output, its title and caption optional. ``columns`` maps headings to `left` or `right`."""
    drawn = Table(title=escape(title) or None, title_justify="left", title_style="bold")
    for heading, justification in columns.items():
        drawn.add_column(heading, justify="right" if justification == "right" else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*row)
    out.print(drawn)
    if caption:
        out.print(caption, style="dim")


def number(value: float | None, digits: int = 4) -> str:
    """A number for a table; an infinite one as ∞."""
    return "∞" if value is None else f"{value:.{digits}f}"
