"""What a figure shows, as data: described once, then drawn as SVG or on matplotlib axes.

A figure is a grid of panels, one column per record, so that comparing trainings and looking at one is the same thing.
Colours are names that `telltales.report.style` gives values, for light and dark.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from telltales.report.scales import Range

Numbers = NDArray[np.floating[Any]]

LineKind = Literal["line", "faint", "dashed", "points"]

DEPTHS = 12
"""How many colours lead from the first layer to the last."""


def depth_colour(place: int, count: int) -> str:
    """The colour of the layer ``place`` of ``count``: ``d0`` the first, ``d11`` the last."""
    return f"d{round(place / max(count - 1, 1) * (DEPTHS - 1))}"


@dataclass(frozen=True)
class Axis:
    """A numbered axis, or, with ``names``, one of places 0, 1, … that have names."""

    label: str
    shown: Range
    names: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Line:
    """One series: a line (NaN breaks it), or points, with a band from ``low`` to ``high``."""

    x: Numbers
    y: Numbers
    label: str = ""
    colour: str = "ink"
    kind: LineKind = "line"
    low: Numbers | None = None
    high: Numbers | None = None


@dataclass(frozen=True, eq=False)
class LinePanel:
    x: Axis
    y: Axis
    lines: tuple[Line, ...]
    guides: tuple[float, ...] = ()
    """Values worth knowing: dashed lines across."""
    title: str = ""
    height: int = 190


@dataclass(frozen=True, eq=False)
class Curve:
    """A density. ``details`` come in the order of their importance; the share of exact ``zeros`` is not in it."""

    name: str
    x: Numbers
    density: Numbers
    details: tuple[str, ...] = ()
    zeros: float = 0.0
    colour: str = "ink"


@dataclass(frozen=True, eq=False)
class DensityPanel:
    """One strip per curve, the first on top, all on one axis, each as high as its own peak."""

    x: Axis
    curves: tuple[Curve, ...]
    title: str = ""


@dataclass(frozen=True)
class Band:
    """Rows ``start`` to ``stop`` (not included) of a heat map have this name."""

    name: str
    start: int
    stop: int


@dataclass(frozen=True)
class Colours:
    """What the colours of a heat map mean; diverging ones are neutral in the middle of the range."""

    label: str
    shown: Range
    diverging: bool = False


@dataclass(frozen=True, eq=False)
class HeatPanel:
    """``values`` (rows, columns); NaN is left blank. The columns share ``x`` evenly.

    With ``bands`` the rows have names, the first on top; else they share ``y`` evenly, the first at the bottom.
    """

    x: Axis
    values: Numbers
    colours: Colours
    bands: tuple[Band, ...] = ()
    y: Axis | None = None
    title: str = ""
    height: int = 190


@dataclass(frozen=True, eq=False)
class BitmapPanel:
    """``cells`` (examples, units): one mark for each true value; a unit that is true on all examples stands out."""

    cells: NDArray[np.bool_]
    title: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Point:
    """A short name at a place."""

    name: str
    x: float
    y: float
    colour: str = "ink"


@dataclass(frozen=True)
class NamesPanel:
    """Names on a plane; ``groups`` says what their colours mean, (colour, label)."""

    x: Axis
    y: Axis
    points: tuple[Point, ...]
    groups: tuple[tuple[str, str], ...] = ()
    title: str = ""
    height: int = 420


@dataclass(frozen=True)
class MissingPanel:
    """What this record has no numbers for."""

    title: str = ""
    reason: str = "not measured"


Panel = LinePanel | DensityPanel | HeatPanel | BitmapPanel | NamesPanel | MissingPanel


@dataclass(frozen=True, eq=False)
class Figure:
    """``panels`` are rows of columns; every row has the same number of columns."""

    name: str
    title: str
    panels: tuple[tuple[Panel, ...], ...]
    subtitle: str = ""
    note: str = ""
    wide: bool = False
    """Whether it asks for the whole width of a page even when it shows one record."""

    @property
    def columns(self) -> int:
        return max(map(len, self.panels), default=0)
