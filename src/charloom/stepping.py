"""The steps of a training, by either engine: PyTorch one at a time, or the compiled loop many at once."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from charloom.config import TrainingConfig
from charloom.contexts import BatchSource
from charloom.engine import CompiledEngine
from charloom.errors import TrainingError
from charloom.loss import cross_entropy, soft_cross_entropy
from charloom.models.mlp import MLP
from charloom.models.neural import NeuralModel
from charloom.observer import Step

if TYPE_CHECKING:
    from jaxtyping import Float, Int

STEPS_AT_ONCE = 256
CHUNK_SECONDS = 0.1
"""How long a stretch of compiled steps may take: nothing is seen or stopped before it ends."""
COMPILING_SECONDS = 1.0
"""After how long it is said that the compiled loop is still being compiled."""


@dataclass
class Course:
    """What the engines work on, and how far they have come."""

    model: NeuralModel
    optimizer: torch.optim.Optimizer
    config: TrainingConfig
    """With everything filled in."""
    source: BatchSource
    learning_rate: Callable[[int], float]
    """The rate of the update that follows so many finished steps."""
    device: torch.device
    step: int = 0
    """Finished steps."""
    steps_summed: int = 0
    """Steps since the last evaluation."""
    stop_requested: bool = False
    loss_sum: Float[torch.Tensor, ""] = field(init=False)
    """Of their losses, in nats per character; float64."""

    def __post_init__(self) -> None:
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=self.device)

    @property
    def steps(self) -> int:
        """How many there are to be."""
        assert self.config.steps is not None
        return self.config.steps

    @property
    def evaluate_every(self) -> int:
        """Steps between evaluations."""
        assert self.config.evaluate_every is not None
        return self.config.evaluate_every

    def steps_until_an_event(self) -> int:
        """How many there are up to the next evaluation or checkpoint, or to the end."""
        events = (self.evaluate_every, self.config.checkpoint_every)
        return min(self.steps - self.step, *(every - self.step % every for every in events))

    def mean_loss(self) -> float:
        """The mean loss since the last call, in nats per character. Raises `TrainingError` if it is not finite."""
        mean = float(self.loss_sum) / self.steps_summed
        if not math.isfinite(mean):
            self.not_finite(mean)
        self.loss_sum.zero_()
        self.steps_summed = 0
        return mean

    def not_finite(self, loss: float) -> None:
        """Raise `TrainingError` for this loss of the step that is being made."""
        raise TrainingError(
            f"the loss is {loss}",
            where=f"step {self.step + 1}",
            remedy="Lower --learning-rate, add --warmup, or limit the gradient with --clip 1.",
        )


class Advance(NamedTuple):
    """What is known after one step, or after several; of several, the last one's."""

    learning_rate: float
    loss: Float[torch.Tensor, ""] | float
    step: Step | None
    """None where nobody can look at a step by itself."""


def by_steps(course: Course) -> Iterator[Advance]:
    """PyTorch's own loop, step by step."""
    for rows, contexts, targets, weights in _batches(course):
        if course.stop_requested:
            return
        learning_rate = course.learning_rate(course.step)
        loss = _update(course, contexts, targets, weights, learning_rate)
        course.step += 1
        hard = None if weights is not None else targets
        yield Advance(learning_rate, loss, Step(course.step, loss, contexts, hard, rows, learning_rate))


def by_chunks(course: Course, compiling: Callable[[], None]) -> Iterator[Advance]:
    """The compiled loop: some steps at a time, at most up to the next evaluation or checkpoint.

    ``compiling`` is called, from another thread, when the first step is kept waiting by the compiler.
    """
    assert isinstance(course.model, MLP)
    engine = CompiledEngine(course.model, course.optimizer, course.config, course.step)
    slow = threading.Timer(COMPILING_SECONDS, compiling)
    slow.daemon = True
    slow.start()
    try:
        engine.train(course.source.batches(course.step, 1), np.empty(0))
    finally:
        slow.cancel()
    chunk = 1
    while course.step < course.steps and not course.stop_requested:
        steps = min(chunk, course.steps_until_an_event())
        rates = np.array([course.learning_rate(course.step + number) for number in range(steps)])
        began = time.perf_counter()
        losses = engine.train(course.source.batches(course.step, steps), rates)
        fitting = int(steps * CHUNK_SECONDS / max(time.perf_counter() - began, 1e-6))
        chunk = max(1, min(fitting, STEPS_AT_ONCE))
        for loss in losses[:steps]:
            if not math.isfinite(loss):
                course.not_finite(float(loss))
            course.loss_sum += float(loss)
            course.step += 1
            course.steps_summed += 1
        yield Advance(float(rates[-1]), float(losses[-1]), None)


def _batches(course: Course) -> Iterator[tuple[np.ndarray[Any, Any], torch.Tensor, torch.Tensor, torch.Tensor | None]]:
    """The batches still to come, made and moved to the device many at a time: rows, contexts, targets, weights.

    For batches of rows, targets are ids (batch,) and there are no weights; for distinct contexts they are shares
    (batch, vocab).
    """
    device = course.device
    while course.step < course.steps:
        batches = course.source.batches(course.step, min(STEPS_AT_ONCE, course.steps - course.step))
        contexts = torch.from_numpy(batches.contexts).to(device)
        if course.config.batches == "rows":
            shape = batches.rows.shape
            targets = torch.from_numpy(batches.targets).to(device)
            for row in zip(batches.numbers, contexts.view(*shape, -1), targets.view(shape), strict=True):
                yield *row, None
            continue
        table = torch.from_numpy(batches.dense(course.model.vocabulary_size)).to(device)
        every = (torch.from_numpy(part).to(device) for part in (batches.rows, batches.weights))
        for numbers, (rows, weights) in zip(batches.rows, zip(*every, strict=True), strict=True):
            yield numbers, contexts[rows], table[rows], weights


def _update(
    course: Course,
    contexts: Int[torch.Tensor, "batch context"],
    targets: torch.Tensor,
    weights: Float[torch.Tensor, " batch"] | None,
    learning_rate: float,
) -> Float[torch.Tensor, ""]:
    logits = course.model(contexts)
    loss = cross_entropy(logits, targets) if weights is None else soft_cross_entropy(logits, targets, weights)
    if course.device.type == "cpu" and not math.isfinite(loss.item()):
        course.not_finite(loss.item())
    course.optimizer.zero_grad()
    torch.autograd.backward(loss)
    if course.config.clip is not None:
        torch.nn.utils.clip_grad_norm_(course.model.parameters(), course.config.clip)
    for group in course.optimizer.param_groups:
        group["lr"] = learning_rate
    course.optimizer.step()
    course.loss_sum += loss.detach()
    course.steps_summed += 1
    return loss
