"""What is shown of a record's many rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import mlp, transformer

from telltales.bins import EDGES
from telltales.observation import Histogram
from telltales.report.selection import (
    banded,
    block_of,
    central_range,
    common_prefix_removed,
    density,
    matrices,
    over_steps,
    representatives,
    role_of,
    shown_layers,
)


def histogram(values: np.ndarray) -> Histogram:
    return Histogram.of(np.histogram(values, EDGES)[0])


@given(st.integers(0, 50), st.floats(0.01, 0.3), st.floats(-2, 2))
def test_a_density_holds_all_that_is_not_zero(seed: int, width: float, mean: float) -> None:
    values = np.random.default_rng(seed).normal(mean, 1, 3000)
    values[:600] = 0
    x, heights, zeros = density(histogram(values), width)
    assert zeros == pytest.approx(0.2)
    assert (np.diff(x) > 0.49 * width).all()
    # Each bin reaches from halfway to the one before to halfway to the next, up to the step from fine to coarse bins.
    assert np.sum(heights * np.gradient(x)) == pytest.approx(0.8, rel=0.03)


def test_a_density_is_that_of_the_distribution() -> None:
    values = np.random.default_rng(0).normal(size=400_000)
    x, heights, _ = density(histogram(values), 0.05)
    near = np.abs(x) < 2
    assert heights[near] == pytest.approx(np.exp(-(x[near] ** 2) / 2) / np.sqrt(2 * np.pi), abs=0.015)


def test_zero_is_in_the_middle_of_a_bin_about_as_wide_as_the_others() -> None:
    x, _, _ = density(histogram(np.random.default_rng(0).normal(size=50_000)), 0.1)
    middle = int(np.argmin(np.abs(x)))
    assert x[middle] == 0
    assert x[middle + 1] - x[middle] < 0.13


def test_an_empty_histogram_has_no_density() -> None:
    x, heights, zeros = density(Histogram.of(np.zeros(len(EDGES) - 1)), 0.1)
    assert (x.size, heights.size, zeros) == (0, 0, 0.0)
    assert central_range([Histogram.of(np.zeros(len(EDGES) - 1))]) == (-1.0, 1.0)


def test_the_central_range_leaves_outliers_out() -> None:
    values = np.append(np.random.default_rng(0).uniform(-1, 1, 10_000), 1e4)
    low, high = central_range([histogram(values)])
    assert -1.2 < low < -0.9
    assert 0.9 < high < 1.2


def test_spans_show_the_last_row_so_far() -> None:
    steps, values = np.array([2, 4, 5]), np.array([[20.0], [40.0], [50.0]])
    shown = [np.nan, 20, 20, 40, 50, 50, np.nan, np.nan]
    assert over_steps(steps, values, 0, 8, 8)[:, 0] == pytest.approx(shown, nan_ok=True)
    assert np.isnan(over_steps(np.zeros(0, int), np.zeros((0, 3)), 0, 8, 8)).all()


def test_few_rows_have_their_names_and_many_go_by_what_they_are() -> None:
    few = [f"hidden.{i}.linear" for i in range(5)]
    rows, bands = banded(few, np.arange(10.0).reshape(5, 2))
    assert [band.name for band in bands] == ["0.linear", "1.linear", "2.linear", "3.linear", "4.linear"]
    many = [f"blocks.{i}.{part}" for i in range(60) for part in ("up", "down")]
    values = np.array([[float(name.endswith("down"))] for name in many])
    rows, bands = banded(many, values)
    assert [(band.name, band.start, band.stop) for band in bands] == [("up", 0, 60), ("down", 60, 120)]
    assert rows[:60].max() == 0
    assert rows[60:].min() == 1


def test_too_many_rows_are_averaged_within_what_they_are() -> None:
    names = [f"blocks.{i}.{part}" for i in range(300) for part in "abcd"]
    rows, bands = banded(names, np.arange(1200.0)[:, None])
    assert len(rows) <= 184
    assert [band.name for band in bands] == list("abcd")
    assert rows[0] == np.mean(np.arange(0, 28, 4))


def test_names_without_room_are_left_out() -> None:
    names = [f"part_{i}_of_its_own" for i in range(200)]
    _, bands = banded(names, np.zeros((200, 1)))
    assert 20 <= sum(bool(band.name) for band in bands) <= 36


@given(st.integers(1, 200))
def test_representatives_hold_the_ends_and_the_extremes(count: int) -> None:
    names, scores = [str(i) for i in range(count)], np.cos(np.arange(count) * 0.7)
    chosen = representatives(names, scores)
    assert len(chosen) <= 12
    assert chosen == sorted(chosen, key=int)
    assert {"0", str(count - 1), str(scores.argmin()), str(scores.argmax())} <= set(chosen)


def test_layers_are_the_activation_functions_where_there_are_any() -> None:
    assert shown_layers(mlp(steps=4)) == [f"hidden.{i}.activation" for i in range(5)]
    record = mlp(steps=4)
    for facts in record.modules.values():
        facts["activation"] = None
    assert len(shown_layers(record)) == 17


def test_matrices_are_in_the_order_of_depth() -> None:
    record = transformer(blocks=3, steps=2)
    record.modules = dict(reversed(record.modules.items()))
    assert matrices(record, "weight")[0] == "blocks.2.mlp.down.weight"


def test_parts_of_names() -> None:
    assert block_of("blocks.12.attention.query.weight") == "blocks.12"
    assert block_of("embedding.weight") == "embedding"
    assert block_of("weight") == "weight"
    assert role_of("blocks.12.norm_1") == "blocks.*.norm_1"
    assert common_prefix_removed(["a.b.c", "a.b.d"]) == ["c", "d"]
    assert common_prefix_removed(["a.b"]) == ["a.b"]
    assert common_prefix_removed(["a", "a.b"]) == ["a", "a.b"]
