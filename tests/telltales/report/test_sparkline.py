"""Sparklines: what they show, where they have gaps, and what stands for them in other encodings."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from telltales.report.sparkline import BLOCKS, for_encoding, sparkline

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("values", "drawn"),
    [
        (range(8), BLOCKS),
        (range(7, -1, -1), BLOCKS[::-1]),
        ([0, 1], "▁█"),
        ([5, 5, 5], "▄▄▄"),
        ([0, 0], "▄▄"),
        ([0, NAN, 1], "▁ █"),
        ([0, INF, 1, -INF], "▁ █ "),
        ([NAN, NAN], "  "),
        ([], ""),
        ([-1e308, 1e308], "▁█"),
        ([1e-320, 2e-320], "▁█"),
    ],
)
def test_what_is_drawn(values: list[float], drawn: str) -> None:
    assert sparkline(values) == drawn


def test_a_logarithmic_one_shows_factors_and_leaves_out_what_has_no_logarithm() -> None:
    assert sparkline([1, 10, 100, 0, -1, 1000], log=True) == "▁▃▆  █"
    assert sparkline([1, 10, 100, 1000]) == "▁▁▁█"


def test_parts_of_a_long_series_show_their_means() -> None:
    assert sparkline([0, 2, 7, 9, NAN, NAN, 3, NAN], 4) == "▁█ ▃"
    assert sparkline([1e308] * 50 + [-1e308] * 50, 2) == "█▁"
    assert sparkline([sys.float_info.max] * 3, 1) == "▄"


def test_a_logarithmic_one_takes_the_means_of_the_logarithms() -> None:
    assert sparkline([1, 1e8, 1e4, 1e4, 1e8, 1e8, 1, 1], 4, log=True) == "▅▅█▁"


@given(
    st.lists(st.floats(width=64), max_size=200),
    st.integers(1, 50),
    st.booleans(),
)
def test_any_series_fits_and_has_only_blocks_and_gaps(values: list[float], width: int, log: bool) -> None:
    drawn = sparkline(values, width, log=log)
    assert len(drawn) == min(len(values), width)
    assert set(drawn) <= {*BLOCKS, " "}
    finite = [value for value in values if math.isfinite(value) and (value > 0 or not log)]
    assert (drawn.strip() != "") == bool(finite)


def test_the_lowest_and_the_highest_are_at_the_ends_of_the_scale() -> None:
    values = np.random.default_rng(0).normal(size=30)
    drawn = sparkline(values)
    assert drawn[int(values.argmin())] == BLOCKS[0]
    assert drawn[int(values.argmax())] == BLOCKS[-1]


def test_an_encoding_that_holds_the_blocks_changes_nothing() -> None:
    assert for_encoding(f"loss {BLOCKS}", "utf-8") == f"loss {BLOCKS}"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp437", "no-such-encoding", None])
def test_other_encodings_get_marks_of_the_same_width(encoding: str | None) -> None:
    shown = for_encoding(f"{BLOCKS} −1 – 2× …", encoding)
    assert shown == "_.,-=+*# -1 - 2x ~"


def test_letters_that_an_encoding_lacks_are_escaped() -> None:
    assert for_encoding("层 ▁", "ascii") == "\\u5c42 _"
    assert for_encoding("é", "latin-1") == "é"
