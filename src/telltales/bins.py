"""The fixed logarithmic bins that every histogram shares, so that any two can be compared or added.

A bin is an eighth of an octave wide (its edges are 1, 1.125, 1.25, … 1.875 times a power of two), from 2⁻³² to 2¹⁶,
once for each sign, with zero in the middle: exactly what the sign, the exponent and the first three bits of the
mantissa of a float32 say. Smaller magnitudes count as the smallest bin, larger ones as the largest; subnormal numbers
as zero.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PER_OCTAVE = 8
LOWEST_EXPONENT, HIGHEST_EXPONENT = -32, 16
PER_SIGN = (HIGHEST_EXPONENT - LOWEST_EXPONENT) * PER_OCTAVE
ZERO_BIN = PER_SIGN
BINS = 2 * PER_SIGN + 1


def _edges() -> NDArray[np.float64]:
    octaves = np.arange(LOWEST_EXPONENT, HIGHEST_EXPONENT, dtype=np.float64)
    lower = (2.0 ** octaves[:, None] * (1 + np.arange(PER_OCTAVE) / PER_OCTAVE)).ravel()
    magnitudes = np.append(lower, 2.0**HIGHEST_EXPONENT)
    return np.concatenate([-magnitudes[::-1], magnitudes])


EDGES: NDArray[np.float64] = _edges()
"""Bin i lies between edges i and i + 1, in rising order; the middle one, between -2⁻³² and 2⁻³², is for zero."""
