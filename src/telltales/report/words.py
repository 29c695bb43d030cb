"""Words and numbers as a figure shows them: short, and of known width. No markup here."""

from __future__ import annotations

import math
import unicodedata

from telltales.visible import visible

LONGEST_NAME, SHORTEST_PART = 300, 3
"""In characters: names that are cut part by part, and what stays of a part."""

_NARROW = frozenset("fijlrtI.,:;|!'`()[]{}/ ")
_WIDE = frozenset("mwMW@%—…")
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def text_width(text: str, size: float = 11) -> float:
    """About how wide ``text`` is in a sans-serif font of ``size`` pixels, rather too much than too little."""
    return size * sum(map(_character_width, text))


def _character_width(character: str) -> float:
    if character in _NARROW:
        return 0.38
    if character in _WIDE:
        return 0.98
    if unicodedata.combining(character):
        return 0.0
    if unicodedata.east_asian_width(character) in "WF":
        return 1.05
    return 0.7 if character.isupper() else 0.62


def shorten(text: str, width: float, size: float = 11) -> str:
    """``text`` if it fits into ``width`` pixels, else with something left out.

    A dotted name keeps its numbers and the beginnings of its parts; of what does not fit even so, both ends stay.
    """
    text = visible(text)
    if text_width(text, size) <= width:
        return text
    abbreviated = _abbreviated(text, width, size)
    if text_width(abbreviated, size) <= width:
        return abbreviated
    return _ends(abbreviated, width, size)


def _abbreviated(text: str, width: float, size: float) -> str:
    """With its longest parts cut, one character after the other, as short as need be."""
    parts = text.split(".")
    if len(parts) == 1 or len(text) > LONGEST_NAME:
        return text
    kept = [len(part) for part in parts]
    shown = text
    while text_width(shown, size) > width:
        longest = max(range(len(parts)), key=lambda i: kept[i] if not parts[i].isdecimal() else 0)
        if kept[longest] <= SHORTEST_PART or parts[longest].isdecimal():
            break
        kept[longest] -= 1
        cut = [part if n == len(part) else part[: n - 1] + "…" for part, n in zip(parts, kept, strict=True)]
        shown = ".".join(cut)
    return shown


def _ends(text: str, width: float, size: float) -> str:
    room = width - text_width("…", size)
    head, tail = "", ""
    for near, far in zip(text, reversed(text), strict=True):
        # The end of a module's name says what it is, the beginning only where: the end comes first.
        if text_width(head + tail + far, size) > room:
            break
        tail = far + tail
        if text_width(head + tail + near, size) > room:
            break
        head += near
    return f"{head}…{tail}"


def number(value: float) -> str:
    """Three significant digits: ``1,234``, ``0.0123``, ``1.2e-5``; a dash for what was not measured."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    magnitude = abs(value)
    if value == 0:
        return "0"
    if 1e-3 <= magnitude < 999.5:
        return f"{value:.3g}".replace("-", "−")
    if 999.5 <= magnitude < 1e7:
        return f"{value:,.0f}".replace("-", "−")
    digits, exponent = f"{value:.1e}".split("e")
    return f"{digits.removesuffix('.0')}e{int(exponent)}".replace("-", "−")


def share(value: float) -> str:
    """A share between 0 and 1 in per cent, never rounded to none or to all."""
    if math.isnan(value):
        return "–"
    if 0 < value < 0.001:
        return "<0.1%"
    if 0.999 < value < 1:
        return ">99.9%"
    return f"{100 * value:.1f}%" if 0 < value < 0.1 else f"{100 * value:.0f}%"


def power_of_ten(exponent: int) -> str:
    """``10⁻³``, but plain 1 and 10."""
    if exponent in (0, 1):
        return str(10**exponent)
    return "10" + str(exponent).translate(_SUPERSCRIPTS)


def counted(count: int, singular: str, plural: str | None = None) -> str:
    """``1 step``, ``1,000 steps``."""
    return f"{count:,} {singular if count == 1 else plural or singular + 's'}"
