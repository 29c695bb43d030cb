"""Each step that changes the next character's distribution, and the draw, against the exact shares."""

import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from charloom.sampling import next_probabilities
from oracles.cells import drawn_ids
from oracles.language import changed, fit_of

DRAWS = 20_000

SHARES = [0.22, 0.02, 0.15, 0.15, 0.08, 0.15, 0.005, 0.1, 0.0, 0.05, 0.05, 0.025]
"""Ties among the large and the small, and one that is impossible."""

SETTINGS = [
    {},
    {"temperature": 0.5},
    {"temperature": 2.0},
    {"temperature": 10.0},
    {"top_k": 1},
    {"top_k": 3},
    {"top_k": 11},
    {"top_k": 50},
    {"top_p": 0.3},
    {"top_p": 0.7},
    {"top_p": 1.0},
    {"min_p": 0.0},
    {"min_p": 0.4},
    {"min_p": 1.0},
    {"temperature": 5.0, "top_k": 5},
    {"temperature": 2.0, "top_p": 0.8},
    {"temperature": 0.7, "min_p": 0.3},
    {"top_k": 6, "top_p": 0.72},
    {"top_k": 4, "min_p": 0.5},
    {"top_p": 0.75, "min_p": 0.5},
    {"temperature": 1.5, "top_k": 8, "top_p": 0.9, "min_p": 0.35},
    {"temperature": 3.0, "top_k": 9, "top_p": 0.6, "min_p": 0.01},
]


def logs(shares):
    with np.errstate(divide="ignore"):
        return np.log(np.array(shares, dtype=float))


def drawn(probabilities, seed):
    return np.bincount(drawn_ids(probabilities, DRAWS, seed), minlength=len(probabilities))


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_what_is_drawn_has_the_exact_distribution(settings):
    (probabilities,) = next_probabilities(logs([SHARES]), **settings)
    exact = changed(SHARES, **settings)
    assert_allclose(probabilities, exact, rtol=1e-12)
    assert_array_equal(probabilities == 0, np.array(exact) == 0)
    assert fit_of(drawn(probabilities, seed=1), exact) > 0.001


def test_another_order_of_the_filters_would_be_found():
    """The chi-square test of the last setting but one tells the documented order from those that matter."""
    settings = SETTINGS[-2]
    counts = drawn(next_probabilities(logs([SHARES]), **settings)[0], seed=1)
    exact = changed(SHARES, **settings)
    others = [changed(SHARES, **settings, order="".join(order)) for order in permutations("tkpm")]
    p_values = [fit_of(counts, other) for other in others if not np.allclose(other, exact)]
    assert len(p_values) > 12
    assert max(p_values) < 1e-9


@pytest.mark.parametrize("k", [4, 6])
def test_one_character_more_or_less_would_be_found(k):
    (probabilities,) = next_probabilities(logs([SHARES]), top_k=5)
    assert fit_of(drawn(probabilities, seed=1), changed(SHARES, top_k=5)) > 0.001
    assert fit_of(drawn(probabilities, seed=1), changed(SHARES, top_k=k)) < 1e-9


# The smallest share, raised to the power 1/0.3, still counts beside `sampling.ROUNDING`.
shares_of_some = st.lists(
    st.lists(st.sampled_from([0.0, 0.01, 0.05, 0.1, 0.1, 0.3, 1.0]), min_size=7, max_size=7).filter(any),
    min_size=1,
    max_size=4,
)


@given(
    shares_of_some,
    st.sampled_from([0.0, 0.3, 1.0, 4.0]),
    st.none() | st.integers(1, 9),
    st.none() | st.sampled_from([0.05, 0.2, 0.5, 0.9, 1.0]),
    st.none() | st.sampled_from([0.0, 0.1, 0.5, 1.0]),
)
def test_every_row_is_changed_as_if_alone(rows, temperature, top_k, top_p, min_p):
    settings = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
    logits = logs(rows)
    logits.flags.writeable = False
    probabilities = next_probabilities(logits, **settings)
    assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-14)
    for row, made in zip(rows, probabilities, strict=True):
        shares = [share / math.fsum(row) for share in row]
        assert_allclose(made, changed(shares, **settings), rtol=1e-9, atol=0)


def test_top_k_keeps_exactly_k_in_every_row_of_64():
    logits = np.random.default_rng(0).normal(0, 1, (64, 27))
    logits[::2] = np.round(logits[::2])  # Ties in every other row.
    for k in (1, 5, 26):
        probabilities = next_probabilities(logits, top_k=k)
        assert ((probabilities > 0).sum(axis=1) == k).all()
        for row, made in zip(logits, probabilities, strict=True):
            assert set(np.flatnonzero(made)) == set(sorted(range(27), key=lambda i: (-row[i], i))[:k])
            assert_array_equal(made, next_probabilities(row[None], top_k=k)[0])


@pytest.mark.parametrize("temperature", [5.0, 10.0, 1e300])
def test_heat_leaks_nothing_to_what_was_dropped(temperature):
    """Taking the log of p + 1e-12 would leak 2.6% at T = 5 and 25.7% at T = 10."""
    logits = np.random.default_rng(0).normal(0, 2, (64, 27))
    logits[:, 3] = -np.inf
    kept = next_probabilities(logits, top_k=5)
    hot = next_probabilities(logits, temperature=temperature, top_k=5)
    assert_array_equal(hot > 0, kept > 0)
    assert (next_probabilities(logits, temperature=temperature)[:, 3] == 0).all()


def test_cold_is_the_most_probable_character():
    logits = np.array([[0.0, 2.0, 2.0, 1.0], [3.0, -1.0, 3.0, -np.inf]])
    assert next_probabilities(logits, temperature=0, top_k=3, top_p=0.5).tolist() == [[0, 1, 0, 0], [1, 0, 0, 0]]


@pytest.mark.parametrize("temperature", [1e-3, 1e-300, 1e-310, 5e-324])
def test_nearly_cold_is_nearly_so(temperature):
    logits = np.array([[-7.0, -5.0, -4.0, -5.0], [1e4, -1e4, 0.0, 5e3]])
    assert next_probabilities(logits, temperature=temperature).tolist() == [[0, 0, 1, 0], [1, 0, 0, 0]]


@pytest.mark.parametrize("keeping", range(1, 11))
def test_a_sum_that_reaches_p_but_for_rounding_reaches_it(keeping):
    tenths = logs([[0.1] * 10])
    assert (next_probabilities(tenths, top_p=keeping / 10) > 0).sum() == keeping
    for most in range(1, 11):
        assert next_probabilities(logs([[most, most * keeping / 10]]), min_p=keeping / 10).all()


def test_large_logits_are_drawn_from():
    assert_allclose(next_probabilities(np.array([[1e4, 1e4, -1e4]]), top_p=0.9), [[0.5, 0.5, 0]])
