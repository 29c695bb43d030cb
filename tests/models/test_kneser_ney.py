"""Modified Kneser-Ney against a twin of dictionaries, the figures to reach, and arrays from strangers."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.errors import CheckpointError, ConfigError
from charloom.models.counts import LARGEST_COUNT
from charloom.models.kneser_ney import FALLBACK_DISCOUNTS, KneserNey, discounts_from
from oracles.kneser_ney import KneserNeyTwin


def rows_of(items, width):
    """Contexts padded with the marker, and targets, of items given as lists of ids."""
    contexts, targets = [], []
    for item in items:
        padded = [0] * width + list(item) + [0]
        contexts += [padded[i : i + width] for i in range(len(item) + 1)]
        targets += padded[width:]
    return np.array(contexts, np.int64).reshape(len(targets), width), np.array(targets, np.int64)


def twin_of(contexts, targets, vocabulary_size, order):
    rows = zip(contexts[:, contexts.shape[1] - order + 1 :].tolist(), targets.tolist(), strict=True)
    return KneserNeyTwin(list(rows), vocabulary_size, order)


def random_items(count, characters, seed):
    """Items whose characters are as uneven as a language's."""
    generator = np.random.default_rng(seed)
    shares = 1 / np.arange(1, characters + 1)
    lengths = generator.integers(1, 9, count)
    return [generator.choice(characters, length, p=shares / shares.sum()) + 1 for length in lengths]


def small_model(order=3):
    return KneserNey.fit(*rows_of([[1, 2, 1, 3], [2, 1], [1, 2, 3, 3], [4]], order - 1), 5, order=order)


@given(
    st.lists(st.lists(st.integers(1, 3), max_size=7), min_size=1, max_size=10),
    st.integers(1, 6),
    st.lists(st.lists(st.integers(0, 4), min_size=5, max_size=5), max_size=5),
)
def test_equals_the_twin(items, order, others):
    contexts, targets = rows_of(items, order - 1)
    model, twin = KneserNey.fit(contexts, targets, 5, order=order), twin_of(contexts, targets, 5, order)
    elsewhere = np.array(others, np.int64).reshape(len(others), 5)[:, : order - 1]
    asked = np.concatenate([contexts, elsewhere])

    logits = model.next_logits(asked)

    np.testing.assert_allclose(np.exp(logits), [twin.row(context) for context in asked.tolist()], atol=1e-13)
    np.testing.assert_allclose(np.exp(logits).sum(axis=1), 1, atol=1e-12)
    assert np.isfinite(logits).all()
    assert model.parameter_count() == twin.number_of_counts()


def test_equals_the_twin_where_discounts_are_estimated():
    contexts, targets = rows_of(random_items(600, 12, seed=1), 4)
    model, twin = KneserNey.fit(contexts, targets, 14, order=5), twin_of(contexts, targets, 14, 5)
    np.testing.assert_allclose(model.discounts, [list(twin.discounts[length].values()) for length in range(1, 6)])
    assert (model.discounts[1:] != FALLBACK_DISCOUNTS).all(axis=1).sum() >= 3
    asked = contexts[::20]
    np.testing.assert_allclose(
        np.exp(model.next_logits(asked)), [twin.row(context) for context in asked.tolist()], atol=1e-13
    )


def test_discounts_by_hand():
    # n1 = 4, n2 = 3, n3 = 2, n4 = 1: Y = 4 / 10.
    counts = np.array([1] * 4 + [2] * 3 + [3] * 2 + [4] + [9] * 5)
    assert discounts_from(counts) == pytest.approx((1 - 2 * 0.4 * 3 / 4, 2 - 3 * 0.4 * 2 / 3, 3 - 4 * 0.4 * 1 / 2))


@pytest.mark.parametrize("times", [(0, 3, 2, 1), (4, 0, 2, 1), (4, 3, 0, 1), (4, 3, 2, 0), (9, 1, 5, 1), (9, 1, 1, 9)])
def test_discounts_fall_back_where_they_cannot_be_estimated(times):
    assert discounts_from(np.repeat([1, 2, 3, 4], times)) == FALLBACK_DISCOUNTS


@given(st.lists(st.integers(1, 5), max_size=40))
def test_discounts_stay_below_the_count(counts):
    assert all(0 < discount < count for count, discount in enumerate(discounts_from(np.array(counts)), 1))


@pytest.mark.parametrize("order", [1, 2, 5])
@pytest.mark.parametrize("items", [[[]], [[1]], [[1, 1, 1]], [[3], [3]]])
def test_tiny_corpora(items, order):
    logits = KneserNey.fit(*rows_of(items, order - 1), 4, order=order).next_logits(np.full((1, order - 1), 1))
    assert np.isfinite(logits).all()
    assert np.exp(logits).sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("order", [1, 4])
