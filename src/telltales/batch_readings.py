"""What an observed step says of its batch: size, the inputs' and targets' scale, and how its examples differ."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from telltales.statistics import as_floats, moments
from telltales.transfer import STACKED, Transfer


class BatchReadings:
    """Takes in a batch, as far as it is given, and gives its numbers after the transfer."""

    def __init__(self, transfer: Transfer) -> None:
        self._transfer = transfer
        self._size: int | None = None
        self._inputs: int | None = None
        self._input_values = 0
        self._targets: tuple[int, bool] | None = None
        self._rows: dict[str, int] = {}
        self._ignored: int | None = None
        self.shapes: dict[str, list[int]] = {}
        """Of an example of ``input`` and ``target``, as far as they are given."""

    def put(self, batch: Any, targets: Any, ignored: int | None) -> None:
        """``ignored``: the label that the loss leaves out."""
        inputs = _any_tensor(batch)
        self._ignored = ignored
        if inputs is not None and inputs.dim():
            self._size = inputs.shape[0]
            if inputs.is_floating_point() and inputs.numel():
                self._input_values = inputs.numel()
                self._inputs = self._transfer.put(moments(as_floats(inputs).reshape(1, -1)))
        labels = _any_tensor(targets)
        for what, tensor in (("input", inputs), ("target", labels)):
            if tensor is not None and tensor.dim() and tensor.shape[0] > 1 and tensor.numel():
                self.shapes[what] = list(tensor.shape[1:])
                self._rows[what] = self._transfer.put(_spread_of_rows(tensor, what == "target", ignored))
        if labels is not None and labels.numel():
            flat = labels.detach().reshape(-1)[:STACKED]
            self._targets = self._transfer.put(flat), not labels.is_floating_point()

    @property
    def labels(self) -> NDArray[np.int64] | None:
        """After the transfer: the batch's labels that count, if they are classes."""
        if self._targets is None or not self._targets[1]:
            return None
        labels = self._transfer[self._targets[0]].astype(np.int64)
        counts = (labels >= 0) & (labels != (-1 if self._ignored is None else self._ignored))
        counted: NDArray[np.int64] = labels[counts]
        return counted

    def scalars(self) -> dict[str, float]:
        """After the transfer, by the names of `telltales.observation.SCALARS`."""
        found: dict[str, float] = {}
        if self._size is not None:
            found["batch_size"] = float(self._size)
        if self._inputs is not None:
            row = self._transfer[self._inputs][0]
            found |= {"input_mean": float(row[0]), "input_std": float(row[1]) / math.sqrt(self._input_values)}
        if (classes := self.labels) is not None:
            _, counts = np.unique(classes, return_counts=True)
            shares = counts / max(counts.sum(), 1)
            found["target_entropy"] = float(-(shares * np.log(shares)).sum())
        elif self._targets is not None:
            numbers = self._transfer[self._targets[0]].astype(np.float64)
            found |= {"target_mean": float(numbers.mean()), "target_std": float(numbers.std())}
        for what, ticket in self._rows.items():
            mean, std = self._transfer[ticket]
            found |= {f"{what}_row_mean": float(mean), f"{what}_row_std": float(std)}
        return found


def _spread_of_rows(tensor: torch.Tensor, are_targets: bool, ignored: int | None) -> torch.Tensor:
    """The mean over the examples of each one's own mean, and the standard deviation of these.

    Labels that do not count are left out. Of ids the deviation is 0 only if all examples are the same: the rows of
    permutations have the same mean, which says nothing, so theirs is NaN.
    """
    rows = tensor.detach().reshape(tensor.shape[0], -1)[:, :STACKED]
    if rows.is_floating_point() or rows.is_complex():
        means = as_floats(rows).reshape(len(rows), -1).mean(1)
        return torch.stack([means.mean(), means.std()])
    counts = torch.ones_like(rows, dtype=torch.bool)
    if are_targets:
        counts = (rows >= 0) & (rows != (-1 if ignored is None else ignored))
    means = (rows.float() * counts).sum(1) / counts.sum(1).clamp(min=1)
    std = means.std()
    is_hidden = (std == 0) & (rows != rows[:1]).any()
    return torch.stack([means.mean(), torch.where(is_hidden, torch.nan, std)])


_NOT_INPUTS = ("mask", "label", "target", "type_id", "position")
"""What the names of a batch's entries have in them that are not what a model is mainly given."""


def _any_tensor(value: Any) -> torch.Tensor | None:
    """The first tensor of any type in a batch of any form; in a mapping, rather of what is no mask and the like."""
    if isinstance(value, torch.Tensor):
        return value
    if isinstance(value, Mapping):
        value = sorted(value.items(), key=lambda item: any(part in str(item[0]) for part in _NOT_INPUTS))
        value = [entry for _, entry in value]
    if isinstance(value, tuple | list):
        return next((found for part in value if (found := _any_tensor(part)) is not None), None)
    return None
