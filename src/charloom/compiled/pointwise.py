"""Activations with their derivatives, and softmax with cross-entropy, over stretches of a flat array.

In float32 the exponential, tanh and erf are polynomials without branches, so that a loop over them becomes one over
vectors; they are good to 3e-7 relative (tests compare them with float64). In float64 they are the C library's.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, types
from numba.extending import overload, register_jitable

from charloom.compiled.vector import power_of_two

IDENTITY, TANH, RELU, LEAKY_RELU, GELU, SILU, SIGMOID = range(7)
LEAK = 0.01

# No reassociation: the exponential rounds by adding a large number.
FAST = {"contract", "nsz"}

_SHIFT = np.float32(1.5 * 2**23)
_LOG2_E = np.float32(math.log2(math.e))
_LN2_HIGH = np.float32(0.693359375)
_LN2_LOW = np.float32(math.log(2) - 0.693359375)
_ONE, _TWO, _HALF = np.float32(1), np.float32(2), np.float32(0.5)
_LOWEST, _HIGHEST = np.float32(-87), np.float32(88)
_INVERSE_ROOT_TWO = 1 / math.sqrt(2)
_INVERSE_ROOT_TWO_PI = 1 / math.sqrt(2 * math.pi)
# exp(r) within ln(2)/2 of 0: the Taylor series, whose next term is below 6e-9.
_E2, _E3, _E4, _E5, _E6, _E7 = (np.float32(1 / math.factorial(n)) for n in range(2, 8))
# (tanh(x)/x - 1)/x^2 as a polynomial in x^2 up to 0.4; Chebyshev interpolation, relative error of tanh 1e-9.
_T0, _T1, _T2, _T3, _T4, _T5 = (
    np.float32(c) for c in (-0.3333333315, 0.1333330015, -0.05395846163, 0.02176250289, -0.008323187024, 0.002269501654)
)
# erf(x)/x as a polynomial in x^2 up to 1, and exp(x^2) erfc(x) as one in 1/(1 + x/2) from x = 1 to 4.4.
_R0, _R1, _R2, _R3, _R4, _R5, _R6 = (
    np.float32(c)
    for c in (
        1.128379166,
        -0.3761262667,
        0.1128359472,
        -0.02685421201,
        0.005189087426,
        -0.0008016864305,
        7.87587512e-05,
    )
)
_X0, _X1, _X2, _X3, _X4, _X5, _X6, _X7, _X8 = (
    np.float32(c)
    for c in (
        -9.290407802e-05,
        0.2838650262,
        0.2674559816,
        0.3151613457,
        -0.01862221456,
        0.4228591918,
        -0.3274631571,
        0.03598303231,
        0.02097580647,
    )
)


@register_jitable
def _exp32(x):
    x = x if x > _LOWEST else (_LOWEST if x <= _LOWEST else x)  # A NaN stays one.
    x = _HIGHEST if x > _HIGHEST else x
    shifted = x * _LOG2_E + _SHIFT
    n = shifted - _SHIFT
    r = x - n * _LN2_HIGH - n * _LN2_LOW
    series = _E2 + r * (_E3 + r * (_E4 + r * (_E5 + r * (_E6 + r * _E7))))
    return (_ONE + r + r * r * series) * power_of_two(shifted)


@register_jitable
def _tanh32(x):
    size = abs(x)
    u = x * x
    near = x + x * u * (_T0 + u * (_T1 + u * (_T2 + u * (_T3 + u * (_T4 + u * _T5)))))
    far = _ONE - _TWO / (_exp32(_TWO * size) + _ONE)
    return near if size < np.float32(0.625) else math.copysign(far, x)


@register_jitable
def _erf32(x):
    size = abs(x)
    size = np.float32(4.4) if size > np.float32(4.4) else size
    u = size * size
    near = size * (_R0 + u * (_R1 + u * (_R2 + u * (_R3 + u * (_R4 + u * (_R5 + u * _R6))))))
    t = _ONE / (_ONE + _HALF * size)
    scaled = _X0 + t * (_X1 + t * (_X2 + t * (_X3 + t * (_X4 + t * (_X5 + t * (_X6 + t * (_X7 + t * _X8)))))))
    far = _ONE - scaled * _exp32(-u)
    return math.copysign(near if size < _ONE else far, x) if x == x else x


def exp(x):
    """e to the x."""


def tanh(x):
    """The hyperbolic tangent."""


def erf(x):
    """The error function."""


def _choose(name, in_float32, in_float64):
    @overload(name, inline="always")
    def chosen(x):
        return in_float32 if x == types.float32 else in_float64


_choose(exp, lambda x: _exp32(x), lambda x: math.exp(x))
_choose(tanh, lambda x: _tanh32(x), lambda x: math.tanh(x))
_choose(erf, lambda x: _erf32(x), lambda x: math.erf(x))


@njit(nogil=True, fastmath=FAST, error_model="numpy")
def activate(kind, x, y):
    """y becomes f(x), and x the derivative f'(x). Arrays of the same length that do not overlap."""
    one = x.dtype.type(1)
    half = x.dtype.type(0.5)
    if kind == TANH:
        for i in range(len(x)):
            value = tanh(x[i])
            y[i] = value
            x[i] = one - value * value
    elif kind == RELU:
        zero = x.dtype.type(0)
        for i in range(len(x)):
            value = x[i]
            y[i] = zero if value < zero else value
            x[i] = one if value > zero else zero
    elif kind == LEAKY_RELU:
        leak = x.dtype.type(LEAK)
        zero = x.dtype.type(0)
        for i in range(len(x)):
            value = x[i]
            slope = one if value > zero else leak
            y[i] = value * slope
            x[i] = slope
    elif kind == GELU:
        root = x.dtype.type(_INVERSE_ROOT_TWO)
        density = x.dtype.type(_INVERSE_ROOT_TWO_PI)
        for i in range(len(x)):
            value = x[i]
            share = half * (one + erf(value * root))
            y[i] = value * share
            x[i] = share + value * density * exp(-half * value * value)
    elif kind == SILU:
        for i in range(len(x)):
            value = x[i]
            share = one / (one + exp(-value))
            y[i] = value * share
            x[i] = share * (one + value * (one - share))
    elif kind == SIGMOID:
        for i in range(len(x)):
            share = one / (one + exp(-x[i]))
            y[i] = share
            x[i] = share * (one - share)
    else:
        for i in range(len(x)):
            y[i] = x[i]
            x[i] = one


@njit(nogil=True, fastmath=FAST, error_model="numpy")
def cross_entropy(logits, classes, rows, weights, starts, targets, shares):
    """The weighted mean loss of some rows of logits, which become its gradients.

    ``logits`` holds a row of ``classes`` elements for each of ``rows``. Row number ``rows[i]`` has the targets
    ``targets[starts[r]:starts[r + 1]]``, each with its share of 1, and counts ``weights[i]`` in the mean.
    """
    total = 0.0
    for i in range(len(rows)):
        row = logits[i * classes : (i + 1) * classes]
        highest = row[0]
        for j in range(1, classes):
            highest = row[j] if row[j] > highest else highest
        first, last = starts[rows[i]], starts[rows[i] + 1]
        hit = 0.0
        for t in range(first, last):
            hit += shares[t] * (row[targets[t]] - highest)
        for j in range(classes):
            row[j] = exp(row[j] - highest)
        mass = row[0]
        for j in range(1, classes):
            mass += row[j]
        weight = weights[i]
        total += weight * (math.log(mass) - hit)
        factor = weight / mass
        for j in range(classes):
            row[j] *= factor
        for t in range(first, last):
            row[targets[t]] -= weight * shares[t]
    return total
