"""Every character has a name that can be printed."""

from __future__ import annotations

import pytest

from charloom.characters import identify, printable


@pytest.mark.parametrize(
    ("character", "name"),
    [
        ("A", "'A' (U+0041 LATIN CAPITAL LETTER A)"),
        ("'", """"'" (U+0027 APOSTROPHE)"""),
        ("\N{GRINNING FACE}", "'\N{GRINNING FACE}' (U+1F600 GRINNING FACE)"),
        ("\u200d", "U+200D ZERO WIDTH JOINER"),
        ("\0", "U+0000 control"),
        ("\x85", "U+0085 control"),
        ("\ud800", "U+D800 lone surrogate"),
        ("\ue000", "U+E000 private use"),
        ("\U0010ffff", "U+10FFFF unassigned"),
    ],
)
def test_identify(character: str, name: str) -> None:
    assert identify(character) == name


def test_no_code_point_fails() -> None:
    # Python knows some characters, such as Tangut ones, without knowing a name for them.
    assert all(identify(chr(code)).isprintable() for code in range(0x110000))


def test_printable() -> None:
    assert printable("a\n\x1b\udc80\u2028é日 .") == r"a\n\x1b\udc80\u2028é日 ."
