"""What a program of the bench is, and how most of them are put together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from faultbench.listening import LossFn, Training
from faultbench.programs.data import Arrays, batches, sampler

Half = Literal["tuning", "reporting", "unseen"]


@dataclass(frozen=True)
class Program:
    """A training that goes well. Thresholds are set on one half of the programs, and figures are of the other."""

    name: str
    half: Half
    make: Callable[[int], Training]
    """Seed → the training."""


def supervised(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    arrays: Arrays,
    loss_fn: LossFn,
    *,
    seed: int,
    size: int = 32,
    steps: int = 400,
    **options: Any,
) -> Training:
    """A model that learns targets from inputs, judged by its own loss on held-out data."""
    train_x, train_y, dev_x, dev_y = arrays
    dev = batches(dev_x, dev_y)
    facts = {
        "arrays": arrays,
        "size": size,
        "seed": seed,
        "clean_loss": loss_fn,
        "is_classifier": loss_fn is cross_entropy,
    }
    facts |= options.pop("facts", {})

    def quality(training: Training) -> float:
        model = training.facts.get("judged", training.model)
        model.eval()
        with torch.no_grad():
            return float(np.mean([float(loss_fn(model(x), y)) for x, y in dev]))

    return Training(
        models={"model": model},
        optimizers={"optimizer": optimizer},
        batch=sampler(train_x, train_y, size, seed),
        loss_fn=loss_fn,
        dev=dev,
        train_sample=batches(train_x[:250], train_y[:250]),
        steps=steps,
        evaluate_every=steps // 6,
        quality=quality,
        facts=facts,
        **options,
    )


def cross_entropy(output: Any, targets: torch.Tensor) -> torch.Tensor:
    """Of logits (..., classes) and targets (...)."""
    logits = getattr(output, "logits", output)
    return nn.functional.cross_entropy(logits.flatten(0, -2), targets.flatten())


def mse(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return nn.functional.mse_loss(output.squeeze(-1), targets)


def binary(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return nn.functional.binary_cross_entropy_with_logits(output.squeeze(-1), targets)


def warm_up_and_cosine(optimizer: torch.optim.Optimizer, warm_up: int, steps: int) -> Any:
    """The rate rises linearly for ``warm_up`` steps, and falls along a cosine to zero at the end."""

    def factor(step: int) -> float:
        rising = min(1.0, (step + 1) / warm_up)
        along = max(step - warm_up, 0) / max(steps - warm_up, 1)
        return float(rising * 0.5 * (1 + np.cos(np.pi * min(along, 1.0))))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
