"""Healthy trainings of common kinds that no threshold was set on, each small: what they have in common."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

import telltales
from telltales.finding import Finding
from telltales.verdicts.grouping import grouped

Batch = tuple[Any, Any]
HEALTHY: dict[str, Callable[[], list[Finding]]] = {}
"""Name → trains, and gives what was found."""


def healthy(run: Callable[[], list[Finding]]) -> Callable[[], list[Finding]]:
    HEALTHY[run.__name__] = run
    return run


def drawn(step: int, stream: int = 0) -> torch.Generator:
    """A generator of its own for each step and each use."""
    return torch.Generator().manual_seed(step * 7 + stream)


INTO_CLASSES = torch.randn(20, 3, generator=drawn(0))
INTO_NUMBER = torch.randn(20, 1, generator=drawn(1))


def rows(step: int, size: int = 32, width: int = 20) -> torch.Tensor:
    return torch.randn(size, width, generator=drawn(step))


def classes(step: int, size: int = 32) -> Batch:
    """Measurements (size, 20) and which of three classes they are."""
    x = rows(step, size)
    return x, (x @ INTO_CLASSES).argmax(1)


def numbers(step: int, size: int = 32) -> Batch:
    """Measurements (size, 20) and a noisy number between -1 and 1, (size, 1)."""
    x = rows(step, size)
    return x, torch.tanh(x @ INTO_NUMBER) + 0.1 * torch.randn(size, 1, generator=drawn(step, 1))


def chain(*widths: int, activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [nn.Linear(before, after), activation()]
    return nn.Sequential(*layers[:-1])


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Callable[[int], Batch],
    loss_fn: Callable[[Any, Any], torch.Tensor],
    steps: int = 300,
    *,
    schedule: Any = None,
    clip: float | None = None,
    check: bool = True,
    after: Callable[[int], None] = lambda step: None,
    has_targets: bool = True,
    evaluates: bool = True,
) -> list[Finding]:
    """Preflight, then a watched training on fresh batches, each fiftieth step evaluated on one more."""
    found = list(telltales.preflight(model, batch(0), loss_fn, optimizer)) if check else []
    with telltales.watch(model, optimizer) as watch:
        for step in range(steps):
            model.train()
            x, y = batch(step)
            loss = loss_fn(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            if clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
            if schedule is not None:
                schedule.step()
            after(step)
            watch.step(loss, x, y if has_targets else None)
            if evaluates and (step + 1) % 50 == 0:
                model.eval()
                x, y = batch(100_000 + step)
                with torch.no_grad():
                    watch.evaluation(loss_fn(model(x), y))
    return grouped((*found, *watch.findings()))
