"""From the device to the host, once: what was measured waits here until the step is over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray

from telltales.statistics import as_floats

STACKED = 65_536
"""Tensors of at most so many values are stacked with others of their shape; longer ones are measured alone."""


class Transfer:
    """Tensors of any shapes and devices that come to the host as float32 in one copy per device."""

    def __init__(self) -> None:
        self._waiting: list[torch.Tensor] = []
        self._arrays: list[NDArray[np.float32]] = []

    def put(self, tensor: torch.Tensor) -> int:
        """Let ``tensor`` wait for `fetch`; the ticket gets it from there as an array."""
        self._waiting.append(tensor)
        return len(self._arrays) + len(self._waiting) - 1

    def fetch(self) -> None:
        """Bring what has been put since the last call; nothing happens if that is nothing."""
        by_device: dict[torch.device, list[int]] = {}
        for place, tensor in enumerate(self._waiting):
            by_device.setdefault(tensor.device, []).append(place)
        arrived: dict[int, NDArray[np.float32]] = {}
        for places in by_device.values():
            flat = torch.cat([_flat(self._waiting[place]) for place in places]).cpu().numpy()
            end = 0
            for place in places:
                begin, end = end, end + self._waiting[place].numel()
                arrived[place] = flat[begin:end].reshape(self._waiting[place].shape)
        self._arrays += [arrived[place] for place in range(len(self._waiting))]
        self._waiting = []

    def __getitem__(self, ticket: int) -> NDArray[np.float32]:
        return self._arrays[ticket]


def _flat(tensor: torch.Tensor) -> torch.Tensor:
    flat = tensor.reshape(-1)
    return flat if flat.dtype == torch.float32 else flat.to(torch.float32)


def stacks(tensors: Sequence[torch.Tensor]) -> Iterator[tuple[list[int], torch.Tensor]]:
    """The tensors as matrices, a row each: those of one shape together, with their places in ``tensors``.

    A matrix of several rows is a copy; one of a single row may share its memory.
    """
    groups: dict[object, list[int]] = {}
    for place, tensor in enumerate(tensors):
        alone = place if tensor.numel() > STACKED else None
        groups.setdefault((tensor.shape, tensor.dtype, tensor.device, alone), []).append(place)
    for places in groups.values():
        if len(places) == 1:
            yield places, as_floats(tensors[places[0]]).reshape(1, -1)
        else:
            # Sparse tensors are stacked as such, and filled in together.
            yield places, as_floats(torch.stack([tensors[place] for place in places])).reshape(len(places), -1)


def as_vector(losses: Sequence[torch.Tensor | float]) -> torch.Tensor:
    """Losses as one float32 vector on their device."""
    device = next((loss.device for loss in losses if isinstance(loss, torch.Tensor)), None)
    parts = []
    # A tensor made of many numbers at once costs as much as one made of a single number.
    for are_tensors, group in groupby(losses, key=lambda loss: isinstance(loss, torch.Tensor)):
        if are_tensors:
            parts += [torch.as_tensor(loss, dtype=torch.float32, device=device).reshape(-1) for loss in group]
        else:
            parts.append(torch.tensor(list(group), dtype=torch.float32, device=device))
    return torch.cat(parts) if parts else torch.zeros(0)
