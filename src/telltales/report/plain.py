"""Plain text in columns: how wide a text is on a terminal, how it is cut, and how cells are aligned."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence

from telltales.report.words import number
from telltales.visible import visible


def columns(text: str) -> int:
    """How many columns of a terminal ``text`` takes."""
    return sum(map(_columns_of, text))


def cut(text: object, width: int) -> str:
    """``text``, made visible, with its middle left out where it is wider than ``width`` columns."""
    shown = visible(text)
    if columns(shown) <= width:
        return shown
    # The end of a module's name says what it is, the beginning only where.
    tail = _first_columns(shown[::-1], width // 2)[::-1]
    head = _first_columns(shown, max(width - 1 - columns(tail), 0))
    return f"{head}…{tail}"


def aligned(rows: Sequence[Sequence[str]], justify: str, gap: int = 2) -> list[str]:
    """Lines of cells under one another; ``justify`` has ``l`` or ``r`` for each column."""
    widths = [max(map(columns, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [_padded(*cell) for cell in zip(row, widths, justify, strict=True)]
        lines.append((" " * gap).join(cells).rstrip())
    return lines


def wrapped(parts: Sequence[str], width: int, separator: str = ", ") -> list[str]:
    """Parts one after another, in as few lines of ``width`` columns as they fit in; a part is never broken."""
    lines: list[str] = []
    for part in parts:
        if lines and columns(lines[-1] + separator + part) <= width:
            lines[-1] += separator + part
        else:
            if lines:
                lines[-1] += separator.rstrip()
            lines.append(part)
    return lines


def precise(value: float) -> str:
    """Four significant digits, as losses are compared; else as `telltales.report.words.number`."""
    if math.isfinite(value) and 1e-3 <= abs(value) < 1000:
        return f"{value:#.4g}".rstrip(".").replace("-", "−")
    return number(value)


def loss_words(value: float) -> str:
    """A loss that was measured, so that NaN is what it was."""
    return "NaN" if math.isnan(value) else precise(value)


def duration(seconds: float) -> str:
    """``0.52 s``, ``12 s``, ``3 min 20 s``, ``5 h 3 min``."""
    if not math.isfinite(seconds):
        return "–"
    if seconds < 10:
        return f"{seconds:.2g} s"
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60} min"


def _columns_of(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) == "Cf":
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _first_columns(text: str, width: int) -> str:
    taken = 0
    for place, character in enumerate(text):
        taken += _columns_of(character)
        if taken > width:
            return text[:place]
    return text


def _padded(cell: str, width: int, justify: str) -> str:
    room = " " * (width - columns(cell))
    return room + cell if justify == "r" else cell + room
