"""Where to look: hooks on modules and on the tensors that they give. They hand on what they see and change none of it.

Where nothing is compiled, hooks are there during observed steps only, so the other steps cost nothing. A compiled graph
takes in the hooks that it finds when it is traced, and never another one: there they stay, and a flag that the compiler
guards on switches them, which makes one graph with probes and one without.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from telltales.bins import BINS
from telltales.flat_regions import about_region
from telltales.flat_values import Watched
from telltales.module_readings import SUMS, gradient_sums
from telltales.outputs import Axes, first_tensor, kept, second_tensor, tested
from telltales.statistics import as_floats, normalized_entropy


class Receiver(Protocol):
    """What module probes hand their tensors to during an observed step."""

    def output(self, watched: Watched, values: torch.Tensor, source: torch.Tensor | None) -> None: ...
    def backward_begun(self) -> None: ...
    def gradient(self, name: str, values: torch.Tensor) -> None: ...
    def gradient_sums(self, name: str, sums: torch.Tensor) -> None: ...
    def entropy(self, name: str, entropy: torch.Tensor) -> None: ...


class Hook:
    """What is put into a module. A copy of the module, by `copy.deepcopy` or by pickling, gets `no_hook` in its place:
    it is not the module that is watched."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Callable[..., None]:
        return no_hook

    def __reduce__(self) -> tuple[Any, ...]:
        return _made_no_hook, ()


def no_hook(*_: Any) -> None:
    """Does nothing."""


def _made_no_hook() -> Callable[..., None]:
    return no_hook


def is_traced() -> bool:
    """Whether this is being compiled or traced, and so not really run."""
    return torch.compiler.is_compiling() or torch._C._is_tracing()


def is_transformed() -> bool:
    """Whether this runs inside `torch.func.vmap` or the like, where tensors can't be kept."""
    return torch._C._functorch.peek_interpreter_stack() is not None


