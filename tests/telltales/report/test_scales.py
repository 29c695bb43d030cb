"""Ranges, positions and ticks."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from telltales.report.scales import Range, range_of, ticks

numbers = st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=20)


@given(numbers, st.booleans(), st.integers(1, 12))
def test_ticks_lie_inside_their_range_and_rise(values: list[float], log: bool, count: int) -> None:
    shown = range_of([values], log=log)
    assert np.isfinite([shown.low, shown.high]).all()
    assert shown.low < shown.high
    assert not log or shown.low > 0
    marks = [tick.value for tick in ticks(shown, count)]
    assert 1 <= len(marks) <= 3 * count + 6
    assert all(shown.low <= mark <= shown.high for mark in marks)
    assert all(a < b for a, b in pairwise(marks))


@given(numbers, st.booleans())
def test_positions_lie_between_the_ends_and_keep_the_order(values: list[float], log: bool) -> None:
    position = range_of([values], log=log).position(values)
    assert position.shape == (len(values),)
    assert np.array_equal(np.isnan(position), np.isnan(values))
    placed = position[np.argsort(values)]
    placed = placed[~np.isnan(placed)]
    assert ((placed >= 0) & (placed <= 1)).all()
    assert (np.diff(placed) >= 0).all()


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize(
    "values", [[], [np.nan], [np.inf, -np.inf], [0.0], [3.0, 3.0], [-2.0], [1e308], [5e-324], [1e-299, 1e299]]
)
def test_degenerate_values_have_a_range(values: list[float], log: bool) -> None:
    shown = range_of([values], log=log)
    assert shown.low < shown.high
    assert ticks(shown, 5)


def test_round_values_get_plain_labels() -> None:
    assert [tick.label for tick in ticks(Range(0, 1), 5)] == ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]
    assert [tick.label for tick in ticks(Range(-1200, 2100), 4)] == ["−1,000", "0", "1,000", "2,000"]
    assert [tick.label for tick in ticks(Range(1e-5, 1e-1, True), 5)] == ["10⁻⁵", "10⁻⁴", "10⁻³", "10⁻²", "10⁻¹"]
    assert [tick.label for tick in ticks(Range(0.9e-3, 11e-3, True), 5)] == ["0.001", "0.002", "0.005", "0.01"]


def test_no_room_is_left_below_zero_for_what_is_never_negative() -> None:
    assert range_of([[0.0, 3.0]]).low == 0
    assert range_of([[-0.1, 3.0]]).low < -0.1


def test_infinity_is_drawn_at_the_edge() -> None:
    assert range_of([[1.0, 2.0, np.inf]]).high < 3
    assert list(Range(0, 1).position([-np.inf, 0.5, np.inf])) == [0, 0.5, 1]
    assert list(Range(1, 100, True).position([0.0, 10.0, np.inf])) == [0, 0.5, 1]
