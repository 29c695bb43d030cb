"""Where to look: the only file that installs hooks. They hand on what they see and change none of it.

Where nothing is compiled, hooks are there during observed steps only, so the other steps cost nothing. A compiled graph
takes in the hooks that it finds when it is traced, and never another one: there they stay, and a flag that the compiler
guards on switches them, which makes one graph with probes and one without.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from telltales.bins import BINS
from telltales.flat_regions import about_region
from telltales.flat_values import Watched
from telltales.module_readings import SUMS, gradient_sums
from telltales.outputs import Axes, as_matrix, first_tensor, kept, second_tensor
from telltales.statistics import as_floats, normalized_entropy


class Receiver(Protocol):
    """What module probes hand their tensors to during an observed step."""

    def output(self, watched: Watched, values: torch.Tensor, source: torch.Tensor | None) -> None: ...
    def gradient(self, name: str, values: torch.Tensor) -> None: ...
    def gradient_sums(self, name: str, sums: torch.Tensor) -> None: ...
    def entropy(self, name: str, entropy: torch.Tensor) -> None: ...


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


class ModuleProbe:
    """A forward hook on one module, and through it a hook on the gradient of what the module gave."""

    def __init__(
        self,
        watched: Watched,
        module: nn.Module,
        axes: Axes,
        device: torch.device,
        gradients: bool,
        failed: Callable[[Exception], None],
    ) -> None:
        self.watched, self.module = watched, module
        self.active = False
        self.calls = 0
        self.training = 0
        self.shape: tuple[int, ...] = ()
        self.traced = False
        """Whether a compiled graph has taken this hook in."""
        self._axes, self._gradients, self._failed = axes, gradients, failed
        self._receiver: Receiver | None = None
        self._handle: RemovableHandle | None = None
        self._from_graph: tuple[Any, Any, bool] | None = None
        self._sums = torch.zeros(SUMS + BINS, device=device, requires_grad=True)
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
            # What we do here is not for `functions` to see, nor for modes of the caller's.
            with torch._C.DisableTorchFunction():
                self._see(module.training, args, output)
                tensor = first_tensor(output)
                if self._gradients and tensor is not None and tensor.requires_grad and not tensor.is_leaf:
                    tensor.register_hook(self._see_gradient)  # type: ignore[no-untyped-call]
        except Exception as error:  # noqa: BLE001 - a probe must not end a training
            self._failed(error)
        return None

    def about(self) -> dict[str, Any]:
        """What a record says of the module."""
        found = {"type": type(self.module).__name__, "shape": list(self.shape), "calls": self.calls}
        return found | about_region(self.watched.flat)

    def collect_from_graph(self) -> None:
        """Take over what a compiled graph has left here, as if the hook had seen it."""
        if self._from_graph is not None:
            args, output, training = self._from_graph
            self._from_graph = None
            self._see(training, args, output)

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
        self.shape = tuple(tensor.shape)
        axis = self._axes.of_units(self.module, tensor)
        values = kept(tensor)
        receiver.output(self.watched, values, self._source(args, tensor, values, axis))
        if self._softmax_axis is not None:
            receiver.entropy(self.watched.name, normalized_entropy(as_floats(tensor), self._softmax_axis))
        elif self._has_attention and (weights := second_tensor(output)) is not None:
            receiver.entropy(self.watched.name, normalized_entropy(as_floats(weights)))

    def _source(
        self, args: tuple[Any, ...], tensor: torch.Tensor, values: torch.Tensor, axis: int
    ) -> torch.Tensor | None:
        """What the flat region is tested on; None where it can't be known, as the input of an in-place function."""
        flat = self.watched.flat
        if flat is None:
            return None
        if flat.of == "output":
            return as_matrix(as_floats(values), axis)
        given = args[0] if args else None
        if not isinstance(given, torch.Tensor) or given.shape != tensor.shape or given.data_ptr() == tensor.data_ptr():
            return None
        return as_matrix(as_floats(kept(given)), axis)

    def _see_gradient(self, gradient: torch.Tensor) -> None:
        if not self.active or self._receiver is None or gradient.numel() == 0:
            return
        try:
            self._receiver.gradient(self.watched.name, gradient.detach())
        except Exception as error:  # noqa: BLE001 - a probe must not end a training
            self._failed(error)


class BackwardProbe:
    """Tells when a backward pass is over, and which parameters it gave gradients.

    That is the moment when gradients are complete, those of other processes included, and not clipped yet.
    """

    def __init__(self, ended: Callable[[set[str]], None], failed: Callable[[Exception], None]) -> None:
        self._ended, self._failed = ended, failed
        self._handles: list[RemovableHandle] = []
        self._reached: set[str] = set()

    def install(self, parameters: Mapping[str, nn.Parameter]) -> None:
        self._reached.clear()
        self._handles = [
            parameter.register_post_accumulate_grad_hook(self._hook(name))  # type: ignore[no-untyped-call]
            for name, parameter in parameters.items()
        ]

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _hook(self, name: str) -> Callable[[torch.Tensor], None]:
        def reached(_: torch.Tensor) -> None:
            if not self._reached:
                _when_backward_ends(self._almost)
            self._reached.add(name)

        return reached

    def _almost(self) -> None:
        # Data-parallel wrappers finish their averaging in a callback that may come after this one: step back once.
        _when_backward_ends(self._at_the_end)

    def _at_the_end(self) -> None:
        reached, self._reached = self._reached, set()
        try:
            with torch.no_grad():
                self._ended(reached)
        except Exception as error:  # noqa: BLE001 - a probe must not end a training
            self._failed(error)


class OptimizerProbe:
    """Tells when an optimizer is about to update its parameters, and when it has."""

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        before: Callable[[torch.optim.Optimizer], None],
        after: Callable[[torch.optim.Optimizer], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._optimizer, self._before, self._after, self._failed = optimizer, before, after, failed
        self._handles: list[RemovableHandle] = []

    def install(self) -> None:
        self._handles = [
            self._optimizer.register_step_pre_hook(self._hook(self._before)),
            self._optimizer.register_step_post_hook(self._hook(self._after)),
        ]

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _hook(self, tell: Callable[[torch.optim.Optimizer], None]) -> Callable[..., None]:
        def hook(optimizer: torch.optim.Optimizer, *_: Any) -> None:
            try:
                with torch.no_grad():
                    tell(optimizer)
            except Exception as error:  # noqa: BLE001 - a probe must not end a training
                self._failed(error)

        return hook


def _softmax_axis(module: nn.Module) -> int | None:
    if isinstance(module, nn.Softmax):
        return -1 if module.dim is None else int(module.dim)
    return -3 if isinstance(module, nn.Softmax2d) else None


def compiled_parts(model: nn.Module) -> list[set[nn.Module]]:
    """For each part of the model that was given to `torch.compile`: all modules inside it."""
    return [set(module.modules()) for module in model.modules() if _is_compiled_itself(module)]


def _is_compiled_itself(module: nn.Module) -> bool:
    return isinstance(module, torch._dynamo.OptimizedModule) or module._compiled_call_impl is not None


def _when_backward_ends(call: Callable[[], None]) -> None:
    """PyTorch's own data parallelism is built on this, though it has no public name."""
    torch.autograd.Variable._execution_engine.queue_callback(call)
