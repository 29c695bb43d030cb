"""The bigram network: a table in disguise, and where training takes it."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from charloom.contexts import Contexts
from charloom.evaluation import mean_loss
from charloom.loss import cross_entropy, log_softmax
from charloom.models import build_neural
from charloom.models.bigram import BigramNetwork
from charloom.models.counts import Bigram
from charloom.vocabulary import Vocabulary

NAMES = ["emma", "olivia", "ava", "mia", "amelia", "eva", "ella", "mila", "ema", "lia", "via", "vea", "emilia", "o"]


@pytest.fixture
def corpus():
    vocabulary = Vocabulary.from_items(NAMES)
    encoded = vocabulary.encode_items(NAMES, unit="line")
    contexts, targets = Contexts(encoded, 1).all_rows()
    return encoded, contexts, targets, Bigram.fit(contexts, targets, len(vocabulary), smoothing=0)


def test_a_look_up_is_a_product_with_a_one_hot_vector():
    network = build_neural("bigram-net", vocabulary_size=7, seed=0)
    weights = network.table.weight.detach()
    assert weights.std() == pytest.approx(1, abs=0.3)
    assert network.parameter_count() == 49
    contexts = torch.tensor([[3], [0], [6], [3]])
    one_hot = torch.nn.functional.one_hot(contexts[:, 0], 7).float()
    assert_array_equal(network(contexts).detach(), one_hot @ weights)


def test_training_converges_to_the_counts(corpus):
    encoded, contexts, targets, counted = corpus
    network = build_neural("bigram-net", vocabulary_size=counted.vocabulary_size, seed=0)
    rows, answers = torch.from_numpy(contexts), torch.from_numpy(targets)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1)
    for _ in range(1000):
        optimizer.zero_grad()
        cross_entropy(network(rows), answers).backward()
        optimizer.step()
    lowest = mean_loss(counted, encoded).nats
    assert lowest < mean_loss(network, encoded).nats < lowest + 1e-3
    every = np.arange(counted.vocabulary_size)[:, None]
    learned = np.exp(log_softmax(network.next_logits(every)))
    assert counted.counts.any(axis=1).all()
    assert_allclose(learned, np.exp(counted.next_logits(every)), atol=2e-3)


def test_at_the_logs_of_the_counts_the_gradient_vanishes(corpus):
    encoded, contexts, targets, counted = corpus
    network = BigramNetwork(vocabulary_size=counted.vocabulary_size).double()
    with torch.no_grad(), np.errstate(divide="ignore"):
        logs = np.maximum(np.log(counted.counts), -100)
        network.table.weight.copy_(torch.from_numpy(logs))
    assert mean_loss(network, encoded).nats == pytest.approx(mean_loss(counted, encoded).nats, rel=1e-14)
    cross_entropy(network(torch.from_numpy(contexts)), torch.from_numpy(targets)).backward()
    assert network.table.weight.grad.abs().max() < 1e-16
    # Elsewhere it does not.
    with torch.no_grad():
        network.table.weight[0, 1] += 0.1
    cross_entropy(network(torch.from_numpy(contexts)), torch.from_numpy(targets)).backward()
    assert network.table.weight.grad.abs().max() > 1e-4


def test_of_a_wider_context_the_newest_character_counts(corpus):
    """As for the counted bigram, so that both can be asked about the same rows."""
    *_, counted = corpus
    network = build_neural("bigram-net", vocabulary_size=counted.vocabulary_size, seed=0)
    wide = np.array([[5, 0, 3], [1, 2, 4]])
    for model in (network, counted):
        assert_array_equal(model.next_logits(wide), model.next_logits(wide[:, -1:]))
