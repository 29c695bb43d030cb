"""Activation functions and attention that a model calls as functions, such as `torch.nn.functional.relu`.

No module stands for them, so no module hook sees them. During the forward pass of an observed step a
`torch.overrides.TorchFunctionMode` does; hooks on the modules enter it when the first of them starts to run and leave
it when that has run, so that it never outlasts the pass. Compiled models are left alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from telltales.flat_regions import FUNCTIONS, about_region, flat_region
from telltales.flat_values import Watched
from telltales.outputs import Axes, kept, tested
from telltales.probes import Hook, Receiver, is_traced, is_transformed
from telltales.statistics import as_floats, attention_entropy, normalized_entropy

SOFTMAX = (functional.softmax, torch.softmax, torch.Tensor.softmax)
ATTENTION = functional.scaled_dot_product_attention
MOST_CALLS = 8
"""So many calls of one function by one module have rows of their own; those after them share one."""


class FunctionProbe:
    """Sees the functions that a model's modules call, and names them after the innermost module that is running."""

    def __init__(
        self,
        roots: Mapping[str, nn.Module],
        wanted: Callable[[str], bool],
        axes: Axes,
        gradients: bool,
    ) -> None:
        """``roots``: the watched models by prefix. ``wanted``: whether to look at a function of this name."""
        self._roots, self._wanted = roots, wanted
        self._axes, self._gradients = axes, gradients
        self.error: Exception | None = None
        """What went wrong in here, whereupon it is switched off."""
        self.is_told = False
        """Whether that was said."""
        self._known: dict[str, Watched] = {}
        self._handles: list[RemovableHandle] = []
        self._receiver: Receiver | None = None
        self._thread = _Thread()
        self.facts: dict[str, dict[str, Any]] = {}
        """What a record says of each function seen: as `ModuleProbe.about` does of a module."""

    def start(self, receiver: Receiver) -> None:
        if self.error is not None:
            return
        self._receiver = receiver
        for prefix, root in self._roots.items():
            for name, module in root.named_modules():
                if not _may_call(module) or isinstance(module, torch.jit.ScriptModule):
                    continue
                enter = _Enter(self, (prefix + name).rstrip("."))
                self._handles.append(module.register_forward_pre_hook(enter, prepend=True))
                self._handles.append(module.register_forward_hook(_Leave(self), always_call=True))

    def stop(self) -> None:
        """Between forward passes; also after one that an exception such as KeyboardInterrupt broke off."""
        self._thread.drop_mode()
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._thread = _Thread()
        self._receiver = None

    def failed(self, error: Exception) -> None:
        """Switch off, which ends no forward or backward pass that is going on."""
        self.error = self.error or error
        self._receiver = None

    def enter(self, place: str, module: nn.Module) -> None:
        """A module starts to run."""
        if is_traced() or self._receiver is None:
            return
        here = self._thread
        if not here.running:
            here.drop_mode()
            if torch.is_grad_enabled():
                here.mode = _Mode(self)
                here.mode.__enter__()  # type: ignore[no-untyped-call]
        here.running.append((place, module, {}))

    def leave(self) -> None:
        """It has run, or failed."""
        here = self._thread
        if not is_traced() and here.running:
            here.running.pop()
            if not here.running:
                here.drop_mode()

    def see(self, function: Any, args: tuple[Any, ...], options: Mapping[str, Any], output: Any) -> None:
        """A function has run."""
        known = function in FUNCTIONS or function in SOFTMAX or function is ATTENTION
        if not known or self._receiver is None or not self._thread.running or is_traced():
            return
        if torch.is_grad_enabled() and not is_transformed():
            with torch._C.DisableTorchFunction():
                self._read(function, args, options, output)

    def _read(self, function: Any, args: tuple[Any, ...], options: Mapping[str, Any], output: Any) -> None:
        place, module, calls = self._thread.running[-1]
        is_function_itself = next(module.children(), None) is None and next(module.parameters(), None) is None
        if is_function_itself or self._receiver is None or not isinstance(output, torch.Tensor) or not output.numel():
            return
        region = FUNCTIONS.get(function)
        label = "attention" if function is ATTENTION else "softmax" if region is None else region.function
        taken = dict(module.named_children())
        label = f"{label}()" if label in taken else label
        calls[label] = number = calls.get(label, 0) + 1
        counted = "" if number == 1 else f":{number}" if number <= MOST_CALLS else f":{MOST_CALLS + 1}+"
        name = ".".join(part for part in (place, label) if part) + counted
        if not self._wanted(name):
            return
        watched = self._known.setdefault(name, Watched(name, region))
        self.facts.setdefault(name, {"type": f"function {label}", "shape": list(output.shape), **about_region(region)})
        axis = self._axes.of_units(None, output) if region is not None else output.dim() - 1
        given = args[0] if args else options.get("input")
        source = None if region is None else tested(region, given, output, axis)
        self._receiver.output(watched, kept(output), source)
        if function is ATTENTION:
            self._receiver.entropy(name, attention_entropy(*args, **options))
        elif region is None and (dim := options.get("dim", args[1] if len(args) > 1 else None)) is not None:
            self._receiver.entropy(name, normalized_entropy(as_floats(output), dim))
        if output.requires_grad:
            output.register_hook(self._gradient_hook(name))  # type: ignore[no-untyped-call]

    def _gradient_hook(self, name: str) -> Callable[[torch.Tensor], None]:
        def hook(gradient: torch.Tensor) -> None:
            if self._receiver is not None:
                try:
                    self._receiver.backward_begun()
                    if self._gradients:
                        self._receiver.gradient(name, gradient.detach())
                except Exception as error:  # noqa: BLE001 - a probe must not end a training
                    self.failed(error)

        return hook