def test_no_rows_are_uniform(order):
    model = KneserNey.fit(*rows_of([], order - 1), 4, order=order)
    np.testing.assert_allclose(model.next_logits(np.zeros((2, order - 1), np.int64)), -np.log(np.full((2, 4), 4)))
    assert model.parameter_count() == 0
    assert KneserNey.from_arrays(model.arrays(), 4, order=order).parameter_count() == 0


def test_a_vocabulary_of_30_000_at_order_8():
    generator = np.random.default_rng(0)
    # Few enough endings that contexts are shared, and enough nodes that node * V passes 2 ** 31.
    items = [[*generator.integers(1, 30_000, 7), 29_999, 29_998] for _ in range(1500)]
    contexts, targets = rows_of(items, 7)
    model, twin = KneserNey.fit(contexts, targets, 30_000, order=8), twin_of(contexts, targets, 30_000, 8)
    assert model.parameter_count() == twin.number_of_counts()
    asked = contexts[-20:]
    probabilities = np.exp(model.next_logits(asked))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-12)
    checked = [0, 1, 29_998, 29_999, *targets[-20:]]
    np.testing.assert_allclose(
        probabilities[:, checked], [[twin.probability(h, w) for w in checked] for h in asked.tolist()], rtol=1e-10
    )


@pytest.mark.parametrize("order", [1, 3])
def test_weights_equal_repeated_rows(order):
    contexts, targets = rows_of(random_items(30, 4, seed=2), order - 1)
    weights = np.random.default_rng(3).integers(0, 4, len(targets))
    weighted = KneserNey.fit(contexts, targets, 6, order=order, weights=weights).arrays()
    repeated = KneserNey.fit(np.repeat(contexts, weights, axis=0), np.repeat(targets, weights), 6, order=order).arrays()
    for name, array in repeated.items():
        np.testing.assert_array_equal(weighted[name], array)
        assert weighted[name].dtype == array.dtype


def test_a_wide_context_is_read_at_its_newest_ids():
    contexts, targets = rows_of(random_items(20, 4, seed=4), 6)
    wide, narrow = KneserNey.fit(contexts, targets, 5, order=3), KneserNey.fit(contexts[:, 4:], targets, 5, order=3)
    assert wide.context_length == 2
    np.testing.assert_array_equal(wide.next_logits(contexts), narrow.next_logits(contexts[:, 4:]))


@pytest.mark.parametrize("contexts", [[[0]], [[0, 5]], [[-1, 0]], [[0.0, 1.0]]])
def test_contexts_that_do_not_fit_are_refused(contexts):
    with pytest.raises(ValueError, match="contexts"):
        small_model().next_logits(np.array(contexts))
    with pytest.raises(ValueError, match="contexts"):
        KneserNey.fit(np.array(contexts), np.array([1]), 5, order=3)


def test_an_order_below_1_is_refused():
    with pytest.raises(ConfigError, match="order 0"):
        KneserNey.fit(*rows_of([[1]], 0), 5, order=0)


def test_probabilities_too_small_for_float64_are_not_impossible():
    arrays = small_model().arrays()
    arrays["discounts"] = np.full((3, 3), 1e-200)
    logits = KneserNey.from_arrays(arrays, 5, order=3).next_logits(np.array([[1, 2]]))
    assert np.isfinite(logits).all()


@pytest.mark.parametrize("order", [1, 2, 4])
def test_arrays_make_the_same_model(order):
    model = small_model(order)
    copy = KneserNey.from_arrays(model.arrays(), 5, order=order)
    contexts = np.random.default_rng(5).integers(0, 5, (50, order - 1))
    np.testing.assert_array_equal(copy.next_logits(contexts), model.next_logits(contexts))


def changed(name, index, value):
    """The damage of one number."""

    def damage(arrays):
        array = arrays[name].copy()
        array[index] = value
        return {**arrays, name: array}

    return damage


def swapped(name, first, second):
    def damage(arrays):
        array = arrays[name].copy()
        array[[first, second]] = array[[second, first]]
        return {**arrays, name: array}

    return damage


