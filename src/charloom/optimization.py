"""Update rules and learning-rate schedules, and an optimizer's state as plain arrays."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from charloom.checkpoint import Arrays
from charloom.config import TrainingConfig
from charloom.errors import CheckpointError


def build_optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """SGD, Adam or AdamW over two groups: the weight matrices of linear layers, which decay, and all the rest."""
    matrices = {id(module.weight) for module in model.modules() if isinstance(module, nn.Linear)}
    groups = [
        {"params": [p for p in model.parameters() if id(p) in matrices], "weight_decay": config.weight_decay},
        {"params": [p for p in model.parameters() if id(p) not in matrices], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    assert config.learning_rate is not None
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum, fused=True)
    rule = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
    return rule(groups, lr=config.learning_rate, fused=True)


def learning_rate_at(step: int, config: TrainingConfig) -> float:
    """The learning rate of the update that follows ``step`` finished steps.

    It rises linearly over the warm-up. After it, ``cosine`` falls along half a cosine to 0 at the last step (Loshchilov
    and Hutter 2017), ``step`` is multiplied by ``drop_factor`` once ``drop_at`` of all steps are done.
    """
    assert config.steps is not None
    assert config.learning_rate is not None
    if step < config.warmup:
        return config.learning_rate * (step + 1) / (config.warmup + 1)
    if config.schedule == "step" and step >= config.drop_at * config.steps:
        return config.learning_rate * config.drop_factor
    if config.schedule == "cosine":
        progress = (step - config.warmup) / (config.steps - config.warmup)
        return config.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))
    return config.learning_rate


def optimizer_arrays(optimizer: torch.optim.Optimizer, model: nn.Module) -> Arrays:
    """Everything the optimizer remembers, as ``parameter name/quantity`` -> array."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        f"{names[id(parameter)]}/{quantity}": value.detach().cpu().numpy().copy()
        for parameter, remembered in optimizer.state.items()
        for quantity, value in remembered.items()
        if value is not None
    }


def stored_memory(
    optimizer: torch.optim.Optimizer, model: nn.Module, arrays: Arrays
) -> dict[torch.Tensor, dict[str, torch.Tensor]]:
    """What `optimizer_arrays` gave, for ``optimizer.state``: of every parameter all that its update rule remembers.

    Raises `CheckpointError` for arrays of another model or update rule.
    """
    if not isinstance(optimizer, torch.optim.SGD):
        quantities: tuple[str, ...] = ("step", "exp_avg", "exp_avg_sq")
    else:
        quantities = ("momentum_buffer",) if optimizer.defaults["momentum"] else ()
    parameters = dict(model.named_parameters())
    expected = {f"{name}/{quantity}" for name in parameters for quantity in quantities}
    if arrays and set(arrays) != expected:
        differing = ", ".join(sorted(set(arrays) ^ expected)[:4])
        raise CheckpointError(f"the optimizer state is not this model's and update rule's: {differing}")
    memory: dict[torch.Tensor, dict[str, torch.Tensor]] = {}
    for key, array in arrays.items():
        name, _, quantity = key.rpartition("/")
        parameter = parameters[name]
        shape = () if quantity == "step" else tuple(parameter.shape)
        if array.shape != shape or array.dtype != np.float32:
            raise CheckpointError(f"the optimizer state {key!r} is {array.dtype} of shape {array.shape}")
        memory.setdefault(parameter, {})[quantity] = torch.from_numpy(array.copy()).to(parameter.device)
    return memory
