"""Which step is looked at next: by the schedule, when an update comes, after a spike, when the loss ends."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from telltales.errors import UsageError
from telltales.naming import is_distributed
from telltales.schedule import Rhythm
from telltales.steadiness import Spikes


class Lookout:
    """Says after each step whether the next is to be observed."""

    def __init__(self, schedule: Callable[[int], bool], around_spikes: bool) -> None:
        """Raises `UsageError` where spikes would let each process of a training observe other steps."""
        if around_spikes and is_distributed():
            raise UsageError("around_spikes would observe other steps in each process", remedy="Leave it out.")
        self._schedule = schedule
        self._spikes = Spikes() if around_spikes else None
        # In a distributed training all have to observe the same steps.
        self._looks_for_the_end = not is_distributed()
        self._rhythm, self._is_due = Rhythm(), False

    def observed(self, step: int, had_its_turn: bool) -> None:
        """Take in whether an observed step had an update, or would have had one."""
        self._is_due = self._rhythm.saw(step, had_its_turn)

    def free(self, step: int, most: int) -> int:
        """How many steps from ``step`` on, which is not observed, need no look, as far as can be known now."""
        for ahead in range(1, most):
            due = self._is_due or self._schedule(step + ahead)
            if due and self._rhythm.has_its_turn(step + ahead):
                return ahead
        return most

    def wants(self, step: int, loss: torch.Tensor | float) -> bool:
        """Whether to observe this step, before which came this loss."""
        is_near = self._spikes is not None and self._spikes.is_near(float(loss))
        is_near = is_near or (self._looks_for_the_end and self._has_ended(loss))
        self._is_due = self._is_due or self._schedule(step)
        if is_near or (self._is_due and self._rhythm.has_its_turn(step)):
            self._is_due = False
            return True
        return False

    def _has_ended(self, loss: torch.Tensor | float) -> bool:
        """Whether this loss, which costs nothing to read, is the first that is not finite."""
        if isinstance(loss, torch.Tensor) and loss.device.type != "cpu":
            return False
        self._looks_for_the_end = math.isfinite(loss)
        return not self._looks_for_the_end
