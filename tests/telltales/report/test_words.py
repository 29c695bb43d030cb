"""Names and numbers as figures show them."""

from __future__ import annotations

import math
import unicodedata
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telltales.report.words import number, share, shorten, text_width, visible

any_text = st.text(st.characters(categories=None, exclude_categories=()), max_size=60)


@given(any_text)
def test_visible_text_is_legal_in_xml_and_turns_no_direction(text: str) -> None:
    shown = visible(text)
    escaped = shown.replace("&", "&amp;").replace("<", "&lt;")
    assert (ET.fromstring(f"<a>{escaped}</a>").text or "") == shown
    turning = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    assert not turning & {unicodedata.bidirectional(character) for character in shown}


def test_different_names_look_different() -> None:
    names = ["a", "a\x00", "a\u202e", "a\u200f", "a\n", "a\ud800", "a\uffff"]
    assert len({visible(name) for name in names}) == len(names)
    assert visible("隐藏 שכבה 👩‍🔬") == "隐藏 שכבה 👩‍🔬"


@given(any_text, st.floats(20, 400))
def test_a_shortened_name_fits(text: str, width: float) -> None:
    shown = shorten(text, width)
    assert text_width(shown) <= width + 1e-6
    if text_width(visible(text)) <= width:
        assert shown == visible(text)
    else:
        assert "…" in shown


def test_a_shortened_name_keeps_its_numbers() -> None:
    assert shorten("hidden.13.activation", 80) == "hid….13.act…"
    shown = {shorten(f"blocks.{block}.attention.projection.weight", 130) for block in range(60)}
    assert len(shown) == 60


def test_of_a_name_in_one_part_both_ends_stay() -> None:
    shown = shorten("beginning" + "x" * 100 + "end", 100)
    assert shown.startswith("beg")
    assert shown.endswith("end")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0"),
        (0.01234, "0.0123"),
        (-1.5, "−1.5"),
        (1234.4, "1,234"),
        (999.6, "1,000"),
        (2e-5, "2e−5"),
        (1.25e9, "1.2e9"),
        (math.nan, "–"),
        (-math.inf, "−∞"),
    ],
)
def test_numbers(value: float, shown: str) -> None:
    assert number(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0, "0%"), (0.0004, "<0.1%"), (0.034, "3.4%"), (0.5, "50%"), (0.9996, ">99.9%"), (1.0, "100%"), (math.nan, "–")],
)
def test_a_share_is_never_rounded_to_none_or_all(value: float, shown: str) -> None:
    assert share(value) == shown