# Of the small model: nodes 0 (root), 1-5 (contexts of 1), 6-14 (contexts of 2).
@pytest.mark.parametrize(
    ("damage", "fact"),
    [
        (lambda arrays: {**arrays, "more": arrays["keys"]}, "do not belong"),
        (lambda arrays: {**arrays, "keys": arrays["keys"][:-1]}, "'offsets' is int64 of shape"),
        (lambda arrays: {**arrays, "keys": arrays["keys"].astype(np.int32)}, "'keys' is int32"),
        (lambda arrays: {**arrays, "keys": arrays["keys"][:, None]}, "'keys' is int64 of shape"),
        (lambda arrays: {**arrays, "targets": arrays["targets"].astype(np.int64)}, "'targets' is int64"),
        (lambda arrays: {**arrays, "counts": arrays["counts"][:-1]}, "'counts' is int64 of shape"),
        (lambda arrays: {**arrays, "counts": arrays["counts"].astype(float)}, "'counts' is float64"),
        (lambda arrays: {**arrays, "discounts": arrays["discounts"][:-1]}, "'discounts' is float64 of shape"),
        (lambda arrays: {name: array for name, array in arrays.items() if name != "counts"}, "no array 'counts'"),
        (changed("keys", 0, -1), "contexts out of order"),
        (changed("keys", 1, 0), "contexts out of order"),
        (swapped("keys", 0, 1), "contexts out of order"),
        (changed("keys", -1, 2**63 - 1), "a context without its shorter one"),
        (changed("keys", -1, 14 * 5), "a context without its shorter one"),
        (changed("keys", -1, 6 * 5), "contexts longer than 2"),
        (changed("offsets", 0, 1), "offsets"),
        (changed("offsets", 0, -1), "offsets"),
        (changed("offsets", -1, 1000), "offsets"),
        (changed("offsets", 2, 1000), "offsets that fall"),
        (changed("offsets", 2, -(2**63)), "offsets that fall"),
        (changed("targets", 0, -1), "characters outside"),
        (changed("targets", -1, 5), "characters outside"),
        (changed("targets", 1, 0), "an n-gram twice"),
        (swapped("targets", 0, 1), "an n-gram twice or out of order"),
        (changed("counts", 0, 0), "counts outside"),
        (changed("counts", 0, -3), "counts outside"),
        (changed("counts", 0, LARGEST_COUNT + 1), "counts outside"),
        (changed("discounts", (1, 1), np.nan), "discounts outside"),
        (changed("discounts", (1, 1), np.inf), "discounts outside"),
        (changed("discounts", (1, 1), 0), "discounts outside"),
        (changed("discounts", (2, 0), 1.01), "discounts outside"),
        (changed("discounts", (0, 1), 2.01), "discounts outside"),
        (changed("discounts", (0, 2), 3.01), "discounts outside"),
    ],
)
def test_malformed_arrays_are_refused(damage, fact):
    with pytest.raises(CheckpointError, match=fact):
        KneserNey.from_arrays(damage(small_model().arrays()), 5, order=3)


@pytest.mark.parametrize(("vocabulary_size", "order"), [(5, 2), (5, 4), (5, 0), (4, 3), (0, 3), (2**64, 3)])
def test_arrays_of_another_shape_of_model_are_refused(vocabulary_size, order):
    with pytest.raises(CheckpointError):
        KneserNey.from_arrays(small_model().arrays(), vocabulary_size, order=order)


def test_an_order_of_0_is_refused_even_where_the_arrays_agree():
    arrays = KneserNey.fit(*rows_of([], 0), 5, order=1).arrays()
    with pytest.raises(CheckpointError, match="impossible size"):
        KneserNey.from_arrays({**arrays, "discounts": arrays["discounts"][:0]}, 5, order=0)


EXTREMES = [-(2**63), -(2**31), -1, 0, 1, 2, 5, 25, 70, 2**31 - 1, 2**53, 2**63 - 1]


@given(
    st.sampled_from(["keys", "offsets", "targets", "counts", "discounts"]),
    st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from(EXTREMES) | st.integers(-3, 90)), min_size=1, max_size=3),
)
def test_whatever_loads_is_a_distribution(name, changes):
    arrays = small_model().arrays()
    array = arrays[name].copy()
    limits = np.iinfo(array.dtype) if array.dtype.kind == "i" else np.finfo(array.dtype)
    for place, value in changes:
        array.flat[place % array.size] = min(max(value, limits.min), limits.max)
    try:
        model = KneserNey.from_arrays({**arrays, name: array}, 5, order=3)
    except CheckpointError:
        return
    logits = model.next_logits(np.indices((5, 5)).reshape(2, 25).T)
    assert np.isfinite(logits).all()
    np.testing.assert_allclose(np.exp(logits).sum(axis=1), 1, atol=1e-12)


@pytest.mark.parametrize(
    ("unique", "figures"),
    [(False, {4: 2.0560, 5: 1.9832, 6: 1.9740}), (True, {4: 2.0657, 5: 2.0041, 6: 2.0042})],
    ids=["classic", "unique"],
)
def test_figures_to_reach(parity_names, unique, figures):
    """Nats per character of dev."""
    names = parity_names.read_text().split()
    names = list(dict.fromkeys(names)) if unique else names
    random.Random(42).shuffle(names)
    ids = [[ord(letter) - ord("a") + 1 for letter in name] for name in names[: int(0.9 * len(names))]]
    train = rows_of(ids[: int(0.8 * len(names))], 5)
    contexts, targets = rows_of(ids[int(0.8 * len(names)) :], 5)
    for order, figure in figures.items():
        logits = KneserNey.fit(*train, 27, order=order).next_logits(contexts)
        assert -logits[np.arange(len(targets)), targets].mean() == pytest.approx(figure, abs=6e-5)
        np.testing.assert_allclose(np.exp(logits).sum(axis=1), 1, atol=1e-12)
