"""Batch, layer and RMS norm, forwards and backwards, over a matrix (rows x units) in a stretch of a flat array."""

from __future__ import annotations

import math

from numba import njit

from charloom.compiled.pointwise import FAST

NONE, BATCH, LAYER, RMS = range(4)


@njit(nogil=True, fastmath=FAST, error_model="numpy")
def batch_norm(x, hat, units, weight, bias, epsilon, scale, mean, variance, momentum):
    """x becomes weight * hat + bias, where hat is x with mean 0 and variance 1 over the rows, unit by unit.

    The biased variance normalises; the running ``variance`` takes in the unbiased one (Ioffe and Szegedy 2015), each
    with the share ``momentum``. ``scale``, 1/sqrt(variance + epsilon) of each unit, is kept for the way back.
    """
    rows = len(x) // units
    one = x.dtype.type(1)
    share = x.dtype.type(1 / rows)
    centre = hat[:units]  # Until hat is written itself, at the end, its first row holds the means.
    for j in range(units):
        centre[j] = 0
        scale[j] = 0
    for i in range(rows):
        row = x[i * units : (i + 1) * units]
        for j in range(units):
            centre[j] += row[j]
    for j in range(units):
        centre[j] *= share
        mean[j] += momentum * (centre[j] - mean[j])
    for i in range(rows):
        row = x[i * units : (i + 1) * units]
        for j in range(units):
            off = row[j] - centre[j]
            row[j] = off
            scale[j] += off * off
    unbiased = x.dtype.type(1 / (rows - 1))
    for j in range(units):
        variance[j] += momentum * (scale[j] * unbiased - variance[j])
        scale[j] = one / math.sqrt(scale[j] * share + epsilon)
    for i in range(rows):
        row = x[i * units : (i + 1) * units]
        normal = hat[i * units : (i + 1) * units]
        for j in range(units):
            value = row[j] * scale[j]
            normal[j] = value
            row[j] = value * weight[j] + bias[j]


@njit(nogil=True, fastmath=FAST, error_model="numpy")
def batch_norm_backward(gradient, hat, units, weight, scale, weight_gradient, bias_gradient):
    """The gradient of the output becomes that of the input; those of weight and bias are written."""
    rows = len(gradient) // units
    share = gradient.dtype.type(1 / rows)
    for j in range(units):
        weight_gradient[j] = 0
        bias_gradient[j] = 0
    for i in range(rows):
        row = gradient[i * units : (i + 1) * units]
        normal = hat[i * units : (i + 1) * units]
        for j in range(units):
            weight_gradient[j] += row[j] * normal[j]
            bias_gradient[j] += row[j]
    for i in range(rows):
        row = gradient[i * units : (i + 1) * units]
        normal = hat[i * units : (i + 1) * units]
        for j in range(units):
            common = (bias_gradient[j] + normal[j] * weight_gradient[j]) * share
            row[j] = (row[j] - common) * scale[j] * weight[j]


@njit(nogil=True, fastmath=FAST, error_model="numpy")
def row_norm(x, hat, units, weight, bias, epsilon, scale, centred):
    """As `batch_norm`, over the units of each row; not ``centred``: RMS norm, which has no mean and no bias."""
    one = x.dtype.type(1)
    share = x.dtype.type(1 / units)
    for i in range(len(x) // units):
        row = x[i * units : (i + 1) * units]
        normal = hat[i * units : (i + 1) * units]
        centre = x.dtype.type(0)
        if centred:
            for j in range(units):
                centre += row[j]
            centre *= share
        square = x.dtype.type(0)
        for j in range(units):
            off = row[j] - centre
            normal[j] = off
            square += off * off
        factor = one / math.sqrt(square * share + epsilon)
        scale[i] = factor
        if centred:
            for j in range(units):
                normal[j] *= factor
                row[j] = normal[j] * weight[j] + bias[j]
        else:
            for j in range(units):
                normal[j] *= factor
                row[j] = normal[j] * weight[j]


@njit(nogil=True, fastmath=FAST, error_model="numpy")
def row_norm_backward(gradient, hat, units, weight, scale, weight_gradient, bias_gradient, centred):
    """As `batch_norm_backward`, for `row_norm`."""
    share = gradient.dtype.type(1 / units)
    for j in range(units):
        weight_gradient[j] = 0
    if centred:
        for j in range(units):
            bias_gradient[j] = 0
    for i in range(len(gradient) // units):
        row = gradient[i * units : (i + 1) * units]
        normal = hat[i * units : (i + 1) * units]
        along = gradient.dtype.type(0)
        sum = gradient.dtype.type(0)
        for j in range(units):
            weight_gradient[j] += row[j] * normal[j]
        if centred:
            for j in range(units):
                bias_gradient[j] += row[j]
        for j in range(units):
            row[j] *= weight[j]
            along += row[j] * normal[j]
            sum += row[j]
        along *= share
        sum = sum * share if centred else gradient.dtype.type(0)
        factor = scale[i]
        for j in range(units):
            row[j] = (row[j] - sum - normal[j] * along) * factor
