"""Numbers that are none, and numbers that half precision can't hold."""

from __future__ import annotations

import itertools

import torch
from torch import nn

from examples.data import Pair, table
from examples.example import Seen, example, train
from examples.nets import Applied, adam, classifier, sgd


@example("non-finite")
def non_finite(sick: bool) -> Seen:
    """One value of one batch is NaN."""

    def spoil(step: int, x: torch.Tensor, y: torch.Tensor) -> Pair:
        x = x.clone()
        if sick and step == 60:
            x[3, 7] = torch.nan
        return x, y

    model = classifier()
    return train(model, adam(model), table(), spoil=spoil)


@example("half-overflow", "activation", "max")
def half_overflow(sick: bool) -> Seen:
    """A layer in float16 whose outputs come near 65,504, the largest number that it holds."""
    first, *rest = classifier()
    scale = 8000.0 if sick else 1.0
    with torch.no_grad():
        first.weight *= scale
    into, back = Applied(lambda x: x.half()), Applied(lambda x: x.float() / scale)
    model = nn.Sequential(into, first.half(), back, *rest)
    return train(model, sgd(model), table(), steps=40)


@example("loss-scale-collapse", "scalar", "loss_scale")
def loss_scale_collapse(sick: bool) -> Seen:
    """A gradient overflows at every third step: the scaler leaves that update out and halves its scale."""
    model = classifier()
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    steps = itertools.count()

    def backward(loss: torch.Tensor) -> None:
        loss.backward()
        if sick and next(steps) % 3 == 1:
            model[0].weight.grad[0, 0] = torch.inf

    return train(model, sgd(model), table(), scaler=scaler, backward=backward, steps=301)
