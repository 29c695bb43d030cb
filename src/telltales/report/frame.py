"""The rectangle that a panel's data is drawn in, its axes and its title."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from telltales.report.description import Axis
from telltales.report.scales import Range, ticks
from telltales.report.svg import Markup, line, text
from telltales.report.words import text_width

TITLE_HEIGHT = 20
LABEL_HEIGHT = 18
BOTTOM_HEIGHT = 36
TICK_GAP = 6
NAME_WIDTH = 72
"""The most that a name below an axis may take."""


@dataclass(frozen=True)
class Frame:
    """In pixels, from the top left corner of the figure."""

    left: float
    top: float
    width: float
    height: float

    @property
    def right(self) -> float:
        return self.left + self.width

    @property
    def bottom(self) -> float:
        return self.top + self.height

    def x(self, axis: Axis, values: ArrayLike) -> NDArray[np.float64]:
        return self.left + axis.shown.position(values) * self.width

    def y(self, axis: Axis, values: ArrayLike) -> NDArray[np.float64]:
        return self.bottom - axis.shown.position(values) * self.height


def title(content: str, x: float, y: float, width: float) -> list[Markup]:
    return [text(x, y + 12, content, "title", width=width)] if content else []


def left_width(axis: Axis, height: float) -> float:
    """How much room the labels of a vertical axis need."""
    return max(text_width(tick.label) for tick in ticks(axis.shown, _vertical_ticks(height))) + 8


def left_axis(frame: Frame, axis: Axis, grid: str = "grid") -> list[Markup]:
    """Grid lines and their values; the label stands above, where it can be read."""
    parts = [text(frame.left, frame.top - 7, axis.label, "axis", width=frame.width)]
    for tick in ticks(axis.shown, _vertical_ticks(frame.height)):
        y = float(frame.y(axis, tick.value))
        if grid:
            parts.append(line(frame.left, y, frame.right, y, grid))
        parts.append(text(frame.left - 6, y + 4, tick.label, "tick", anchor="end"))
    return parts


def bottom_axis(frame: Frame, axis: Axis) -> list[Markup]:
    parts = [line(frame.left, frame.bottom, frame.right, frame.bottom, "base")]
    if axis.names:
        parts += _named_ticks(frame, axis)
    else:
        parts += _numbered_ticks(frame, axis)
    middle = (frame.left + frame.right) / 2
    return [*parts, text(middle, frame.bottom + 31, axis.label, "axis", anchor="middle", width=frame.width)]


def ticks_across(shown: Range, left: float, width: float, count: int) -> list[tuple[float, str]]:
    """Ticks along a horizontal range, (x, label), without those whose labels would touch the one before."""
    kept: list[tuple[float, str]] = []
    end = -np.inf
    for tick in ticks(shown, count):
        x = left + float(shown.position(tick.value)) * width
        half = text_width(tick.label) / 2
        if x - half >= end:
            kept.append((x, tick.label))
            end = x + half + TICK_GAP
    return kept


def _numbered_ticks(frame: Frame, axis: Axis) -> list[Markup]:
    parts = []
    for x, label in ticks_across(axis.shown, frame.left, frame.width, max(2, int(frame.width / 80))):
        parts.append(line(x, frame.bottom, x, frame.bottom + 4, "base"))
        parts.append(text(x, frame.bottom + 17, label, "tick", anchor="middle"))
    return parts


def _named_ticks(frame: Frame, axis: Axis) -> list[Markup]:
    widest = min(max(text_width(name) for name in axis.names), NAME_WIDTH) + 10
    room = frame.width / max(len(axis.names), 1)
    stride = max(1, int(np.ceil(widest / room)))
    parts = []
    for place in range(0, len(axis.names), stride):
        x = float(frame.x(axis, place))
        to_edge = min(x - frame.left, frame.right - x) + 10
        width = max(min(room * stride - 8, 2 * to_edge), 20)
        parts.append(line(x, frame.bottom, x, frame.bottom + 4, "base"))
        parts.append(text(x, frame.bottom + 17, axis.names[place], "tick", anchor="middle", width=width))
    return parts


def _vertical_ticks(height: float) -> int:
    return max(2, int(height / 38))
