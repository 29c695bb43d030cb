"""What a study has to show, as data: for JSON, for the terminal and for a page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

LEAST_APART = 10
"""Evaluations lie at least so many steps apart."""

Justified = Literal["left", "right"]
Severity = Literal["well", "note", "warning", "error"]


@dataclass(frozen=True)
class Table:
    """Cells are text; ``columns`` maps headings to their side."""

    title: str
    columns: Mapping[str, Justified]
    rows: Sequence[Sequence[str]]
    caption: str = ""


@dataclass(frozen=True)
class Card:
    """One net at a glance: how it is, where, on which evidence."""

    heading: str
    severity: Severity
    lines: Sequence[str]


@dataclass(frozen=True)
class Series:
    """One line of a plot; ``low`` and ``high`` are the edges of a band around it."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    dashed: bool = False
    colour: int | None = None
    """Which colour, where lines belong together across plots; left out, by place."""


@dataclass(frozen=True)
class Plot:
    """Lines over one axis. ``guides`` are heights worth knowing."""

    title: str
    said: str
    x: str
    y: str
    series: Sequence[Series]
    guides: Sequence[float] = ()
    log_x: bool = False
    log_y: bool = False
    highest: float | None = None
    """Where the axis ends, though a line goes on."""
    note: str = ""


@dataclass(frozen=True)
class Names:
    """Short names at places of a plane; those of a group share a colour."""

    title: str
    said: str
    x: str
    y: str
    points: Sequence[tuple[str, float, float, int]]
    """Name, x, y, group."""
    groups: Sequence[str]
    note: str = ""


@dataclass(frozen=True)
class Inside:
    """Figures of telltales, one column for each record."""

    records: Mapping[str, Path]
    """Label → the file of a record."""
    figures: Sequence[str]
    """Their names, as `telltales.report.figures` has them."""


Part = Table | Plot | Names | Inside | Sequence[Card] | str


@dataclass(frozen=True)
class Section:
    """A heading, what to see below it, and what there is to see."""

    heading: str
    said: str
    parts: Sequence[Part]
    folded: bool = False


@dataclass(frozen=True)
class Study:
    """What came out."""

    name: str
    title: str
    said: str
    """The conditions: data, protocol, nets, steps, seeds."""
    results: Mapping[str, Any]
    """All numbers, as plain data."""
    sections: Sequence[Section]

    def tables(self) -> list[Table]:
        """Those of all sections, in order."""
        return [part for section in self.sections for part in section.parts if isinstance(part, Table)]


def banded(label: str, curves: Sequence[Sequence[tuple[float, float]]], **drawn: Any) -> Series:
    """The mean of several curves, from the lowest to the highest of them; at each place of those that have come so far.

    ``curves``: of (x, y). ``drawn``: other fields of `Series`.
    """
    at: dict[float, list[float]] = {}
    for curve in curves:
        for x, y in curve:
            at.setdefault(x, []).append(y)
    places = sorted(at)
    means = [sum(at[x]) / len(at[x]) for x in places]
    return Series(label, places, means, [min(at[x]) for x in places], [max(at[x]) for x in places], **drawn)


def lowest(series: Sequence[Series]) -> float | None:
    """Of all lines; None where there is nothing to draw."""
    return min((y for one in series for y in one.y), default=None)


def plain(value: Any) -> Any:
    """As JSON knows it: what is not finite is None."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return value


def mean_and_spread(values: Sequence[float], digits: int = 4) -> str:
    """``2.1034 ± 0.0021``: mean and standard deviation; of one value that alone."""
    if not values:
        return "–"
    mean = sum(values) / len(values)
    if len(values) == 1:
        return f"{mean:,.{digits}f}"
    spread = (sum((value - mean) ** 2 for value in values) / (len(values) - 1)) ** 0.5
    return f"{mean:,.{digits}f} ± {spread:,.{digits}f}"
