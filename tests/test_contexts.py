"""Rows against a loop that spells them out, and the order in which training visits them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from charloom.contexts import Contexts, RowOrder, distinct_contexts
from charloom.vocabulary import MARKER, Vocabulary

LETTERS = Vocabulary("abcd")
texts = st.text("abcd", max_size=9)


def rows_by_loop(items, unit, context_length):
    """Contexts and targets, one character at a time."""
    contexts, targets = [], []
    for item in items:
        ids = [" abcd".index(character) for character in item] + ([0] if unit == "line" else [])
        for position, target in enumerate(ids):
            before = ids[max(0, position - context_length) : position]
            contexts.append([0] * (context_length - len(before)) + before)
            targets.append(target)
    return np.array(contexts, np.int64).reshape(len(targets), context_length), np.array(targets, np.int64)


def check_rows(items, unit, context_length, size):
    expected_contexts, expected_targets = rows_by_loop(items, unit, context_length)
    contexts = Contexts(LETTERS.encode_items(items, unit=unit), context_length)
    assert len(contexts) == len(expected_targets)
    made, targets = contexts.all_rows()
    assert_array_equal(made, expected_contexts, strict=True)
    assert_array_equal(targets, expected_targets, strict=True)
    blocks = list(contexts.blocks(size))
    assert all(len(block) == len(targets) <= size for block, targets in blocks)
    if blocks:
        assert_array_equal(np.concatenate([block for block, _ in blocks]), expected_contexts)
        assert_array_equal(np.concatenate([targets for _, targets in blocks]), expected_targets)
    return contexts, expected_contexts, expected_targets


@given(st.lists(texts, max_size=6), st.integers(0, 6), st.integers(1, 9), st.data())
def test_rows_of_items(items, context_length, size, data):
    contexts, expected_contexts, expected_targets = check_rows(items, "line", context_length, size)
    if items:
        chosen = data.draw(st.lists(st.integers(0, len(contexts) - 1), min_size=6, max_size=6))
        index = np.array(chosen).reshape(2, 3)
        made, targets = contexts.rows(index)
        assert_array_equal(made, expected_contexts[index])
        assert_array_equal(targets, expected_targets[index])


@given(texts, st.integers(0, 6), st.integers(1, 9))
def test_rows_of_a_text(text, context_length, size):
    check_rows([text], "text", context_length, size)


def test_a_context_longer_than_all_the_data():
    contexts = Contexts(LETTERS.encode_items(["a"], unit="line"), 6)
    assert contexts.all_rows()[0].tolist() == [[MARKER] * 6, [MARKER] * 5 + [1]]


def test_no_item_shows_in_the_next():
    """Each item begins as if it were the only one."""
    items = ["abc", "d", "", "dcba"]
    together = Contexts(LETTERS.encode_items(items, unit="line"), 5).all_rows()[0]
    alone = [Contexts(LETTERS.encode_items([item], unit="line"), 5).all_rows()[0] for item in items]
    assert_array_equal(together, np.concatenate(alone))


@pytest.mark.parametrize(
    "vocabulary_size",
    [2, 27, 2**21 - 1, 2**21, 3_000_000],
    ids=["tiny", "letters", "largest key below 2^63", "smallest beyond", "keys would overflow"],
)
@given(data=st.data())
def test_distinct_contexts(vocabulary_size, data):
    length = data.draw(st.integers(0, 3))
    ids = st.sampled_from([0, 1, vocabulary_size // 2, vocabulary_size - 1])
    rows = data.draw(st.lists(st.lists(ids, min_size=length, max_size=length), min_size=1, max_size=12))
    contexts = np.array(rows, np.int64).reshape(len(rows), length)
    distinct, which = distinct_contexts(contexts, vocabulary_size)
    assert_array_equal(distinct[which], contexts)
    assert distinct.tolist() == [list(context) for context in sorted(set(map(tuple, rows)))]
    assert_array_equal(np.bincount(which), [rows.count(list(context)) for context in distinct])


@pytest.mark.parametrize("length", [0, 3])
def test_no_contexts_are_no_distinct_contexts(length):
    distinct, which = distinct_contexts(np.zeros((0, length), np.int64), 27)
    assert distinct.shape == (0, length)
    assert which.shape == (0,)


@given(st.integers(1, 20), st.integers(1, 50), st.integers(0, 2**64 - 1))
def test_every_row_once_per_epoch(rows, batch_size, seed):
    steps = 3 * rows
    batches = RowOrder(rows, batch_size, seed).indices(0, steps)
    assert batches.shape == (steps, batch_size)
    for epoch in batches.reshape(-1, rows):
        assert sorted(epoch) == list(range(rows))


@given(st.integers(1, 20), st.integers(1, 50), st.lists(st.integers(1, 7), min_size=1, max_size=6), st.integers(0, 9))
def test_the_order_is_a_function_of_the_step(rows, batch_size, parts, seed):
    at_once = RowOrder(rows, batch_size, seed).indices(0, sum(parts))
    in_parts = RowOrder(rows, batch_size, seed)
    first = [sum(parts[:i]) for i in range(len(parts))]
    assert_array_equal(np.concatenate([in_parts.indices(*part) for part in zip(first, parts, strict=True)]), at_once)
    # Asked again, backwards and by another object, it is the same.
    for step in range(sum(parts) - 1, -1, -1):
        assert_array_equal(in_parts.indices(step, 1)[0], at_once[step])
    assert_array_equal(RowOrder(rows, batch_size, seed).indices(first[-1], parts[-1]), at_once[first[-1] :])


def test_epochs_and_seeds_have_orders_of_their_own():
    seeds = [0, 1, 2**63, 2**64 - 2, 2**64 - 1]
    orders = np.array([RowOrder(50, 50, seed).indices(0, 3) for seed in seeds])
    assert len({tuple(order) for order in orders.reshape(-1, 50)}) == 3 * len(seeds)
