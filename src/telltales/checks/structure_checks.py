"""Who trains what: parameters and optimizers, modules that never run, weight decay."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from telltales.catalogue import made
from telltales.checks.look import NORMS, Look
from telltales.finding import Finding, Severity, listed
from telltales.naming import every_parameter
from telltales.structure import optimizer_facts
from telltales.thresholds import LEFT_OUT_ON_PURPOSE


def optimizer_mismatch(look: Look) -> Iterator[Finding]:
    """The optimizer holds tensors that are not the model's, of the shapes of those it lacks."""
    held, strangers = optimizer_facts(every_parameter({"": look.model}), look.optimizers)
    missing = [name for name in look.trained if name not in held]
    shapes = [list(look.trained[name].shape) for name in missing]
    stale = [shape for shape in strangers if shape in shapes]
    if stale:
        evidence = (
            f"the optimizer holds {len(stale)} tensors that the model does not have, of the shapes of "
            f"{len(missing)} trainable parameters that it lacks: {listed(missing)}"
        )
        yield made("optimizer-mismatch", evidence, missing[0], numbers={"missing": missing}, places=missing)


def unregistered_parameter(look: Look) -> Iterator[Finding]:
    """A parameter that gets a gradient and is in no optimizer, or that the model has not registered."""
    own = {id(p) for optimizer in look.optimizers.values() for group in optimizer.param_groups for p in group["params"]}
    used = {name for name, gradient in look.seen.gradients.items() if gradient is not None and bool(gradient.any())}
    hidden = [name for name, tensor in look.hidden.items() if name in used and id(tensor) not in own]
    if hidden:
        evidence = f"{len(hidden)} tensors get gradients and are not in model.parameters(): {listed(hidden)}"
        yield made("unregistered-parameter", evidence, hidden[0], numbers={"unregistered": hidden}, places=hidden)
    if not own:
        return
    held, strangers = optimizer_facts(every_parameter({"": look.model}), look.optimizers)
    missing = [name for name in look.trained if name not in held and name in used]
    shapes = [list(look.trained[name].shape) for name in missing]
    if missing and not any(shape in shapes for shape in strangers):
        share = sum(look.trained[name].numel() for name in missing) / sum(p.numel() for p in look.trained.values())
        evidence = (
            f"{len(missing)} of {len(look.trained)} trainable parameters get gradients and are in no optimizer: "
            f"{listed(missing)}"
        )
        severity: Severity | None = "note" if held and share > LEFT_OUT_ON_PURPOSE else None
        numbers = {"missing": missing}
        yield made("unregistered-parameter", evidence, missing[0], numbers=numbers, places=missing, severity=severity)


def shared_or_unused_module(look: Look) -> Iterator[Finding]:
    """A module whose parameters nothing used; a batch norm that ran more than once."""
    unused, twice = [], []
    for name, module in look.model.named_modules():
        own = {f"{name}.{one}".lstrip("."): p for one, p in module.named_parameters(recurse=False)}
        calls = look.seen.calls.get(name, 0)
        if calls > 1 and isinstance(module, nn.modules.batchnorm._NormBase) and module.training:
            twice.append(name)
        trained = [one for one, p in own.items() if p.requires_grad and one in look.parameters]
        reached = any(look.seen.gradients.get(one) is not None for one in trained)
        if trained and not calls and not reached and not _is_one_of_several(look, name):
            unused.append(name)
    if unused:
        evidence = f"{len(unused)} modules with trainable parameters never ran: {listed(unused)}"
        yield made("shared-or-unused-module", evidence, unused[0], numbers={"unused": unused}, places=unused)
    if twice:
        evidence = f"{twice[0]} ran {look.seen.calls[twice[0]]} times in one forward pass: its buffers mix what it saw"
        yield made("shared-or-unused-module", evidence, twice[0], numbers={"shared": twice}, places=twice)


def _is_one_of_several(look: Look, name: str) -> bool:
    """Whether it is inside one of a list of like modules of which others ran, as an expert that was not chosen."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        around = ".".join(parts[: length - 1])
        outer = look.model.get_submodule(around) if around else look.model
        here = look.model.get_submodule(".".join(parts[:length]))
        like = [f"{around}.{key}".lstrip(".") for key, one in outer.named_children() if type(one) is type(here)]
        if isinstance(outer, nn.ModuleList | nn.ModuleDict) and any(look.seen.calls.get(one) for one in like):
            return True
    return False


def decay_on_norm(look: Look) -> Iterator[Finding]:
    """Weight decay on biases, gains of norms, and embeddings."""
    kinds = {}
    for name, module in look.model.named_modules():
        for inner, parameter in module.named_parameters(recurse=False):
            if isinstance(module, (*NORMS, nn.Embedding, nn.EmbeddingBag)) or parameter.dim() < 2:
                kinds[id(parameter)] = f"{name}.{inner}".lstrip(".")
    for group_name, optimizer, number in _groups(look):
        group = optimizer.param_groups[number]
        names = [kinds[id(p)] for p in group["params"] if id(p) in kinds]
        if float(group.get("weight_decay") or 0) > 0 and names:
            decay = float(group["weight_decay"])
            evidence = f"weight_decay={decay:g} of {group_name} acts on {len(names)} of these: {listed(names)}"
            numbers = {"group": number, "weight_decay": decay, "names": names}
            yield made("decay-on-norm", evidence, group_name, numbers=numbers, places=[group_name])


def adam_l2(look: Look) -> Iterator[Finding]:
    """Adam with a weight decay that is part of the gradient."""
    for group_name, optimizer, number in _groups(look):
        group = optimizer.param_groups[number]
        decay = float(group.get("weight_decay") or 0)
        is_adam = type(optimizer).__name__ in ("Adam", "Adamax", "NAdam", "RAdam")
        if is_adam and decay > 0 and not group.get("decoupled_weight_decay", False):
            evidence = f"{type(optimizer).__name__} has weight_decay={decay:g} in {group_name}"
            numbers = {"group": number, "weight_decay": decay, "optimizer": type(optimizer).__name__}
            yield made("adam-l2", evidence, group_name, numbers=numbers, places=[group_name])


def _groups(look: Look) -> Iterator[tuple[str, torch.optim.Optimizer, int]]:
    for prefix, optimizer in look.optimizers.items():
        for number in range(len(optimizer.param_groups)):
            yield f"group {prefix}{number}", optimizer, number
