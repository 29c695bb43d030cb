"""How weights start: the spread that keeps activations and gradients the same size from layer to layer.

A layer with ``fan_in`` inputs of unit variance and weights of standard deviation s has outputs of standard deviation
s * sqrt(fan_in). A nonlinearity then shrinks them; the *gain* makes up for it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from jaxtyping import Float

GAINS = {
    "identity": 1.0,
    "sigmoid": 1.0,
    "tanh": 5 / 3,
    "relu": math.sqrt(2),
    "leaky-relu": math.sqrt(2 / (1 + 0.01**2)),
    "gelu": 1.5335,
    "silu": 1.6765,
}
"""Gain of each activation. Those of ReLU, leaky ReLU, GELU and SiLU are 1/sqrt(E[f(z)^2]) for z ~ N(0, 1) (He et al.
2015, section 2.2); tanh (5/3) and sigmoid (1) follow the convention of `torch.nn.init.calculate_gain`."""


def initialize(
    weight: Float[torch.Tensor, "fan_out fan_in"],
    scheme: str,
    *,
    gain: float = 1.0,
    scale: float = 1.0,
    generator: torch.Generator | None = None,
) -> None:
    """Fill ``weight`` in place.

    ``normal``: N(0, 1). ``scaled``: standard deviation 1/sqrt(fan_in) (LeCun et al. 1998). ``xavier``:
    gain * sqrt(2/(fan_in + fan_out)) (Glorot and Bengio 2010). ``kaiming``: gain/sqrt(fan_in) (He et al. 2015).
    ``orthogonal``: gain times a random orthogonal matrix (Saxe et al. 2014). ``default``: what `torch.nn.Linear` does
    by itself, uniform within 1/sqrt(fan_in). The result is multiplied by ``scale``.
    """
    fan_out, fan_in = weight.shape
    with torch.no_grad():
        if scheme == "orthogonal":
            nn.init.orthogonal_(weight, gain * scale, generator=generator)
        elif scheme == "default":
            bound = scale / math.sqrt(fan_in)
            weight.uniform_(-bound, bound, generator=generator)
        else:
            deviation = {
                "normal": 1.0,
                "scaled": 1 / math.sqrt(fan_in),
                "xavier": gain * math.sqrt(2 / (fan_in + fan_out)),
                "kaiming": gain / math.sqrt(fan_in),
            }[scheme]
            weight.normal_(0, deviation * scale, generator=generator)


def initialize_linear(
    layer: nn.Linear,
    scheme: str,
    *,
    gain: float = 1.0,
    scale: float = 1.0,
    generator: torch.Generator | None = None,
) -> None:
    """`initialize` the weight; the bias starts at zero, under ``normal`` and ``default`` as the weight does."""
    initialize(layer.weight, scheme, gain=gain, scale=scale, generator=generator)
    if layer.bias is not None:
        with torch.no_grad():
            if scheme == "normal":
                layer.bias.normal_(0, scale, generator=generator)
            elif scheme == "default":
                bound = scale / math.sqrt(layer.in_features)
                layer.bias.uniform_(-bound, bound, generator=generator)
            else:
                layer.bias.zero_()
