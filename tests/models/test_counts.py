"""The unigram and the bigram: by hand, against the published figures, and with arrays from strangers."""

import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.errors import CheckpointError, ConfigError
from charloom.models.counts import LARGEST_COUNT, Bigram, Unigram

V = 5


def rows_of(items, width):
    """Contexts padded with the marker, and targets, of items given as lists of ids."""
    contexts, targets = [], []
    for item in items:
        padded = [0] * width + list(item) + [0]
        contexts += [padded[i : i + width] for i in range(len(item) + 1)]
        targets += padded[width:]
    return np.array(contexts, np.int64).reshape(len(targets), width), np.array(targets, np.int64)


def loss(model, contexts, targets):
    return -model.next_logits(contexts)[np.arange(len(targets)), targets].mean()


@given(
    st.lists(st.lists(st.integers(1, V - 1), max_size=6), min_size=1, max_size=8), st.sampled_from([0.0, 0.3, 1.0, 7.0])
)
def test_probabilities_are_smoothed_shares(items, smoothing):
    contexts, targets = rows_of(items, 1)
    characters = Counter(targets.tolist())
    pairs = Counter(zip(contexts[:, 0].tolist(), targets.tolist(), strict=True))
    every = np.arange(V)[:, None]

    unigram = Unigram.fit(contexts, targets, V, smoothing=smoothing)
    bigram = Bigram.fit(contexts, targets, V, smoothing=smoothing)

    total = len(targets) + smoothing * V
    expected = [(characters[w] + smoothing) / total for w in range(V)]
    np.testing.assert_allclose(np.exp(unigram.next_logits(every)), [expected] * V, atol=1e-14)
    for u, row in enumerate(np.exp(bigram.next_logits(every))):
        total = sum(pairs[u, w] for w in range(V)) + smoothing * V
        expected = [(pairs[u, w] + smoothing) / total if total else 1 / V for w in range(V)]
        np.testing.assert_allclose(row, expected, atol=1e-14)


def test_without_smoothing_an_unseen_pair_is_impossible():
    contexts, targets = rows_of([[1, 2], [1]], 1)
    bigram = Bigram.fit(contexts, targets, V, smoothing=0)
    unigram = Unigram.fit(contexts, targets, V, smoothing=0)
    assert bigram.counts.tolist() == [
        [0, 2, 0, 0, 0],
        [1, 0, 1, 0, 0],
        [1, 0, 0, 0, 0],
        [0] * 5,
        [0] * 5,
    ]
    assert np.isneginf(bigram.next_logits(np.array([[1]]))).tolist() == [[False, True, False, True, True]]
    assert np.isneginf(unigram.next_logits(np.array([[1]]))).tolist() == [[False, False, False, True, True]]


def test_no_counts_at_all_are_uniform():
    contexts, targets = rows_of([], 1)
    for smoothing in (0, 1):
        for family in (Unigram, Bigram):
            logits = family.fit(contexts, targets, V, smoothing=smoothing).next_logits(np.array([[3]]))
            np.testing.assert_allclose(logits, np.full((1, V), -np.log(V)))


def test_protocol():
    contexts, targets = rows_of([[1, 2]], 3)
    unigram, bigram = Unigram.fit(contexts, targets, V), Bigram.fit(contexts, targets, V)
    assert (unigram.vocabulary_size, unigram.context_length, unigram.parameter_count()) == (V, 0, V)
    assert (bigram.vocabulary_size, bigram.context_length, bigram.parameter_count()) == (V, 1, V * V)
    assert unigram.next_logits(np.zeros((2, 0), np.int64)).shape == (2, V)
    assert bigram.next_logits(np.zeros((0, 1), np.int64)).shape == (0, V)


def test_answers_are_the_callers_to_change():
    contexts, targets = rows_of([[1, 2]], 1)
    for family in (Unigram, Bigram):
        model = family.fit(contexts, targets, V)
        logits = model.next_logits(np.array([[1], [1]]))
        logits[0] = 9
        np.testing.assert_array_equal(model.next_logits(np.array([[1]])), logits[1:])


@pytest.mark.parametrize("family", [Unigram, Bigram])
def test_weights_equal_repeated_rows(family):
    contexts, targets = rows_of([[1, 2, 2], [3]], 1)
    weights = np.array([2, 0, 3, 1, 5, 1])
    weighted = family.fit(contexts, targets, V, weights=weights)
    repeated = family.fit(np.repeat(contexts, weights, axis=0), np.repeat(targets, weights), V)
    assert weighted.counts.dtype == np.int64
    np.testing.assert_array_equal(weighted.counts, repeated.counts)


