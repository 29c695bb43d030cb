"""How a character is named in messages, so that one that cannot be seen or printed is still told from the others."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable

_JOINERS = "\u200c\u200d"
"""Invisible, but scripts and emoji need them."""
_KINDS = {"Cc": "control", "Cn": "unassigned", "Co": "private use", "Cs": "lone surrogate"}


def code_point(character: str) -> str:
    """``U+0041`` for ``A``."""
    return f"U+{ord(character):04X}"


def character_name(character: str) -> str:
    """``LATIN CAPITAL LETTER A`` for ``A``; what kind it is, in small letters, where it has no name."""
    return unicodedata.name(character, "") or _KINDS.get(unicodedata.category(character), "unnamed")


def identify(character: str) -> str:
    """``'A' (U+0041 LATIN CAPITAL LETTER A)``, without the character itself where printing it would not show it."""
    name = f"{code_point(character)} {character_name(character)}"
    return f"{character!r} ({name})" if character.isprintable() else name


def printable(text: str) -> str:
    """``text`` with escapes for what cannot be printed, such as the stray bytes that a file name may hold."""
    return "".join(character if character.isprintable() else _escape(character) for character in text)


def harmless(text: str) -> str:
    """``text`` with escapes for what moves a cursor, turns the reading direction or hides; line ends and tabs stay."""
    return _escaping(text, _escape)


def harmless_json(text: str) -> str:
    """The same for JSON, whose escapes a reader takes back."""
    return _escaping(text, lambda character: json.dumps(character)[1:-1])


def _escape(character: str) -> str:
    return ascii(character)[1:-1]


def _escaping(text: str, escape: Callable[[str], str]) -> str:
    hidden = {ord(character): escape(character) for character in set(text) if _moves_or_hides(character)}
    return text.translate(hidden) if hidden else text


def _moves_or_hides(character: str) -> bool:
    if character in f"\n\t{_JOINERS}":
        return False
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") or ord(character) & 0xFFFE == 0xFFFE
