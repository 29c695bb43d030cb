"""What weights an activation function asks for, and how those of a layer compare with them. No torch here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from telltales.thresholds import TOO_SMALL

RECTIFIER = math.sqrt(2)
"""He et al. 2015: half of a rectifier's outputs are zero."""

GAINS = {
    "tanh": 5 / 3,
    "sigmoid": 1.0,
    "selu": 0.75,
    "elu": math.sqrt(1.55),
    **dict.fromkeys(("relu", "relu6", "leaky_relu", "gelu", "silu", "hardswish"), RECTIFIER),
}
"""As `torch.nn.init.calculate_gain` has them; smooth rectifiers are taken for ReLU, and ELU's is measured."""


def fan_in(shape: Sequence[int], transposed: bool) -> int:
    """How many inputs each output of a linear or convolutional layer sums up, from its weight's shape.

    A transposed convolution's weight has the inputs first.
    """
    return math.prod(shape) // max(shape[1 if transposed else 0], 1)


@dataclass(frozen=True)
class Scale:
    """How a layer's first weights compare with those that keep the signal's size."""

    parameter: str
    module: str
    std: float
    gain: float
    fan_in: int

    @property
    def right(self) -> float:
        return self.gain / math.sqrt(self.fan_in)

    @property
    def ratio(self) -> float:
        return self.std / self.right


def without_small_heads(scales: Sequence[Scale]) -> list[Scale]:
    """Those without a few that begin near zero, as a policy's head or the end of a branch does on purpose."""
    small = [s for s in scales if s.ratio < TOO_SMALL]
    return [s for s in scales if s not in small] if 2 * len(small) <= len(scales) else list(scales)


def told(wrong: Sequence[Scale], shown: str) -> dict[str, Any]:
    """The evidence, place, numbers, places and remedy of weights of the wrong scale. ``shown``: what they lead to."""
    worst = max(wrong, key=lambda s: abs(math.log(s.ratio)))
    evidence = (
        f"{worst.parameter} has a std of {worst.std:.3g}, where {worst.gain:.3g}/sqrt({worst.fan_in}) = "
        f"{worst.right:.3g} keeps the signal's size; {shown}"
    )
    layers = {s.parameter: {"std": s.std, "right": s.right, "gain": s.gain, "fan_in": s.fan_in} for s in wrong}
    steps = [f"{s.parameter} to a std of {s.gain:.3g}/sqrt({s.fan_in}) = {s.right:.3g}" for s in wrong[:6]]
    return {
        "evidence": evidence,
        "where": worst.module,
        "numbers": {"layers": layers},
        "places": tuple(s.module for s in wrong),
        "remedy": f"Rescale: {'; '.join(steps)}.",
    }
