"""Faults in the size of the updates."""

from __future__ import annotations

import torch

from examples.data import table
from examples.example import Seen, example, train
from examples.nets import adam, classifier, mlp, sgd


@example("learning-rate-too-high", "update", "ratio")
def learning_rate_too_high(sick: bool) -> Seen:
    """A rate a thousand times too high."""
    model = mlp()
    return train(model, adam(model, 1.0 if sick else 1e-3))


@example("learning-rate-too-low", "update", "ratio")
def learning_rate_too_low(sick: bool) -> Seen:
    """A rate a thousand times too low."""
    model = mlp()
    return train(model, adam(model, 1e-6 if sick else 1e-3), steps=200)


@example("update-too-large", "update", "ratio")
def update_too_large(sick: bool) -> Seen:
    """The first step has fifty times the rate: it replaces the weights, and the loss falls all the same."""
    model = classifier(norm=True)
    return train(model, adam(model, 1e-2), table(), rate=lambda step: 50.0 if sick and step == 0 else 1.0, steps=301)


@example("update-too-small", "update", "ratio")
def update_too_small(sick: bool) -> Seen:
    """One layer at a ten-thousandth of the others' rate."""
    model = mlp(depth=3)
    slow = list(model[4].parameters())
    others = [p for p in model.parameters() if not any(p is one for one in slow)]
    optimizer = sgd(model)
    optimizer.param_groups.clear()
    optimizer.add_param_group({"params": others, "lr": 0.1})
    optimizer.add_param_group({"params": slow, "lr": 1e-5 if sick else 0.1})
    return train(model, optimizer)


@example("clipping-always-on", "scalar", "gradient_norm_used")
def clipping_always_on(sick: bool) -> Seen:
    """A clip of the norm at 0.0001, where gradients have one of about 1."""
    model = mlp()
    return train(model, sgd(model), clip=1e-4 if sick else 5.0, steps=200)


@example("schedule-ended-early", "group", "learning_rate")
def schedule_ended_early(sick: bool) -> Seen:
    """A schedule over a fifth of the steps: epochs were given where steps were meant."""
    model = mlp()
    end = 40 if sick else 200
    return train(model, sgd(model), rate=lambda step: max(1 - step / end, 0.0), steps=200)


@example("weight-blow-up", "weight", "norm")
def weight_blow_up(sick: bool) -> Seen:
    """The sign of the decay is wrong: it makes every weight larger at every step."""
    model = mlp()

    def grow(step: int) -> None:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter *= 1.05 if sick else 1.0

    return train(model, adam(model), each=grow)
