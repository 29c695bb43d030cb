"""What a fault of the bench is, and what several of them need."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import nn

from faultbench.listening import Batch, Training


@dataclass(frozen=True)
class Fault:
    """Something that is done to a training, and the rules that name it."""

    name: str
    right: tuple[str, ...]
    """The ids that name the cause; a symptom is not one."""
    applies: Callable[[Training], bool]
    inject: Callable[[Training], None]
    structural: bool = False
    """Whether a look at one step, or at two where steps are compared, is enough once the fault is there."""
    since: int = 0
    """The first step with the fault in it."""


def always(training: Training) -> bool:
    return True


def layers(training: Training) -> list[tuple[str, nn.Module]]:
    """The linear and convolutional layers of the first model that are trained, in order, by name."""
    kinds = (nn.Linear, nn.Conv2d) + ((_conv1d(),) if _conv1d() else ())
    return [
        (name, module)
        for name, module in training.model.named_modules()
        if isinstance(module, kinds) and module.weight.requires_grad
    ]


def _conv1d() -> type[nn.Module] | None:
    """The linear layer of GPT-2."""
    try:
        from transformers.pytorch_utils import Conv1D
    except ImportError:
        return None
    return Conv1D


def activations(training: Training, kind: type[nn.Module]) -> list[tuple[str, nn.Module]]:
    return [(name, module) for name, module in training.model.named_modules() if isinstance(module, kind)]


def middle(found: list[tuple[str, nn.Module]]) -> tuple[str, nn.Module]:
    """One that is not the last."""
    return found[max(len(found) // 2 - 1, 0)]


def replace(model: nn.Module, name: str, module: nn.Module) -> None:
    """Put another module in the place of the one called ``name``."""
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)


def with_batches(training: Training, change: Callable[[Batch], Batch], held_out: bool = True) -> None:
    """Let every batch be changed, those held out, too, unless they are spared."""
    batch = training.batch
    training.batch = lambda step: change(batch(step))
    if held_out:
        training.dev = [change(one) for one in training.dev]
        training.train_sample = [change(one) for one in training.train_sample]


def has_floats(training: Training) -> bool:
    """Whether a batch is of inputs that are no ids."""
    inputs = training.batch(0)[0]
    return training.loss_fn is not None and isinstance(inputs, torch.Tensor) and inputs.is_floating_point()


def is_supervised(training: Training) -> bool:
    return training.loss_fn is not None and not training.facts.get("is_autoencoder")


def groups(training: Training) -> Iterator[dict[str, object]]:
    for optimizer in training.optimizers.values():
        yield from optimizer.param_groups


class Around(nn.Module):
    """A module whose inputs and outputs a fault changes."""

    def __init__(
        self,
        inside: nn.Module,
        before: Callable[[torch.Tensor], torch.Tensor] | None = None,
        after: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.inside, self.before, self.after = inside, before, after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.inside(x if self.before is None else self.before(x))
        return x if self.after is None else self.after(x)