class _Thread(threading.local):
    """What runs in this thread; a mode is one thread's, too."""

    def __init__(self) -> None:
        self.running: list[tuple[str, nn.Module, dict[str, int]]] = []
        self.mode: _Mode | None = None

    def drop_mode(self) -> None:
        self.running = []
        if self.mode is not None:
            _take_out(self.mode)
            self.mode = None


def _take_out(mode: TorchFunctionMode) -> None:
    """Leave a mode that others may have been entered after, as where an interrupt broke off a forward pass."""
    above = []
    while torch._C._len_torch_function_stack():
        top = torch._C._pop_torch_function_stack()
        if top is mode:
            break
        above.append(top)
    for other in reversed(above):
        torch._C._push_on_torch_function_stack(other)


@dataclass(frozen=True)
class _Enter(Hook):
    probe: FunctionProbe
    place: str

    def __call__(self, module: nn.Module, args: Any) -> None:
        try:
            self.probe.enter(self.place, module)
        except Exception as error:  # noqa: BLE001 - a probe must not end a training
            self.probe.failed(error)


@dataclass(frozen=True)
class _Leave(Hook):
    probe: FunctionProbe

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        try:
            self.probe.leave()
        except Exception as error:  # noqa: BLE001 - a probe must not end a training
            self.probe.failed(error)


def _may_call(module: nn.Module) -> bool:
    """Whether a module may call an activation function, or is one; PyTorch's own linear layers and the like do not."""
    is_from_torch = type(module).__module__.startswith("torch.nn.modules")
    if not is_from_torch or next(module.children(), None) is not None:
        return True
    return flat_region(module) is not None or isinstance(module, nn.Softmax | nn.Softmax2d)


class _Mode(TorchFunctionMode):
    """Lets every function run as it would, and shows it with what it gave."""

    def __init__(self, probe: FunctionProbe) -> None:
        super().__init__()
        self._probe = probe

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        options = kwargs or {}
        output = func(*args, **options)
        try:
            self._probe.see(func, args, options, output)
        except Exception as error:  # noqa: BLE001 - a probe must not end a training
            self._probe.failed(error)
        return output
