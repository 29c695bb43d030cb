"""The nets that docs/pictures.py draws, and the loop that trains them on the built-in names."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from torch import nn

import charloom
import telltales
from charloom.contexts import Contexts
from telltales.record import Record
from telltales.schedule import Milestones, Preset, Schedule

CONTEXT, EMBEDDING, WIDTH, CLASSES = 8, 10, 100, 27
STEPS, BATCH = 400, 64

PRESET = Preset("pictures", Schedule(every=10), pictures=Milestones(every=50), spectral_norms=True)
NOISE = Preset("noise", Schedule(every=1), noise_scale=True)

Net = Callable[[], nn.Module]
Updater = Callable[[nn.Module], torch.optim.Optimizer]


@cache
def contexts(part: str) -> tuple[torch.Tensor, torch.Tensor]:
    """All contexts of a part of the names, (N, 8), and the characters that follow, (N,)."""
    rows, targets = Contexts(charloom.load_data().encoded(part), CONTEXT).all_rows()
    return torch.from_numpy(rows.astype(np.int64)), torch.from_numpy(targets.astype(np.int64))


def mlp(
    activation: Net,
    gain: float,
    *,
    depth: int = 5,
    norm: bool = False,
    bias: float = 0.0,
    drop: float = 0.0,
) -> nn.Sequential:
    """Hidden layers whose weights have a standard deviation of ``gain`` / √fan-in, and an output layer near zero."""
    layers = []
    for place in range(depth):
        linear = nn.Linear(CONTEXT * EMBEDDING if place == 0 else WIDTH, WIDTH)
        nn.init.normal_(linear.weight, std=gain / math.sqrt(linear.in_features))
        nn.init.constant_(linear.bias, bias)
        parts: OrderedDict[str, nn.Module] = OrderedDict(linear=linear)
        if norm:
            parts["norm"] = nn.BatchNorm1d(WIDTH)
        parts["activation"] = activation()
        if drop:
            parts["drop"] = nn.Dropout(drop)
        layers.append(nn.Sequential(parts))
    output = nn.Linear(WIDTH, CLASSES)
    nn.init.normal_(output.weight, std=0.1 / math.sqrt(WIDTH))
    embedding, hidden = nn.Embedding(CLASSES, EMBEDDING), nn.Sequential(*layers)
    return nn.Sequential(OrderedDict(embedding=embedding, flatten=nn.Flatten(), hidden=hidden, output=output))


class Recurrent(nn.Module):
    """An LSTM over the context, whose last output predicts."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(CLASSES, EMBEDDING)
        self.lstm = nn.LSTM(EMBEDDING, 64, batch_first=True)
        self.output = nn.Linear(64, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.output(self.lstm(self.embedding(x))[0][:, -1])


class Attention(nn.Module):
    """Attention over the whole context, with a softmax that is a module and so can be watched."""

    def __init__(self, width: int, heads: int, scale: float) -> None:
        """``scale`` multiplies the weights of queries and keys."""
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.softmax = nn.Softmax(-1)
        with torch.no_grad():
            self.query.weight *= scale
            self.key.weight *= scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        normed = self.norm(x)
        query, key, value = (
            project(normed).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project in (self.query, self.key, self.value)
        )
        weights = self.softmax(query @ key.mT / math.sqrt(query.shape[-1]))
        return x + self.out((weights @ value).transpose(1, 2).flatten(2))


class Transformer(nn.Module):
    """Three blocks of attention and a small MLP; the last place predicts."""

    def __init__(self, scale: float = 1.0, width: int = 32, heads: int = 4) -> None:
        super().__init__()
        self.embedding = nn.Embedding(CLASSES, width)
        self.position = nn.Parameter(0.02 * torch.randn(CONTEXT, width))
        self.attention = nn.ModuleList(Attention(width, heads, scale) for _ in range(3))
        self.feed = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
            for _ in range(3)
        )
        self.output = nn.Linear(width, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embedding(x) + self.position
        for attention, feed in zip(self.attention, self.feed, strict=True):
            x = attention(x)
            x = x + feed(x)
        return self.output(x[:, -1])


def sgd(model: nn.Module, lr: float = 0.1, momentum: float = 0.0) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum)


def adam(model: nn.Module, lr: float = 1e-3, decay: float = 0.0) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=decay)


def train(
    net: Net,
    optimizer: Updater = sgd,
    *,
    steps: int = STEPS,
    batch: int = BATCH,
    clip: float | None = None,
    rate: Callable[[int], float] = lambda step: 1.0,
    random_targets: bool = False,
    evaluate_every: int | None = None,
    back_to_training: bool = True,
    preset: Preset = PRESET,
) -> Record:
    """Train a net and say what was seen. ``rate``: step → factor of the learning rate; ``clip``: a gradient norm."""
    torch.manual_seed(0)
    model = net()
    updater = optimizer(model)
    schedule = torch.optim.lr_scheduler.LambdaLR(updater, rate)
    inputs, targets = contexts("train")
    generator = torch.Generator().manual_seed(1)
    if random_targets:
        targets = targets[torch.randperm(len(targets), generator=generator)]
    with telltales.watch(model, updater, preset=preset) as w:
        for step in range(steps):
            rows = torch.randint(len(inputs), (batch,), generator=generator)
            loss = nn.functional.cross_entropy(model(inputs[rows]), targets[rows])
            updater.zero_grad()
            loss.backward()
            if clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            updater.step()
            schedule.step()
            w.step(loss, inputs[rows], targets[rows])
            if evaluate_every and (step + 1) % evaluate_every == 0:
                w.evaluation(dev_loss(model))
                model.train(back_to_training)
    return w.record


@torch.no_grad()
def dev_loss(model: nn.Module) -> float:
    """On a part of the held-out names, in evaluation mode, in which it leaves the model."""
    inputs, targets = contexts("dev")
    model.eval()
    return float(nn.functional.cross_entropy(model(inputs[:4000]), targets[:4000]))
