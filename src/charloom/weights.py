"""A network's parameters and buffers as plain arrays, and back."""

from __future__ import annotations

import torch

from charloom.checkpoint import Arrays
from charloom.errors import CheckpointError


def model_arrays(model: torch.nn.Module) -> Arrays:
    """A copy of a model's parameters and buffers, by name."""
    return {name: tensor.detach().cpu().numpy().copy() for name, tensor in model.state_dict().items()}


def load_arrays(model: torch.nn.Module, arrays: Arrays) -> None:
    """Fill a model with parameters and buffers. Raises `CheckpointError` as `check_arrays` does, changing nothing."""
    check_arrays(model, arrays)
    model.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in arrays.items()})


def check_arrays(model: torch.nn.Module, arrays: Arrays) -> None:
    """Raise `CheckpointError` when names, shapes or types are not those of a model's parameters and buffers."""
    expected = model.state_dict()
    if set(arrays) != set(expected):
        differing = sorted(set(arrays) ^ set(expected))
        raise CheckpointError(f"the stored weights are not this model's: {', '.join(differing)}")
    for name, tensor in expected.items():
        shape, dtype = tuple(tensor.shape), str(tensor.dtype).removeprefix("torch.")
        stored = arrays[name]
        if stored.shape != shape or stored.dtype != dtype:
            raise CheckpointError(f"{name} is stored as {stored.shape} {stored.dtype} and should be {shape} {dtype}")
