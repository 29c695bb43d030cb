"""How lines are thinned and their labels kept apart."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from telltales.report.lines import spread, thinned


@given(st.lists(st.floats(-1000, 1000), min_size=1, max_size=15))
def test_labels_keep_their_order_and_distance(wanted: list[float]) -> None:
    placed = spread(wanted, 0, 200, 13)
    order = np.argsort(wanted, kind="stable")
    gaps = np.diff(np.array(placed)[order])
    assert (gaps >= min(13, 200 / max(len(wanted) - 1, 1)) - 1e-6).all()
    assert min(placed) >= -1e-6
    assert max(placed) <= 200 + 1e-6


def test_labels_with_room_stay_where_they_are() -> None:
    assert spread([10, 50, 90], 0, 200, 13) == [10, 50, 90]


def test_labels_that_collide_part_evenly() -> None:
    assert spread([100, 100], 0, 200, 13) == [93.5, 106.5]


def test_a_thinned_line_keeps_its_ends_its_extremes_and_its_gaps() -> None:
    y = np.sin(np.arange(10_000) / 300)
    y[1234], y[8888] = 7, -7
    y[4000:6000] = np.nan
    x, kept = thinned(np.arange(10_000.0), y, 300)
    assert len(kept) <= 2 * 300
    assert (x[0], x[-1]) == (0, 9999)
    assert {7.0, -7.0} <= set(kept)
    assert np.isnan(kept).any()
    assert (np.diff(x) > 0).all()


def test_a_short_line_stays_as_it_is() -> None:
    x = np.arange(50.0)
    assert np.array_equal(thinned(x, x**2, 100)[1], x**2)
