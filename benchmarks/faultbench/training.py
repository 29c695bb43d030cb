"""One training with all tools listening: each hears the same steps, and none can change them."""

from __future__ import annotations

import hashlib
import math
import random
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from faultbench.listening import Listening, Named, Training


@dataclass
class Heard:
    """What one tool said in one training."""

    named: list[Named] = field(default_factory=list)
    crashed: str | None = None
    seconds: float = 0.0
    changed: bool = False
    """Whether it changed the model before training, which was undone."""


class Audience(Listening):
    """Several tools as one. One that raises is asked no more; the random state is put back after each call."""

    name = "all"

    def __init__(self, tools: Sequence[Listening]) -> None:
        self.tools = {tool.name: tool for tool in tools}
        self.heard = {name: Heard() for name in self.tools}

    def begin(self, training: Training) -> None:
        for name in self.tools:
            before, arrays = state_hash(training), _state(training)
            self._ask(name, lambda tool: tool.begin(training))
            if state_hash(training) != before:
                self.heard[name].changed = True
                _restore(training, arrays)

    def after_backward(self, training: Training, step: int, loss: torch.Tensor) -> None:
        for name in self.tools:
            self._ask(name, lambda tool: tool.after_backward(training, step, loss))

    def after_step(self, training: Training, step: int, loss: torch.Tensor, inputs: Any, targets: Any) -> None:
        for name in self.tools:
            self._ask(name, lambda tool: tool.after_step(training, step, loss, inputs, targets))

    def evaluated(self, step: int, losses: Any) -> None:
        for name in self.tools:
            self._ask(name, lambda tool: tool.evaluated(step, losses))

    def end(self) -> None:
        for name in self.tools:
            self._ask(name, lambda tool: tool.end(), even_after_a_crash=True)
            self._ask(
                name, lambda tool, name=name: self.heard[name].named.extend(tool.named()), even_after_a_crash=True
            )

    def _ask(self, name: str, call: Callable[[Any], None], even_after_a_crash: bool = False) -> None:
        heard = self.heard[name]
        if heard.crashed and not even_after_a_crash:
            return
        began = time.perf_counter()
        with _random_state():
            try:
                call(self.tools[name])
            except Exception as error:  # noqa: BLE001 - a tool that crashes is a result
                heard.crashed = heard.crashed or f"{type(error).__name__}: {error}"[:300]
        heard.seconds += time.perf_counter() - began


@dataclass
class Result:
    """How one training went."""

    quality: float
    first_loss: float
    last_loss: float
    failed: str | None
    heard: dict[str, Heard]
    seconds: float


def run(training: Training, tools: Sequence[Listening]) -> Result:
    """Train to the end, or to the exception that a fault brings about."""
    began = time.perf_counter()
    audience, losses, failed = Audience(tools), [], None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for model in training.models.values():
            model.train(not training.trains_in_eval_mode)
        audience.begin(training)
        try:
            for step in range(training.steps):
                for change in training.before_step:
                    change(training, step)
                loss, inputs, targets = (training.update or plain_update)(training, step, audience)
                losses.append(float(loss.detach()))
                audience.after_step(training, step, loss, inputs, targets)
                if (step + 1) % training.evaluate_every == 0:
                    audience.evaluated(step + 1, evaluate(training))
        except Exception as error:  # noqa: BLE001 - some faults end a training
            failed = f"{type(error).__name__}: {error}"[:300]
        audience.end()
        quality = _quality(training)
    recent = losses[-20:] or [math.nan]
    first = losses[0] if losses else math.nan
    return Result(quality, first, float(np.mean(recent)), failed, audience.heard, time.perf_counter() - began)


def plain_update(training: Training, step: int, listening: Listening) -> tuple[torch.Tensor, Any, Any]:
    """Forward, backward, update, as most loops have it; several micro-batches where gradients are accumulated."""
    assert training.loss_fn is not None
    if training.zero_grad:
        training.optimizer.zero_grad()
    total = torch.zeros(())
    for part in range(training.accumulate):
        inputs, targets = training.batch(step * training.accumulate + part)
        loss = training.loss_fn(training.model(inputs), targets) / training.accumulate
        loss.backward()
        total = loss if training.accumulate == 1 else total + loss
    listening.after_backward(training, step, total)
    if training.clip is not None:
        nn.utils.clip_grad_norm_(training.model.parameters(), training.clip)
    training.optimizer.step()
    if training.scheduler is not None:
        training.scheduler.step()
    return total, inputs, targets


def evaluate(training: Training) -> dict[str, float]:
    """Split → mean loss; the model is back in its mode afterwards."""
    if training.loss_fn is None or not training.dev:
        return {}
    for model in training.models.values():
        model.train(training.evaluates_in_train_mode)
    losses = {"dev": _mean_loss(training, training.dev)}
    if training.train_sample:
        losses["train"] = _mean_loss(training, training.train_sample)
    for model in training.models.values():
        model.train(not training.trains_in_eval_mode)
    return losses


@torch.no_grad()
def _mean_loss(training: Training, batches: Sequence[tuple[Any, Any]]) -> float:
    assert training.loss_fn is not None
    with _random_state():
        return float(np.mean([float(training.loss_fn(training.model(x), y)) for x, y in batches]))


def _quality(training: Training) -> float:
    try:
        if training.quality is not None:
            return training.quality(training)
        training.evaluates_in_train_mode = False
        return evaluate(training).get("dev", math.nan)
    except Exception:  # noqa: BLE001 - what can't be evaluated is as bad as it gets
        return math.inf


@contextmanager
def _random_state() -> Iterator[None]:
    kept = torch.get_rng_state(), np.random.get_state(), random.getstate()
    try:
        yield
    finally:
        torch.set_rng_state(kept[0])
        np.random.set_state(kept[1])
        random.setstate(kept[2])


def state_hash(training: Training) -> str:
    """Of all weights, buffers and modes."""
    found = hashlib.sha256()
    for model in training.models.values():
        for tensor in model.state_dict().values():
            found.update(tensor.detach().cpu().numpy().tobytes())
        found.update(bytes(module.training for module in model.modules()))
        found.update(bytes(parameter.requires_grad for parameter in model.parameters()))
    return found.hexdigest()


def _state(training: Training) -> Any:
    return {
        name: (
            {key: tensor.clone() for key, tensor in model.state_dict().items()},
            [module.training for module in model.modules()],
            [parameter.requires_grad for parameter in model.parameters()],
        )
        for name, model in training.models.items()
    }


def _restore(training: Training, kept: Any) -> None:
    for name, (arrays, modes, trained) in kept.items():
        model = training.models[name]
        with torch.no_grad():
            for key, tensor in model.state_dict().items():
                tensor.copy_(arrays[key])
        for module, mode in zip(model.modules(), modes, strict=True):
            module.training = mode
        for parameter, flag in zip(model.parameters(), trained, strict=True):
            parameter.requires_grad_(flag)
            parameter.grad = None