def test_a_wide_context_is_read_at_its_newest_id():
    contexts, targets = rows_of([[1, 2, 3], [3, 1]], 4)
    bigram = Bigram.fit(contexts, targets, V)
    np.testing.assert_array_equal(bigram.counts, Bigram.fit(contexts[:, 3:], targets, V).counts)
    np.testing.assert_array_equal(bigram.next_logits(contexts), bigram.next_logits(contexts[:, 3:]))


@pytest.mark.parametrize(
    ("contexts", "targets", "weights"),
    [
        (np.zeros((2, 0), int), [1, 1], None),
        (np.zeros(2, int), [1, 1], None),
        ([[0], [V]], [1, 1], None),
        ([[0], [-1]], [1, 1], None),
        ([[0.0], [1.0]], [1, 1], None),
        ([[0], [1]], [1, V], None),
        ([[0], [1]], [1, -1], None),
        ([[0], [1]], [1], None),
        ([[0], [1]], [1, 1], [1]),
        ([[0], [1]], [1, 1], [1, -1]),
        ([[0], [1]], [1, 1], [1.0, 1.0]),
    ],
)
def test_rows_that_cannot_be_counted_are_refused(contexts, targets, weights):
    weights = None if weights is None else np.array(weights)
    with pytest.raises(ValueError, match=r"contexts|targets|weights"):
        Bigram.fit(np.array(contexts), np.array(targets), V, weights=weights)


@pytest.mark.parametrize("contexts", [np.zeros((1, 0), int), np.array([[V]]), np.array([[-1]]), np.array([[1.0]])])
def test_contexts_outside_the_table_are_refused(contexts):
    model = Bigram(np.ones((V, V), np.int64))
    with pytest.raises(ValueError, match="contexts"):
        model.next_logits(contexts)


@pytest.mark.parametrize("family", [Unigram, Bigram])
@pytest.mark.parametrize("smoothing", [-1, float("nan"), float("inf")])
def test_smoothing_is_checked(family, smoothing):
    with pytest.raises(ConfigError, match="smoothing"):
        family.fit(*rows_of([[1]], 1), V, smoothing=smoothing)


def test_a_table_beyond_memory_is_refused():
    with pytest.raises(ConfigError, match="900,000,000 counts") as refusal:
        Bigram.fit(*rows_of([[1]], 1), 30_000)
    assert "ngram:2" in refusal.value.remedy


@pytest.mark.parametrize("family", [Unigram, Bigram])
def test_arrays_make_the_same_model(family):
    contexts, targets = rows_of([[1, 2, 3], [3, 1]], 1)
    model = family.fit(contexts, targets, V, smoothing=0.5)
    copy = family.from_arrays(model.arrays(), V, smoothing=0.5)
    np.testing.assert_array_equal(copy.next_logits(contexts), model.next_logits(contexts))


@pytest.mark.parametrize("family", [Unigram, Bigram])
@pytest.mark.parametrize(
    "damage",
    [
        lambda counts: {},
        lambda counts: {"counts": counts, "more": counts},
        lambda counts: {"counts": counts.astype(np.float64)},
        lambda counts: {"counts": counts[:-1]},
        lambda counts: {"counts": counts[None]},
        lambda counts: {"counts": counts.reshape(-1)[0]},
        lambda counts: {"counts": counts - 1},
        lambda counts: {"counts": counts + LARGEST_COUNT},
    ],
)
def test_malformed_arrays_are_refused(family, damage):
    counts = family.fit(*rows_of([[1, 2, 3], [3, 1]], 1), V).counts
    with pytest.raises(CheckpointError, match="stored"):
        family.from_arrays(damage(counts), V)


def test_published_figures(parity_names):
    """Nats per character; see DESIGN, where they come from."""
    names = [[ord(letter) - ord("a") + 1 for letter in name] for name in parity_names.read_text().split()]
    everything = rows_of(names, 1)
    random.Random(42).shuffle(names)
    train, dev, test = (
        rows_of(names[int(first * len(names)) : int(last * len(names))], 1)
        for first, last in ((0, 0.8), (0.8, 0.9), (0.9, 1))
    )
    assert [len(targets) for _, targets in (train, dev, test)] == [182_625, 22_655, 22_866]

    assert loss(Unigram.fit(*everything, 27), *everything) == pytest.approx(2.8227, abs=5e-5)
    unsmoothed = Bigram.fit(*everything, 27, smoothing=0)
    assert (unsmoothed.counts == 0).sum() == 102
    assert loss(unsmoothed, *everything) == pytest.approx(2.45401, abs=5e-6)
    assert loss(Bigram.fit(*everything, 27), *everything) == pytest.approx(2.45458, abs=5e-6)

    bigram = Bigram.fit(*train, 27)
    assert loss(bigram, *train) == pytest.approx(2.4548, abs=5e-5)
    assert loss(bigram, *dev) == pytest.approx(2.4533, abs=5e-5)
    assert loss(bigram, *test) == pytest.approx(2.4584, abs=5e-5)
