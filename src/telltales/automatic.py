"""Steps that count themselves: the loss is read where it is computed, and an update ends a step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from telltales.errors import ProbeError
from telltales.probes import Hook


class Automatic:
    """Calls ``step`` with the mean loss of the forward passes since the last update, after each update.

    An update without a forward pass before it, as of another part of the model, rests on the loss of the one before.
    """

    def __init__(
        self,
        loss_from: nn.Module,
        optimizer: torch.optim.Optimizer,
        step: Callable[[torch.Tensor | float], None],
        look_at: Callable[[torch.Tensor], None],
        failed: Callable[[Exception], None],
    ) -> None:
        """``loss_from``: a module whose output is the loss, or has it as ``loss``. ``look_at``: is given each loss
        while its graph is there."""
        self._optimizer, self._step, self._look_at, self._tell = optimizer, step, look_at, failed
        self._has_failed = False
        self._losses: list[torch.Tensor] = []
        self._are_parts = False
        self._last: torch.Tensor | None = None
        self._of_loss = loss_from.register_forward_hook(_OfLoss(self), with_kwargs=True)
        self._of_update: RemovableHandle | None = None

    def come_last(self) -> None:
        """Move behind the hooks that were installed since: a step ends when they have seen the update."""
        if self._of_update is not None:
            self._of_update.remove()
        self._of_update = self._optimizer.register_step_post_hook(self._updated)

    def remove(self) -> None:
        self._of_loss.remove()
        if self._of_update is not None:
            self._of_update.remove()

    def computed(self, output: Any, options: Mapping[str, Any]) -> None:
        """Take in what the module gave, and what it was given by name."""
        loss = loss_in(output)
        if loss is not None and torch.is_grad_enabled():
            self._look_at(loss)
            self._losses.append(loss.detach().float().mean())
            # The models of transformers divide their sum by the items of all micro-batches, if they are told of them.
            self._are_parts = options.get("num_items_in_batch") is not None

    def failed(self, error: Exception) -> None:
        """From here on losses are not looked for: what is told of them ends the watch."""
        self._has_failed = True
        self._tell(error)

    def _updated(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        try:
            loss = math.nan if self._has_failed else self._loss()
        except ProbeError:
            raise
        except Exception as error:  # noqa: BLE001 - a hook must not end a training
            self.failed(error)
            loss = math.nan
        self._step(loss)

    def _loss(self) -> torch.Tensor:
        """Of the step that an update has ended. Raises `ProbeError` if there never was one."""
        losses, self._losses = self._losses, []
        if losses:
            every = torch.stack(losses)
            self._last = every.sum() if self._are_parts else every.mean()
        elif self._last is None:
            raise ProbeError(
                "an update came, and no loss before it",
                remedy="Let loss_from be the module whose output is the loss, or the model if its output has a `loss`; "
                "or leave it out and call step(loss).",
            )
        return self._last


@dataclass(frozen=True)
class _OfLoss(Hook):
    automatic: Automatic

    def __call__(self, module: nn.Module, args: Any, options: Mapping[str, Any], output: Any) -> None:
        try:
            self.automatic.computed(output, options)
        except Exception as error:  # noqa: BLE001 - a hook must not end a training
            self.automatic.failed(error)


def loss_in(output: Any) -> torch.Tensor | None:
    """The loss in a module's output: the output itself if it is a number or one for each example, its ``loss``, or its
    entry of that name."""
    if isinstance(output, torch.Tensor):
        return output if output.dim() < 2 else None
    found = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
    return found if isinstance(found, torch.Tensor) else None
