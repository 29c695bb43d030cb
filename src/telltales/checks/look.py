"""One forward and backward pass, seen through hooks: what all checks look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from telltales.checks.calling import Calling, backward, main_tensor
from telltales.checks.loss_calls import Listening, LossCall
from telltales.checks.restoring import every_module, restored
from telltales.errors import UsageError
from telltales.flat_regions import FlatRegion, flat_region
from telltales.loss_graph import loss_facts
from telltales.naming import every_parameter

NORMS = (
    nn.modules.batchnorm._NormBase,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.RMSNorm,
    nn.LocalResponseNorm,
)
TRANSPARENT = (nn.Identity, nn.modules.dropout._DropoutNd)
MOST_STEPS = 4
"""Updates after which weights that start at zero, one before the other, have all got their gradients."""


@dataclass
class Event:
    """A module that ran, or an activation function that a module called."""

    name: str
    module: nn.Module | None
    region: FlatRegion | None
    input: torch.Tensor | None
    output: torch.Tensor
    std: float
    flat: float
    """Share of the output in the flat part; 0 where there is none."""
    input_shape: tuple[int, ...] = ()
    gradient: float = float("nan")
    """The std of the loss's gradient with respect to the output."""


@dataclass
class Seen:
    """What one pass showed."""

    output: torch.Tensor
    loss: torch.Tensor
    losses: list[LossCall]
    facts: dict[str, Any]
    events: list[Event]
    calls: dict[str, int]
    gradients: dict[str, torch.Tensor | None]
    nodes: list[Any] = field(default_factory=list)
    """The graph's nodes that belong to functions with a backward pass of their own."""

    @property
    def main_loss(self) -> LossCall | None:
        """The one loss function that was called, if the loss is its value and nothing else."""
        if len(self.losses) != 1 or self.facts.get("others") or self.facts.get("terms", 1) > 1:
            return None
        only = self.losses[0]
        if only.value.numel() != 1 or self.loss.numel() != 1:
            return only if only.reduction == "none" else None
        return only if torch.allclose(only.value.abs().float(), self.loss.abs().float(), rtol=1e-4) else None


class Look:
    """A model, a batch and a pass over it; and copies of the model to try things on."""

    def __init__(
        self,
        model: nn.Module,
        calling: Calling,
        optimizers: Mapping[str, torch.optim.Optimizer],
        sequence: bool | None,
        deadline: float,
        progress: Callable[[str], None],
    ) -> None:
        """``model`` is inside no wrapper. ``deadline``: as `time.monotonic` tells it, for what takes long."""
        self.model, self.calling, self.optimizers, self.progress = model, calling, optimizers, progress
        self.sequence = sequence
        self.deadline = deadline
        self.seed = 0
        self.parameters = every_parameter({"": model})
        self.hidden = _hidden_parameters(model, set(map(id, self.parameters.values())))
        self.names = {id(module): name for name, module in model.named_modules()}
        self.seen: Seen = self._watched()
        self._later: list[dict[str, torch.Tensor | None]] | None = None

    @property
    def trained(self) -> dict[str, nn.Parameter]:
        """Name → parameter, of those with requires_grad."""
        return {name: p for name, p in self.parameters.items() if p.requires_grad and p.numel()}

    @property
    def is_late(self) -> bool:
        """Whether the time for what takes long is up."""
        return monotonic() > self.deadline

    @contextmanager
    def trial(self) -> Iterator[nn.Module]:
        """A copy of the model to train or to convert; where it can't be copied, the model itself, put back after."""
        copy = self._copy()
        with restored(self.model):
            torch.manual_seed(self.seed)
            yield self.model if copy is None else copy

    def _copy(self) -> nn.Module | None:
        """A copy that shares nothing with the model and gets the gradients of its own loss, else None."""
        try:
            copy = deepcopy(self.model)
            shared = {p.data_ptr() for p in self.model.parameters()} & {p.data_ptr() for p in copy.parameters()} - {0}
            if shared:
                return None
            with restored(self.model):
                copy.zero_grad(set_to_none=True)
                backward(self.calling.run(copy)[1], copy.parameters())
                reached = any(p.grad is not None for p in copy.parameters())
        except Exception:  # noqa: BLE001 - what can't be copied is tried in place
            return None
        return copy if reached else None

    def later_gradients(self) -> list[dict[str, torch.Tensor | None]]:
        """The gradients of a few updates of a copy, without dropout, from the first step on."""
        if self._later is None:
            self._later = []
            with self.trial() as model:
                quiet(model)
                parameters = every_parameter({"": model})
                trained = [p for p in parameters.values() if p.requires_grad]
                updater = torch.optim.Adam(trained, 1e-3) if trained else None
                for _ in range(MOST_STEPS):
                    model.zero_grad(set_to_none=True)
                    loss = self.calling.run(model)[1].mean()
                    if updater is None or not loss.requires_grad:
                        break
                    backward(loss, trained)
                    self._later.append({name: _kept(p.grad) for name, p in parameters.items()})
                    updater.step()
        return self._later

    def _watched(self) -> Seen:
        """A pass under hooks. Raises `ForwardFailed` where the model does."""
        watcher = _Watcher(self.names)
        for parameter in [*self.parameters.values(), *self.hidden.values()]:
            parameter.grad = None
        with watcher.on(self.model):
            try:
                output, loss = self.calling.run(self.model)
            except UsageError:
                raise
            except Exception as error:
                raise ForwardFailed(watcher.running[-1][0] if watcher.running else "", error) from error
            facts = loss_facts(loss) if loss.requires_grad else {}
            nodes = _own_functions(loss)
            if loss.requires_grad:
                backward(loss, [*self.parameters.values(), *self.hidden.values()])
        every = {**self.parameters, **self.hidden}
        gradients = {name: _kept(parameter.grad) for name, parameter in every.items()}
        return Seen(main_tensor(output), loss, watcher.losses, facts, watcher.events, watcher.calls, gradients, nodes)


