"""The training loop of the neural models. It tells observers what happens and imports none of them.

A `Training` can be stopped after any step, written down as arrays and JSON, and restored to go on bit-exactly: the
batch order is a function of the step, and weights, optimizer and random state are part of what is written.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from charloom.checkpoint import Arrays
from charloom.config import TrainingConfig
from charloom.contexts import BatchSource, Contexts, DistinctBatches, DistinctContexts, RowBatches
from charloom.engine import CompiledEngine, why_not_compiled
from charloom.errors import CheckpointError, ConfigError, TrainingError
from charloom.evaluation import mean_loss, mean_nats
from charloom.loss import cross_entropy, soft_cross_entropy
from charloom.models.mlp import MLP
from charloom.models.neural import NeuralModel
from charloom.observer import Measurement, Observer, Outcome, Step
from charloom.optimization import build_optimizer, learning_rate_at, optimizer_arrays, restore_optimizer
from charloom.recalibration import has_batch_norm, recalibrate
from charloom.vocabulary import Encoded

if TYPE_CHECKING:
    from jaxtyping import Float, Int

STEPS_AT_ONCE = 256
LARGEST_DISTINCT = 1 << 21
"""Rows up to which distinct contexts are looked for unasked: all rows are in memory then, at once."""
CHUNK_SECONDS = 0.1
"""How long a stretch of compiled steps may take: nothing is seen or stopped before it ends."""
COMPILING_SECONDS = 1.0
"""After how long observers are told that the compiled loop is still being compiled."""


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
        by itself, and for a device that is not there.
        """
        if config.batch_size == 1 and has_batch_norm(model):
            raise ConfigError("batch norm needs more than one row per batch", remedy="Use --batch-size 2 or more.")
        self.device = choose_device(config.device)
        self.model = model.to(self.device)
        self.contexts = Contexts(train, model.context_length)
        distinct = self._distinct_contexts(config)
        self.config = config = config.resolved(len(self.contexts), None if distinct is None else len(distinct))
        assert config.batch_size is not None
        assert config.steps is not None
        assert config.evaluate_every is not None
        self.steps, self.evaluate_every = config.steps, config.evaluate_every
        self._learning_rate = schedule or partial(learning_rate_at, config=config)
        self.dev = dev
        dev_contexts = Contexts(dev, model.context_length)
        self._distinct_dev = (
            DistinctContexts(dev_contexts, model.vocabulary_size) if len(dev_contexts) <= LARGEST_DISTINCT else None
        )
        self.optimizer = build_optimizer(self.model, config)
        self.step = 0
        self.seconds = 0.0
        self.best_loss = math.inf
        self.best_step = 0
        self.evaluations_since_best = 0
        self._best_arrays = self.model_arrays()
        self._loss_sum = torch.zeros((), dtype=torch.float64, device=self.device)
        self._steps_summed = 0
        self._random_state = torch.Generator().manual_seed(config.seed).get_state()
        self._cuda_random_state: torch.Tensor | None = None
        self._source: BatchSource
        if config.batches == "distinct":
            assert distinct is not None
            self._source = DistinctBatches(distinct, config.batch_size, config.seed)
        else:
            self._source = RowBatches(self.contexts, config.batch_size, config.seed)
        self.engine: Literal["torch", "compiled"] = "torch"
        """What trains, known once the training runs."""
        self.engine_reason = "nothing trains yet"
        """Why that."""
        self._running = False
        self._stop_requested = False

    def _distinct_contexts(self, config: TrainingConfig) -> DistinctContexts | None:
        """Those of the training rows, where batches hold them or may."""
        dependent = _what_makes_rows_dependent(self.model)
        if config.batches == "distinct" and dependent:
            raise ConfigError(
                f"distinct contexts do not go with {dependent}: a context that occurs 900 times is one row in a batch",
                remedy="Use --batches rows.",
            )
        usual = isinstance(self.model, MLP) and config.may_be_distinct and not dependent
        free = usual and len(self.contexts) <= LARGEST_DISTINCT
        wanted = config.batches == "distinct" or free
        return DistinctContexts(self.contexts, self.model.vocabulary_size) if wanted else None

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
        self._stop_requested = True

    def run(self, observers: Sequence[Observer] = ()) -> Outcome:
        """Train until the last step, until dev stops improving for `patience` evaluations, or until asked to stop.

        Raises `TrainingError` before an update with a loss that is not finite (on a GPU: at the next evaluation).
        """
        self._stop_requested = False
        on_step = [o for o in observers if type(o).stepped is not Observer.stepped]
        self.choose_engine(observers)
        outcome: Outcome = "failed"
        try:
            with self._own_threads_and_random_state():
                for observer in observers:
                    observer.started(self)
                outcome = self._loop(observers, on_step)
                if self.step % self.config.checkpoint_every:
                    self._checkpoint(observers)
        finally:
            for observer in observers:
                observer.ended(self, outcome)
        return outcome

    def choose_engine(self, observers: Sequence[Observer]) -> None:
        """Say in `engine` and `engine_reason` what trains under the eyes of ``observers``, and why; `run` does it."""
        reason = "it was asked for"
        if self.config.engine != "torch":
            seen_closely = any(type(o).stepped is not Observer.stepped for o in observers)
            closely = "every step is looked at" if seen_closely else None
            reason = why_not_compiled(self.model, self.device) or closely or "fastest"
        self.engine = "compiled" if reason == "fastest" else "torch"
        self.engine_reason = reason

    def load_best(self) -> None:
        """Give the model its `best_arrays`, ready for use."""
        load_arrays(self.model, self.best_arrays)
        self.model.eval()

    def model_arrays(self) -> Arrays:
        """A copy of the model's parameters and buffers."""
        return {name: tensor.detach().cpu().numpy().copy() for name, tensor in self.model.state_dict().items()}

    @property
    def best_arrays(self) -> Arrays:
        """Parameters and buffers at the lowest dev loss; before any evaluation, the present ones."""
        return self._best_arrays if math.isfinite(self.best_loss) else self.model_arrays()

    def state(self) -> tuple[Arrays, dict[str, Any]]:
        """All that `restore` needs to go on bit-exactly."""
        arrays = {f"model/{name}": array for name, array in self.model_arrays().items()}
        arrays |= {f"best/{name}": array for name, array in self._best_arrays.items()}
        arrays |= {f"optimizer/{name}": a for name, a in optimizer_arrays(self.optimizer, self.model).items()}
        if self._running:
            self._remember_random_state()
        arrays["random/cpu"] = self._random_state.numpy()
        if self._cuda_random_state is not None:
            arrays["random/cuda"] = self._cuda_random_state.numpy()
        progress = {
            "step": self.step,
            "seconds": self.seconds,
            "best_loss": self.best_loss if math.isfinite(self.best_loss) else None,
            "best_step": self.best_step,
            "evaluations_since_best": self.evaluations_since_best,
            "loss_sum": float(self._loss_sum),
            "steps_summed": self._steps_summed,
        }
        return arrays, progress

    def restore(self, arrays: Arrays, progress: dict[str, Any]) -> None:
        """Go back to a written state. Raises `CheckpointError` when it does not fit this model."""
        parts: dict[str, Arrays] = {"model": {}, "best": {}, "optimizer": {}, "random": {}}
        for key, array in arrays.items():
            part, _, name = key.partition("/")
            if part not in parts:
                raise CheckpointError(f"the training state holds an unknown part {part!r}")
            parts[part][name] = array
        load_arrays(self.model, parts["best"])
        load_arrays(self.model, parts["model"])
        self._best_arrays = parts["best"]
        restore_optimizer(self.optimizer, self.model, parts["optimizer"])
        try:
            self._random_state = _checked_random_state(parts["random"]["cpu"])
            if self.device.type == "cuda" and "cuda" in parts["random"]:
                self._cuda_random_state = torch.from_numpy(parts["random"]["cuda"])
            self.step = int(progress["step"])
            self.seconds = float(progress["seconds"])
            self.best_loss = math.inf if progress["best_loss"] is None else float(progress["best_loss"])
            self.best_step = int(progress["best_step"])
            self.evaluations_since_best = int(progress["evaluations_since_best"])
            self._loss_sum.fill_(float(progress["loss_sum"]))
            self._steps_summed = int(progress["steps_summed"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"the training state lacks or garbles {error}") from None
        if not 0 <= self.best_step <= self.step <= self.steps or self._steps_summed < 0:
            raise CheckpointError(f"the training state is at step {self.step} of {self.steps}")

    def _loop(self, observers: Sequence[Observer], on_step: Sequence[Observer]) -> Outcome:
        config = self.config
        self.model.train()
        started, seconds_before = time.perf_counter(), self.seconds
        on_advance = [o for o in observers if type(o).advanced is not Observer.advanced]
        advances = self._by_chunks(observers) if self.engine == "compiled" else self._by_steps()
        for learning_rate, loss, step in advances:
            self.seconds = seconds_before + time.perf_counter() - started
            if step is not None:
                for observer in on_step:
                    observer.stepped(self, step)
            for observer in on_advance:
                observer.advanced(self, loss)
            if self.step % self.evaluate_every == 0 or self.step == self.steps:
                self._evaluate(observers, learning_rate)
            if self.step % config.checkpoint_every == 0:
                self._checkpoint(observers)
            if config.patience is not None and self.evaluations_since_best >= config.patience:
                return "stopped early"
        return "finished" if self.step == self.steps else "interrupted"

    def _by_steps(self) -> Iterator[tuple[float, torch.Tensor, Step]]:
        """PyTorch's own loop: the learning rate, the loss and the step, after each."""
        for rows, contexts, targets, weights in self._batches():
            if self._stop_requested:
                return
            learning_rate = self._learning_rate(self.step)
            loss = self._update(contexts, targets, weights, learning_rate)
            self.step += 1
            hard = None if weights is not None else targets
            yield learning_rate, loss, Step(self.step, loss, contexts, hard, rows, learning_rate)

    def _by_chunks(self, observers: Sequence[Observer]) -> Iterator[tuple[float, float, None]]:
        """The compiled loop: the last learning rate and loss, after some steps, at most up to the next event."""
        assert isinstance(self.model, MLP)
        engine = CompiledEngine(self.model, self.optimizer, self.config, self.step)

        def say_so() -> None:
            for observer in observers:
                observer.compiling(self)

        slow = threading.Timer(COMPILING_SECONDS, say_so)
        slow.daemon = True
        slow.start()
        try:
            engine.train(self._source.batches(self.step, 1), np.empty(0))
        finally:
            slow.cancel()
        chunk = 1
        while self.step < self.steps and not self._stop_requested:
            events = (self.evaluate_every, self.config.checkpoint_every)
            steps = min(chunk, self.steps - self.step, *(every - self.step % every for every in events))
            rates = np.array([self._learning_rate(self.step + number) for number in range(steps)])
            began = time.perf_counter()
            losses = engine.train(self._source.batches(self.step, steps), rates)
            fitting = int(steps * CHUNK_SECONDS / max(time.perf_counter() - began, 1e-6))
            chunk = max(1, min(fitting, STEPS_AT_ONCE))
            for loss in losses[:steps]:
                if not math.isfinite(loss):
                    self._not_finite(float(loss))
                self._loss_sum += float(loss)
                self.step += 1
                self._steps_summed += 1
            yield float(rates[-1]), float(losses[-1]), None

    def _batches(self) -> Iterator[tuple[np.ndarray[Any, Any], torch.Tensor, torch.Tensor, torch.Tensor | None]]:
        """The batches still to come, made and moved to the device many at a time: rows, contexts, targets, weights.

        For batches of rows, targets are ids (batch,) and there are no weights; for distinct contexts they are shares
        (batch, vocab).
        """
        while self.step < self.steps:
            batches = self._source.batches(self.step, min(STEPS_AT_ONCE, self.steps - self.step))
            contexts = torch.from_numpy(batches.contexts).to(self.device)
            if self.config.batches == "rows":
                shape = batches.rows.shape
                targets = torch.from_numpy(batches.targets).to(self.device)
                for row in zip(batches.numbers, contexts.view(*shape, -1), targets.view(shape), strict=True):
                    yield *row, None
                continue
            table = torch.from_numpy(batches.dense(self.model.vocabulary_size)).to(self.device)
            every = (torch.from_numpy(part).to(self.device) for part in (batches.rows, batches.weights))
            for numbers, (rows, weights) in zip(batches.rows, zip(*every, strict=True), strict=True):
                yield numbers, contexts[rows], table[rows], weights

    def _update(
        self,
        contexts: Int[torch.Tensor, "batch context"],
        targets: torch.Tensor,
        weights: Float[torch.Tensor, " batch"] | None,
        learning_rate: float,
    ) -> Float[torch.Tensor, ""]:
        logits = self.model(contexts)
        loss = cross_entropy(logits, targets) if weights is None else soft_cross_entropy(logits, targets, weights)
        if self.device.type == "cpu" and not math.isfinite(loss.item()):
            self._not_finite(loss.item())
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        if self.config.clip is not None:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()
        self._loss_sum += loss.detach()
        self._steps_summed += 1
        return loss

    def _evaluate(self, observers: Sequence[Observer], learning_rate: float) -> None:
        train_loss = float(self._loss_sum) / self._steps_summed
        if not math.isfinite(train_loss):
            self._not_finite(train_loss)
        self._loss_sum.zero_()
        self._steps_summed = 0
        if self.config.recalibrate:
            recalibrate(self.model, self.contexts)
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

    def _not_finite(self, loss: float) -> None:
        raise TrainingError(
            f"the loss is {loss}",
            where=f"step {self.step + 1}",
            remedy="Lower --learning-rate, add --warmup, or limit the gradient with --clip 1.",
        )

    @contextmanager
    def _own_threads_and_random_state(self) -> Iterator[None]:
        """Train with this training's thread count and random stream, and leave the caller's as they were."""
        threads = torch.get_num_threads()
        cuda = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda):
            torch.set_num_threads(self.config.threads)
            torch.set_rng_state(self._random_state)
            if cuda:
                if self._cuda_random_state is None:
                    torch.cuda.manual_seed(self.config.seed)
                else:
                    torch.cuda.set_rng_state(self._cuda_random_state, self.device)
            self._running = True
            try:
                yield
            finally:
                self._remember_random_state()
                self._running = False
                torch.set_num_threads(threads)

    def _remember_random_state(self) -> None:
        self._random_state = torch.get_rng_state()
        if self.device.type == "cuda":
            self._cuda_random_state = torch.cuda.get_rng_state(self.device)


