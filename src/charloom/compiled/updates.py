"""SGD with momentum, Adam and AdamW on flat parameters, as PyTorch defines them."""

from __future__ import annotations

import math

from numba import njit

from charloom.compiled.pointwise import FAST

SGD, ADAM, ADAMW = range(3)


@njit(nogil=True, fastmath=FAST, error_model="numpy")
def clip(gradients, largest):
    """Scale the gradient down to the norm ``largest`` if its own is greater (Pascanu et al. 2013)."""
    square = 0.0
    for i in range(0, len(gradients), 1024):
        part = gradients[i : i + 1024]
        sum = gradients.dtype.type(0)
        for value in part:
            sum += value * value
        square += sum
    factor = gradients.dtype.type(largest / (math.sqrt(square) + 1e-6))
    if factor < 1:
        for i in range(len(gradients)):
            gradients[i] *= factor


@njit(nogil=True, fastmath=FAST, error_model="numpy")
def update(rule, values, gradients, first, second, step, rate, decay, momentum, betas, epsilon):
    """One update of parameters that share a ``decay``; ``step`` counts from 1.

    ``first`` is SGD's momentum buffer or Adam's mean of gradients, ``second`` Adam's mean of squares. Decay is added
    to the gradient by SGD and Adam, and taken off the weights by AdamW (Loshchilov and Hutter 2019).
    """
    kind = values.dtype.type
    rate_, decay_ = kind(rate), kind(decay)
    if rule == SGD:
        keep = kind(momentum)
        if momentum == 0:
            for i in range(len(values)):
                values[i] -= rate_ * (gradients[i] + decay_ * values[i])
        else:
            for i in range(len(values)):
                buffer = keep * first[i] + gradients[i] + decay_ * values[i]
                first[i] = buffer
                values[i] -= rate_ * buffer
        return
    beta1, beta2 = kind(betas[0]), kind(betas[1])
    rest1, rest2 = kind(1 - betas[0]), kind(1 - betas[1])
    size = kind(rate / (1 - betas[0] ** step))
    root = kind(math.sqrt(1 - betas[1] ** step))
    small = kind(epsilon)
    coupled = decay_ if rule == ADAM else kind(0)
    shrink = kind(1 - rate * decay) if rule == ADAMW else kind(1)
    inverse = kind(1) / root
    for i in range(len(values)):
        value = values[i] * shrink
        gradient = gradients[i] + coupled * value
        mean = first[i] * beta1 + rest1 * gradient
        square = second[i] * beta2 + rest2 * gradient * gradient
        first[i] = mean
        second[i] = square
        values[i] = value - size * mean / (math.sqrt(square) * inverse + small)
