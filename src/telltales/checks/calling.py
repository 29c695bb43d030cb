"""How a model and its loss are called on a batch, and on a batch that was cut, exchanged or blanked."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from telltales.errors import UsageError

Forward = Callable[[nn.Module, Any], tuple[Any, torch.Tensor]]
TARGETS = ("labels", "label", "targets", "target", "y")
"""The keys under which a mapping holds what is to be predicted."""


@dataclass(frozen=True)
class Calling:
    """A batch in two parts, and how to get the output and the loss from them."""

    loss_fn: Callable[..., Any] | None
    forward: Forward | None
    inputs: Any
    targets: Any
    kind: str
    """``pair`` for (inputs, targets), ``mapping`` for one that has both, ``whole`` for anything else."""

    def run(self, model: nn.Module) -> tuple[Any, torch.Tensor]:
        """The model's output and the loss. Tensors of the batch are copied first, since a model may write on them."""
        inputs, targets = copied(self.inputs), copied(self.targets)
        if self.forward is not None:
            output, loss = self.forward(model, self._joined(inputs, targets))
        elif self.loss_fn is None:
            output = model(**inputs, **targets)
            loss = _part(output, "loss")
            if not isinstance(loss, torch.Tensor):
                raise UsageError("the model's output has no loss", remedy="Give loss_fn, or forward.")
        else:
            output = call(model, inputs)
            loss = self.loss_fn(output, targets)
        if not isinstance(loss, torch.Tensor):
            raise UsageError(
                f"the loss is of type {type(loss).__name__}, not a tensor",
                remedy="Leave .item() and float() to where the loss is printed.",
            )
        return output, loss

    def output(self, model: nn.Module) -> torch.Tensor:
        """What the model gives, as one tensor."""
        output = call(model, copied(self.inputs)) if self._has_plain_inputs else self.run(model)[0]
        return main_tensor(output)

    def companions(self) -> list[nn.Module]:
        """Modules that the loss or ``forward`` is, or refers to, as a discriminator that judges the output; of a
        method, those that its object holds."""
        found: list[Any] = []
        for function in (self.loss_fn, self.forward):
            owner = getattr(function, "__self__", None)
            found += [function, owner, *getattr(owner, "__dict__", {}).values()]
            if inspect.isfunction(function):
                names = inspect.getclosurevars(function)
                found += [*names.nonlocals.values(), *names.globals.values()]
        return [one for one in found if isinstance(one, nn.Module)]

    @property
    def _has_plain_inputs(self) -> bool:
        return self.forward is None and self.loss_fn is not None

    @property
    def tensors(self) -> list[torch.Tensor]:
        """Those of the inputs."""
        return [leaf for leaf in pytree.tree_leaves(self.inputs) if isinstance(leaf, torch.Tensor)]

    @property
    def target_tensors(self) -> list[torch.Tensor]:
        return [leaf for leaf in pytree.tree_leaves(self.targets) if isinstance(leaf, torch.Tensor)]

    @property
    def main(self) -> torch.Tensor | None:
        """The largest tensor of the inputs."""
        return max(self.tensors, key=lambda leaf: leaf.numel(), default=None)

    @property
    def size(self) -> int:
        """Examples in the batch, by the first dimension."""
        main = self.main
        return int(main.shape[0]) if main is not None and main.dim() else 0

    def mapped(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Calling:
        """With each tensor of the inputs changed."""
        return replace(self, inputs=_mapped(self.inputs, change))

    def cut(self, size: int) -> Calling:
        """With the first ``size`` examples only."""
        whole = self.size

        def first(leaf: torch.Tensor) -> torch.Tensor:
            return leaf[:size] if leaf.dim() and leaf.shape[0] == whole else leaf

        return replace(self, inputs=_mapped(self.inputs, first), targets=_mapped(self.targets, first))

    def converted(self, dtype: torch.dtype) -> Calling:
        """With floating-point tensors of another type."""

        def convert(leaf: torch.Tensor) -> torch.Tensor:
            return leaf.to(dtype) if leaf.is_floating_point() else leaf

        return replace(self, inputs=_mapped(self.inputs, convert), targets=_mapped(self.targets, convert))

    def _joined(self, inputs: Any, targets: Any) -> Any:
        if self.kind == "pair":
            return inputs, targets
        return {**inputs, **targets} if self.kind == "mapping" else inputs


def calling(batch: Any, loss_fn: Callable[..., Any] | None, forward: Forward | None) -> Calling:
    """Take a batch apart. Raises `UsageError` where it is not clear how to call the model on it."""
    if isinstance(loss_fn, type) or not (loss_fn is None or callable(loss_fn)):
        given = f"the class {loss_fn.__name__}" if isinstance(loss_fn, type) else f"a {type(loss_fn).__name__}"
        raise UsageError(f"loss_fn is {given}", remedy="Give a function, or an object such as nn.CrossEntropyLoss().")
    if any(isinstance(leaf, torch.Tensor) and leaf.dim() and not leaf.numel() for leaf in pytree.tree_leaves(batch)):
        raise UsageError("the batch is empty", remedy="Give one with a few examples.")
    if isinstance(batch, Mapping):
        targets = {key: value for key, value in batch.items() if key in TARGETS}
        inputs = {key: value for key, value in batch.items() if key not in TARGETS}
        if forward is None and loss_fn is not None:
            target = next(iter(targets.values())) if len(targets) == 1 else targets
            return Calling(loss_fn, forward, inputs, target, "pair")
        return Calling(loss_fn, forward, inputs, targets, "mapping")
    if isinstance(batch, tuple | list) and len(batch) == 2:
        if forward is None and loss_fn is None:
            raise UsageError("a batch of inputs and targets needs a loss", remedy="Give loss_fn, or forward.")
        return Calling(loss_fn, forward, batch[0], batch[1], "pair")
    if forward is None:
        raise UsageError(
            f"the batch is neither (inputs, targets) nor a mapping but {type(batch).__name__}",
            remedy="Give forward, a function of model and batch that returns the output and the loss.",
        )
    return Calling(loss_fn, forward, batch, None, "whole")


def call(model: nn.Module, inputs: Any) -> Any:
    """The model's output: a tuple is its arguments, a mapping its keyword arguments."""
    if isinstance(inputs, Mapping):
        return model(**inputs)
    if isinstance(inputs, tuple | list):
        return model(*inputs)
    return model(inputs)


def main_tensor(output: Any) -> torch.Tensor:
    """The logits, or the first tensor of floating-point numbers. Raises `UsageError` where there is none."""
    logits = _part(output, "logits")
    if isinstance(logits, torch.Tensor):
        return logits
    leaves = pytree.tree_leaves(dict(output) if isinstance(output, Mapping) else output)
    for leaf in leaves:
        if isinstance(leaf, torch.Tensor) and leaf.is_floating_point() and leaf.dim():
            return leaf
    raise UsageError("the model's output has no tensor of floating-point numbers in it")


def backward(loss: torch.Tensor, leaves: Iterable[torch.Tensor]) -> None:
    """Add the gradients of the loss's mean to these tensors' and to no others', such as another model's."""
    wanted = [leaf for leaf in leaves if leaf.requires_grad]
    if wanted and loss.requires_grad:
        torch.autograd.backward(loss.mean(), inputs=wanted)


def copied(tree: Any) -> Any:
    """With tensors of its own."""
    return _mapped(tree, lambda leaf: leaf.detach().clone())


def _mapped(tree: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    if isinstance(tree, Mapping):
        return {key: _mapped(value, change) for key, value in tree.items()}
    return pytree.tree_map(lambda leaf: change(leaf) if isinstance(leaf, torch.Tensor) else leaf, tree)


def _part(output: Any, name: str) -> Any:
    return output.get(name) if isinstance(output, Mapping) else getattr(output, name, None)
