"""Draws a figure's description as SVG: the grid, and in it each panel by its kind."""

from __future__ import annotations

from telltales.report.description import (
    BitmapPanel,
    DensityPanel,
    Figure,
    HeatPanel,
    LinePanel,
    MissingPanel,
    NamesPanel,
    Panel,
)
from telltales.report.frame import TITLE_HEIGHT, title
from telltales.report.lines import draw_legend, draw_lines, legend_height, line_height, lines_left, lines_right
from telltales.report.plane import draw_names, names_height, names_left
from telltales.report.strips import density_height, draw_density
from telltales.report.svg import Markup, decimal, element, text
from telltales.report.tiles import bitmap_height, draw_bitmap, draw_heat, heat_height, heat_left

GAP = 24
NARROWEST = 250
"""A column gets at least so many pixels, however many there are."""
ROOM_FOR_LABELS = 330
"""Columns narrower than that have a legend in place of labels at the ends of lines."""


def figure_svg(figure: Figure, width: int = 1100) -> Markup:
    """The figure as one ``<svg>``, ``width`` pixels wide, or wider if it has many columns."""
    columns = max(figure.columns, 1)
    page_width, width = width, max(width, columns * (NARROWEST + GAP) - GAP)
    column_width = (width - (columns - 1) * GAP) / columns
    labelled = column_width >= ROOM_FOR_LABELS
    parts: list[Markup] = []
    y = 0.0
    # One margin for all, so that panels below each other share their axis to the pixel.
    every = [panel for row in figure.panels for panel in row]
    left = max(map(_left, every), default=0)
    right = max((_right(panel, column_width) for panel in every), default=0) if labelled else 10
    for row in figure.panels:
        for place, panel in enumerate(row):
            parts += _draw(panel, place * (column_width + GAP), y, column_width, left, right, labelled)
        y += max((_height(panel, column_width) for panel in row), default=0) + GAP
    panels = [panel for panel in every if isinstance(panel, LinePanel)]
    if not labelled and panels:
        parts += draw_legend(panels, y - GAP / 2, width)
        y += legend_height(panels, width)
    return _document(figure, width, max(y - GAP, 1), parts, "natural" if width > page_width else None)


def _document(figure: Figure, width: int, height: float, parts: list[Markup], classes: str | None) -> Markup:
    summary = ". ".join(part.rstrip(".") for part in (figure.title, figure.subtitle) if part)
    attributes = {
        "xmlns": "http://www.w3.org/2000/svg",
        "class": classes,
        "role": "img",
        "aria-label": summary,
        "width": width,
        "height": decimal(height),
        "viewBox": f"0 0 {width} {decimal(height)}",
    }
    return element("svg", attributes, *parts)


def _left(panel: Panel) -> float:
    match panel:
        case LinePanel():
            return lines_left(panel)
        case HeatPanel():
            return heat_left(panel)
        case NamesPanel():
            return names_left(panel)
        case _:
            return 0


def _right(panel: Panel, width: float) -> float:
    return lines_right(panel, width) if isinstance(panel, LinePanel) else 0


def _height(panel: Panel, width: float) -> float:
    match panel:
        case LinePanel():
            return line_height(panel)
        case DensityPanel():
            return density_height(panel)
        case HeatPanel():
            return heat_height(panel)
        case BitmapPanel():
            return bitmap_height(panel, width)
        case NamesPanel():
            return names_height(panel)
        case MissingPanel():
            return TITLE_HEIGHT + 24


def _draw(panel: Panel, x: float, y: float, width: float, left: float, right: float, labelled: bool) -> list[Markup]:
    match panel:
        case LinePanel():
            return draw_lines(panel, x, y, width, left, right, labelled)
        case DensityPanel():
            return draw_density(panel, x, y, width)
        case HeatPanel():
            return draw_heat(panel, x, y, width, left)
        case BitmapPanel():
            return draw_bitmap(panel, x, y, width)
        case NamesPanel():
            return draw_names(panel, x, y, width, left)
        case MissingPanel():
            return [*title(panel.title, x, y, width), text(x, y + 32, panel.reason, "axis", width=width)]
