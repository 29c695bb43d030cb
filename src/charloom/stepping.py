"""The steps of a training: by PyTorch one at a time, or by the compiled loop many at once."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from charloom.config import TrainingConfig
from charloom.contexts import BatchSource
from charloom.engine import CompiledEngine
from charloom.errors import TrainingError
from charloom.feeding import Batch, Feed
from charloom.loss import cross_entropy, soft_cross_entropy
from charloom.models.mlp import MLP
from charloom.models.neural import NeuralModel
from charloom.observer import Step
from charloom.updating import FusedUpdate, OptimizerStep, Update

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

    @cached_property
    def feed(self) -> Feed:
        """The batches, on the device."""
        return Feed(self.source, self.device, self.model.vocabulary_size)

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

    def loss(self, batch: Batch) -> Float[torch.Tensor, ""]:
        """The mean loss of a batch in nats per character, from which to go backwards."""
        logits = self._logits(batch.contexts)
        if batch.weights is None:
            return cross_entropy(logits, batch.targets)
        return soft_cross_entropy(logits, batch.targets, batch.weights)

    def update(self, update: Update, loss: Float[torch.Tensor, ""], learning_rate: float | torch.Tensor) -> None:
        """Go backwards from the loss, and change the parameters by their clipped gradients."""
        update.clear_gradients()
        torch.autograd.backward(loss)
        if self.config.clip is not None:
            update.clip(self.config.clip)
        update(learning_rate)

    def count(self, loss: Float[torch.Tensor, ""]) -> None:
        """Add the loss of a finished step to `loss_sum`."""
        self.loss_sum += loss.detach()
        self.steps_summed += 1

    def mean_loss(self) -> float:
        """The mean loss since the last call, in nats per character. Raises `TrainingError` if it is not finite."""
        mean = float(self.loss_sum) / self.steps_summed
        if not math.isfinite(mean):
            self.not_finite(mean)
        self.loss_sum.zero_()
        self.steps_summed = 0
        return mean

    def _logits(self, contexts: Int[torch.Tensor, "batch context"]) -> Float[torch.Tensor, "batch vocab"]:
        if self.config.precision != "bf16":
            return self.model(contexts)  # type: ignore[no-any-return]
        # Every weight is used once, so that keeping its copy would gain nothing.
        with torch.autocast(self.device.type, torch.bfloat16, cache_enabled=False):
            return self.model(contexts).float()  # type: ignore[no-any-return]

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
    losses: Float[np.ndarray, " steps"] = np.empty(0)
    """Of every step, where there is no `step`."""


def by_steps(course: Course, looked_at: bool) -> Generator[Advance, None, None]:
    """PyTorch's own loop, step by step. ``looked_at``: each is told, and the optimizer's hooks are called."""
    feed = course.feed
    update: Update = OptimizerStep(course.optimizer) if looked_at else FusedUpdate(course.optimizer)
    try:
        while course.step < course.steps:
            block = feed.block(course.step, min(feed.steps_at_once, course.steps - course.step))
            for rows, *parts in zip(block.numbers, *block.parts, strict=True):
                if course.stop_requested:
                    return
                batch, learning_rate = feed.batch(tuple(parts)), course.learning_rate(course.step)
                loss = _made(course, batch, update, learning_rate)
                course.step += 1
                course.count(loss)
                told = _told(course.step, batch, loss, rows, learning_rate) if looked_at else None
                yield Advance(learning_rate, loss, told)
    finally:
        update.release()


def by_chunks(
    course: Course, compiling: Callable[[], None], free_steps: Callable[[int], int]
) -> Generator[Advance, None, None]:
    """The compiled loop: some steps at a time, at most up to the next evaluation or checkpoint.

    ``compiling`` is called, from another thread, when the first step is kept waiting by the compiler. ``free_steps``
    says how many of the next so many steps nobody looks at; one that is looked at PyTorch shows before it is made.
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
        free = free_steps(steps)
        shown = None
        if not free:
            with engine.unchanged():
                shown = next_step(course)
        steps = max(free, 1)
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
        yield Advance(float(rates[-1]), float(losses[-1]), shown, losses[:steps])


def next_step(course: Course) -> Step:
    """The next step as PyTorch makes it, seen by every hook."""
    block = course.feed.block(course.step, 1)
    batch = course.feed.batch(tuple(part[0] for part in block.parts))
    learning_rate = course.learning_rate(course.step)
    loss = _made(course, batch, OptimizerStep(course.optimizer), learning_rate)
    return _told(course.step + 1, batch, loss, block.numbers[0], learning_rate)


def _made(course: Course, batch: Batch, update: Update, learning_rate: float) -> Float[torch.Tensor, ""]:
    """Make a step, and give its loss. On the CPU a loss that is not finite ends the training before the update."""
    loss = course.loss(batch)
    if course.device.type == "cpu":
        value = loss.item()
        if not math.isfinite(value):
            course.not_finite(value)
    course.update(update, loss, learning_rate)
    return loss


def _told(
    number: int, batch: Batch, loss: Float[torch.Tensor, ""], rows: Int[np.ndarray, " batch"], learning_rate: float
) -> Step:
    hard = batch.targets if batch.weights is None else None
    return Step(number, loss, batch.contexts, hard, rows, learning_rate)
