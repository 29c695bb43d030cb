"""The loss and activation functions that run during a forward pass, with what they were given."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from telltales.flat_regions import FUNCTIONS, FlatRegion

LOSSES: Mapping[Any, str] = {
    functional.cross_entropy: "cross_entropy",
    functional.nll_loss: "nll",
    functional.binary_cross_entropy: "binary_cross_entropy",
    functional.binary_cross_entropy_with_logits: "binary_cross_entropy_with_logits",
    functional.mse_loss: "mse",
    functional.l1_loss: "l1",
    functional.smooth_l1_loss: "smooth_l1",
    functional.huber_loss: "huber",
    functional.kl_div: "kl_div",
    functional.poisson_nll_loss: "poisson_nll",
}
REGRESSION = ("mse", "l1", "smooth_l1", "huber")


@dataclass(frozen=True)
class LossCall:
    """A call of a loss function."""

    kind: str
    input: torch.Tensor
    target: torch.Tensor
    value: torch.Tensor
    reduction: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_indexed(self) -> bool:
        """Whether the targets are class numbers, and the classes are the input's second (or only) dimension."""
        return self.kind in ("cross_entropy", "nll") and not self.target.is_floating_point()

    @property
    def class_dim(self) -> int:
        return 1 if self.input.dim() > 1 else 0

    def rows(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (N, C) and class numbers (N,) of the targets that count."""
        logits = self.input.movedim(self.class_dim, -1)
        logits, target = logits.reshape(-1, logits.shape[-1]), self.target.reshape(-1)
        counts = target != int(self.options.get("ignore_index", -100))
        return logits[counts], target[counts]


class Listening(TorchFunctionMode):
    """Keeps the calls of loss functions, and tells of those of activation functions."""

    def __init__(self, activated: Callable[[FlatRegion, torch.Tensor], None]) -> None:
        super().__init__()
        self.losses: list[LossCall] = []
        self._activated = activated

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = kwargs or {}
        output = func(*args, **options)
        if isinstance(output, torch.Tensor):
            if func in LOSSES:
                self.losses.append(_loss_call(func, args, options, output))
            elif func in FUNCTIONS:
                self._activated(FUNCTIONS[func], output)
        return output


def _loss_call(function: Any, args: tuple[Any, ...], options: Mapping[str, Any], output: torch.Tensor) -> LossCall:
    bound = inspect.signature(function).bind(*args, **options)
    bound.apply_defaults()
    given = dict(bound.arguments)
    with torch._C.DisableTorchFunction():
        return LossCall(
            LOSSES[function],
            given.pop("input").detach(),
            given.pop("target").detach(),
            output.detach(),
            str(given.pop("reduction")),
            given,
        )
