"""Whether all processes of a distributed training hold the same parameters."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from telltales.naming import every_parameter

_AS_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def differing_ranks(models: Mapping[str, nn.Module]) -> dict[str, list[int]]:
    """Parameter → the processes whose values are not those of the first, bit by bit.

    Every process has to call it: each gives two numbers for each parameter. Parameters that are sharded are left out.
    """
    parameters = {name: p for name, p in every_parameter(models).items() if not hasattr(p, "full_tensor")}
    if not parameters:
        return {}
    own = torch.stack([_fingerprint(parameter.detach()) for parameter in parameters.values()])
    every = [torch.empty_like(own) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(every, own)
    differs = (torch.stack(every) != every[0]).any(-1).cpu()
    return {
        name: differs[:, place].nonzero().flatten().tolist()
        for place, name in enumerate(parameters)
        if differs[:, place].any()
    }


def _fingerprint(values: torch.Tensor) -> torch.Tensor:
    """Two sums over the bits, (2,): of all places, and of each times its place, so that an exchange shows, too."""
    flat = torch.view_as_real(values) if values.is_complex() else values
    bits = flat.contiguous().view(_AS_INTEGERS[flat.element_size()]).flatten().long()
    places = torch.arange(1, bits.numel() + 1, device=bits.device)
    return torch.stack([bits.sum(), (bits * places).sum()])
