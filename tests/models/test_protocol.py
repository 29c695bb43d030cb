"""One protocol for every model, today's and those to come."""

from itertools import islice

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from charloom.config import SamplingConfig
from charloom.contexts import Contexts
from charloom.evaluation import evaluate, item_losses, target_losses
from charloom.loss import cross_entropy
from charloom.models import build_neural, counted_family
from charloom.models.neural import NeuralModel
from charloom.sampling import log_probability, sample, sample_filtered
from charloom.search import most_probable
from charloom.vocabulary import MARKER, Vocabulary
from oracles.language import all_items

ITEMS = ["ab", "cabba", "c", "", "bca", "ab"]
VOCABULARY = Vocabulary("abc")
ENCODED = VOCABULARY.encode_items(ITEMS, unit="line")
LONGEST = 5

MLP_SHAPE = {"context_length": 4, "embedding": 3, "hidden": 5, "layers": 2}


class Recurrent(NeuralModel):
    """Predicts every position of a sequence at once. Reading the marker, it starts afresh."""

    def __init__(self, vocabulary_size, context_length, units=5):
        super().__init__(vocabulary_size, context_length)
        self.embedding = nn.Embedding(vocabulary_size, units)
        self.recurrence = nn.Linear(units, units)
        self.output = nn.Linear(units, vocabulary_size)

    def forward(self, contexts):
        """(B, T) -> (B, T, V)"""
        state = torch.zeros(len(contexts), self.recurrence.in_features, dtype=self.output.weight.dtype)
        states = []
        for ids in contexts.T:
            state = torch.where(ids[:, None] == MARKER, 0, state)
            state = torch.tanh(self.recurrence(state) + self.embedding(ids))
            states.append(state)
        return self.output(torch.stack(states, dim=1))

    def next_logits(self, contexts):
        return super().next_logits(contexts)[:, -1]


@pytest.fixture
def recurrent():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Recurrent(4, LONGEST + 1).double()


def sequences():
    """Whole items with the marker before and after, cut into inputs and what follows each of them."""
    for item in ITEMS:
        ids = np.concatenate([[MARKER], VOCABULARY.encode(item), [MARKER]])
        yield torch.from_numpy(ids[None, :-1]), torch.from_numpy(ids[None, 1:])


def losses_of_whole_sequences(model):
    with torch.no_grad():
        return [
            nn.functional.cross_entropy(model(inputs)[0], targets[0], reduction="none")
            for inputs, targets in sequences()
        ]


def test_a_model_of_every_position_fits(recurrent):
    per_item = losses_of_whole_sequences(recurrent)
    assert_allclose(target_losses(recurrent, ENCODED), torch.cat(per_item), rtol=1e-12)
    assert_allclose(item_losses(recurrent, ENCODED), [losses.mean() for losses in per_item], rtol=1e-12)

    found = evaluate(recurrent, ENCODED, ITEMS, ["ab"])
    assert found.loss.nats == pytest.approx(torch.cat(per_item).mean().item())
    assert found.seen is not None
    assert found.seen.nats == pytest.approx(torch.cat([per_item[0], per_item[5]]).mean().item())


def test_its_training_loss_is_the_one_evaluated(recurrent):
    """(B, T, V) logits and (B, T) targets go into the same loss as rows do."""
    optimizer = torch.optim.Adam(recurrent.parameters(), lr=0.03)
    before = target_losses(recurrent, ENCODED).mean()
    for _ in range(30):
        optimizer.zero_grad()
        for inputs, targets in sequences():
            cross_entropy(recurrent(inputs), targets).backward()
        optimizer.step()
    assert target_losses(recurrent, ENCODED).mean() < before - 0.2
    for (inputs, targets), losses in zip(sequences(), losses_of_whole_sequences(recurrent), strict=True):
        assert cross_entropy(recurrent(inputs), targets).item() == pytest.approx(losses.mean().item())


def test_it_is_sampled_and_searched_like_the_others(recurrent):
    items = all_items(recurrent, 3)
    best = most_probable(recurrent, VOCABULARY, 10, max_length=3)
    assert_allclose(
        [one.log_probability for one in best], np.log(sorted(items.values(), reverse=True)[:10]), rtol=1e-12
    )
    drawn = list(islice(sample(recurrent, VOCABULARY, SamplingConfig(max_length=LONGEST, prefix="b")), 20))
    assert len({one.text for one in drawn}) > 5
    for one in drawn:
        ids = np.array([*VOCABULARY.encode(one.text), *[MARKER] * one.complete], np.int32)
        assert one.log_probability == pytest.approx(log_probability(recurrent, ids), rel=1e-12)
    fresh = sample_filtered(sample(recurrent, VOCABULARY, SamplingConfig()), 5, known=ITEMS, unique=True)
    assert not {one.text for one in fresh} & set(ITEMS)


@pytest.fixture(params=["unigram", "bigram", "ngram", "bigram-net", "mlp", "deep-mlp"])
def model(request):
    if request.param in ("unigram", "bigram", "ngram"):
        reach = {"unigram": 0, "bigram": 1, "ngram": 3}[request.param]
        options = {"order": 4} if request.param == "ngram" else {}
        return counted_family(request.param).fit(*Contexts(ENCODED, reach).all_rows(), 4, **options)
    options = {} if request.param == "bigram-net" else {**MLP_SHAPE, "norm": "batch", "dropout": 0.5}
    return build_neural(request.param, vocabulary_size=4, seed=0, **options)


def test_every_family_keeps_the_protocol(model):
    assert model.vocabulary_size == 4
    assert isinstance(model.parameter_count(), int)
    contexts, _ = Contexts(ENCODED, model.context_length).all_rows()
    logits = model.next_logits(contexts)
    assert logits.shape == (len(contexts), 4)
    assert logits.dtype.kind == "f"
    # A row's logits depend on its context alone.
    alone = np.concatenate([model.next_logits(contexts[i : i + 1]) for i in range(len(contexts))])
    assert_allclose(alone, logits, rtol=1e-5, atol=1e-6)
    assert model.next_logits(contexts[:0]).shape == (0, 4)