def load_arrays(model: torch.nn.Module, arrays: Arrays) -> None:
    """Fill a model with parameters and buffers. Raises `CheckpointError` when names, shapes or types differ."""
    expected = model.state_dict()
    if set(arrays) != set(expected):
        differing = sorted(set(arrays) ^ set(expected))
        raise CheckpointError(f"the stored weights are not this model's: {', '.join(differing)}")
    for name, tensor in expected.items():
        stored = torch.from_numpy(arrays[name])
        if stored.shape != tensor.shape or stored.dtype != tensor.dtype:
            raise CheckpointError(
                f"{name} is stored as {tuple(stored.shape)} {stored.dtype}"
                f" and should be {tuple(tensor.shape)} {tensor.dtype}"
            )
    model.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in arrays.items()})


def _what_makes_rows_dependent(model: torch.nn.Module) -> str | None:
    """What makes a row's loss depend on the other rows of its batch, or on chance."""
    if any(isinstance(module, torch.nn.Dropout) for module in model.modules()):
        return "dropout"
    return "batch norm" if has_batch_norm(model) else None


def _checked_random_state(state: np.ndarray[Any, Any]) -> torch.Tensor:
    """The state as torch takes it. Raises what torch raises for one that it would not."""
    tensor = torch.from_numpy(state.copy())
    torch.Generator().set_state(tensor)
    return tensor


def choose_device(name: str) -> torch.device:
    """The device by name; ``auto`` is a GPU where there is one. Raises `ConfigError` when it is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("no CUDA device is available", remedy="Use --device cpu or auto.")
    return torch.device(name)
