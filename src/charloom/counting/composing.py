"""Which characters canonical composition leaves alone, whatever stands beside them."""

from __future__ import annotations

import unicodedata
from functools import cache

# All others beyond are composed only of what is here, and by rule: vowels and final consonants of Hangul.
_LAST_DECOMPOSED = 0x2FA1F
_JAMO = (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3))


def left_alone(code: int) -> bool:
    """Whether text of such characters only is composed (NFC) already."""
    character = chr(code)
    return (
        not unicodedata.combining(character)
        and unicodedata.normalize("NFC", character) == character
        and code not in _seconds()
    )


@cache
def _seconds() -> frozenset[int]:
    """The code points that may be taken into the character before them."""
    pairs = (unicodedata.decomposition(chr(code)).split() for code in range(0x80, _LAST_DECOMPOSED + 1))
    return frozenset(int(pair[1], 16) for pair in pairs if len(pair) == 2 and "<" not in pair[0]).union(_JAMO)
