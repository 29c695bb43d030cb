"""Markup that can't be broken out of: whatever is not markup already is escaped."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

import numpy as np
from numpy.typing import NDArray

from telltales.report.words import shorten
from telltales.visible import visible


class Markup(str):
    """Text that is markup. Only `element` and `raw` make it."""

    __slots__ = ()


VOID = ("meta",)


def element(name: str, attributes: Mapping[str, object] | None = None, *children: str) -> Markup:
    """An element, well-formed as XML and as HTML. Children that are no markup are escaped; None drops an attribute."""
    written = "".join(
        f' {key}="{escape(_attribute(value))}"' for key, value in (attributes or {}).items() if value is not None
    )
    if name in VOID:
        return Markup(f"<{name}{written}/>")
    inner = "".join(child if isinstance(child, Markup) else escape(visible(child)) for child in children)
    return Markup(f"<{name}{written}>{inner}</{name}>")


def joined(*parts: Markup) -> Markup:
    return Markup("".join(parts))


def raw(text: str) -> Markup:
    """Text that is known to be safe as it stands: of our own, or made of numbers."""
    return Markup(text)


def _attribute(value: object) -> str:
    return decimal(value) if isinstance(value, float | np.floating) else visible(value)


def decimal(value: float | np.floating) -> str:
    """A tenth of a pixel is as exact as a drawing has to be."""
    text = f"{float(value):.1f}"
    return text[:-2] if text.endswith(".0") else text


def text(
    x: float, y: float, content: str, classes: str = "", *, anchor: str | None = None, width: float | None = None
) -> Markup:
    """A line of text. If ``width`` makes it shorter, the whole stands in a tooltip."""
    whole = visible(content)
    shown = whole if width is None else shorten(whole, width)
    tip = element("title", None, whole) if shown != whole else Markup("")
    attributes = {"x": float(x), "y": float(y), "class": classes or None, "text-anchor": anchor}
    return element("text", attributes, Markup(escape(shown)), tip)


def line(x1: float, y1: float, x2: float, y2: float, classes: str) -> Markup:
    return element("path", {"class": classes, "d": f"M{decimal(x1)} {decimal(y1)}L{decimal(x2)} {decimal(y2)}"})


def polyline(x: NDArray[np.floating], y: NDArray[np.floating]) -> str:
    """The data of a path through the points; one that is NaN interrupts it, and one alone is a dot."""
    pieces = []
    for start, stop in runs(np.isfinite(x) & np.isfinite(y)):
        points = [f"{decimal(a)} {decimal(b)}" for a, b in zip(x[start:stop], y[start:stop], strict=True)]
        pieces.append(f"M{points[0]}h0" if len(points) == 1 else "M" + "L".join(points))
    return "".join(pieces)


def runs(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Where stretches of true begin and end (not included)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(int(start), int(stop)) for start, stop in zip(edges[::2], edges[1::2], strict=True)]
