"""A figure as an SVG file of its own: its words, its style and a background in it, for any page, light or dark."""

from __future__ import annotations

import re

from telltales.report.description import Figure
from telltales.report.marks import figure_svg
from telltales.report.style import NOTEBOOK_STYLE
from telltales.report.svg import Markup, decimal, element, raw, text
from telltales.report.words import text_width
from telltales.visible import visible

MARGIN = 16
TITLE_SIZE, SAID_SIZE = 14, 12
LINE_HEIGHT = 17

STYLE = NOTEBOOK_STYLE + (
    f".telltales>.heading{{font-size:{TITLE_SIZE}px;font-weight:600;fill:var(--ink)}}"
    f".telltales>.said{{font-size:{SAID_SIZE}px;fill:var(--muted)}}"
    ".telltales>.back{fill:var(--card);stroke:var(--edge)}"
)


def picture(figure: Figure, width: int = 1100) -> str:
    """The figure with its title, subtitle and note as one SVG document, well-formed XML.

    It loads nothing, runs nothing, and follows the reader's light or dark theme. ``width``: of the figure, in pixels;
    one with many columns is wider. A margin comes on top.
    """
    drawn = figure_svg(figure, width)
    inner_width, inner_height = _size(drawn)
    above = [(line, "heading") for line in _wrapped(figure.title, inner_width, TITLE_SIZE)]
    above += [(line, "said") for line in _wrapped(figure.subtitle, inner_width, SAID_SIZE)]
    below = [(line, "said") for line in _wrapped(figure.note, inner_width, SAID_SIZE)]
    top = MARGIN + LINE_HEIGHT * len(above) + (8 if above else 0)
    bottom = top + inner_height
    height = bottom + MARGIN + (LINE_HEIGHT * len(below) + 4 if below else 0)
    whole = inner_width + 2 * MARGIN
    attributes = {
        "xmlns": "http://www.w3.org/2000/svg",
        "class": "telltales",
        "role": "img",
        "aria-label": figure.title,
        "width": float(whole),
        "height": f"{height:g}",
        "viewBox": f"0 0 {whole:g} {height:g}",
    }
    back = {"class": "back", "x": 0.5, "y": 0.5, "width": whole - 1, "height": height - 1, "rx": 8}
    # As high as it says, which the style for pages would leave to the browser.
    place = {
        "x": MARGIN,
        "y": float(top),
        "width": inner_width,
        "height": f"{inner_height:g}",
        "style": f"height:{decimal(inner_height)}px",
    }
    document = element(
        "svg",
        attributes,
        element("style", None, raw(STYLE)),
        element("rect", back),
        *_lines(above, MARGIN),
        element("svg", place, drawn),
        *_lines(below, bottom + 4),
    )
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{document}\n'


def _size(drawn: Markup) -> tuple[float, float]:
    found = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', drawn)
    assert found is not None
    return float(found[1]), float(found[2])


def _lines(lines: list[tuple[str, str]], top: float) -> list[Markup]:
    return [text(MARGIN, top + LINE_HEIGHT * (place + 0.75), line, kind) for place, (line, kind) in enumerate(lines)]


def _wrapped(said: str, width: float, size: float) -> list[str]:
    """Broken at spaces into lines of at most ``width`` pixels; a longer word has a line of its own."""
    lines: list[str] = []
    for word in visible(said).split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, size) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
