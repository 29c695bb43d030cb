"""Draws a panel of lines as SVG, each line labelled at its end."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from telltales.report.description import Axis, Line, LinePanel, Numbers
from telltales.report.frame import (
    BOTTOM_HEIGHT,
    LABEL_HEIGHT,
    TITLE_HEIGHT,
    Frame,
    bottom_axis,
    left_axis,
    left_width,
    title,
)
from telltales.report.svg import Markup, decimal, element, joined, line, polyline, runs, text
from telltales.report.words import shorten, text_width

LABEL_GAP = 13.0
LONGEST_LABEL = 150
CLASSES = {"line": "line", "faint": "thin", "dashed": "dash"}


def line_height(panel: LinePanel) -> float:
    return _title_height(panel) + LABEL_HEIGHT + panel.height + BOTTOM_HEIGHT


def lines_left(panel: LinePanel) -> float:
    return left_width(panel.y, panel.height)


def lines_right(panel: LinePanel, width: float) -> float:
    """How much room the labels at the ends of the lines need."""
    widest = max((text_width(shorten(one.label, LONGEST_LABEL)) for one in panel.lines), default=0.0)
    return min(widest + 20, 0.34 * width) if widest else 10


def draw_lines(
    panel: LinePanel, x: float, y: float, width: float, left: float, right: float, labelled: bool
) -> list[Markup]:
    """``left`` pixels go to the vertical axis, ``right`` pixels to the labels, if they are wanted."""
    frame = Frame(x + left, y + _title_height(panel) + LABEL_HEIGHT, width - left - right, panel.height)
    parts = [*title(panel.title, x + left, y, width - left), *left_axis(frame, panel.y), *bottom_axis(frame, panel.x)]
    for guide in panel.guides:
        height = float(frame.y(panel.y, guide))
        parts.append(line(frame.left, height, frame.right, height, "guide"))
    parts += [part for one in panel.lines for part in _draw_line(one, panel, frame)]
    return parts + (_end_labels(panel, frame, right) if labelled else [])


def draw_legend(panels: Sequence[LinePanel], top: float, width: float) -> list[Markup]:
    """Every label of the panels once, in rows."""
    parts = []
    for one, x, y in _legend_places(panels, width):
        middle = top + y + 6
        if one.kind == "points":
            mark = element("circle", {"class": f"dot f-{one.colour}", "cx": x + 9, "cy": middle, "r": 3})
        else:
            mark = line(x, middle, x + 18, middle, f"{CLASSES[one.kind]} s-{one.colour}")
        parts += [mark, text(x + 24, middle + 4, one.label, width=LONGEST_LABEL)]
    return parts


def legend_height(panels: Sequence[LinePanel], width: float) -> float:
    return max((y for _, _, y in _legend_places(panels, width)), default=0.0) + 30


def _legend_places(panels: Sequence[LinePanel], width: float) -> list[tuple[Line, float, float]]:
    entries = {one.label: one for panel in panels for one in panel.lines if one.label}
    places = []
    x = y = 0.0
    for one in entries.values():
        needed = 24 + text_width(shorten(one.label, LONGEST_LABEL)) + 18
        if x and x + needed > width:
            x, y = 0.0, y + 18
        places.append((one, x, y))
        x += needed
    return places


def _title_height(panel: LinePanel) -> float:
    return TITLE_HEIGHT if panel.title else 0


def _draw_line(one: Line, panel: LinePanel, frame: Frame) -> list[Markup]:
    parts = []
    if one.low is not None and one.high is not None:
        parts.append(_band(one.x, one.low, one.high, one.colour, panel, frame))
    if one.kind == "points":
        x, y = frame.x(panel.x, one.x), frame.y(panel.y, one.y)
        circles = [
            element("circle", {"class": f"dot f-{one.colour}", "cx": a, "cy": b, "r": 3.2})
            for a, b in zip(*thinned(x, y, 200), strict=True)
            if np.isfinite(b)
        ]
        through = element("path", {"class": f"thin s-{one.colour}", "d": polyline(x, y)})
        return [*parts, through, *circles]
    outline = polyline(*thinned(frame.x(panel.x, one.x), frame.y(panel.y, one.y), frame.width))
    path = element("path", {"class": f"{CLASSES[one.kind]} s-{one.colour}", "d": outline})
    return [*parts, path]


def _band(x: Numbers, low: Numbers, high: Numbers, colour: str, panel: LinePanel, frame: Frame) -> Markup:
    every, lowest, highest = frame.x(panel.x, x), frame.y(panel.y, low), frame.y(panel.y, high)
    buckets = _buckets(len(every), frame.width / 2)
    across = np.array([every[a:b].mean() for a, b in buckets])
    with np.errstate(invalid="ignore"):
        bottom = np.array([np.fmax.reduce(lowest[a:b]) for a, b in buckets])
        top = np.array([np.fmin.reduce(highest[a:b]) for a, b in buckets])
    shapes = []
    for start, stop in runs(np.isfinite(bottom) & np.isfinite(top)):
        there = [f"{decimal(a)} {decimal(b)}" for a, b in zip(across[start:stop], top[start:stop], strict=True)]
        back = [f"{decimal(a)} {decimal(b)}" for a, b in zip(across[start:stop], bottom[start:stop], strict=True)]
        shapes.append("M" + "L".join(there + back[::-1]) + "Z")
    return element("path", {"class": f"band f-{colour}", "d": "".join(shapes)})


def thinned(x: Numbers, y: Numbers, pixels: float) -> tuple[Numbers, Numbers]:
    """Of points in rising order of x, about two for each of ``pixels``: the lowest and the highest of each stretch.

    What is NaN stays where a whole stretch is, so that gaps remain.
    """
    if len(x) <= pixels:
        return x, y
    kept: list[int] = [0]
    for start, stop in _buckets(len(x), pixels / 3):
        part = y[start:stop]
        if np.isnan(part).all():
            kept.append(start)
        else:
            kept += sorted({start + int(np.nanargmin(part)), start + int(np.nanargmax(part))})
    places = np.unique([*kept, len(x) - 1])
    return x[places], y[places]


def _buckets(count: int, most: float) -> list[tuple[int, int]]:
    edges = np.linspace(0, count, min(count, max(int(most), 1)) + 1).astype(int)
    return [(int(a), int(b)) for a, b in pairwise(edges)]


def _end_labels(panel: LinePanel, frame: Frame, room: float) -> list[Markup]:
    labelled = [one for one in panel.lines if one.label and np.isfinite(_end(one, panel.x, panel.y, frame)[1])]
    ends = [_end(one, panel.x, panel.y, frame) for one in labelled]
    heights = spread([y for _, y in ends], frame.top + 4, frame.bottom, LABEL_GAP)
    parts = []
    for one, (x, y), height in zip(labelled, ends, heights, strict=True):
        start = frame.right + 3
        path = f"M{decimal(min(x + 3, start))} {decimal(y)}H{decimal(start)}L{decimal(start + 8)} {decimal(height)}"
        leader = element("path", {"class": "lead", "d": path})
        label = text(start + 11, height + 4, one.label, f"f-{one.colour}", width=room - 14)
        parts.append(joined(leader, label))
    return parts


def _end(one: Line, x: Axis, y: Axis, frame: Frame) -> tuple[float, float]:
    """Where a line's last number is drawn; NaN if it has none."""
    finite = np.flatnonzero(~np.isnan(np.asarray(one.y, np.float64)))
    if not finite.size:
        return frame.right, float("nan")
    return float(frame.x(x, one.x[finite[-1]])), float(frame.y(y, one.y[finite[-1]]))


def spread(wanted: Sequence[float], low: float, high: float, gap: float) -> list[float]:
    """Places as near to ``wanted`` as may be, in the same order, at least ``gap`` apart and between the ends.

    If there is not enough room between the ends, they are as far apart as there is.
    """
    if not wanted:
        return []
    gap = min(gap, (high - low) / max(len(wanted) - 1, 1))
    order = np.argsort(wanted, kind="stable")
    offsets = np.arange(len(wanted)) * gap
    # Without their offsets, places that are a gap apart must merely rise: the nearest rising sequence is known.
    rising = _nearest_rising(np.asarray(wanted, np.float64)[order] - offsets)
    placed = np.clip(rising, low, high - offsets[-1]) + offsets
    result = np.empty(len(wanted))
    result[order] = placed
    return [float(value) for value in result]


def _nearest_rising(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least-squares isotonic regression, by pooling neighbours that are out of order."""
    pools: list[list[float]] = []
    for value in values:
        pools.append([float(value), 1.0])
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            mean, count = pools.pop()
            total = pools[-1][1] + count
            pools[-1] = [(pools[-1][0] * pools[-1][1] + mean * count) / total, total]
    return np.repeat([mean for mean, _ in pools], [int(count) for _, count in pools])
