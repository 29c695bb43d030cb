"""Batches of distinct contexts: exactly the loss of all rows where all fit, and the same on average where not."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

import small
from charloom.contexts import Batches, Contexts, DistinctBatches, DistinctContexts
from charloom.models import build_neural

LENGTH = 2


@pytest.fixture(scope="module")
def contexts() -> Contexts:
    return Contexts(small.dataset().encoded("train"), LENGTH)


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    size = len(small.dataset().vocabulary)
    options = {"context_length": LENGTH, "embedding": 3, "hidden": 8, "layers": 1}
    return build_neural("mlp", vocabulary_size=size, seed=0, **options).double()


def source(contexts: Contexts, batch_size: int, seed: int = 0) -> DistinctBatches:
    return DistinctBatches(DistinctContexts(contexts, len(small.dataset().vocabulary)), batch_size, seed)


def loss_and_gradient(model: torch.nn.Module, batches: Batches, step: int) -> tuple[float, torch.Tensor]:
    """The loss of one batch as its definition says it, pair by pair, and the gradient of all parameters."""
    rows, weights = batches.rows[step], batches.weights[step].astype(np.float64)
    log_p = torch.log_softmax(model(torch.from_numpy(batches.contexts[rows])), dim=-1)
    terms = [
        -weight * float(batches.shares[pair]) * log_p[place, batches.targets[pair]]
        for place, (row, weight) in enumerate(zip(rows, weights, strict=True))
        for pair in range(batches.starts[row], batches.starts[row + 1])
    ]
    loss = torch.stack(terms).sum()
    return loss.item(), torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])


def all_rows(model: torch.nn.Module, contexts: Contexts) -> tuple[float, torch.Tensor]:
    rows, targets = contexts.all_rows()
    loss = torch.nn.functional.cross_entropy(model(torch.from_numpy(rows)), torch.from_numpy(targets))
    return loss.item(), torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])


def test_all_contexts_at_once_are_the_loss_over_all_rows(contexts: Contexts, model: torch.nn.Module) -> None:
    batches = source(contexts, 10_000).batches(0, 1)
    assert len(batches.rows[0]) == len(np.unique(contexts.all_rows()[0], axis=0)) < len(contexts) / 3
    loss, gradient = loss_and_gradient(model, batches, 0)
    expected, slopes = all_rows(model, contexts)
    assert loss == pytest.approx(expected, abs=1e-7)
    torch.testing.assert_close(gradient, slopes, atol=1e-7, rtol=1e-5)


def test_the_gradient_of_a_part_is_on_average_that_of_all_rows(contexts: Contexts, model: torch.nn.Module) -> None:
    """Over 1,000 draws, within four standard errors in the direction of the gradient and in random ones."""
    expected, slopes = all_rows(model, contexts)
    batches = source(contexts, 40).batches(0, 1_000)
    seen = [loss_and_gradient(model, batches, step) for step in range(1_000)]
    losses = np.array([loss for loss, _ in seen])
    gradients = torch.stack([gradient for _, gradient in seen])
    assert abs(losses.mean() - expected) < 4 * losses.std() / 1_000**0.5
    assert losses.std() > 1e-3
    directions = torch.randn((20, len(slopes)), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for direction in [slopes, *directions]:
        along = gradients @ direction
        assert abs(along.mean() - slopes @ direction) < 4 * along.std() / 1_000**0.5


def test_every_context_can_be_drawn_with_the_chance_that_its_count_gives(contexts: Contexts) -> None:
    made = DistinctContexts(contexts, len(small.dataset().vocabulary))
    batches = DistinctBatches(made, 40, 0).batches(0, 4_096)
    times = np.bincount(batches.rows.reshape(-1), minlength=len(made))
    kept = times == 4_096
    assert kept.sum() == 20
    assert made.counts[kept].min() >= made.counts[~kept].max()
    chance = made.counts[~kept] / made.counts[~kept].sum() * 20
    deviation = np.sqrt(4_096 * chance)
    assert (abs(times[~kept] - 4_096 * chance) < 6 * deviation + 1).all()
    np.testing.assert_allclose(batches.weights.sum(axis=1), 1, rtol=1e-5)


def test_a_batch_is_a_function_of_seed_and_step(contexts: Contexts) -> None:
    whole = source(contexts, 40).batches(0, 600)
    part = source(contexts, 40).batches(250, 20)
    np.testing.assert_array_equal(whole.rows[250:270], part.rows)
    np.testing.assert_array_equal(whole.weights[250:270], part.weights)
    assert (source(contexts, 40, seed=1).batches(0, 600).rows != whole.rows).any()


def test_they_are_taken_unasked_where_contexts_repeat_and_nothing_speaks_against_it() -> None:
    short = {"model": "mlp", "context_length": 1, "embedding": 3, "hidden": 8}
    free = {"batch_size": None}
    taken = small.training(short, **free).config
    assert (taken.batches, taken.batch_size, taken.learning_rate) == ("distinct", 512, 0.03)
    for model, settings in (
        (short, {"batch_size": 16}),
        (short, free | {"learning_rate": 0.01}),
        (short | {"norm": "batch"}, free),
        (short | {"dropout": 0.1}, free),
        (short | {"context_length": 3}, free),
        ({"model": "bigram-net"}, free),
    ):
        config = small.training(model, **settings).config
        assert config.batches == "rows"
        assert config.learning_rate == settings.get("learning_rate", 0.008)


@pytest.mark.parametrize("length", [0, 1, 3, 13])
@pytest.mark.parametrize("at_once", [1, 7, 100, 1 << 20])
def test_distinct_contexts_are_the_same_however_many_rows_are_looked_at_at_once(
    monkeypatch: pytest.MonkeyPatch, length: int, at_once: int
) -> None:
    """Against a plain count; contexts of 13 do not fit into 63 bits with a target."""
    monkeypatch.setattr("charloom.contexts.LOOKED_AT_ONCE", at_once)
    few = Contexts(small.dataset(60).encoded("train"), length)
    made = DistinctContexts(few, 27)
    contexts, targets = few.all_rows()
    pairs = Counter(zip(map(tuple, contexts[:, ::-1].tolist()), targets.tolist(), strict=True))
    found = [
        ((tuple(context[::-1]), int(made.targets[pair])), int(made.target_counts[pair]))
        for row, context in enumerate(made.contexts.tolist())
        for pair in range(made.starts[row], made.starts[row + 1])
    ]
    assert found == sorted(pairs.items())
    assert made.counts.tolist() == [
        made.target_counts[first:last].sum() for first, last in zip(made.starts[:-1], made.starts[1:], strict=True)
    ]
