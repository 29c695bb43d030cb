"""Healthy nets, and optimizers at rates that fit them."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

from examples.data import CLASSES, CONTEXT

GAINS = {nn.Tanh: 5 / 3, nn.ReLU: math.sqrt(2), nn.Sigmoid: 1.0}


def hidden(
    inputs: int, width: int = 64, depth: int = 2, activation: type[nn.Module] = nn.Tanh, norm: bool = False
) -> list[nn.Module]:
    """Layers whose weights have a standard deviation of gain/√fan-in, so that the signal keeps its size."""
    layers: list[nn.Module] = []
    for place in range(depth):
        linear = nn.Linear(width if place else inputs, width, bias=not norm)
        nn.init.normal_(linear.weight, std=GAINS[activation] / math.sqrt(linear.in_features))
        layers += [linear, *([nn.BatchNorm1d(width)] if norm else []), activation()]
    return layers


def output(width: int, classes: int) -> nn.Linear:
    """A last layer that begins near an even guess."""
    linear = nn.Linear(width, classes)
    nn.init.normal_(linear.weight, std=0.1 / math.sqrt(width))
    nn.init.zeros_(linear.bias)
    return linear


def mlp(
    depth: int = 2,
    width: int = 64,
    activation: type[nn.Module] = nn.Tanh,
    norm: bool = False,
    context: int = CONTEXT,
) -> nn.Sequential:
    """Characters, looked up as vectors, to the scores of the next one."""
    layers = hidden(10 * context, width, depth, activation, norm)
    return nn.Sequential(nn.Embedding(CLASSES, 10), nn.Flatten(), *layers, output(width, CLASSES))


def classifier(activation: type[nn.Module] = nn.ReLU, norm: bool = False) -> nn.Sequential:
    """Ten measurements to the scores of five classes."""
    return nn.Sequential(*hidden(10, 64, 2, activation, norm), output(64, 5))


def regressor() -> nn.Sequential:
    """Ten measurements to one number, (B, 1)."""
    return nn.Sequential(*hidden(10), output(64, 1))


class Applied(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


class Decoder(nn.Module):
    """A transformer of one layer. ``causal``: each place sees itself and those before it only."""

    def __init__(self, causal: bool = True, tied: bool = False, width: int = 32) -> None:
        super().__init__()
        self.causal = causal
        self.embedding, self.positions = nn.Embedding(CLASSES, width), nn.Embedding(64, width)
        self.layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.norm, self.head = nn.LayerNorm(width), output(width, CLASSES)
        if tied:
            nn.init.normal_(self.embedding.weight, std=0.1)
            self.head.weight = self.embedding.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        length = ids.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(length) if self.causal else None
        x = self.embedding(ids) + self.positions(torch.arange(length))
        return self.head(self.norm(self.layer(x, src_mask=mask, is_causal=self.causal)))


def by_position(scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The mean cross-entropy over all places: scores (B, T, V), targets (B, T)."""
    return nn.functional.cross_entropy(scores.flatten(0, 1), targets.flatten())


def sgd(model: nn.Module, lr: float = 0.1, **options: float) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr=lr, **options)


def adam(model: nn.Module, lr: float = 1e-3, **options: float) -> torch.optim.Adam:
    return torch.optim.Adam(model.parameters(), lr=lr, **options)


def adamw(model: nn.Module, lr: float = 3e-3, weight_decay: float = 0.0, **options: float) -> torch.optim.AdamW:
    return torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=weight_decay, **options)