class Tap(torch.autograd.Function):
    """The identity, with a second input whose gradient is `gradient_sums` of the first one's.

    A compiled graph has no place for tensor hooks, but gradients of its inputs it does deliver.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, sums: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return g, gradient_sums(g)


class ModuleProbe(Hook):
    """A forward hook on one module, and through it a hook on the gradient of what the module gave."""

    def __init__(
        self,
        watched: Watched,
        module: nn.Module,
        axes: Axes,
        device: torch.device,
        gradients: bool,
    ) -> None:
        self.watched, self.module = watched, module
        self.active = False
        self.calls = 0
        self.training = 0
        self.shape: tuple[int, ...] = ()
        self.dtype = ""
        self.passed_over = False
        """Whether it ran where it can't be watched, as under `torch.func.vmap`."""
        self.traced = False
        """Whether a compiled graph has taken this hook in."""
        self.error: Exception | None = None
        """What went wrong in here, whereupon it is switched off."""
        self._axes, self._gradients = axes, gradients
        self._receiver: Receiver | None = None
        self._handle: RemovableHandle | None = None
        self._from_graph: tuple[Any, Any, bool] | None = None
        self._sums = torch.zeros(SUMS + BINS, dtype=torch.float32, device=device, requires_grad=True)
        self._softmax_axis = _softmax_axis(module)
        self._has_attention = "attention" in type(module).__name__.lower()

    def install(self) -> None:
        if self._handle is None:
            self._handle = self.module.register_forward_hook(self)

    def remove(self) -> None:
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def start(self, receiver: Receiver) -> None:
        self.calls = self.training = 0
        self._receiver, self._from_graph, self._sums.grad = receiver, None, None
        self.active = True

    def stop(self) -> None:
        self.active = False
        self._receiver = self._from_graph = self._sums.grad = None

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        if not self.active or not torch.is_grad_enabled():
            return None
        if torch.compiler.is_compiling():
            return self._trace(module, args, output)
        try:
            if is_transformed() or torch._C._is_tracing():
                self.passed_over = True
                return None
            # What we do here is not for `functions` to see, nor for modes of the caller's.
            with torch._C.DisableTorchFunction():
                self._see(module.training, args, output)
                tensor = first_tensor(output)
                if tensor is not None and tensor.requires_grad and not tensor.is_leaf:
                    tensor.register_hook(self._see_gradient)  # type: ignore[no-untyped-call]
        except Exception as error:  # noqa: BLE001 - a probe must not end a training
            self.failed(error)
        return None

    def failed(self, error: Exception) -> None:
        """Switch off, which ends no forward or backward pass that is going on."""
        self.error = self.error or error
        self.active = False

    def about(self) -> dict[str, Any]:
        """What a record says of the module."""
        kind = type(self.module).__name__
        found = {"type": kind, "shape": list(self.shape), "dtype": self.dtype, "calls": self.calls}
        if isinstance(self.module, nn.modules.batchnorm._NormBase) and self.module.track_running_stats:
            found["momentum"] = self.module.momentum
        return found | about_region(self.watched.flat)

    def collect_from_graph(self) -> None:
        """Take over what a compiled graph has left here, as if the hook had seen it."""
        if self._from_graph is not None:
            args, output, training = self._from_graph
            self._from_graph = None
            try:
                self._see(training, args, output)
            except Exception as error:  # noqa: BLE001 - a probe must not end a training
                self.failed(error)

    def collect_sums(self) -> None:
        """Hand on the gradient that a compiled graph's `Tap` left."""
        if self._sums.grad is not None and self._receiver is not None:
            self._receiver.gradient_sums(self.watched.name, self._sums.grad)

    def _trace(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        """What becomes part of a compiled graph: no call of ours but `Tap`, and no state but one attribute."""
        self.traced = True
        tensor = first_tensor(output)
        if tensor is None:
            return None
        of_input = self.watched.flat is not None and self.watched.flat.of == "input"
        weights = second_tensor(output) if self._has_attention else None
        inputs = (args[0].detach(),) if of_input and args else ()
        seen = tensor.detach()
        self._from_graph = (inputs, (seen, weights.detach()) if weights is not None else seen, module.training)
        if not self._gradients or not tensor.requires_grad:
            return None
        tapped = Tap.apply(tensor, self._sums)  # type: ignore[no-untyped-call]
        if isinstance(output, torch.Tensor):
            return tapped
        return (tapped, *output[1:]) if type(output) is tuple and output[0] is tensor else None

    def _see(self, training: bool, args: tuple[Any, ...], output: Any) -> None:
        self.calls += 1
        self.training += training
        tensor = first_tensor(output)
        receiver = self._receiver
        if tensor is None or tensor.numel() == 0 or receiver is None:
            return
        self.shape, self.dtype = tuple(tensor.shape), str(tensor.dtype).removeprefix("torch.")
        axis = self._axes.of_units(self.module, tensor)
        values = kept(tensor)
        flat = self.watched.flat
        source = None if flat is None else tested(flat, args[0] if args else None, values, axis)
        receiver.output(self.watched, values, source)
        if self._softmax_axis is not None:
            receiver.entropy(self.watched.name, normalized_entropy(as_floats(tensor), self._softmax_axis))
        elif self._has_attention and (weights := second_tensor(output)) is not None:
            receiver.entropy(self.watched.name, normalized_entropy(as_floats(weights)))

    def _see_gradient(self, gradient: torch.Tensor) -> None:
        if not self.active or self._receiver is None:
            return
        try:
            if gradient.numel() == 0:
                return
            self._receiver.backward_begun()
            if self._gradients:
                self._receiver.gradient(self.watched.name, gradient.detach())
        except Exception as error:  # noqa: BLE001 - a probe must not end a training
            self.failed(error)


def _softmax_axis(module: nn.Module) -> int | None:
    if isinstance(module, nn.Softmax):
        return -1 if module.dim is None else int(module.dim)
    return -3 if isinstance(module, nn.Softmax2d) else None


def compiled_parts(model: nn.Module) -> list[set[nn.Module]]:
    """For each part of the model that was given to `torch.compile`: all modules inside it."""
    return [set(module.modules()) for module in model.modules() if _is_compiled_itself(module)]


def _is_compiled_itself(module: nn.Module) -> bool:
    return isinstance(module, torch._dynamo.OptimizedModule) or module._compiled_call_impl is not None
