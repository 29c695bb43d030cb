"""Text that can be shown anywhere: whatever it holds, it moves no cursor and deceives no reader."""

from __future__ import annotations

import unicodedata

JOINERS = "\u200c\u200d"
"""Invisible, but scripts and emoji need them."""


def visible(text: object) -> str:
    """``text`` with every character that can't be seen, or that turns the reading direction, written as an escape.

    What remains is legal in XML, and two different names look different.
    """
    text = str(text)
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(character) if _hidden(character) else character for character in text)


def _hidden(character: str) -> bool:
    category = unicodedata.category(character)
    noncharacter = ord(character) & 0xFFFE == 0xFFFE
    return noncharacter or (category in ("Cc", "Cf", "Cs", "Zl", "Zp") and character not in JOINERS)


def _escaped(character: str) -> str:
    point = ord(character)
    if point <= 0xFF:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point <= 0xFFFF else f"\\U{point:08x}"
