"""Markup that can't be broken out of."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from telltales.report.svg import element, polyline, runs, text
from telltales.report.words import visible

any_text = st.text(st.characters(categories=None, exclude_categories=()), max_size=40)


@given(any_text, any_text)
def test_what_is_no_markup_comes_back_as_it_was(value: str, child: str) -> None:
    parsed = ET.fromstring(element("a", {"title": value}, child, element("b", None, child)))
    assert parsed.get("title") == visible(value)
    assert (parsed.text or "") == visible(child)
    assert [node.tag for node in parsed] == ["b"]


@pytest.mark.parametrize("value", ['"><script>', "' onload='x", "&quot;", "a\x00b"])
def test_an_attribute_cannot_be_left(value: str) -> None:
    parsed = ET.fromstring(element("a", {"title": value}))
    assert parsed.attrib == {"title": visible(value)}


def test_a_name_that_is_shortened_stands_whole_in_a_tooltip() -> None:
    name = 'blocks.0."<b>".' + "x" * 200
    parsed = ET.fromstring(text(1, 2, name, width=80))
    assert (parsed.findtext("title"), "…" in (parsed.text or "")) == (name, True)
    assert ET.fromstring(text(1, 2, "short", width=80)).find("title") is None


def test_gaps_interrupt_a_line_and_a_point_alone_is_a_dot() -> None:
    y = np.array([1, 2, np.nan, 4, np.nan, 6, 7.25])
    assert polyline(np.arange(7.0), y) == "M0 1L1 2M3 4h0M5 6L6 7.2"
    assert runs(np.array([True, False, True, True])) == [(0, 1), (2, 4)]
