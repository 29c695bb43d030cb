"""When things happen in a step: a backward pass is over, an optimizer is about to update, and has updated."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle


class BackwardProbe:
    """Tells when a backward pass is over, and which parameters it gave gradients.

    That is the moment when gradients are complete, those of other processes included, and not clipped yet.
    """

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        ended: Callable[[set[str]], None],
        failed: Callable[[Exception], None],
        stale: StaleGradients,
    ) -> None:
        self._parameters, self._ended, self._failed, self._stale = parameters, ended, failed, stale
        self._handles: list[RemovableHandle] = []
        self._task = -1
        self.has_seen_one = False
        self._marks = {name: _mark(parameter.grad) for name, parameter in parameters.items()}

    def hook_parameters(self) -> None:
        """Let the parameters tell that a backward pass has begun, where no probe sees its gradients.

        This costs a little at every step from then on, so module probes tell it where they can.
        """
        for parameter in self._parameters.values():
            handle = parameter.register_post_accumulate_grad_hook(self.begun)  # type: ignore[no-untyped-call]
            self._handles.append(handle)

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def begun(self, *_: Any) -> None:
        """A backward pass is going on."""
        try:
            task = torch._C._current_graph_task_id()
            self.has_seen_one = True
            if task != self._task:
                self._task = task
                self._stale.backward_begins()
                _when_backward_ends(self._almost)
        except Exception as error:  # noqa: BLE001 - a probe must not end a training
            self._failed(error)

    def _almost(self) -> None:
        # Data-parallel wrappers finish their averaging in a callback that may come after this one: step back once.
        try:
            _when_backward_ends(self._at_the_end)
        except Exception as error:  # noqa: BLE001 - a probe must not end a training
            self._failed(error)

    def _at_the_end(self) -> None:
        self._task = -1
        try:
            with torch.no_grad():
                marks = {name: _mark(parameter.grad) for name, parameter in self._parameters.items()}
                reached = {name for name, mark in marks.items() if _is_new(mark, self._marks[name])}
                self._marks = marks
                self._stale.backward_ended()
                self._ended(reached)
        except Exception as error:  # noqa: BLE001 - a probe must not end a training
            self._failed(error)


Mark = tuple["weakref.ref[torch.Tensor]", int] | None
"""What tells a gradient from any other, and from itself once something was added to it; None for no gradient."""


def _mark(gradient: torch.Tensor | None) -> Mark:
    return None if gradient is None else (weakref.ref(gradient), gradient._version)


def _is_filled(gradient: torch.Tensor | None) -> bool:
    if gradient is None:
        return False
    values = gradient.detach()
    return bool((values.coalesce().values() if values.is_sparse else values).any())


def _is_new(mark: Mark, before: Mark) -> bool:
    if mark is None or before is None:
        return mark is not None
    return mark[0]() is not before[0]() or mark[1] != before[1]


Left = tuple[Mapping[str, Mark], set[str]]
NOTHING_LEFT: Left = ({}, set())


class StaleGradients:
    """Tells whether an update uses gradients that were added to those that the update before had used already.

    A backward pass between two updates of other parameters, as of a GAN's other half, does no harm if the gradients are
    cleared before their own next update; nor does accumulation, with no update in between.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], left: Left) -> None:
        """``left``: what the step before has `left`, if it was observed."""
        self._parameters = parameters
        marks, piled = left
        self._stale: dict[str, Mark] = {name: m for name, m in marks.items() if name in parameters and m is not None}
        self._piled = {name for name in piled if name in self._stale}
        self._known = set(self._stale)
        self._counts = [0, 0]

    @property
    def left(self) -> Left:
        """The marks of the gradients that have been used, as they are now, and which of them were added to since.

        A step without an update, as of a micro-batch, hands on what it was given.
        """
        return self._stale, self._piled

    def backward_begins(self) -> None:
        # Zeros that are written through `.data` leave no mark, so what looks untouched is looked into.
        gradients = {name: self._parameters[name].grad for name in self._stale}
        self._stale = {
            name: mark
            for name, mark in self._stale.items()
            if _mark(gradients[name]) == mark and _is_filled(gradients[name])
        }

    def backward_ended(self) -> None:
        for name, before in self._stale.items():
            now = _mark(self._parameters[name].grad)
            if _is_new(now, before):
                self._piled.add(name)
            self._stale[name] = now

    def before_update(self, names: Iterable[str]) -> None:
        for name in names:
            gradient, mark = self._parameters[name].grad, self._stale.get(name)
            if name in self._known and gradient is not None:
                # Clipping changes the gradient in place: it is still the same tensor.
                is_stale = name in self._piled and mark is not None and mark[0]() is gradient
                self._counts[0] += is_stale
                self._counts[1] += 1

    def after_update(self, names: Iterable[str]) -> None:
        for name in names:
            self._stale[name] = _mark(self._parameters[name].grad)
            self._piled.discard(name)

    def share(self) -> float:
        """Of the gradients that were used; NaN where the step before was not looked at."""
        stale, all_of_them = self._counts
        return stale / all_of_them if all_of_them else math.nan


class OptimizerProbe:
    """Tells when an optimizer is about to update its parameters, and when it has."""

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        before: Callable[[torch.optim.Optimizer], None],
        after: Callable[[torch.optim.Optimizer], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._optimizer, self._before, self._after, self._failed = optimizer, before, after, failed
        self._handles: list[RemovableHandle] = []

    def install(self) -> None:
        self._handles.append(self._optimizer.register_step_pre_hook(self._hook(self._before)))
        self._handles.append(self._optimizer.register_step_post_hook(self._hook(self._after)))

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _hook(self, tell: Callable[[torch.optim.Optimizer], None]) -> Callable[..., None]:
        def hook(optimizer: torch.optim.Optimizer, *_: Any) -> None:
            try:
                with torch.no_grad():
                    tell(optimizer)
            except Exception as error:  # noqa: BLE001 - a probe must not end a training
                self._failed(error)

        return hook


def leaves_out(optimizer: torch.optim.Optimizer) -> bool:
    """Within an update: whether this optimizer, a fused one under a loss scaler, finds it has to be left out."""
    found = getattr(optimizer, "found_inf", None)
    return found is not None and bool(found)


def _when_backward_ends(call: Callable[[], None]) -> None:
    """PyTorch's own data parallelism is built on this, though it has no public name."""
    torch.autograd.Variable._execution_engine.queue_callback(call)
