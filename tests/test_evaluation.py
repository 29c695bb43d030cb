"""Losses weighted by targets, and what is said of samples."""

import json
import math
from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from charloom import evaluation
from charloom.contexts import Contexts, DistinctContexts
from charloom.evaluation import evaluate, item_losses, mean_loss, mean_nats, sample_quality, target_losses
from charloom.models.counts import Bigram
from charloom.vocabulary import Encoded, Vocabulary
from oracles.language import TableModel, next_shares

VOCABULARY = Vocabulary("abc")
UNEVEN = ["a", "abcabcabcabc", "", "cab"]


def spelled(item):
    return [" abc".index(character) for character in item]


def losses_by_loop(model, items):
    """For each item the nats of its characters and its end, one at a time."""
    return [
        [-math.log(next_shares(model, ids[:i])[id_]) for i, id_ in enumerate([*ids, 0])] for ids in map(spelled, items)
    ]


def flat(lists):
    return list(chain.from_iterable(lists))


def mean(values):
    return math.fsum(values) / len(values)


@given(
    st.lists(st.text("abc", max_size=6), min_size=1, max_size=8), st.integers(0, 3), st.sets(st.text("abc", max_size=2))
)
def test_losses_are_those_of_a_loop(items, context_length, training_items):
    model = TableModel(4, context_length)
    encoded = VOCABULARY.encode_items(items, unit="line")
    by_item = losses_by_loop(model, items)
    assert_allclose(target_losses(model, encoded), flat(by_item), rtol=1e-12)
    assert_allclose(item_losses(model, encoded), [mean(losses) for losses in by_item], rtol=1e-12)

    distinct = DistinctContexts(Contexts(encoded, context_length), 4)
    for logits_at_once in (1, 1 << 22):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(evaluation, "LOGITS_AT_ONCE", logits_at_once)
            assert_allclose(mean_nats(model, distinct), mean(flat(by_item)), rtol=1e-12)

    found = evaluate(model, encoded, items, training_items)
    seen = [losses for item, losses in zip(items, by_item, strict=True) if item in training_items]
    unseen = [losses for item, losses in zip(items, by_item, strict=True) if item not in training_items]
    for loss, parts in ((found.loss, by_item), (found.seen, seen), (found.unseen, unseen)):
        if not parts:
            assert loss is None
            continue
        assert loss.nats == pytest.approx(mean(flat(parts)), rel=1e-12)
        assert (loss.targets, loss.items) == (len(flat(parts)), len(parts))
    assert mean_loss(model, encoded) == found.loss


def test_a_mean_over_items_would_be_another():
    model, encoded = TableModel(4, 2), VOCABULARY.encode_items(UNEVEN, unit="line")
    by_item = losses_by_loop(model, UNEVEN)
    assert mean_loss(model, encoded).nats == pytest.approx(mean(flat(by_item)), rel=1e-12)
    assert abs(mean_loss(model, encoded).nats - mean([mean(losses) for losses in by_item])) > 0.05


def test_a_text_has_no_end_to_predict():
    model, encoded = TableModel(4, 2), VOCABULARY.encode_items(["abcab"], unit="text")
    assert_allclose(target_losses(model, encoded), losses_by_loop(model, ["abcab"])[0][:-1], rtol=1e-12)
    assert evaluate(model, encoded, ["abcab"], ["bc"]).unseen == mean_loss(model, encoded)


class Spy(TableModel):
    """Remembers what it was asked."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.asked = []

    def next_logits(self, contexts):
        self.asked.append(contexts.tolist())
        return super().next_logits(contexts)


def test_each_distinct_context_is_asked_once():
    spy, encoded = Spy(4, 1), VOCABULARY.encode_items(UNEVEN * 50, unit="line")
    target_losses(spy, encoded)
    assert spy.asked == [[[0], [1], [2], [3]]]


def test_a_model_is_asked_for_a_bounded_number_of_logits(monkeypatch):
    spy, encoded = Spy(4, 3), VOCABULARY.encode_items(UNEVEN * 5, unit="line")
    at_once = target_losses(spy, encoded)
    monkeypatch.setattr(evaluation, "LOGITS_AT_ONCE", 31)
    spy.asked.clear()
    assert_allclose(target_losses(spy, encoded), at_once, rtol=1e-15)
    assert 1 < max(map(len, spy.asked)) <= 31 // 4
    monkeypatch.setattr(evaluation, "LOGITS_AT_ONCE", 1)
    assert_allclose(target_losses(spy, encoded), at_once, rtol=1e-15)


def test_what_is_written_down():
    encoded = VOCABULARY.encode_items(["ab", "b"], unit="line")
    model = TableModel(4, 0, spread=0)
    written = evaluate(model, encoded, ["ab", "b"], ["ab"]).to_json()
    assert written["loss"] == {
        "nats": pytest.approx(math.log(4)),
        "bits": pytest.approx(2),
        "perplexity": pytest.approx(4),
        "targets": 5,
        "items": 2,
    }
    assert (written["seen"]["targets"], written["unseen"]["targets"]) == (3, 2)
    assert evaluate(model, encoded, ["ab", "b"], []).to_json()["seen"] is None


def test_the_impossible_is_infinitely_surprising():
    contexts, targets = Contexts(VOCABULARY.encode_items(["ab"], unit="line"), 1).all_rows()
    model = Bigram.fit(contexts, targets, 4, smoothing=0)
    loss = mean_loss(model, VOCABULARY.encode_items(["ab", "ba"], unit="line"))
    assert loss.nats == math.inf
    assert json.loads(json.dumps(loss.to_json(), allow_nan=False)) == {
        "nats": None,
        "bits": None,
        "perplexity": None,
        "targets": 6,
        "items": 2,
    }


def test_no_items_have_no_loss():
    nothing = Encoded(np.zeros(0, np.int32), np.zeros(0, np.int64))
    loss = mean_loss(TableModel(4, 2), nothing)
    assert math.isnan(loss.nats)
    assert loss.to_json()["nats"] is None
    assert item_losses(TableModel(4, 2), nothing).shape == (0,)


def test_sample_quality():
    """`emma` is known; `ava` came three times, `mo` twice."""
    samples = ["emma", "ava", "ava", "mo", "zoe", "ava", "mo", ""]
    quality = sample_quality(samples, ["emma", "olivia", "zo"])
    assert quality.to_json() == {
        "samples": 8,
        "novel": 7 / 8,
        "unique": 5 / 8,
        "duplicated": 5 / 8,
        "mean_length": 20 / 8,
        "data_mean_length": 12 / 3,
    }
