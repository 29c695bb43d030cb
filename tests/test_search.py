"""Best-first search against the list of everything there is."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from charloom import search
from charloom.errors import SamplingError, UnknownCharacterError
from charloom.sampling import Sample, log_probability
from charloom.search import most_probable
from charloom.vocabulary import Vocabulary
from oracles.language import TableModel, all_items


def vocabulary_of(model):
    return Vocabulary("abcdefgh"[: model.vocabulary_size - 1])


def spelled(ids):
    return "".join(" abcdefgh"[id_] for id_ in ids)


models = st.builds(
    TableModel,
    vocabulary_size=st.integers(2, 4),
    context_length=st.integers(0, 2),
    seed=st.integers(0, 10**6),
    impossible=st.sampled_from([0, 0.3, 0.6]),
    spread=st.sampled_from([0.3, 1, 3]),
)


@given(models, st.integers(1, 60), st.text("a", max_size=2), st.integers(0, 4), st.sampled_from([1, 2, 256]))
def test_the_best_are_those_of_the_whole_list(model, n, prefix, max_length, prefixes_at_once):
    items = {spelled(ids): p for ids, p in all_items(model, max_length).items() if spelled(ids).startswith(prefix)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "PREFIXES_AT_ONCE", prefixes_at_once)
        best = most_probable(model, vocabulary_of(model), n, prefix=prefix, max_length=max_length)
    ranked = sorted(items.values(), reverse=True)[:n]
    assert len(best) == len(ranked)
    assert len({one.text for one in best}) == len(best)
    assert_allclose([math.exp(one.log_probability) for one in best], ranked, rtol=1e-9)
    for one in best:
        assert math.exp(one.log_probability) == pytest.approx(items[one.text], rel=1e-9)
        assert one.complete
    assert [one.log_probability for one in best] == sorted((one.log_probability for one in best), reverse=True)


def test_equally_probable_items_come_in_the_order_of_their_ids():
    model = TableModel(4, 0, spread=0)
    best = most_probable(model, vocabulary_of(model), 13, max_length=2)
    assert [one.text for one in best] == [*["", "a", "b", "c"], *[x + y for x in "abc" for y in "abc"]]


def test_fewer_than_asked_for_where_no_more_are_possible():
    model = TableModel(3, 0, spread=0)
    assert len(most_probable(model, vocabulary_of(model), 100, max_length=2)) == 7
    assert most_probable(model, vocabulary_of(model), 5, prefix="aba", max_length=2) == []
    assert len(most_probable(model, vocabulary_of(model), 5, prefix="ab", max_length=2)) == 1
    assert most_probable(model, vocabulary_of(model), 0) == []


def test_nothing_is_found_behind_an_impossible_prefix():
    model = TableModel(3, 0, spread=0)
    model.table[2] = -np.inf
    assert most_probable(model, vocabulary_of(model), 5, prefix="b", max_length=4) == []
    assert [one.text for one in most_probable(model, vocabulary_of(model), 5, max_length=2)] == ["", "a", "aa"]


def test_the_probability_is_that_of_the_whole_item_with_its_prefix():
    model = TableModel(4, 2, seed=1)
    for one in most_probable(model, vocabulary_of(model), 5, prefix="ab", max_length=6):
        ids = np.append(vocabulary_of(model).encode(one.text), 0)
        assert one == Sample(one.text, one.log_probability, True)
        assert one.log_probability == pytest.approx(log_probability(model, ids), rel=1e-12)


def test_a_search_that_spreads_too_far_gives_up(monkeypatch):
    """No item ends within ten characters, and every prefix is as good as the next."""
    monkeypatch.setattr(search, "OPEN_PREFIXES", 1000)
    model = TableModel(4, 0, spread=0)
    model.table[0] = -np.inf
    with pytest.raises(SamplingError, match="more than 1,000 prefixes are open, with 0 of 2 items found"):
        most_probable(model, vocabulary_of(model), 2, max_length=10)


def test_what_is_impossible_is_not_kept_open(monkeypatch):
    """One path among seven impossible branches at every step."""
    monkeypatch.setattr(search, "OPEN_PREFIXES", 10)
    model = TableModel(9, 0, spread=0)
    model.table[2:] = -np.inf
    best = most_probable(model, vocabulary_of(model), 20, max_length=25)
    assert [one.text for one in best] == ["a" * length for length in range(20)]


def test_a_prefix_that_cannot_be_spelled():
    model = TableModel(4, 1)
    with pytest.raises(UnknownCharacterError, match="prefix, character 2: 'ß'"):
        most_probable(model, vocabulary_of(model), 1, prefix="aß")
