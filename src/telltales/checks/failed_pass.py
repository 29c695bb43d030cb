"""A forward pass that raised, as a finding where the reason is a known one."""

from __future__ import annotations

import torch
from torch import nn

from telltales.catalogue import made
from telltales.checks.calling import Calling
from telltales.checks.look import ForwardFailed
from telltales.finding import Finding

MOST_CHANNELS = 4
"""Of an image: grey, grey and alpha, colour, colour and alpha."""


def explained(model: nn.Module, calling: Calling, failure: ForwardFailed) -> Finding | None:
    """Tensors on two devices, an image with its channels last, batch norm of one value; None for all else."""
    return _devices(model, calling) or _channels_last(model, calling, failure) or _one_value(failure)


def _devices(model: nn.Module, calling: Calling) -> Finding | None:
    there = {str(parameter.device) for parameter in model.parameters()}
    given = {str(leaf.device) for leaf in calling.tensors}
    if there and given and not given <= there:
        evidence = f"the model is on {', '.join(sorted(there))}, the batch on {', '.join(sorted(given))}"
        return made("wrong-device", evidence, numbers={"model": sorted(there), "batch": sorted(given)})
    names: dict[str, list[str]] = {}
    for name, parameter in model.named_parameters():
        names.setdefault(str(parameter.device), []).append(name)
    if len(names) > 1 and given:
        few = min(names.values(), key=len)
        evidence = f"the model's parameters are on {', '.join(sorted(names))}, the batch on {', '.join(sorted(given))}"
        numbers = {"model": sorted(names), "batch": sorted(given)}
        return made("wrong-device", evidence, few[0], numbers=numbers, places=few)
    return None


def _channels_last(model: nn.Module, calling: Calling, failure: ForwardFailed) -> Finding | None:
    module = dict(model.named_modules()).get(failure.name)
    main: torch.Tensor | None = calling.main
    if not isinstance(module, nn.modules.conv._ConvNd) or main is None or main.dim() != len(module.kernel_size) + 2:
        return None
    if main.shape[-1] <= MOST_CHANNELS < main.shape[1] and main.shape[-1] == module.in_channels:
        evidence = (
            f"{failure.name or 'the first convolution'} wants {module.in_channels} channels in dimension 1 and the "
            f"input has the shape {tuple(main.shape)}: its channels are last"
        )
        remedy = "Put the channels second: x.movedim(-1, 1)."
        numbers = {"input": list(main.shape), "channels": module.in_channels}
        return made("shape-layout", evidence, failure.name, numbers=numbers, remedy=remedy)
    return None


def _one_value(failure: ForwardFailed) -> Finding | None:
    if "more than 1 value per channel" not in str(failure.error):
        return None
    evidence = "one value for each statistic in training mode: its variance can't be known"
    return made("tiny-batch-norm", evidence, failure.name, numbers={"values": 1}, severity="error")
