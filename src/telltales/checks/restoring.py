"""Puts everything back as it was: parameters, buffers, gradients, modes, the optimizer, the batch, random states."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Iterator, MutableMapping, MutableSequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.autograd.grad_mode import _unsafe_preserve_version_counter
from torch.utils import _pytree as pytree

_DEPTH = 2
"""So deep are lists and dicts in a module's attributes searched for tensors and modules."""


@contextmanager
def restored(
    model: nn.Module,
    optimizers: Iterable[torch.optim.Optimizer] = (),
    batch: Any = None,
    others: Iterable[nn.Module] = (),
) -> Iterator[None]:
    """Bit for bit as before, whatever happened inside, an exception included.

    Parameters and buffers (the same tensors in the same storage), gradients (the same objects, and None stays None),
    ``requires_grad``, every module's attributes, mode and hooks, the optimizers' state and groups, the tensors of
    ``batch``, all that modules in ``others`` hold, the random states of Python, NumPy and PyTorch, the default dtype
    and the autograd mode. Tensors keep the counters of their changes, so that a graph from before stays good.
    """
    modules = [module for one in (model, *others) for module in every_module(one)]
    tensors = _Tensors()
    for module in modules:
        for held in (*module._parameters.values(), *module._buffers.values(), *_tensors_in(vars(module))):
            tensors.keep(held)
    for leaf in pytree.tree_leaves(batch):
        tensors.keep(leaf)
    attributes = [_Attributes(vars(module)) for module in modules]
    states = [_OptimizerState(optimizer, tensors) for optimizer in optimizers]
    generators = _Generators(modules)
    dtype = torch.get_default_dtype()
    with ExitStack() as around:
        around.enter_context(tensors.same_versions())
        around.enter_context(torch.inference_mode(False))
        around.enter_context(torch.enable_grad())
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)
            for held_by in attributes:
                held_by.restore()
            for state in states:
                state.restore()
            tensors.restore()
            generators.restore()


def every_module(model: nn.Module) -> list[nn.Module]:
    """The modules of ``model``, and those that stand in its lists and dicts without being registered."""
    found: dict[int, nn.Module] = {}
    todo = deque([model])
    while todo:
        module = todo.popleft()
        for inner in module.modules():
            if id(inner) not in found:
                found[id(inner)] = inner
                todo.extend(hidden_in(vars(inner), nn.Module))
    return list(found.values())


def hidden_in(values: MutableMapping[str, Any], kind: type[Any]) -> list[Any]:
    """Those of a type among a module's attributes, and in their lists and dicts; not those that are registered."""
    return [found for name, value in values.items() if not _is_own(name) for found in _search(value, kind, _DEPTH)]


def _search(value: Any, kind: type[Any], depth: int) -> Iterator[Any]:
    if isinstance(value, kind):
        yield value
    elif depth and isinstance(value, MutableMapping):
        for inner in list(value.values()):
            yield from _search(inner, kind, depth - 1)
    elif depth and isinstance(value, list | tuple | deque):
        for inner in value:
            yield from _search(inner, kind, depth - 1)


def _is_own(name: str) -> bool:
    """Whether an attribute is one in which `torch.nn.Module` keeps what is registered."""
    return name in ("_parameters", "_buffers", "_modules", "training") or name.endswith(
        ("_hooks", "_hooks_with_kwargs")
    )


def _tensors_in(values: MutableMapping[str, Any]) -> list[torch.Tensor]:
    return hidden_in(values, torch.Tensor)


class _Tensors:
    """The values, storage, gradient and flag of tensors."""

    def __init__(self) -> None:
        self._kept: dict[int, tuple[Any, ...]] = {}

    def keep(self, tensor: Any) -> None:
        if not isinstance(tensor, torch.Tensor) or id(tensor) in self._kept:
            return
        if isinstance(tensor, nn.UninitializedParameter | nn.UninitializedBuffer) or tensor.is_meta:
            return
        gradient = tensor.grad if tensor.is_leaf else None
        with torch.no_grad():
            values = tensor.detach().clone()
            slopes = None if gradient is None else gradient.detach().clone()
        self._kept[id(tensor)] = tensor, tensor.detach(), values, gradient, slopes, tensor.requires_grad

    def same_versions(self) -> AbstractContextManager[Any]:
        """Keep the counters of changes, so that a graph that waits for its backward pass takes what is put back."""
        kept = tuple(entry[0] for entry in self._kept.values() if not entry[0].is_inference())
        return _unsafe_preserve_version_counter(kept) if kept else nullcontext()

    def restore(self) -> None:
        with torch.no_grad():
            for tensor, data, values, gradient, slopes, wants in self._kept.values():
                _put_back(data, values)
                if not tensor.is_leaf:
                    continue
                if tensor.data_ptr() != data.data_ptr() or tensor.dtype != data.dtype or tensor.shape != data.shape:
                    tensor.data = data
                tensor.grad = gradient
                if gradient is not None:
                    _put_back(gradient, slopes)
                if tensor.requires_grad != wants:
                    tensor.requires_grad_(wants)


