"""What weights an activation function asks for, so that a layer keeps the signal's size. No torch here."""

from __future__ import annotations

import math
from collections.abc import Sequence

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
