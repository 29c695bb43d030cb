"""Healthy but odd: other ways to train the same programs, none of which is a fault."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from faultbench.faults.fault import groups
from faultbench.listening import Training
from faultbench.programs.data import sampler
from faultbench.programs.program import cross_entropy, warm_up_and_cosine


@dataclass(frozen=True)
class Variant:
    name: str
    applies: Callable[[Training], bool]
    change: Callable[[Training], None]


def _rate(factor: float) -> Callable[[Training], None]:
    def change(training: Training) -> None:
        for group in groups(training):
            group["lr"] *= factor
        if training.scheduler is not None:
            training.scheduler.base_lrs = [rate * factor for rate in training.scheduler.base_lrs]

    return change


def _accumulated(training: Training) -> None:
    training.accumulate *= 2


def _clipped(training: Training) -> None:
    training.clip = 1.0


def _cosine(training: Training) -> None:
    training.scheduler = warm_up_and_cosine(training.optimizer, 20, training.steps)


def _cyclic(training: Training) -> None:
    training.scheduler = torch.optim.lr_scheduler.LambdaLR(
        training.optimizer, lambda step: 0.2 + 0.8 * abs(step % 50 - 25) / 25
    )


def _twice_the_batch(training: Training) -> None:
    x, y, _, _ = training.facts["arrays"]
    training.batch = sampler(x, y, 2 * training.facts["size"], training.facts["seed"])


def _smoothed(training: Training) -> None:
    training.loss_fn = lambda output, y: torch.nn.functional.cross_entropy(
        output.flatten(0, -2), y.flatten(), label_smoothing=0.1
    )


def _frozen_first(training: Training) -> None:
    """Transfer learning as it is usually begun: the first layer stays."""
    for parameter in next(m for m in training.model.modules() if list(m.parameters(recurse=False))).parameters():
        parameter.requires_grad_(False)


def _decayed(training: Training) -> None:
    """As strong as recipes have it for decay that goes through the gradient; 0.01 makes several programs much worse."""
    for group in groups(training):
        group["weight_decay"] = 1e-4


def _has_one_loss(training: Training) -> bool:
    return training.loss_fn is not None


def _can_freeze(training: Training) -> bool:
    """Not where the first layer is the last, too, or frozen already."""
    is_tied = hasattr(training.model, "embedding") and hasattr(training.model, "blocks")
    return _has_one_loss(training) and not is_tied and "peft" not in type(training.model).__module__


VARIANTS = (
    Variant("plain", lambda t: True, lambda t: None),
    Variant("half the rate", lambda t: True, _rate(0.5)),
    Variant("one and a half times the rate", lambda t: True, _rate(1.5)),
    Variant("accumulated", _has_one_loss, _accumulated),
    Variant("clipped", _has_one_loss, _clipped),
    Variant("warm-up and cosine", lambda t: _has_one_loss(t) and t.scheduler is None, _cosine),
    Variant("cyclic rate", lambda t: _has_one_loss(t) and t.scheduler is None, _cyclic),
    Variant("twice the batch", _has_one_loss, _twice_the_batch),
    Variant("label smoothing", lambda t: t.loss_fn is cross_entropy, _smoothed),
    Variant("first layer frozen", _can_freeze, _frozen_first),
    Variant("weight decay", lambda t: "AdamW" not in type(t.optimizer).__name__, _decayed),
)
