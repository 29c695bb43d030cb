"""The names of modules and parameters, free of what wrappers add, and which modules are worth a probe."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from telltales.errors import UsageError

Selection = Callable[[str, nn.Module], bool] | Sequence[str] | None
Optimizers = torch.optim.Optimizer | Sequence[torch.optim.Optimizer] | Mapping[str, torch.optim.Optimizer] | None
Models = nn.Module | Sequence[nn.Module] | Mapping[str, nn.Module]

_UNINTERESTING = (
    nn.Identity,
    nn.Flatten,
    nn.Unflatten,
    nn.ParameterList,
    nn.modules.dropout._DropoutNd,
    nn.modules.loss._Loss,
)
_WHOLE = (nn.MultiheadAttention,)
"""Modules whose children are never called: they are one place."""


def named_models(models: object) -> dict[str, nn.Module]:
    """Prefix → model: no prefix for a single one, its key or its number and a dot for each of several."""
    if isinstance(models, nn.Module):
        return {"": models}
    if isinstance(models, Mapping):
        named = {f"{key}.": model for key, model in models.items()}
    elif isinstance(models, Sequence):
        named = {f"{number}.": model for number, model in enumerate(models)}
    else:
        named = {}
    if not named or not all(isinstance(model, nn.Module) for model in named.values()):
        raise UsageError(
            f"watch needs a torch.nn.Module, or several, and was given {type(models).__name__}",
            remedy="Give the model first, then the optimizer: telltales.watch(model, optimizer).",
        )
    return named


def named_optimizers(optimizer: Optimizers) -> dict[str, torch.optim.Optimizer]:
    """Prefix → optimizer, as `named_models` does it."""
    if optimizer is None:
        return {}
    if isinstance(optimizer, Mapping):
        named = {f"{key}.": one for key, one in optimizer.items()}
    elif isinstance(optimizer, Sequence):
        named = {f"{number}.": one for number, one in enumerate(optimizer)}
    else:
        named = {"": optimizer}
    named = {prefix: _innermost(one) for prefix, one in named.items()}
    for one in named.values():
        if not hasattr(one, "_optimizer_step_post_hooks"):
            raise UsageError(
                f"watch needs a torch.optim.Optimizer and was given {type(one).__name__}",
                remedy="Give the optimizer inside it, or none: updates are measured without it, too.",
            )
    return named


def _innermost(optimizer: Any) -> Any:
    """The optimizer inside wrappers such as Accelerate's, which run none of its hooks themselves."""
    while not hasattr(optimizer, "_optimizer_step_post_hooks") and hasattr(optimizer, "optimizer"):
        optimizer = optimizer.optimizer
    return optimizer


def device_of(models: Mapping[str, nn.Module]) -> torch.device:
    """Where the first parameter lies."""
    parameters = (parameter for model in models.values() for parameter in model.parameters())
    return next(parameters, torch.empty(0)).device


def is_distributed() -> bool:
    """Whether this process is one of several that train together."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside `torch.compile` and data-parallel wrappers."""
    while True:
        if isinstance(model, torch._dynamo.OptimizedModule):
            model = model._orig_mod
        elif isinstance(model, nn.parallel.DistributedDataParallel | nn.DataParallel):
            model = model.module
        else:
            return model


def chosen_modules(models: Mapping[str, nn.Module], selection: Selection) -> dict[str, nn.Module]:
    """Name → module, of those to probe: the innermost ones, which compute something, or those that are selected.

    ``selection``: a function of name and module, or patterns such as ``blocks.*.act``; `UsageError` if none fits.
    """
    every = {
        (prefix + _clean(name)).rstrip("."): module
        for prefix, model in models.items()
        for name, module in unwrapped(model).named_modules()
        if not isinstance(module, torch.jit.ScriptModule)
    }
    if selection is None:
        whole = tuple(f"{name}." for name, module in every.items() if isinstance(module, _WHOLE))
        chosen = {
            name: module
            for name, module in every.items()
            if _computes(name, module) and not (whole and name.startswith(whole))
        }
    elif callable(selection):
        chosen = {name: module for name, module in every.items() if selection(name, module)}
    else:
        is_wanted = selects(selection)
        chosen = {name: module for name, module in every.items() if is_wanted(name)}
    if not chosen:
        names = [name for name in every if name]
        shown = (
            f"The names are {', '.join(names[:12])}{', …' if len(names) > 12 else ''}" if names else "It has one only"
        )
        raise UsageError("no module is left to watch", remedy=f"{shown}; patterns such as '*.act' select among them.")
    return {name or type(module).__name__: module for name, module in chosen.items()}


def selects(selection: Selection) -> Callable[[str], bool]:
    """Whether a selection wants what has a name but is no module: a function of modules wants nothing of the kind."""
    if selection is None:
        return lambda name: True
    if callable(selection):
        return lambda name: False
    patterns = [selection] if isinstance(selection, str) else list(selection)
    return lambda name: any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def trained(parameters: Mapping[str, nn.Parameter]) -> dict[str, nn.Parameter]:
    """Those that are trained and hold anything."""
    return {name: parameter for name, parameter in parameters.items() if parameter.requires_grad and parameter.numel()}


def every_parameter(models: Mapping[str, nn.Module]) -> dict[str, nn.Parameter]:
    """Name → parameter, each once, by its first name; without those that a lazy module has yet to make."""
    found: dict[str, nn.Parameter] = {}
    seen: set[int] = set()
    for prefix, model in models.items():
        for name, parameter in unwrapped(model).named_parameters():
            is_there = not isinstance(parameter, nn.parameter.UninitializedParameter)
            if is_there and id(parameter) not in seen:
                seen.add(id(parameter))
                found[prefix + _clean(name)] = parameter
    return found


def assert_whole(parameters: Mapping[str, nn.Parameter]) -> None:
    """Raises `UsageError` for parameters of which each process holds a part."""
    parts = [name for name, parameter in parameters.items() if hasattr(parameter, "full_tensor")]
    if parts:
        raise UsageError(
            f"{len(parts)} parameters are sharded, so that this process holds a part of each",
            where=parts[0],
            remedy="Watch a training with whole parameters, as under DistributedDataParallel, or leave it unwatched.",
        )


def describe_parameters(models: Mapping[str, nn.Module]) -> dict[str, dict[str, Any]]:
    """Name → shape, number of values, whether trained, and other names where the parameter is shared."""
    names: dict[int, list[str]] = {}
    for prefix, model in models.items():
        for name, parameter in unwrapped(model).named_parameters(remove_duplicate=False):
            names.setdefault(id(parameter), []).append(prefix + _clean(name))
    return {
        name: {
            "shape": list(parameter.shape),
            "numel": parameter.numel(),
            "trainable": parameter.requires_grad,
            "dtype": str(parameter.dtype).removeprefix("torch."),
            "module": name.rpartition(".")[0],
            "aliases": names[id(parameter)][1:],
        }
        for name, parameter in every_parameter(models).items()
    }


def _computes(name: str, module: nn.Module) -> bool:
    if isinstance(module, _WHOLE):
        return True
    if isinstance(module, _UNINTERESTING):
        return False
    if "parametrizations" in name.split("."):
        return False
    if nn.utils.parametrize.is_parametrized(module):
        return True
    is_leaf = next(module.children(), None) is None
    has_own = next(module.parameters(recurse=False), None) is not None
    return is_leaf or (has_own and bool(name))


def _clean(name: str) -> str:
    return ".".join(part for part in name.split(".") if part != "_orig_mod")
