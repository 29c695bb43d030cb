"""Where activation functions are flat, so that a unit there learns nothing: by module type, with the thresholds.

`saturated` in a record means: in the flat region named here. For functions of ReLU's kind that is the inactive side,
which half the values may be on; a unit that is there on every example is a dead unit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional


@dataclass(frozen=True)
class FlatRegion:
    """Values at most ``low`` or at least ``high``, of the function's input or output."""

    function: str
    low: float = -math.inf
    high: float = math.inf
    of: Literal["input", "output"] = "output"

    @property
    def is_rectifier(self) -> bool:
        """Whether the flat side is where the function is inactive, as in ReLU."""
        return self.high == math.inf


TANH = FlatRegion("tanh", -0.97, 0.97)
"""|tanh x| > 0.97 means |x| > 2.09, where the derivative is below 0.06."""
SIGMOID = FlatRegion("sigmoid", 0.03, 0.97)
"""Beyond these |x| > 3.48 and the derivative is below 0.03."""
SOFTSIGN = FlatRegion("softsign", -0.75, 0.75)
"""|x| > 3, where the derivative is below 0.0625."""
RELU = FlatRegion("relu", low=0.0)
GELU = FlatRegion("gelu", low=-3.0, of="input")
"""Below -3 the derivative is between -0.012 and 0."""
SILU = FlatRegion("silu", low=-6.0, of="input")
"""Below -6 the derivative is between -0.013 and 0."""
HARDSIGMOID = FlatRegion("hardsigmoid", 0.0, 1.0)
HARDSWISH = FlatRegion("hardswish", low=-3.0, of="input")
ELU_SHARE = 0.97
"""An ELU's output at 97% of its lower limit has 3% of its slope left."""


def about_region(region: FlatRegion | None) -> dict[str, Any]:
    """What a record says of an activation function."""
    if region is None:
        return {}
    limits = {side: limit for side, limit in (("low", region.low), ("high", region.high)) if math.isfinite(limit)}
    return {"activation": region.function, "of": region.of, "rectifier": region.is_rectifier, **limits}


_CALLS: tuple[tuple[FlatRegion, tuple[Any, ...]], ...] = (
    (RELU, (functional.relu, functional.relu_, torch.relu, torch.relu_, torch.Tensor.relu, torch.Tensor.relu_)),
    (TANH, (functional.tanh, torch.tanh, torch.tanh_, torch.Tensor.tanh, torch.Tensor.tanh_)),
    (SIGMOID, (functional.sigmoid, torch.sigmoid, torch.sigmoid_, torch.Tensor.sigmoid, torch.Tensor.sigmoid_)),
    (GELU, (functional.gelu,)),
    (SILU, (functional.silu,)),
    (FlatRegion("relu6", 0.0, 6.0), (functional.relu6,)),
    (HARDSIGMOID, (functional.hardsigmoid,)),
    (HARDSWISH, (functional.hardswish,)),
    (SOFTSIGN, (functional.softsign,)),
)
FUNCTIONS: Mapping[Any, FlatRegion] = {function: region for region, calls in _CALLS for function in calls}
"""Functions that a model may call in place of a module."""


def flat_region(module: nn.Module) -> FlatRegion | None:
    """The flat region of an activation function, or of a recurrent layer, whose output is one; else None.

    Modules from elsewhere are known by what their class's name contains, such as ``NewGELUActivation``.
    """
    match module:
        case nn.ReLU6():
            return FlatRegion("relu6", 0.0, 6.0)
        case nn.Hardtanh():
            return FlatRegion("hardtanh", float(module.min_val), float(module.max_val))
        case nn.Hardsigmoid():
            return HARDSIGMOID
        case nn.Threshold():
            return FlatRegion("threshold", low=float(module.value))
        case nn.ELU() | nn.CELU():
            return FlatRegion("elu", low=-ELU_SHARE * float(module.alpha))
        case nn.SELU():
            return FlatRegion("selu", low=-ELU_SHARE * 1.0507009873554805 * 1.6732632423543772)
        case nn.RNN() | nn.RNNCell():
            return TANH if module.nonlinearity == "tanh" else RELU
        case nn.LSTM() | nn.LSTMCell() | nn.GRU() | nn.GRUCell():
            return TANH
    if next(module.children(), None) is not None or next(module.parameters(), None) is not None:
        return None
    name = type(module).__name__.lower()
    return next((region for part, region in _NAMES.items() if part in name), None)


_NAMES = {
    "leaky": None,
    "prelu": None,
    "rrelu": None,
    "tanhshrink": None,
    "logsigmoid": None,
    "hardtanh": None,
    "gelu": GELU,
    "hardswish": HARDSWISH,
    "hardsigmoid": HARDSIGMOID,
    "silu": SILU,
    "swish": SILU,
    "relu": RELU,
    "sigmoid": SIGMOID,
    "softsign": SOFTSIGN,
    "tanh": TANH,
}
"""The first that the name contains counts; None is for those that have no flat region, or one that cannot be known."""
