"""Faults that the loss shows, and those in the data that it is taken of."""

from __future__ import annotations

import torch
from torch import nn

from examples.data import Data, Pair, names, table
from examples.example import Seen, example, train
from examples.nets import adam, classifier, mlp, output, sgd


@example("loss-not-falling")
def loss_not_falling(sick: bool) -> Seen:
    """No update is made: the optimizer's rate is zero."""
    model = mlp()
    return train(model, sgd(model, 0.0 if sick else 0.1))


@example("plateau")
def plateau(sick: bool) -> Seen:
    """A model that is too simple for the data: one layer where two are needed."""
    data, few = table(), 500

    def all_of_it(step: int, x: torch.Tensor, y: torch.Tensor) -> Pair:
        return data.x[:few], data.y[:few]

    model = nn.Sequential(output(10, 5)) if sick else classifier()
    return train(model, adam(model, 3e-2 if sick else 1e-3), data, spoil=all_of_it, steps=400)


@example("diverging")
def diverging(sick: bool) -> Seen:
    """From step 60 on the rate is a thousand times what it was."""
    model = mlp()
    return train(model, sgd(model), rate=lambda step: 1000.0 if sick and step >= 60 else 1.0)


@example("loss-spike")
def loss_spike(sick: bool) -> Seen:
    """One batch whose inputs are a thousand times too large."""

    def spoil(step: int, x: torch.Tensor, y: torch.Tensor) -> Pair:
        return (1000 * x if sick and step == 80 else x), y

    model = classifier()
    return train(model, adam(model), table(), spoil=spoil)


@example("oscillating")
def oscillating(sick: bool) -> Seen:
    """Two sources in turn, one of which has labels of other rows."""

    def spoil(step: int, x: torch.Tensor, y: torch.Tensor) -> Pair:
        return x, (y.roll(1) if sick and step % 2 else y)

    model = classifier()
    return train(model, adam(model, 3e-3), table(), spoil=spoil, steps=200)


@example("unshuffled-data")
def unshuffled_data(sick: bool) -> Seen:
    """The file is sorted by label, and read from first to last."""
    data = table()
    order = data.y.argsort()
    model = classifier()

    def in_order(step: int, x: torch.Tensor, y: torch.Tensor) -> Pair:
        rows = order[step * 32 : (step + 1) * 32] if sick else torch.arange(step * 32, (step + 1) * 32)
        return data.x[rows], data.y[rows]

    return train(model, sgd(model), data, spoil=in_order)


@example("label-noise-or-shuffled")
def label_noise_or_shuffled(sick: bool) -> Seen:
    """Labels were shuffled and inputs were not."""
    data = names()
    if sick:
        data = Data(data.x, data.y[torch.randperm(len(data.y))], data.held_out)
    model = mlp()
    return train(model, adam(model, 3e-3), data, steps=400, evaluate=80)
