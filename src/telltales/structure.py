"""What can be wrong with how a model and its optimizers are put together: what is trained, by whom, in which mode."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from telltales.naming import unwrapped
from telltales.observation import Evaluation
from telltales.probes import Hook, compiled_parts, is_traced

RIGHT_EVALUATIONS, STEPS_WITHOUT_EVALUATION = 3, 1000
"""After so many of the first, or of the second, it is no longer looked at in which mode a model is evaluated."""
MOST_NAMED = 32
"""So many of a kind are named in a record; the count says how many there are."""


def optimizer_facts(
    parameters: Mapping[str, nn.Parameter], optimizers: Mapping[str, torch.optim.Optimizer]
) -> tuple[dict[str, str], list[list[int]]]:
    """Parameter → the group that holds it, of those in an optimizer; and the shapes of what is held beside them."""
    held = {
        id(parameter): (f"{prefix}{number}", parameter)
        for prefix, optimizer in optimizers.items()
        for number, group in enumerate(optimizer.param_groups)
        for parameter in group["params"]
    }
    own = {id(parameter) for parameter in parameters.values()}
    strangers = [list(parameter.shape) for key, (_, parameter) in held.items() if key not in own]
    return {name: held[id(p)][0] for name, p in parameters.items() if id(p) in held}, strangers


def group_facts(optimizers: Mapping[str, torch.optim.Optimizer]) -> dict[str, dict[str, Any]]:
    """Group → the optimizer's class and those of its settings that a verdict may rest on."""
    wanted = ("lr", "weight_decay", "momentum", "betas", "eps")
    return {
        f"{prefix}{number}": {"optimizer": type(optimizer).__name__, "decoupled": _is_decoupled(optimizer, group)}
        | {key: _plain(group[key]) for key in wanted if key in group}
        for prefix, optimizer in optimizers.items()
        for number, group in enumerate(optimizer.param_groups)
    }


_DECOUPLED = ("AdamW", "SGDW", "Lion", "Muon", "Adafactor", "Sophia", "Lamb", "LAMB", "Adan")
"""What the names begin with of optimizers whose weight decay does not go through the gradient."""


def _is_decoupled(optimizer: torch.optim.Optimizer, group: Mapping[str, Any]) -> bool:
    named = type(optimizer).__name__.removeprefix("Paged").startswith(_DECOUPLED)
    return bool(group.get("decoupled_weight_decay", False)) or named


def mode_dependent(models: Mapping[str, nn.Module]) -> dict[str, str]:
    """Name → type of the modules that do something else in training mode than in evaluation mode."""
    return {
        (prefix + name).rstrip("."): type(module).__name__
        for prefix, model in models.items()
        for name, module in unwrapped(model).named_modules()
        if _depends_on_mode(module)
    }


def _depends_on_mode(module: nn.Module) -> bool:
    if isinstance(module, nn.modules.dropout._DropoutNd):
        return module.p > 0
    if isinstance(module, nn.modules.batchnorm._NormBase):
        return module.track_running_stats
    dropout = getattr(module, "dropout", 0.0)
    is_number = isinstance(dropout, int | float) and not isinstance(dropout, bool)
    return isinstance(module, nn.MultiheadAttention | nn.RNNBase) and is_number and dropout > 0


class FrozenMarks:
    """Tells which frozen parameters an optimizer's update has moved, by the counters of their changes in place."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], held: Collection[str]) -> None:
        """``held``: the names of those in an optimizer."""
        self._parameters = {name: parameter for name, parameter in parameters.items() if name in held}
        self._versions: dict[str, int] = {}
        self.moved: set[str] = set()

    def before_update(self) -> None:
        self._versions = self._now()

    def after_update(self) -> None:
        now = self._now()
        self.moved |= {name for name, version in self._versions.items() if now.get(name, version) != version}

    def _now(self) -> dict[str, int]:
        return {name: p._version for name, p in self._parameters.items() if not p.requires_grad}


class ModeProbe:
    """Remembers in which mode a model last ran, so that an evaluation in training mode can be told.

    A hook on the models themselves, only where the mode makes a difference. It costs a little at every step, so it goes
    when evaluations have been seen to be right, or none has come for long.
    """

    def __init__(self, models: Mapping[str, nn.Module], failed: Callable[[Exception], None]) -> None:
        self.failed = failed
        self.last: bool | None = None
        """Whether the last forward pass without gradients was in training mode; None if there was none in the step."""
        self._right = self._steps = 0
        self._handles: list[RemovableHandle] = []
        self._models = models

    def install(self) -> None:
        if mode_dependent(self._models) and not any(compiled_parts(model) for model in self._models.values()):
            for model in self._models.values():
                self._handles.append(unwrapped(model).register_forward_hook(_Saw(self)))

    def resume(self, evaluations: Iterable[Evaluation], step: int) -> None:
        """Go on as after these evaluations, at this step."""
        known = list(evaluations)
        self._right = sum(one.training is False for one in known)
        self._steps = step - max((one.step for one in known), default=0)
        if self._right >= RIGHT_EVALUATIONS or self._steps >= STEPS_WITHOUT_EVALUATION:
            self.remove()

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def step_ended(self, steps: int = 1) -> None:
        """What runs from here on, and without gradients, is no training step."""
        self.last = None
        self._steps += steps
        if self._handles and self._steps >= STEPS_WITHOUT_EVALUATION:
            self.remove()

    def evaluated(self) -> bool | None:
        """What was seen before this evaluation."""
        self._steps = 0
        self._right += self.last is False
        if self._right == RIGHT_EVALUATIONS:
            self.remove()
        return self.last

    def saw(self, training: bool) -> None:
        self.last = training


class _Saw(Hook):
    def __init__(self, probe: ModeProbe) -> None:
        self._probe = probe

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        # It is called at every step: what costs least, and rules out most, comes first.
        if not torch.is_grad_enabled():
            try:
                if not is_traced():
                    self._probe.saw(module.training)
            except Exception as error:  # noqa: BLE001 - a hook must not end a training
                self._probe.failed(error)


def _plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor | np.ndarray | np.generic):
        return value.item() if math.prod(value.shape) == 1 else None
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value
