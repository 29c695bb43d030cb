"""Activation functions and attention that a model calls as functions, such as `torch.nn.functional.relu`.

No module stands for them, so no module hook sees them. During the forward pass of an observed step a
`torch.overrides.TorchFunctionMode` does; it is entered and left by hooks on the watched model itself, so that it never
outlasts the pass. Compiled models are left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from telltales.flat_regions import FUNCTIONS, FlatRegion, about_region, flat_region
from telltales.flat_values import Watched
from telltales.outputs import Axes, as_matrix, kept
from telltales.probes import Receiver
from telltales.statistics import as_floats, attention_entropy, normalized_entropy

SOFTMAX = (functional.softmax, torch.softmax, torch.Tensor.softmax)
ATTENTION = functional.scaled_dot_product_attention


class FunctionProbe:
    """Sees the functions that a model's modules call, and names them after the innermost module that is running."""

    def __init__(
        self,
        roots: Mapping[str, nn.Module],
        wanted: Callable[[str], bool],
        axes: Axes,
        gradients: bool,
        failed: Callable[[Exception], None],
    ) -> None:
        """``roots``: the watched models by prefix. ``wanted``: whether to look at a function of this name."""
        self._roots, self._wanted = roots, wanted
        self._axes, self._gradients, self._failed = axes, gradients, failed
        self._known: dict[str, Watched] = {}
        self._handles: list[RemovableHandle] = []
        self._receiver: Receiver | None = None
        self._running: list[tuple[str, nn.Module, dict[str, int]]] = []
        self._modes: list[_Mode] = []
        self.facts: dict[str, dict[str, Any]] = {}
        """What a record says of each function seen: as `ModuleProbe.about` does of a module."""

    def start(self, receiver: Receiver) -> None:
        self._receiver = receiver
        for prefix, root in self._roots.items():
            for name, module in root.named_modules():
                if not _may_call(module):
                    continue
                place = prefix + name
                self._handles += [
                    module.register_forward_pre_hook(self._enter(place, is_root=module is root), prepend=True),
                    module.register_forward_hook(self._leave(is_root=module is root), always_call=True),
                ]

    def stop(self) -> None:
        """Between forward passes; also after one that an exception such as KeyboardInterrupt broke off."""
        while self._modes:
            self._modes.pop().__exit__(None, None, None)  # type: ignore[no-untyped-call]
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._running = []
        self._receiver = None

    def _enter(self, place: str, *, is_root: bool) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any) -> None:
            if not torch.compiler.is_compiling():
                self._running.append((place, module, {}))
                if is_root:
                    self._modes.append(_Mode(self._see))
                    self._modes[-1].__enter__()  # type: ignore[no-untyped-call]

        return hook

    def _leave(self, *, is_root: bool) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            if not torch.compiler.is_compiling() and self._running:
                self._running.pop()
                if is_root:
                    self._modes.pop().__exit__(None, None, None)  # type: ignore[no-untyped-call]

        return hook

    def _see(self, function: Any, args: tuple[Any, ...], options: Mapping[str, Any], output: Any) -> None:
        known = function in FUNCTIONS or function in SOFTMAX or function is ATTENTION
        if not known or not torch.is_grad_enabled() or self._receiver is None or not self._running:
            return
        try:
            self._read(function, args, options, output)
        except Exception as error:  # noqa: BLE001 - a probe must not end a training
            self._failed(error)

    def _read(self, function: Any, args: tuple[Any, ...], options: Mapping[str, Any], output: Any) -> None:
        place, module, calls = self._running[-1]
        is_function_itself = next(module.children(), None) is None and next(module.parameters(), None) is None
        if is_function_itself or self._receiver is None or not isinstance(output, torch.Tensor) or not output.numel():
            return
        region = FUNCTIONS.get(function)
        label = "attention" if function is ATTENTION else "softmax" if region is None else region.function
        calls[label] = number = calls.get(label, 0) + 1
        name = ".".join(part for part in (place, label) if part) + (f":{number}" if number > 1 else "")
        if not self._wanted(name):
            return
        watched = self._known.setdefault(name, Watched(name, region))
        self.facts.setdefault(name, {"type": f"function {label}", "shape": list(output.shape), **about_region(region)})
        axis = self._axes.of_units(module, output) if region is not None else output.dim() - 1
        self._receiver.output(watched, kept(output), self._source(region, args, output, axis))
        if function is ATTENTION:
            self._receiver.entropy(name, attention_entropy(*args, **options))
        elif region is None:
            axis = options.get("dim", args[1] if len(args) > 1 else -1)
            self._receiver.entropy(name, normalized_entropy(as_floats(output), axis))
        if self._gradients and output.requires_grad:
            output.register_hook(self._gradient_hook(name))  # type: ignore[no-untyped-call]

    def _source(
        self, region: FlatRegion | None, args: tuple[Any, ...], output: torch.Tensor, axis: int
    ) -> torch.Tensor | None:
        if region is None:
            return None
        tested = output if region.of == "output" else args[0]
        return as_matrix(as_floats(kept(tested)), axis)

    def _gradient_hook(self, name: str) -> Callable[[torch.Tensor], None]:
        def hook(gradient: torch.Tensor) -> None:
            if self._receiver is not None:
                try:
                    self._receiver.gradient(name, gradient.detach())
                except Exception as error:  # noqa: BLE001 - a probe must not end a training
                    self._failed(error)

        return hook


def _may_call(module: nn.Module) -> bool:
    """Whether a module may call an activation function, or is one; PyTorch's own linear layers and the like do not."""
    is_from_torch = type(module).__module__.startswith("torch.nn.modules")
    if not is_from_torch or next(module.children(), None) is not None:
        return True
    return flat_region(module) is not None or isinstance(module, nn.Softmax | nn.Softmax2d)


class _Mode(TorchFunctionMode):
    """Lets every function run as it would, and shows it with what it gave."""

    def __init__(self, see: Callable[[Any, tuple[Any, ...], Mapping[str, Any], Any], None]) -> None:
        super().__init__()
        self._see = see

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = kwargs or {}
        output = func(*args, **options)
        self._see(func, args, options, output)
        return output
