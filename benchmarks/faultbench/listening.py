"""What a training of the bench is, and what a tool is that watches one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import nn

Batch = tuple[Any, Any]
LossFn = Callable[[Any, Any], torch.Tensor]


@dataclass
class Training:
    """One training, ready to begin. A fault changes it before it does."""

    models: dict[str, nn.Module]
    """One under the name ``model``, or several by name."""
    optimizers: dict[str, torch.optim.Optimizer]
    batch: Callable[[int], Batch]
    """Step → (inputs, targets)."""
    loss_fn: LossFn | None
    """(output, targets) → loss; None where a step is more than one forward pass and one loss, as in a GAN."""
    dev: list[Batch]
    """Held-out batches."""
    steps: int
    evaluate_every: int
    train_sample: list[Batch] = field(default_factory=list)
    """Training batches to evaluate on, too, where that is usual."""
    update: Callable[[Training, int, Listening], tuple[torch.Tensor, Any, Any]] | None = None
    """Takes one step in place of the plain one; gives loss, inputs and targets."""
    quality: Callable[[Training], float] | None = None
    """What the result is judged by, lower is better; left out, the mean loss on `dev`."""
    scheduler: Any = None
    clip: float | None = None
    accumulate: int = 1
    zero_grad: bool = True
    trains_in_eval_mode: bool = False
    evaluates_in_train_mode: bool = False
    is_sequence: bool = False
    """Whether the output at a position must not depend on later positions."""
    before_step: list[Callable[[Training, int], None]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    """What faults need to know of the program."""

    @property
    def model(self) -> nn.Module:
        """The only one, or the first."""
        return next(iter(self.models.values()))

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The only one, or the first."""
        return next(iter(self.optimizers.values()))


@dataclass(frozen=True)
class Named:
    """Something that a tool said."""

    rule: str
    """The id of the fault that it names; empty for an alarm that names none."""
    step: int
    """When it was said: -1 before training."""
    said: str


class Listening(Protocol):
    """A tool in a training. Whatever it does, it leaves model, optimizer and random state as they were."""

    name: str

    def begin(self, training: Training) -> None:
        """Before the first step; `training.batch(0)` may be looked at."""

    def after_backward(self, training: Training, step: int, loss: torch.Tensor) -> None:
        """Between the backward pass and the update."""

    def after_step(self, training: Training, step: int, loss: torch.Tensor, inputs: Any, targets: Any) -> None:
        """After the update."""

    def evaluated(self, step: int, losses: Mapping[str, float]) -> None:
        """After an evaluation, when ``step`` steps are done."""

    def end(self) -> None:
        """After the last step, or after an exception that ended the training."""

    def named(self) -> list[Named]:
        """All that it said, the most important first."""
