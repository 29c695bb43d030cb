"""Faults of the signal on its way forward and of the gradient on its way back."""

from __future__ import annotations

import torch
from torch import nn

from examples.data import Pair, table
from examples.example import Seen, example, train
from examples.nets import adam, classifier, hidden, mlp, output, sgd


@example("vanishing-gradient", "gradient", "ratio")
def vanishing_gradient(sick: bool) -> Seen:
    """Ten layers of sigmoid, whose slope is a quarter at best."""
    model = mlp(depth=10, activation=nn.Sigmoid if sick else nn.Tanh)
    return train(model, sgd(model))


@example("exploding-gradient", "activation_gradient", "rms")
def exploding_gradient(sick: bool) -> Seen:
    """Eight layers whose weights are three times too large, and no norm between them."""
    layers = hidden(10, depth=8, activation=nn.ReLU)
    if sick:
        with torch.no_grad():
            for layer in layers[::2]:
                layer.weight *= 2.9
    model = nn.Sequential(*layers, output(64, 5))
    return train(model, adam(model, 1e-4), table())


@example("gradient-spike", "scalar", "gradient_norm")
def gradient_spike(sick: bool) -> Seen:
    """One batch whose inputs are a thousand times too large."""

    def spoil(step: int, x: torch.Tensor, y: torch.Tensor) -> Pair:
        return (1000 * x if sick and step == 80 else x), y

    model = classifier()
    return train(model, adam(model), table(), spoil=spoil)


@example("second-moment-blow-up", "update", "ratio")
def second_moment_blow_up(sick: bool) -> Seen:
    """The same, and Adam remembers it: its second moment is huge for a thousand steps, its updates tiny."""

    def spoil(step: int, x: torch.Tensor, y: torch.Tensor) -> Pair:
        return (1000 * x if sick and step == 50 else x), y

    model = classifier()
    return train(model, adam(model), table(), spoil=spoil, steps=200)


@example("dead-relu", "activation", "saturated_units")
def dead_relu(sick: bool) -> Seen:
    """Biases so far below zero that no input opens the units."""
    model = classifier(activation=nn.ReLU)
    if sick:
        nn.init.constant_(model[2].bias, -8.0)
    return train(model, sgd(model), table())


@example("saturated", "activation", "saturated")
def saturated(sick: bool) -> Seen:
    """Weights before one tanh are thirty times too large: its outputs are ±1 and pass no gradient."""
    model = mlp()
    if sick:
        with torch.no_grad():
            model[2].weight *= 30
    return train(model, sgd(model))


@example("activation-collapse", "activation", "std")
def activation_collapse(sick: bool) -> Seen:
    """Something sets a layer to zero before each step: it gives the same, whatever comes in."""
    model = classifier(activation=nn.Tanh)

    def forget(step: int) -> None:
        if sick:
            nn.init.zeros_(model[2].weight)
            nn.init.zeros_(model[2].bias)

    return train(model, sgd(model), table(), each=forget)


@example("activation-drift", "activation", "std")
def activation_drift(sick: bool) -> Seen:
    """One layer without a norm grows by three hundredths at each step, as by a decay of the wrong sign."""
    model = classifier()

    def grow(step: int) -> None:
        with torch.no_grad():
            model[2].weight *= 1.03 if sick else 1.0

    return train(model, adam(model), table(), steps=200, each=grow)
