"""Each statistic against its NumPy twin."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from oracles import statistics as oracle
from telltales.bins import BINS, EDGES, ZERO_BIN
from telltales.module_readings import SUMS, gradient_sums
from telltales.moments import Measured
from telltales.statistics import (
    HISTOGRAM_VALUES,
    as_floats,
    log_histograms,
    margins,
    moments,
    normalized_entropy,
    norms,
    sample,
    share_positive,
    shares,
    spectral_norm,
    spread,
)
from telltales.transfer import STACKED, Transfer, stacks

ordinary = st.floats(-1000, 1000, width=32)
anything = st.floats(width=32)
tables = arrays(np.float32, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9), elements=ordinary)


@given(tables)
def test_moments(x):
    expected = oracle.moments(x.astype(np.float64))
    np.testing.assert_allclose(moments(torch.from_numpy(x)), expected, rtol=1e-4, atol=1e-3)


@given(tables)
def test_norms(x):
    np.testing.assert_allclose(
        norms(torch.from_numpy(x)), np.linalg.norm(x.astype(np.float64), axis=1), rtol=1e-5, atol=1e-40
    )


@given(arrays(np.float32, (2, 7), elements=anything))
def test_shares(x):
    np.testing.assert_allclose(shares(torch.from_numpy(x)), oracle.shares(x), rtol=1e-6)


@given(arrays(np.float32, (2, 12), elements=anything))
def test_histograms(x):
    got = log_histograms(torch.from_numpy(x)).numpy()
    assert got.shape == (2, BINS)
    for row, counts in zip(x, got, strict=True):
        np.testing.assert_array_equal(counts, oracle.histogram(row))


def test_histogram_edges_belong_to_the_bin_above_in_magnitude():
    edges = torch.tensor([[1.0, 1.125, 1.124999, -1.0, 0.0, -0.0, 2.0**-40, 1e9, -math.inf]])
    counts = log_histograms(edges)[0]
    for value in (1.0, 1.125):
        (place,) = np.flatnonzero(np.equal(EDGES, value))
        assert counts[place] >= 1
    assert counts[ZERO_BIN] == 2
    assert counts[ZERO_BIN + 1] == 1
    assert counts[BINS - 1] == 1
    assert counts.sum() == 8


@given(tables, ordinary, ordinary)
def test_flat_values(x, a, b):
    low, high = min(a, b), max(a, b)
    inside = margins(torch.from_numpy(x)[:, None], torch.full((len(x),), low), torch.full((len(x),), high))
    flat = oracle.saturated(x, low, high)
    np.testing.assert_array_equal(inside[:, 0].numpy() <= 0, flat)
    np.testing.assert_allclose(1 - share_positive(inside), flat.mean(1), atol=1e-6)


@given(arrays(np.float64, (3, 5), elements=st.floats(0, 1)))
def test_entropy(p):
    p = (p + 1e-9) / (p + 1e-9).sum(-1, keepdims=True)
    assert float(normalized_entropy(torch.from_numpy(p))) == pytest.approx(oracle.normalized_entropy(p), rel=1e-9)


def test_entropy_runs_from_certain_to_uniform():
    assert float(normalized_entropy(torch.eye(4))) == 0
    assert float(normalized_entropy(torch.full((2, 4), 0.25))) == pytest.approx(1)


def test_spectral_norm():
    generator = torch.Generator().manual_seed(0)
    for shape in ((20, 5), (5, 20), (6, 2, 3)):
        w = torch.randn(shape, generator=generator)
        state = torch.get_rng_state()
        assert float(spectral_norm(w, 200)) == pytest.approx(oracle.spectral_norm(w.numpy()), rel=1e-3)
        assert float(spectral_norm(w)) <= oracle.spectral_norm(w.numpy()) * 1.00001
        assert torch.equal(torch.get_rng_state(), state)
    assert float(spectral_norm(torch.zeros(3, 3))) == 0


@given(st.lists(arrays(np.float32, st.integers(2, 6), elements=ordinary), min_size=1, max_size=4))
def test_several_tensors_of_one_name_count_as_one(parts):
    transfer = Transfer()
    measured = Measured(transfer, histograms=True)
    for part in parts:
        measured.measure(["one"], torch.from_numpy(part)[None])
    measured.measure(["other"], torch.ones(1, 3))
    transfer.fetch()
    names, counts, rows = measured.complete()
    assert names == ["one", "other"]
    assert counts.tolist() == [sum(part.size for part in parts), 3]
    np.testing.assert_allclose(rows[0], oracle.joined(parts), rtol=1e-3, atol=1e-2)
    np.testing.assert_allclose(rows[1], [1, 0, 1, 1, 1, 0, 0])
    histogram = measured.histograms()["one"]
    assert histogram.counts.sum() == counts[0]


def test_a_single_value_has_no_std():
    transfer = Transfer()
    measured = Measured(transfer, histograms=False)
    measured.measure(["scalar"], torch.tensor([[3.0]]))
    transfer.fetch()
    _, _, rows = measured.complete()
    np.testing.assert_array_equal(rows[0], [3, np.nan, 3, 3, 3, 0, 0])
    assert measured.histograms() == {}


def test_what_is_not_finite_is_counted_in_a_second_look():
    transfer = Transfer()
    measured = Measured(transfer, histograms=False)
    measured.measure(["bad", "good"], torch.tensor([[0.0, math.nan, math.inf, 1.0], [0.0, 0.0, 1.0, 1.0]]))
    long = torch.zeros(1, STACKED + 2)
    long[0, 0] = math.inf
    measured.measure(["long"], long)
    transfer.fetch()
    measured.look_closer()
    transfer.fetch()
    _, _, rows = measured.complete()
    np.testing.assert_allclose(rows[:, 5:], [[0.25, 0.5], [0.5, 0], [1 - 1 / (STACKED + 2), 1 / (STACKED + 2)]])


def test_gradient_sums_add_up():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(3, 4, generator=generator), torch.randn(5, generator=generator)
    b[0] = 0
    both = gradient_sums(torch.cat([a.flatten(), b]))
    np.testing.assert_allclose(gradient_sums(a) + gradient_sums(b), both, rtol=1e-5)
    flat = torch.cat([a.flatten(), b]).double()
    expected = [17, float(flat.sum()), float(flat.square().sum()), 1, 0]
    np.testing.assert_allclose(both[:SUMS], expected, rtol=1e-5)


@given(st.integers(1, 10**7))
def test_the_sample_of_a_long_row_meets_every_unit(n):
    stride = spread(n, HISTOGRAM_VALUES)
    assert math.gcd(stride, n) == 1
    assert -(-n // stride) <= HISTOGRAM_VALUES


def test_short_rows_are_not_sampled():
    x = torch.zeros(2, HISTOGRAM_VALUES)
    assert sample(x) is x
    assert sample(torch.zeros(1, HISTOGRAM_VALUES + 1)).shape[1] <= HISTOGRAM_VALUES


def test_any_tensor_as_floats():
    assert as_floats(torch.ones(2, dtype=torch.float16)).dtype == torch.float32
    assert as_floats(torch.ones(2, dtype=torch.float64)).dtype == torch.float64
    assert as_floats(torch.tensor([1 + 2j])).tolist() == [[1.0, 2.0]]
    assert as_floats(torch.eye(2).to_sparse()).tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert not as_floats(torch.ones(1, requires_grad=True)).requires_grad


def test_stacks_join_equal_shapes_only():
    tensors = [
        torch.ones(2, 3),
        torch.zeros(3, 2),
        torch.full((2, 3), 2.0),
        torch.ones(STACKED + 1),
        torch.ones(2, 3).half(),
    ]
    found = {tuple(places): matrix for places, matrix in stacks(tensors)}
    assert set(found) == {(0, 2), (1,), (3,), (4,)}
    assert found[0, 2].tolist() == [[1.0] * 6, [2.0] * 6]
    assert found[3,].data_ptr() == tensors[3].data_ptr()


def test_a_transfer_gives_back_what_was_put():
    transfer = Transfer()
    first = transfer.put(torch.arange(6).reshape(2, 3))
    second = transfer.put(torch.tensor(True))
    transfer.fetch()
    third = transfer.put(torch.zeros(0))
    transfer.fetch()
    assert transfer[first].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert transfer[second] == 1
    assert transfer[third].shape == (0,)
