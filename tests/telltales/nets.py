"""Small networks of many kinds, and a loop to train them, for the tests of watching."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

import telltales

CLASSES = 7


def deep_mlp(norm: bool = True, width: int = 20) -> nn.Sequential:
    """Embedding of three characters, five hidden layers of tanh with batch norm, and the output layer."""
    layers: list[nn.Module] = [nn.Embedding(CLASSES, 4), nn.Flatten()]
    inputs = 12
    for _ in range(5):
        layers += [nn.Linear(inputs, width), *([nn.BatchNorm1d(width)] if norm else []), nn.Tanh()]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, CLASSES))


class Recurrent(nn.Module):
    """Whole sequences through an LSTM, which gives a tuple, to the last output's class."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(CLASSES, 6)
        self.lstm = nn.LSTM(6, 8, batch_first=True)
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out, _ = self.lstm(self.embedding(x))
        return self.head(self.drop(out[:, -1]))


class Transformer(nn.Module):
    """An encoder with dropout, multi-head attention inside, and a dict as its output."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(CLASSES, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"logits": self.head(self.encoder(self.embedding(x)).mean(1))}


class Convolutional(nn.Module):
    """Convolution, batch norm and ReLU in place."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 5, 3)
        self.norm = nn.BatchNorm2d(5)
        self.act = nn.ReLU(inplace=True)
        self.head = nn.Linear(5, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.act(self.norm(self.conv(x))).mean((2, 3)))


def batches(number: int, size: int = 16, seed: int = 1) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Contexts of three classes, and targets that depend on them."""
    generator = torch.Generator().manual_seed(seed)
    contexts = torch.randint(CLASSES, (number, size, 3), generator=generator)
    return [(x, x.sum(1) % CLASSES) for x in contexts]


def loss_of(output: Any, targets: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(output["logits"] if isinstance(output, dict) else output, targets)


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def adam(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=0.01)


def train(
    make: Callable[[], nn.Module],
    steps: int = 12,
    optimizer: Callable[[nn.Module], torch.optim.Optimizer] = adam,
    watched: bool = True,
    clip: float | None = None,
    **options: Any,
) -> tuple[nn.Module, telltales.Record | None]:
    """The plainest loop; every step is observed unless options say otherwise."""
    torch.manual_seed(0)
    model = make()
    updater = optimizer(model)
    options.setdefault("schedule", lambda step: True)
    watch = telltales.watch(model, updater, **options) if watched else None
    for x, y in batches(steps):
        loss = loss_of(model(x), y)
        updater.zero_grad()
        loss.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        updater.step()
        if watch is not None:
            watch.step(loss, x, y)
    if watch is not None:
        watch.close()
        return model, watch.record
    return model, None


def state_hash(model: nn.Module) -> str:
    """Of weights, buffers, gradients, modes and the random state."""
    found = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        found.update(name.encode() + tensor.numpy().tobytes())
    for parameter in model.parameters():
        found.update(b"none" if parameter.grad is None else parameter.grad.numpy().tobytes())
    found.update(bytes(module.training for module in model.modules()))
    found.update(torch.get_rng_state().numpy().tobytes())
    return found.hexdigest()


def hooks(model: nn.Module) -> int:
    """How many hooks of any kind the model and its parameters hold."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    of_modules = sum(len(getattr(module, kind)) for module in model.modules() for kind in kinds)
    of_tensors = sum(
        len(held or ())
        for parameter in model.parameters()
        for held in (parameter._backward_hooks, parameter._post_accumulate_grad_hooks)
    )
    return of_modules + of_tensors
