"""When things happen in a step: a backward pass is over, an optimizer is about to update, and has updated."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
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
    ) -> None:
        self._parameters, self._ended, self._failed = parameters, ended, failed
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
        task = torch._C._current_graph_task_id()
        self.has_seen_one = True
        if task != self._task:
            self._task = task
            _when_backward_ends(self._almost)

    def _almost(self) -> None:
        # Data-parallel wrappers finish their averaging in a callback that may come after this one: step back once.
        _when_backward_ends(self._at_the_end)

    def _at_the_end(self) -> None:
        self._task = -1
        try:
            with torch.no_grad():
                marks = {name: _mark(parameter.grad) for name, parameter in self._parameters.items()}
                reached = {name for name, mark in marks.items() if _is_new(mark, self._marks[name])}
                self._marks = marks
                self._ended(reached)
        except Exception as error:  # noqa: BLE001 - a probe must not end a training
            self._failed(error)


Mark = tuple["weakref.ref[torch.Tensor]", int] | None
"""What tells a gradient from any other, and from itself once something was added to it; None for no gradient."""


def _mark(gradient: torch.Tensor | None) -> Mark:
    return None if gradient is None else (weakref.ref(gradient), gradient._version)


def _is_new(mark: Mark, before: Mark) -> bool:
    if mark is None or before is None:
        return mark is not None
    return mark[0]() is not before[0]() or mark[1] != before[1]


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
        self._handles = [
            self._optimizer.register_step_pre_hook(self._hook(self._before)),
            self._optimizer.register_step_post_hook(self._hook(self._after)),
        ]

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


def _when_backward_ends(call: Callable[[], None]) -> None:
    """PyTorch's own data parallelism is built on this, though it has no public name."""
    torch.autograd.Variable._execution_engine.queue_callback(call)
