"""Quantiles of each row of an array, NaN left out: NumPy's numbers, in a fraction of its time for short rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def lower_quantiles(values: Array, quantile: float) -> Array:
    """(rows,) of (rows, n): where a quantile lies between two numbers, the lower. NaN for a row of NaN."""
    ordered, last = _ordered(values)
    return _picked(ordered, np.floor(quantile * last))


def medians(values: Array) -> Array:
    """(rows,) of (rows, n). NaN for a row of NaN."""
    ordered, last = _ordered(values)
    return (_picked(ordered, np.floor(last / 2)) + _picked(ordered, np.ceil(last / 2))) / 2


def _ordered(values: Array) -> tuple[Array, Array]:
    """Each row from its lowest number on, with NaN at its end, and the place of the highest: -1 for none."""
    return np.sort(values, axis=1), (~np.isnan(values)).sum(1) - 1.0


def _picked(ordered: Array, places: Array) -> Array:
    if not ordered.shape[1]:
        return np.full(len(ordered), np.nan)
    # Of a row without numbers the place is -1: its last one, which is NaN.
    picked: Array = ordered[np.arange(len(ordered)), places.astype(np.int64)]
    return picked
