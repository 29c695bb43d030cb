"""The training of the neural models. It tells observers what happens and imports none of them.

A `Training` can be stopped after any step, written down as arrays and JSON, and restored to go on bit-exactly: the
batch order is a function of the step, and weights, optimizer and random state are part of what is written.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch

from charloom.batching import plan_batches
from charloom.checkpoint import Arrays
from charloom.config import TrainingConfig
from charloom.contexts import LARGEST_DISTINCT, Contexts, DistinctContexts
from charloom.devices import Surroundings, choose_device, products_in
from charloom.engine import why_not_compiled
from charloom.errors import CheckpointError, ConfigError
from charloom.evaluation import mean_loss, mean_nats
from charloom.graphs import StepGraph, by_graph
from charloom.models.neural import NeuralModel
from charloom.observer import Measurement, Observer, Outcome
from charloom.optimization import build_optimizer, learning_rate_at, optimizer_arrays, stored_memory
from charloom.recalibration import Recalibration, has_batch_norm
from charloom.stepping import Advance, Course, by_chunks, by_steps
from charloom.vocabulary import Encoded
from charloom.weights import check_arrays, load_arrays, model_arrays

if TYPE_CHECKING:
    from jaxtyping import Int


class Training:
    """A model, its data and how far training has come."""

    def __init__(
        self,
        model: NeuralModel,
        train: Encoded,
        dev: Encoded,
        config: TrainingConfig,
        schedule: Callable[[int], float] | None = None,
    ) -> None:
        """``schedule`` gives the learning rate after so many finished steps; left out, ``config`` says it.

        Raises `ConfigError` for batch norm with batches of one row, for distinct contexts where a row is not judged
        by itself, for a device that is not there, and for tf32 on a CPU.
        """
        if config.batch_size == 1 and has_batch_norm(model):
            raise ConfigError("batch norm needs more than one row per batch", remedy="Use --batch-size 2 or more.")
        self.device = choose_device(config.device)
        if config.precision == "tf32" and self.device.type != "cuda":
            raise ConfigError(
                f"tf32 is how a GPU multiplies, and this training is on {self.device}",
                remedy="Leave --precision out, or use bf16.",
            )
        self.model = model.to(self.device)
        self.contexts = Contexts(train, model.context_length)
        self.config, self._source = plan_batches(model, self.contexts, config)
        self.dev = dev
        dev_contexts = Contexts(dev, model.context_length)
        self._distinct_dev = (
            DistinctContexts(dev_contexts, model.vocabulary_size) if len(dev_contexts) <= LARGEST_DISTINCT else None
        )
        recalibrated = config.recalibrate and has_batch_norm(model)
        self._recalibration = Recalibration(self.contexts, model.vocabulary_size) if recalibrated else None
        self.optimizer = build_optimizer(self.model, self.config)
        learning_rate = schedule or partial(learning_rate_at, config=self.config)
        self._course = Course(self.model, self.optimizer, self.config, self._source, learning_rate, self.device)
        self._surroundings = Surroundings(self.device, self.config.threads, self.config.seed)
        self.seconds = 0.0
        self.best_loss = math.inf
        self.best_step = 0
        self.evaluations_since_best = 0
        self._best_arrays = self.model_arrays()
        self.engine: Literal["torch", "compiled", "graph"] = "torch"
        """What trains, known once the training runs."""
        self.engine_reason = "nothing trains yet"
        """Why that."""

    @property
    def step(self) -> int:
        """Finished steps."""
        return self._course.step

    @property
    def steps(self) -> int:
        """How many there are to be."""
        return self._course.steps

    def first_batch(self) -> tuple[Int[torch.Tensor, "batch context"], Int[torch.Tensor, " batch"]]:
        """Contexts and targets of the first step; of several targets of a context, the commonest."""
        batches = self._source.batches(0, 1)
        rows = batches.rows[0]
        first, last = batches.starts[rows], batches.starts[rows + 1]
        commonest = [a + batches.shares[a:b].argmax() for a, b in zip(first, last, strict=True)]
        contexts, targets = batches.contexts[rows], batches.targets[commonest]
        return torch.from_numpy(contexts).to(self.device), torch.from_numpy(targets).to(self.device)

    def request_stop(self) -> None:
        """Let the loop end after the step it is in; safe to call from a signal handler or an observer."""
        self._course.stop_requested = True

    def run(self, observers: Sequence[Observer] = ()) -> Outcome:
        """Train until the last step, until dev stops improving for `patience` evaluations, or until asked to stop.

        Raises `TrainingError` before an update with a loss that is not finite (on a GPU: at the next evaluation).
        """
        self._course.stop_requested = False
        self.choose_engine(observers)
        outcome: Outcome = "failed"
        try:
            with self._surroundings.entered(), products_in(self.config.precision, self.device), self._graph() as graph:
                for observer in observers:
                    observer.started(self)
                outcome = self._loop(observers, graph)
                if self.step % self.config.checkpoint_every:
                    self._checkpoint(observers)
        finally:
            for observer in observers:
                observer.ended(self, outcome)
        return outcome

    def choose_engine(self, observers: Sequence[Observer]) -> None:
        """Say in `engine` and `engine_reason` what trains under the eyes of ``observers``, and why; `run` does it."""
        self.engine, self.engine_reason = "torch", "it was asked for"
        if self.config.engine == "torch":
            return
        every = any(type(o).free_steps is Observer.free_steps for o in _looking(observers))
        kept_from = "every step is looked at" if every else None
        if self.device.type == "cpu":
            precision = self.config.precision
            in_float32 = None if precision == "float32" else f"the compiled one does not train in {precision}"
            kept_from = why_not_compiled(self.model, self.device) or in_float32 or kept_from
        self.engine_reason = kept_from or "fastest"
        if kept_from is None:
            self.engine = "compiled" if self.device.type == "cpu" else "graph"

    def load_best(self) -> None:
        """Give the model its `best_arrays`, ready for use."""
        load_arrays(self.model, self.best_arrays)
        self.model.eval()

    def model_arrays(self) -> Arrays:
        """A copy of the model's parameters and buffers."""
        return model_arrays(self.model)

    @property
    def best_arrays(self) -> Arrays:
        """Parameters and buffers at the lowest dev loss; before any evaluation, the present ones."""
        return self._best_arrays if math.isfinite(self.best_loss) else self.model_arrays()

    def state(self) -> tuple[Arrays, dict[str, Any]]:
        """All that `restore` needs to go on bit-exactly."""
        parts = {
            "model": self.model_arrays(),
            "best": self._best_arrays,
            "optimizer": optimizer_arrays(self.optimizer, self.model),
            "random": self._surroundings.arrays(),
        }
        arrays = {f"{part}/{name}": array for part, named in parts.items() for name, array in named.items()}
        progress = {
            "step": self.step,
            "seconds": self.seconds,
            "best_loss": self.best_loss if math.isfinite(self.best_loss) else None,
            "best_step": self.best_step,
            "evaluations_since_best": self.evaluations_since_best,
            "loss_sum": float(self._course.loss_sum),
            "steps_summed": self._course.steps_summed,
        }
        return arrays, progress

    def restore(self, arrays: Arrays, progress: Any) -> None:
        """Go back to a written state. Raises `CheckpointError` when it does not fit this model, and changes nothing."""
        parts: dict[str, Arrays] = {"model": {}, "best": {}, "optimizer": {}, "random": {}}
        for key, array in arrays.items():
            part, _, name = key.partition("/")
            if part not in parts:
                raise CheckpointError(f"the training state holds an unknown part {part!r}")
            parts[part][name] = array
        _check_progress(progress, self.steps)
        check_arrays(self.model, parts["model"])
        check_arrays(self.model, parts["best"])
        memory = stored_memory(self.optimizer, self.model, parts["optimizer"])
        try:
            self._surroundings.restore(parts["random"])
        except (KeyError, TypeError, RuntimeError) as error:
            raise CheckpointError(f"the training state lacks or garbles random numbers: {error}") from None
        load_arrays(self.model, parts["model"])
        self._best_arrays = parts["best"]
        self.optimizer.state.clear()
        self.optimizer.state.update(memory)
        course = self._course
        course.step = progress["step"]
        course.loss_sum.fill_(progress["loss_sum"])
        course.steps_summed = progress["steps_summed"]
        self.seconds = progress["seconds"]
        self.best_loss = math.inf if progress["best_loss"] is None else progress["best_loss"]
        self.best_step = progress["best_step"]
        self.evaluations_since_best = progress["evaluations_since_best"]

    @contextmanager
    def _graph(self) -> Iterator[StepGraph | None]:
        """The step as a CUDA graph, if that is what trains. Where none can be made PyTorch trains step by step."""
        self.model.train()
        graph = None
        if self.engine == "graph":
            started = time.perf_counter()
            try:
                graph = StepGraph(self._course)
            except RuntimeError as error:
                self.engine, self.engine_reason = "torch", f"no CUDA graph can be made ({error})"
            self.seconds += time.perf_counter() - started
        try:
            yield graph
        finally:
            if graph is not None:
                graph.release()

    def _loop(self, observers: Sequence[Observer], graph: StepGraph | None) -> Outcome:
        config, course = self.config, self._course
        if self._out_of_patience():  # It ended with the checkpoint that it goes on from.
            return "stopped early"
        started, seconds_before = time.perf_counter(), self.seconds
        on_step = _looking(observers)
        on_advance = [o for o in observers if type(o).advanced is not Observer.advanced]
        with closing(self._advances(observers, graph)) as advances:
            for learning_rate, loss, step, losses in advances:
                self.seconds = seconds_before + time.perf_counter() - started
                for observer in on_step:
                    if step is not None:
                        observer.stepped(self, step)
                    else:
                        observer.passed(self, losses)
                for observer in on_advance:
                    observer.advanced(self, loss)
                if self.step % course.evaluate_every == 0 or self.step == self.steps:
                    self._evaluate(observers, learning_rate)
                if self.step % config.checkpoint_every == 0:
                    self._checkpoint(observers)
                if self._out_of_patience():
                    return "stopped early"
        return "finished" if self.step == self.steps else "interrupted"

    def _out_of_patience(self) -> bool:
        return self.config.patience is not None and self.evaluations_since_best >= self.config.patience

    def _advances(self, observers: Sequence[Observer], graph: StepGraph | None) -> Generator[Advance, None, None]:
        """The steps still to come, by what `choose_engine` has chosen."""
        looking = _looking(observers)

        def say_compiling() -> None:
            for observer in observers:
                observer.compiling(self)

        def free_steps(most: int) -> int:
            return min((observer.free_steps(most) for observer in looking), default=most)

        if graph is not None:
            return by_graph(self._course, graph, free_steps, losses_wanted=bool(looking))
        if self.engine == "compiled":
            return by_chunks(self._course, say_compiling, free_steps)
        return by_steps(self._course, looked_at=bool(looking))

    def _evaluate(self, observers: Sequence[Observer], learning_rate: float) -> None:
        train_loss = self._course.mean_loss()
        with products_in("float32", self.device):
            if self._recalibration is not None:
                self._recalibration.apply(self.model)
            distinct = self._distinct_dev
            dev_loss = mean_loss(self.model, self.dev).nats if distinct is None else mean_nats(self.model, distinct)
        best = dev_loss < self.best_loss
        if best:
            self.best_loss, self.best_step, self.evaluations_since_best = dev_loss, self.step, 0
            self._best_arrays = self.model_arrays()
        else:
            self.evaluations_since_best += 1
        measurement = Measurement(self.step, train_loss, dev_loss, learning_rate, self.seconds, best)
        for observer in observers:
            observer.evaluated(self, measurement)

    def _checkpoint(self, observers: Sequence[Observer]) -> None:
        for observer in observers:
            observer.checkpoint_due(self)


def _looking(observers: Sequence[Observer]) -> list[Observer]:
    """Those that look at steps one by one."""
    return [observer for observer in observers if type(observer).stepped is not Observer.stepped]


def _check_progress(progress: Any, steps: int) -> None:
    """Raise `CheckpointError` unless ``progress`` is what `Training.state` gives at one of ``steps`` steps."""
    whole = ("step", "best_step", "evaluations_since_best", "steps_summed")
    measured = ("seconds", "best_loss", "loss_sum")
    if not isinstance(progress, dict) or set(progress) != {*whole, *measured}:
        raise CheckpointError(f"the training state has not the entries {', '.join((*whole, *measured))}")
    for name, value in progress.items():
        is_finite = type(value) is float and math.isfinite(value)
        fits = (type(value) is int and 0 <= value <= steps) if name in whole else is_finite
        if not fits and not (name == "best_loss" and value is None):
            raise CheckpointError(f"the training state has {name} {value!r} of {steps} steps")
    if progress["best_step"] > progress["step"] or progress["seconds"] < 0:
        raise CheckpointError(f"the training state contradicts itself at step {progress['step']}")
