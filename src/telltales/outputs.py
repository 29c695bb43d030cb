"""What modules give, whatever its form: the tensor that counts, and which of its axes holds the units."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from telltales.flat_regions import FlatRegion
from telltales.statistics import as_floats
from telltales.transfer import STACKED

CHANNELS_LAST = ("Linear", "LayerNorm", "RMSNorm", "Embedding", "RNN", "LSTM", "GRU", "Attention", "Conv1D")
"""Parts of class names; the last is a linear layer of some transformers, not a convolution."""
CHANNELS_FIRST = ("Conv", "BatchNorm", "GroupNorm", "InstanceNorm", "Pool")


def first_tensor(output: Any) -> torch.Tensor | None:
    """The first floating-point tensor of an output: itself, or in a tuple, a list, a mapping or a data class of any
    depth. None if there is none."""
    if isinstance(output, torch.Tensor):
        return output if output.is_floating_point() else None
    if isinstance(output, Mapping):
        output = tuple(output.values())
    elif dataclasses.is_dataclass(output) and not isinstance(output, type):
        output = tuple(getattr(output, field.name) for field in dataclasses.fields(output))
    if isinstance(output, tuple | list):
        for part in output:
            found = first_tensor(part)
            if found is not None:
                return found
    return None


def second_tensor(output: Any) -> torch.Tensor | None:
    """The second part of a tuple, if it is a floating-point tensor of attention weights, (…, queries, keys)."""
    if isinstance(output, tuple) and len(output) > 1 and isinstance(output[1], torch.Tensor):
        weights = output[1]
        return weights if weights.is_floating_point() and weights.dim() >= 3 else None
    return None


class Axes:
    """Remembers how the last layer laid out its units, since an activation function's output does not say."""

    def __init__(self) -> None:
        self._first = False

    def of_units(self, module: nn.Module | None, tensor: torch.Tensor) -> int:
        """The axis of ``tensor`` whose entries are the units: 1 after convolutions and their like, else the last.

        ``module``: what gave the tensor; None for a function.
        """
        name = type(module).__name__
        if any(part in name for part in CHANNELS_LAST):
            self._first = False
        elif any(part in name for part in CHANNELS_FIRST):
            self._first = True
        return 1 if self._first and tensor.dim() > 2 else max(tensor.dim() - 1, 0)


def kept(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor, detached; a copy if it is small, since it is measured later and may be overwritten before that."""
    return tensor.detach().clone() if tensor.numel() <= STACKED else tensor.detach()


def tested(region: FlatRegion, given: Any, output: torch.Tensor, axis: int) -> torch.Tensor | None:
    """What a flat region is tested on, as (examples, units): the output, or what was given for it.

    None where the latter can't be known, as with a function that works in place.
    """
    if region.of == "output":
        return as_matrix(as_floats(kept(output)), axis)
    if not isinstance(given, torch.Tensor) or given.shape != output.shape or given.data_ptr() == output.data_ptr():
        return None
    return as_matrix(as_floats(kept(given)), axis)


def as_matrix(values: torch.Tensor, axis: int) -> torch.Tensor:
    """(examples, units): everything but ``axis`` is an example."""
    if values.dim() < 2:
        return values.reshape(-1, 1)
    return values.movedim(axis, -1).reshape(-1, values.shape[axis])
