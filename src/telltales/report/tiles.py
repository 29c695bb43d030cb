"""Draws heat maps and bitmaps as SVG, one path for all cells of a colour."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from telltales.report.description import Band, BitmapPanel, Colours, HeatPanel
from telltales.report.frame import (
    BOTTOM_HEIGHT,
    LABEL_HEIGHT,
    TITLE_HEIGHT,
    Frame,
    bottom_axis,
    left_axis,
    left_width,
    ticks_across,
)
from telltales.report.frame import title as draw_title
from telltales.report.selection import on_all
from telltales.report.style import DIVERGING, SEQUENTIAL
from telltales.report.svg import Markup, decimal, element, line, runs, text
from telltales.report.words import shorten, text_width

LONGEST_NAME = 170
KEY_HEIGHT = 44
KEY_WIDTH = 200
LARGEST_CELL = 4.0


def heat_height(panel: HeatPanel) -> float:
    return (TITLE_HEIGHT if panel.title else 0) + KEY_HEIGHT + _label_height(panel) + panel.height + BOTTOM_HEIGHT


def heat_left(panel: HeatPanel) -> float:
    if panel.y is not None:
        return left_width(panel.y, panel.height)
    return max((text_width(shorten(band.name, LONGEST_NAME)) for band in panel.bands), default=0) + 10


def draw_heat(panel: HeatPanel, x: float, y: float, width: float, left: float) -> list[Markup]:
    """``left`` pixels go to the names of the rows."""
    left = min(left, 0.4 * width)
    top = y + (TITLE_HEIGHT if panel.title else 0)
    frame = Frame(x + left, top + KEY_HEIGHT + _label_height(panel), width - left - 10, panel.height)
    parts = [*draw_title(panel.title, x + left, y, width - left), *_key(panel.colours, frame.left, top, frame.width)]
    parts.append(
        element(
            "rect",
            {"class": "paper", "x": frame.left, "y": frame.top, "width": frame.width, "height": frame.height},
        )
    )
    # On a numbered axis the first row is the lowest.
    values = panel.values if panel.bands else panel.values[::-1]
    parts += _cells(heat_levels(values, panel.colours), _letter(panel.colours), frame)
    if panel.y is not None:
        parts += left_axis(frame, panel.y, grid="")
    else:
        parts += [part for band in panel.bands for part in _band(band, len(values), frame, left)]
    return parts + bottom_axis(frame, panel.x)


def heat_levels(values: NDArray[np.floating], colours: Colours) -> NDArray[np.int64]:
    """Which step of the ramp each value takes; -1 for NaN."""
    steps = DIVERGING if colours.diverging else SEQUENTIAL
    position = colours.shown.position(values)
    level = np.minimum(np.nan_to_num(position) * steps, steps - 1).astype(np.int64)
    return np.where(np.isnan(position), -1, level)


def bitmap_height(panel: BitmapPanel, width: float) -> float:
    return TITLE_HEIGHT + 18 + int(panel.cells.shape[0]) * _cell(panel, width)


def draw_bitmap(panel: BitmapPanel, x: float, y: float, width: float) -> list[Markup]:
    examples, units = panel.cells.shape
    cell = _cell(panel, width)
    frame = Frame(x, y + TITLE_HEIGHT + 16, units * cell, examples * cell)
    always = on_all(panel.cells)
    levels = np.where(panel.cells, np.where(always[None, :], 1, 0), -1)
    return [
        *draw_title(panel.title, x, y, width),
        text(x, y + TITLE_HEIGHT + 8, panel.detail, "axis", width=width),
        element(
            "rect", {"class": "paper", "x": frame.left, "y": frame.top, "width": frame.width, "height": frame.height}
        ),
        *_paths(levels, {0: "s-ink", 1: "s-alarm"}, frame),
        element(
            "rect", {"class": "frame", "x": frame.left, "y": frame.top, "width": frame.width, "height": frame.height}
        ),
    ]


def _cell(panel: BitmapPanel, width: float) -> float:
    return min(LARGEST_CELL, width / max(int(panel.cells.shape[1]), 1))


def _label_height(panel: HeatPanel) -> float:
    return LABEL_HEIGHT if panel.y is not None else 0


def _letter(colours: Colours) -> str:
    return "v" if colours.diverging else "q"


def _cells(levels: NDArray[np.int64], letter: str, frame: Frame) -> list[Markup]:
    return _paths(levels, {int(level): f"s-{letter}{level}" for level in np.unique(levels) if level >= 0}, frame)


def _paths(levels: NDArray[np.int64], classes: dict[int, str], frame: Frame) -> list[Markup]:
    rows, columns = levels.shape
    if not rows or not columns:
        return []
    paths = []
    for level, name in classes.items():
        strokes = [
            f"M{start} {row}.5h{stop - start}" for row in range(rows) for start, stop in runs(levels[row] == level)
        ]
        if strokes:
            paths.append(element("path", {"class": name, "d": "".join(strokes)}))
    # A stroke one unit wide fills a row whatever the scale: half the size of rectangles.
    place = f"translate({decimal(frame.left)} {decimal(frame.top)})"
    scale = f"scale({frame.width / columns:.5g} {frame.height / rows:.5g})"
    return [element("g", {"class": "cells", "transform": f"{place} {scale}"}, *paths)]


def _band(band: Band, rows: int, frame: Frame, room: float) -> list[Markup]:
    top = frame.top + band.start / rows * frame.height
    bottom = frame.top + band.stop / rows * frame.height
    parts = []
    if band.stop - band.start > 1 and band.start > 0:
        parts.append(line(frame.left - room + 4, top, frame.right, top, "base"))
    if band.name:
        label = text(frame.left - 8, (top + bottom) / 2 + 4, band.name, anchor="end", width=room - 10)
        parts.append(label)
    return parts


def _key(colours: Colours, x: float, y: float, width: float) -> list[Markup]:
    """What the colours mean: the label, then the ramp with its values below."""
    letter, steps = _letter(colours), DIVERGING if colours.diverging else SEQUENTIAL
    label = shorten(colours.label, max(width - KEY_WIDTH - 12, 60))
    start = x + text_width(label) + 12
    frame = Frame(start, y + 4, max(min(KEY_WIDTH, width - (start - x)), 20), 9)
    parts = [text(x, y + 12, label, "axis"), *_cells(np.arange(steps)[None, :], letter, frame)]
    for across, value in ticks_across(colours.shown, frame.left, frame.width, 3):
        parts.append(text(across, frame.bottom + 13, value, "tick", anchor="middle"))
    return parts
