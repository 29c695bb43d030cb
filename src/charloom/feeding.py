"""Batches on the device of a training: made there from what is moved once, many steps at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from charloom.contexts import BatchSource, Contexts, RowBatches
from charloom.vocabulary import MARKER

if TYPE_CHECKING:
    from jaxtyping import Float, Int

STEPS_AT_ONCE = 256
LARGEST_BLOCK = 1 << 24
"""Ids in the contexts and targets of the steps that are made at once, unless one step has more."""


class Batch(NamedTuple):
    """What one step trains on."""

    contexts: Int[torch.Tensor, "batch context"]
    targets: torch.Tensor
    """Ids (batch,); for distinct contexts the shares (batch, vocab) of what follows them."""
    weights: Float[torch.Tensor, " batch"] | None
    """Of the rows in the mean; None where all weigh the same."""


class Block(NamedTuple):
    """Batches of some steps: ``parts`` have one entry a step each, of which `Feed.batch` makes the batch."""

    numbers: Int[np.ndarray, "steps batch"]
    """What the rows are called outside: numbers of training rows, or of distinct contexts."""
    parts: tuple[torch.Tensor, ...]


class Feed:
    """The batches of a source on a device.

    For rows the ids of the text lie there, and contexts are made from them; for distinct contexts, these and the shares
    of what follows each. Per step only row numbers are moved (and weights), and the device is not waited for.
    """

    def __init__(self, source: BatchSource, device: torch.device, vocabulary_size: int) -> None:
        self._source = source
        self._device = device
        first = source.batches(0, 1)
        batch, context = first.rows.shape[1], first.contexts.shape[1]
        self.steps_at_once = max(1, min(STEPS_AT_ONCE, LARGEST_BLOCK // (batch * (context + 1))))
        """Steps in the largest block."""
        self._rows = RowsOnDevice(source.contexts, device) if isinstance(source, RowBatches) else None
        if self._rows is None:
            self._contexts = on_device(first.contexts, device)
            self._shares = on_device(first.dense(vocabulary_size), device)

    def block(self, first_step: int, steps: int) -> Block:
        """The batches of ``steps`` steps from ``first_step`` (from 0) on."""
        if isinstance(self._source, RowBatches) and self._rows is not None:
            numbers = self._source.numbers(first_step, steps)
            return Block(numbers, self._rows(on_device(numbers, self._device)))
        made = self._source.batches(first_step, steps)
        return Block(made.numbers, (on_device(made.rows, self._device), on_device(made.weights, self._device)))

    def batch(self, parts: tuple[torch.Tensor, ...]) -> Batch:
        """The batch of one step, from its entry in each of a block's parts."""
        first, second = parts
        if self._rows is not None:
            return Batch(first, second, None)
        return Batch(self._contexts[first], self._shares[first], second)


class RowsOnDevice:
    """`Contexts.rows` by PyTorch, from ids that lie on the device."""

    def __init__(self, contexts: Contexts, device: torch.device) -> None:
        self._ids = on_device(contexts.ids, device)
        self._reach = on_device(contexts.reach, device)
        self._back = torch.arange(contexts.context_length, 0, -1, device=device)

    def __call__(
        self, index: Int[torch.Tensor, "*batch"]
    ) -> tuple[Int[torch.Tensor, "*batch context"], Int[torch.Tensor, "*batch"]]:
        """Contexts and targets of the rows at ``index``, as int64."""
        inside = self._back <= self._reach[index][..., None]
        ids = self._ids[(index[..., None] - self._back).clamp_(min=0)]
        return torch.where(inside, ids, MARKER).long(), self._ids[index].long()


def on_device(array: np.ndarray[Any, Any], device: torch.device) -> torch.Tensor:
    """The array as a tensor, on its way to the device; on the CPU it shares the array's memory."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
