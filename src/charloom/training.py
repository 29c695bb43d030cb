"""The training loop of the neural models. It tells observers what happens and imports none of them.

A `Training` can be stopped after any step, written down as arrays and JSON, and restored to go on bit-exactly: the
batch order is a function of the step, and weights, optimizer and random state are part of what is written.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from charloom.checkpoint import Arrays
from charloom.config import TrainingConfig
from charloom.contexts import Contexts, RowOrder
from charloom.errors import CheckpointError, ConfigError, TrainingError
from charloom.evaluation import mean_loss
from charloom.loss import cross_entropy
from charloom.models.neural import NeuralModel
from charloom.observer import Measurement, Observer, Outcome, Step
from charloom.optimization import build_optimizer, learning_rate_at, optimizer_arrays, restore_optimizer
from charloom.recalibration import has_batch_norm, recalibrate
from charloom.vocabulary import Encoded

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float, Int

STEPS_AT_ONCE = 256


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

        Raises `ConfigError` for batch norm with batches of one row, and for a device that is not there.
        """
        if config.batch_size == 1 and has_batch_norm(model):
            raise ConfigError("batch norm needs more than one row per batch", remedy="Use --batch-size 2 or more.")
        self.device = choose_device(config.device)
        self.model = model.to(self.device)
        self.contexts = Contexts(train, model.context_length)
        self.config = config = config.resolved(len(self.contexts))
        assert config.steps is not None
        assert config.evaluate_every is not None
        self.steps, self.evaluate_every = config.steps, config.evaluate_every
        self._learning_rate = schedule or partial(learning_rate_at, config=config)
        self.dev = dev
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
        self._order = RowOrder(len(self.contexts), config.batch_size, config.seed)
        self._running = False
        self._stop_requested = False

    def first_batch(self) -> tuple[Int[torch.Tensor, "batch context"], Int[torch.Tensor, " batch"]]:
        """Contexts and targets of the first step."""
        (rows,) = self._order.indices(0, 1)
        contexts, targets = (torch.from_numpy(part).to(self.device) for part in self.contexts.rows(rows))
        return contexts, targets

    def request_stop(self) -> None:
        """Let the loop end after the step it is in; safe to call from a signal handler or an observer."""
        self._stop_requested = True

    def run(self, observers: Sequence[Observer] = ()) -> Outcome:
        """Train until the last step, until dev stops improving for `patience` evaluations, or until asked to stop.

        Raises `TrainingError` before an update with a loss that is not finite (on a GPU: at the next evaluation).
        """
        self._stop_requested = False
        on_step = [o for o in observers if type(o).stepped is not Observer.stepped]
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
        for rows, contexts, targets in self._batches():
            if self._stop_requested:
                return "interrupted"
            learning_rate = self._learning_rate(self.step)
            loss = self._update(contexts, targets, learning_rate)
            self.step += 1
            self.seconds = seconds_before + time.perf_counter() - started
            for observer in on_step:
                observer.stepped(self, Step(self.step, loss, contexts, targets, rows, learning_rate))
            if self.step % self.evaluate_every == 0 or self.step == self.steps:
                self._evaluate(observers, learning_rate)
            if self.step % config.checkpoint_every == 0:
                self._checkpoint(observers)
            if config.patience is not None and self.evaluations_since_best >= config.patience:
                return "stopped early"
        return "finished"

    def _batches(
        self,
    ) -> Iterator[tuple[Int[np.ndarray, " batch"], Int[torch.Tensor, "batch context"], Int[torch.Tensor, " batch"]]]:
        """The batches still to come, made and moved to the device many at a time."""
        while self.step < self.steps:
            steps = min(STEPS_AT_ONCE, self.steps - self.step)
            rows = self._order.indices(self.step, steps)
            contexts, targets = (torch.from_numpy(part).to(self.device) for part in self.contexts.rows(rows))
            yield from zip(rows, contexts.unbind(), targets.unbind(), strict=True)

    def _update(
        self, contexts: Int[torch.Tensor, "batch context"], targets: Int[torch.Tensor, " batch"], learning_rate: float
    ) -> Float[torch.Tensor, ""]:
        loss = cross_entropy(self.model(contexts), targets)
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
        dev_loss = mean_loss(self.model, self.dev).nats
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