class ForwardFailed(Exception):
    """The forward pass or the loss raised."""

    def __init__(self, name: str, error: Exception) -> None:
        """``name``: of the innermost module that was running."""
        self.name, self.error = name, error
        super().__init__(str(error))


def quiet(model: nn.Module) -> None:
    """Without dropout, and with batch norm as in training."""
    for module in every_module(model):
        normalises = isinstance(module, nn.modules.batchnorm._NormBase)
        # A recurrent layer on a GPU has a backward pass in training mode only.
        module.training = module.training if normalises else isinstance(module, nn.RNNBase)
        if isinstance(module, nn.RNNBase):
            module.dropout = 0.0


class _Watcher:
    """Hooks on all modules, and a mode that hears of functions."""

    def __init__(self, names: Mapping[int, str]) -> None:
        self._names = names
        self._listening = Listening(self._activated)
        self.events: list[Event] = []
        self.calls: dict[str, int] = {}
        self.running: list[tuple[str, bool]] = []
        """The modules that are running, from the outermost on, and whether each is an activation function."""

    @property
    def losses(self) -> list[LossCall]:
        return self._listening.losses

    @contextmanager
    def on(self, model: nn.Module) -> Iterator[None]:
        handles = []
        for module in every_module(model):
            if isinstance(module, torch.jit.ScriptModule):
                continue
            handles.append(module.register_forward_pre_hook(self._begun, prepend=True))
            handles.append(module.register_forward_hook(self._done, with_kwargs=True))
        try:
            with self._listening:
                yield
        finally:
            for handle in handles:
                handle.remove()

    def _name(self, module: nn.Module) -> str:
        return self._names.get(id(module), f"an unregistered {type(module).__name__}")

    def _begun(self, module: nn.Module, args: Any) -> None:
        name = self._name(module)
        self.running.append((name, flat_region(module) is not None))
        self.calls[name] = self.calls.get(name, 0) + 1

    def _done(self, module: nn.Module, args: Any, options: Any, output: Any) -> None:
        name, _ = self.running.pop()
        is_leaf = next(module.children(), None) is None or isinstance(module, nn.MultiheadAttention)
        is_own = isinstance(module, nn.Linear | nn.modules.conv._ConvNd) or is_leaf
        first = next((leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, torch.Tensor)), None)
        if first is None or not is_own:
            return
        given = next((leaf for leaf in pytree.tree_leaves((args, options)) if isinstance(leaf, torch.Tensor)), None)
        with torch._C.DisableTorchFunction():
            self.events.append(self._event(name, module, flat_region(module), given, first))

    def _activated(self, region: FlatRegion, output: torch.Tensor) -> None:
        with torch._C.DisableTorchFunction():
            name, is_activation = self.running[-1] if self.running else ("", False)
            if not is_activation:
                self.events.append(self._event(f"{name}.{region.function}".lstrip("."), None, region, None, output))

    def _event(
        self,
        name: str,
        module: nn.Module | None,
        region: FlatRegion | None,
        given: torch.Tensor | None,
        output: torch.Tensor,
    ) -> Event:
        values = output.detach()
        values = values.float() if values.is_floating_point() else torch.zeros(1)
        std = float(values.std()) if values.numel() > 1 else 0.0
        flat = 0.0
        if region is not None and region.of == "output":
            flat = float(((values <= region.low) | (values >= region.high)).float().mean())
        shape = tuple(given.shape) if given is not None else ()
        event = Event(name, module, region, given, output, std, flat, shape)
        if output.requires_grad:

            def keep(gradient: torch.Tensor) -> None:
                event.gradient = float(gradient.detach().float().std()) if gradient.numel() > 1 else 0.0

            output.register_hook(keep)  # type: ignore[no-untyped-call]
        return event


def _kept(gradient: torch.Tensor | None) -> torch.Tensor | None:
    if gradient is None:
        return None
    return gradient.detach().to_dense() if gradient.layout != torch.strided else gradient.detach().clone()


def _hidden_parameters(model: nn.Module, known: set[int]) -> dict[str, torch.Tensor]:
    """Name → trainable tensor, of those that a module's attributes, lists and dicts hold without registering them."""
    found: dict[str, torch.Tensor] = {}

    def search(value: Any, name: str, depth: int) -> None:
        if isinstance(value, nn.Module):
            for inner, parameter in value.named_parameters():
                search(parameter, f"{name}.{inner}", 0)
        elif isinstance(value, torch.Tensor):
            if value.is_leaf and value.requires_grad and id(value) not in known:
                known.add(id(value))
                found[name] = value
        elif depth and isinstance(value, Mapping):
            for key, inner in value.items():
                search(inner, f"{name}[{key!r}]", depth - 1)
        elif depth and isinstance(value, list | tuple):
            for number, inner in enumerate(value):
                search(inner, f"{name}[{number}]", depth - 1)

    for place, module in model.named_modules():
        own = {
            name: value
            for name, value in vars(module).items()
            if name not in ("_parameters", "_buffers", "_modules") and not name.endswith("_hooks")
        }
        for name, value in own.items():
            search(value, f"{place}.{name}".lstrip("."), 2)
    return found


def _own_functions(loss: torch.Tensor) -> list[Any]:
    found, todo, known = [], [loss.grad_fn], set()
    while todo:
        node = todo.pop()
        if node is None or node in known:
            continue
        known.add(node)
        if issubclass(type(node), torch.autograd.function.BackwardCFunction):
            found.append(node)
        todo.extend(parent for parent, _ in node.next_functions)
    return found
