"""One training step as a CUDA graph, played as often as there are steps.

A step of a small network on a GPU is dozens of kernels of a few microseconds, and starting each from Python takes
longer than it runs. A graph starts them all at once. What changes from step to step lies on the device: the batches and
learning rates of some steps, and a counter that the graph itself moves on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

import numpy as np
import torch

from charloom.feeding import on_device
from charloom.observer import Step
from charloom.stepping import CHUNK_SECONDS, Advance, Course, next_step
from charloom.updating import FusedUpdate

if TYPE_CHECKING:
    from jaxtyping import Float

WARM_UP = 3
"""Steps before the capture, in which PyTorch and its libraries make what they keep; they are undone."""


class StepGraph:
    """A training's next step, captured. What it reads and writes stays where it is until `release`."""

    def __init__(self, course: Course) -> None:
        """Raises `RuntimeError` for what cannot be captured, such as a model that waits for the device."""
        self._course = course
        self._feed = course.feed
        self._update = FusedUpdate(course.optimizer)
        device = course.device
        self._parts = [part.clone() for part in self._feed.block(course.step, self._feed.steps_at_once).parts]
        self._rates = torch.zeros(self._feed.steps_at_once, device=device)
        self._counter = torch.zeros(1, dtype=torch.int64, device=device)
        self._losses = torch.zeros(self._feed.steps_at_once, device=device)
        changed = [*course.model.parameters(), *course.model.buffers(), *self._update.tensors()]
        try:
            self._play = capture(self._step, [*changed, course.loss_sum, self._counter], device)
        except RuntimeError:
            self.release()
            raise

    def run(self, rates: Float[np.ndarray, " steps"]) -> Float[torch.Tensor, " steps"]:
        """Make as many steps as there are rates, without waiting for them; their losses, in nats per character.

        At most as many as the feed makes at once.
        """
        course, steps = self._course, len(rates)
        for buffer, part in zip(self._parts, self._feed.block(course.step, steps).parts, strict=True):
            buffer[:steps].copy_(part)
        self._rates[:steps].copy_(on_device(rates.astype(np.float32), course.device))
        self._counter.zero_()
        for _ in range(steps):
            self._play()
        course.step += steps
        course.steps_summed += steps
        return self._losses[:steps].clone()

    def look(self) -> Step:
        """Make the next step by itself, seen by every hook."""
        self._update.release()
        step = next_step(self._course)
        self._update.gather()
        self._course.step += 1
        self._course.count(step.loss)
        return step

    def release(self) -> None:
        """Leave model and optimizer to others. The graph must not be played any more."""
        self._update.clear_gradients()
        self._update.release()

    def _step(self) -> None:
        course, counter = self._course, self._counter
        batch = self._feed.batch(tuple(part.index_select(0, counter).squeeze(0) for part in self._parts))
        loss = course.loss(batch)
        course.update(self._update, loss, self._rates.index_select(0, counter).squeeze(0))
        course.loss_sum += loss.detach()
        self._losses.index_copy_(0, counter, loss.detach().unsqueeze(0))
        counter.add_(1)


def by_graph(
    course: Course, graph: StepGraph, free_steps: Callable[[int], int], losses_wanted: bool
) -> Generator[Advance, None, None]:
    """The captured step: some at a time, at most up to the next evaluation or checkpoint.

    While the device makes some steps the next ones are prepared, so that it never waits; but no more than that, so that
    a stop comes in time. ``free_steps`` says how many of the next so many steps nobody looks at; one that is looked at
    is made by itself. ``losses_wanted``: the losses of the others are told, too, and for that the device is waited for.
    """
    chunk = 1
    under_way: torch.cuda.Event | None = None
    while course.step < course.steps and not course.stop_requested:
        steps = free_steps(min(chunk, course.steps_until_an_event()))
        if not steps:
            step = graph.look()
            yield Advance(step.learning_rate, step.loss, step)
            continue
        rates = np.array([course.learning_rate(course.step + number) for number in range(steps)])
        began = time.perf_counter()
        losses = graph.run(rates)
        before, under_way = under_way, _mark(course.device)
        if before is not None:
            before.synchronize()
        fitting = int(steps * CHUNK_SECONDS / max(time.perf_counter() - began, 1e-6))
        chunk = max(1, min(fitting, 4 * chunk, course.feed.steps_at_once))
        told = losses.cpu().numpy() if losses_wanted else np.empty(0)
        yield Advance(float(rates[-1]), losses[-1], None, told)


def capture(step: Callable[[], None], changed: list[torch.Tensor], device: torch.device) -> Callable[[], None]:
    """What makes the step again on each call. ``changed``: all that it changes, which is put back, as is chance."""
    kept = [tensor.detach().clone() for tensor in changed]
    random_state = torch.cuda.get_rng_state(device)
    graph, side = torch.cuda.CUDAGraph(), torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def put_back() -> None:
        with torch.no_grad():
            for tensor, before in zip(changed, kept, strict=True):
                tensor.copy_(before)

    try:
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                step()
                put_back()
        torch.cuda.current_stream(device).wait_stream(side)
        with torch.cuda.graph(graph, stream=side):
            step()
    finally:
        torch.cuda.set_rng_state(random_state, device)
        put_back()
    return graph.replay


def _mark(device: torch.device) -> torch.cuda.Event | None:
    """A mark after all that the device has been given to do."""
    if device.type != "cuda":
        return None
    event = torch.cuda.Event()  # type: ignore[no-untyped-call]
    event.record()
    return event