def _put_back(tensor: torch.Tensor, values: torch.Tensor) -> None:
    """Only where something changed, so that a graph that still needs the tensor stays good."""
    if not _same_bits(tensor, values):
        tensor.detach().copy_(values)


def _same_bits(first: torch.Tensor, second: torch.Tensor) -> bool:
    if first.shape != second.shape or first.layout != torch.strided:
        return False
    if first.is_floating_point() or first.is_complex():
        return torch.equal(_bytes(first), _bytes(second))
    return torch.equal(first, second)


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8) if tensor.numel() else tensor.detach()


class _Attributes:
    """What a dictionary held, and what the lists and dicts in it held."""

    def __init__(self, values: MutableMapping[str, Any], depth: int = _DEPTH) -> None:
        self._values = values
        self._before = dict(values)
        self._inner = [kept for value in values.values() if (kept := _contents(value, depth)) is not None]

    def restore(self) -> None:
        before = self._before
        changed = self._values.keys() != before.keys() or any(self._values[key] is not before[key] for key in before)
        if changed or list(self._values) != list(before):
            self._values.clear()
            self._values.update(before)
        for kept in self._inner:
            kept.restore()


class _Items:
    """What a list, a deque or a set held."""

    def __init__(self, values: Any, depth: int) -> None:
        self._values, self._before = values, list(values)
        self._inner = [kept for value in self._before if (kept := _contents(value, depth)) is not None]

    def restore(self) -> None:
        now = list(self._values)
        if len(now) != len(self._before) or any(a is not b for a, b in zip(now, self._before, strict=True)):
            self._values.clear()
            if isinstance(self._values, set):
                self._values.update(self._before)
            else:
                self._values.extend(self._before)
        for kept in self._inner:
            kept.restore()


def _contents(value: Any, depth: int) -> _Attributes | _Items | None:
    if depth and isinstance(value, dict):
        return _Attributes(value, depth - 1)
    if (
        depth
        and isinstance(value, MutableSequence | set)
        and hasattr(value, "clear")
        and not isinstance(value, bytearray)
    ):
        return _Items(value, depth - 1)
    return None


class _OptimizerState:
    """An optimizer's state for each parameter, and its groups' settings."""

    def __init__(self, optimizer: torch.optim.Optimizer, tensors: _Tensors) -> None:
        self._optimizer = optimizer
        self._state = {key: dict(value) if isinstance(value, dict) else value for key, value in optimizer.state.items()}
        self._inner = {key: value for key, value in optimizer.state.items()}
        self._groups = [(group, dict(group), list(group["params"])) for group in optimizer.param_groups]
        self._hooks = _Attributes(vars(optimizer), 1)
        for value in optimizer.state.values():
            for leaf in pytree.tree_leaves(value):
                tensors.keep(leaf)
        for group in optimizer.param_groups:
            for leaf in pytree.tree_leaves(dict(group)):
                tensors.keep(leaf)

    def restore(self) -> None:
        self._hooks.restore()
        state = self._optimizer.state
        if isinstance(state, MutableMapping):
            state.clear()
            for key, value in self._inner.items():
                if isinstance(value, dict):
                    value.clear()
                    value.update(self._state[key])
                state[key] = value
        for group, settings, parameters in self._groups:
            group.clear()
            group.update(settings)
            group["params"][:] = parameters


class _Generators:
    """The states of all sources of random numbers, those in modules' attributes included."""

    def __init__(self, modules: list[nn.Module]) -> None:
        self._python = random.getstate()
        self._numpy = np.random.get_state()
        self._torch = torch.get_rng_state()
        self._cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        own = [found for module in modules for found in hidden_in(vars(module), torch.Generator)]
        self._own = [(generator, generator.get_state()) for generator in own]
        arrays = [found for module in modules for found in hidden_in(vars(module), np.random.Generator)]
        self._arrays = [(generator, generator.bit_generator.state) for generator in arrays]

    def restore(self) -> None:
        random.setstate(self._python)
        np.random.set_state(self._numpy)
        torch.set_rng_state(self._torch)
        if self._cuda:
            torch.cuda.set_rng_state_all(self._cuda)
        for generator, state in self._own:
            generator.set_state(state)
        for source, before in self._arrays:
            source.bit_generator.state = before
