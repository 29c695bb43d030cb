"""The losses since the last observed step, where they are: on a GPU nothing waits for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import SupportsFloat

import numpy as np
import torch
from numpy.typing import NDArray

from telltales.errors import UsageError
from telltales.transfer import as_vector

JOINED_AT = 256
"""So many losses wait one by one; then they are joined to one vector."""


def assert_number(loss: object) -> None:
    """Raises `UsageError` for a loss that is not one number."""
    if isinstance(loss, torch.Tensor):
        if loss.numel() != 1:
            raise UsageError(f"a loss of shape {tuple(loss.shape)} is not one number", remedy="Give its mean.")
    elif not isinstance(loss, SupportsFloat):
        raise UsageError(f"a loss of type {type(loss).__name__} is not a number", remedy="Give the loss's tensor.")


class WaitingLosses:
    """Takes in a loss a step, and gives them all at once."""

    def __init__(self) -> None:
        self._losses: list[torch.Tensor | float] = []

    def add(self, loss: torch.Tensor | float) -> torch.Tensor | float:
        """Take in a loss; gives it as it is kept.

        That is a number or, on a GPU, which would have to be waited for, a copy, as the caller may use it again.
        """
        kept: torch.Tensor | float
        if isinstance(loss, torch.Tensor):
            kept = loss.item() if loss.device.type == "cpu" else loss.detach().clone()
        else:
            kept = float(loss)
        self._losses.append(kept)
        if len(self._losses) >= JOINED_AT:
            self._losses = [as_vector(self._losses)]
        return kept

    def extend(self, losses: Sequence[float]) -> None:
        """Take in the losses of many steps, oldest first."""
        self._losses.append(torch.tensor(losses, dtype=torch.float32))

    def vector(self) -> torch.Tensor:
        """(steps,), on their device."""
        return as_vector(self._losses)

    def clear(self) -> None:
        self._losses = []

    def on_host(self) -> NDArray[np.float32]:
        """All of them; none where the device gives nothing any more, as after a CUDA error."""
        nothing = np.zeros(0, np.float32)
        try:
            return self.vector().cpu().numpy() if self._losses else nothing
        except RuntimeError:
            return nothing
