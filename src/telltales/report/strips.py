"""Draws densities as SVG: a strip for each, its name and its numbers above the curve."""

from __future__ import annotations

import numpy as np

from telltales.report.description import Curve, DensityPanel
from telltales.report.frame import BOTTOM_HEIGHT, TITLE_HEIGHT, Frame, bottom_axis, title
from telltales.report.scales import ticks
from telltales.report.svg import Markup, decimal, element, line, polyline, text
from telltales.report.words import text_width

TEXT_HEIGHT = 17
CURVE_HEIGHT = 28
STRIP = TEXT_HEIGHT + CURVE_HEIGHT
SPACE = 14
SHORTEST_NAME = 80


def density_height(panel: DensityPanel) -> float:
    return (TITLE_HEIGHT if panel.title else 0) + len(panel.curves) * STRIP + BOTTOM_HEIGHT


def draw_density(panel: DensityPanel, x: float, y: float, width: float) -> list[Markup]:
    top = y + (TITLE_HEIGHT if panel.title else 0)
    frame = Frame(x + 2, top, width - 4, len(panel.curves) * STRIP)
    parts = title(panel.title, x, y, width)
    for tick in ticks(panel.x.shown, max(2, int(frame.width / 80))):
        across = float(frame.x(panel.x, tick.value))
        parts.append(line(across, frame.top, across, frame.bottom, "grid"))
    said = _details_that_fit(panel, frame.width)
    for place, curve in enumerate(panel.curves):
        parts += _strip(curve, said, panel, Frame(frame.left, frame.top + place * STRIP, frame.width, STRIP))
    return parts + bottom_axis(frame, panel.x)


def _strip(curve: Curve, said: int, panel: DensityPanel, frame: Frame) -> list[Markup]:
    parts = [line(frame.left, frame.bottom, frame.right, frame.bottom, "base")]
    peak = float(np.max(curve.density, initial=0.0))
    if peak > 0:
        across = frame.x(panel.x, curve.x)
        height = frame.bottom - curve.density / peak * CURVE_HEIGHT
        outline = polyline(across, height)
        body = f"{outline}L{decimal(across[-1])} {decimal(frame.bottom)}L{decimal(across[0])} {decimal(frame.bottom)}Z"
        parts.append(element("path", {"class": f"body f-{curve.colour}", "d": body}))
        parts.append(element("path", {"class": f"line s-{curve.colour}", "d": outline}))
    if curve.zeros > 0:
        zero = float(frame.x(panel.x, 0.0))
        parts.append(line(zero, frame.bottom, zero, frame.bottom - CURVE_HEIGHT, f"line s-{curve.colour}"))
    return [*parts, *_words(curve, said, frame)]


def _details_that_fit(panel: DensityPanel, width: float) -> int:
    """How many of the numbers all strips can show beside at least a recognisable part of the name."""
    most = max((len(curve.details) for curve in panel.curves), default=0)
    for count in range(most, 0, -1):
        needed = (
            text_width(_detail(curve, count)) + SPACE + min(text_width(curve.name), SHORTEST_NAME)
            for curve in panel.curves
        )
        if max(needed) <= width:
            return count
    return 0


def _detail(curve: Curve, count: int) -> str:
    return " · ".join(curve.details[:count])


def _words(curve: Curve, said: int, frame: Frame) -> list[Markup]:
    detail = _detail(curve, said)
    room = frame.width - text_width(detail) - SPACE
    baseline = frame.top + 13
    return [
        text(frame.left, baseline, curve.name, "on", width=room),
        text(frame.right, baseline, detail, "detail on", anchor="end"),
    ]
