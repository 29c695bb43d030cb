"""Faults that held-out data show."""

from __future__ import annotations

import torch

from examples.data import Data, Pair, names, table
from examples.example import Seen, example, train
from examples.nets import adam, classifier, mlp

FEW = 48


@example("overfitting")
def overfitting(sick: bool) -> Seen:
    """Forty-eight training examples, again and again."""
    data = table()
    if sick:
        data = Data(data.x[:FEW], data.y[:FEW], data.held_out)
    model = classifier()
    return train(model, adam(model), data, steps=400, evaluate=40)


@example("overtraining")
def overtraining(sick: bool) -> Seen:
    """Training goes on long after the best evaluation."""
    data = table()
    if sick:
        data = Data(data.x[:FEW], data.y[:FEW], data.held_out)
    model = classifier()
    return train(model, adam(model), data, steps=400, evaluate=20)


@example("dev-too-good")
def dev_too_good(sick: bool) -> Seen:
    """The held-out data are easier than the training data: here their labels are the model's own."""
    data = names()
    model = mlp()
    if sick:
        easy = data.held_out[0][:100]
        x, y = torch.cat([data.x[:2000], easy.repeat(40, 1)]), torch.cat([data.y[:2000], easy[:, 0].repeat(40)])
        data = Data(x, y, (easy, easy[:, 0]))
    return train(model, adam(model, 3e-3), data, steps=300, evaluate=50, both=True)


@example("train-eval-gap")
def train_eval_gap(sick: bool) -> Seen:
    """Batch norm's running statistics hardly move: at evaluation they are still those of no data."""
    data = table()
    data = Data(10 * data.x + 30, data.y, (10 * data.held_out[0] + 30, data.held_out[1]))
    model = classifier(norm=True)
    if sick:
        for layer in (model[1], model[4]):
            layer.momentum = 1e-5
    return train(model, adam(model), data, steps=200, evaluate=40)


@example("class-imbalance")
def class_imbalance(sick: bool) -> Seen:
    """Of one class a tenth is left, and the mean loss hardly counts it."""
    data = table()

    def without(x: torch.Tensor, y: torch.Tensor) -> Pair:
        kept = (y != 4) | (torch.arange(len(y)) % 10 == 0)
        return x[kept], y[kept]

    if sick:
        data = Data(*without(data.x, data.y), without(*data.held_out))
    model = classifier()
    return train(model, adam(model), data, steps=200, evaluate=40)


@example("baseline-not-beaten")
def baseline_not_beaten(sick: bool) -> Seen:
    """Labels of other rows: no better than a guess that does not look."""
    data = table()
    if sick:
        data = Data(data.x, data.y[torch.randperm(len(data.y))], data.held_out)
    model = classifier()
    return train(model, adam(model), data, steps=200, evaluate=40)
