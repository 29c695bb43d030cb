"""What a training tells those who watch it. Whoever wants to see one happen overrides a method of `Observer`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    import torch
    from jaxtyping import Float, Int

    from charloom.training import Training

Outcome = Literal["finished", "stopped early", "interrupted", "failed"]


@dataclass(frozen=True)
class Step:
    """One optimizer step, as observers see it right after the update."""

    number: int
    loss: Float[torch.Tensor, ""]
    contexts: Int[torch.Tensor, "batch context"]
    targets: Int[torch.Tensor, " batch"] | None
    """None for batches of distinct contexts, each of which has several."""
    rows: Int[np.ndarray, " batch"]
    learning_rate: float


@dataclass(frozen=True)
class Measurement:
    """What is known at an evaluation; losses in nats per character."""

    step: int
    train_loss: float
    """Mean over the batches since the evaluation before, measured while the weights moved."""
    dev_loss: float
    learning_rate: float
    seconds: float
    best: bool
    """Whether this is the lowest dev loss so far."""


class Observer:
    """Sees a training happen. Every method does nothing unless it is overridden."""

    def started(self, training: Training) -> None:
        """Before the first step, or the first one after a resume."""

    def stepped(self, training: Training, step: Step) -> None:
        """After each optimizer step, or each that is not free.

        A training that is seen this closely is run by PyTorch, step by step, unless `free_steps` is overridden as well.
        The compiled loop makes a step that is looked at twice: by PyTorch, with all hooks, and by itself, which counts.
        """

    def free_steps(self, most: int) -> int:
        """How many of the next ``most`` steps, in a row, need no `stepped`."""
        return 0

    def passed(self, training: Training, losses: Float[np.ndarray, " steps"]) -> None:
        """After steps that were free: the loss of each, in nats per character."""

    def compiling(self, training: Training) -> None:
        """When the first step is kept waiting by a compiler, which happens once on a machine. From another thread."""

    def advanced(self, training: Training, loss: Float[torch.Tensor, ""] | float) -> None:
        """After one step or several, as many as the engine does at once; ``loss`` is that of the last one."""

    def evaluated(self, training: Training, measurement: Measurement) -> None:
        """After each evaluation on dev."""

    def checkpoint_due(self, training: Training) -> None:
        """When `Training.state` should be written down: at regular steps, and when the training ends or is stopped."""

    def ended(self, training: Training, outcome: Outcome) -> None:
        """After the last step of this run of the loop, also when it ends with an exception (outcome ``failed``)."""
