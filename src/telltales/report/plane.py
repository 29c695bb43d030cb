"""Draws a panel of names on a plane as SVG."""

from __future__ import annotations

from telltales.report.description import NamesPanel
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
from telltales.report.svg import Markup, text
from telltales.report.words import text_width

LONGEST_NAME = 90


def names_height(panel: NamesPanel) -> float:
    return _above(panel) + panel.height + BOTTOM_HEIGHT


def names_left(panel: NamesPanel) -> float:
    return left_width(panel.y, panel.height)


def draw_names(panel: NamesPanel, x: float, y: float, width: float, left: float) -> list[Markup]:
    """``left`` pixels go to the vertical axis."""
    frame = Frame(x + left, y + _above(panel), width - left - 10, panel.height)
    parts = [*title(panel.title, x + left, y, width - left), *left_axis(frame, panel.y), *bottom_axis(frame, panel.x)]
    for point in panel.points:
        across, up = float(frame.x(panel.x, point.x)), float(frame.y(panel.y, point.y))
        classes = f"title on f-{point.colour}"
        parts.append(text(across, up + 4, point.name, classes, anchor="middle", width=LONGEST_NAME))
    across = frame.left
    for colour, label in panel.groups:
        parts.append(text(across, frame.top - LABEL_HEIGHT - 7, label, f"title f-{colour}"))
        across += text_width(label) + 24
    return parts


def _above(panel: NamesPanel) -> float:
    legend = LABEL_HEIGHT if panel.groups else 0
    return (TITLE_HEIGHT if panel.title else 0) + legend + LABEL_HEIGHT
