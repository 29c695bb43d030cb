"""From numbers to positions: linear and logarithmic scales, their ranges and their ticks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from telltales.report.words import number, power_of_ten

LARGEST = 1e300
"""Beyond this a number counts as infinite: the difference of two such must be finite."""


@dataclass(frozen=True)
class Range:
    """What an axis shows: finite, ``low`` < ``high``, and above zero if it is logarithmic."""

    low: float
    high: float
    log: bool = False

    def position(self, values: ArrayLike) -> NDArray[np.float64]:
        """Where values lie between the ends, from 0 to 1; beyond an end, at it. NaN for NaN.

        On a logarithmic range, zero and less lie at the lower end.
        """
        values = np.asarray(values, np.float64)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            if self.log:
                shown = np.log(np.where(values <= 0, self.low, values))
                low, high = math.log(self.low), math.log(self.high)
            else:
                shown, low, high = values, self.low, self.high
            position: NDArray[np.float64] = np.clip((shown - low) / (high - low), 0, 1)
        return position


def range_of(
    arrays: Iterable[ArrayLike], *, log: bool = False, include: Iterable[float] = (), pad: float = 0.04
) -> Range:
    """The range that holds every finite value (above zero, if ``log``) and ``include``, and some room around them."""
    parts = [np.asarray(array, np.float64).ravel() for array in arrays]
    values = np.concatenate([*parts, np.array(list(include), np.float64)])
    values = values[np.abs(values) < LARGEST]
    if log:
        values = values[values > 1 / LARGEST]
    if not values.size:
        return Range(0.1, 1, True) if log else Range(0, 1)
    low, high = float(values.min()), float(values.max())
    return _log_range(low, high, pad) if log else _linear_range(low, high, pad)


def _linear_range(low: float, high: float, pad: float) -> Range:
    if high - low <= 1e-9 * max(abs(low), abs(high)) or high - low < 1 / LARGEST:
        half = abs(low) / 10 or 0.5
        return Range(low - half, high + half)
    room = pad * (high - low)
    # Room below zero would promise values that can't be.
    return Range(0.0 if 0 <= low < room else low - room, high + room)


def _log_range(low: float, high: float, pad: float) -> Range:
    if high / low < 2:
        middle = math.sqrt(low) * math.sqrt(high)
        return Range(middle / 2, middle * 2, True)
    lowest, highest = math.log(low), math.log(high)
    room = (highest - lowest) * pad
    most = math.log(LARGEST)
    return Range(math.exp(max(lowest - room, -most)), math.exp(min(highest + room, most)), True)


@dataclass(frozen=True)
class Tick:
    value: float
    label: str


def ticks(shown: Range, count: int) -> tuple[Tick, ...]:
    """About ``count`` round values inside a range, rising, at least one."""
    return _log_ticks(shown, count) if shown.log else _linear_ticks(shown, count)


def _linear_ticks(shown: Range, count: int) -> tuple[Tick, ...]:
    low, high = shown.low, shown.high
    exact = (high - low) / max(count, 1)
    step = 10.0 ** math.floor(math.log10(exact)) if exact > 1 / LARGEST else 0.0
    if not low + step > low:
        return (Tick(low, number(low)),)
    step *= next(factor for factor in (1, 2, 5, 10, 20) if factor * step >= 0.999 * exact)
    first, last = math.ceil(low / step), math.floor(high / step)
    values = [value for i in range(first, last + 1) if low <= (value := i * step) <= high]
    if not values:
        return (Tick(low, number(low)),)
    return tuple(Tick(value, _label(value, step)) for value in values)


def _label(value: float, step: float) -> str:
    """With as many decimals as ``step`` has, so that all labels of an axis are alike."""
    largest = max(abs(value), step)
    if largest >= 1e7 or step < 1e-4:
        return "0" if value == 0 else number(value)
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"{value:,.{decimals}f}".replace("-", "−")


def _log_ticks(shown: Range, count: int) -> tuple[Tick, ...]:
    if shown.high / shown.low < 5:
        return _linear_ticks(shown, count)
    first, last = math.ceil(math.log10(shown.low) - 1e-9), math.floor(math.log10(shown.high) + 1e-9)
    decades = last - first + 1
    if decades >= 3:
        stride = max(1, math.ceil(decades / max(count, 1)))
        exponents = [exponent for exponent in range(first, last + 1) if exponent % stride == 0]
        values = [(10.0**exponent, power_of_ten(exponent)) for exponent in exponents or [first]]
    else:
        for factors in ((1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
            mantissas = [(f, e) for e in range(first - 1, last + 1) for f in factors]
            values = [(f * 10.0**e, number(f * 10.0**e)) for f, e in mantissas]
            if sum(shown.low <= value <= shown.high for value, _ in values) >= 3:
                break
    inside = tuple(Tick(value, label) for value, label in values if shown.low <= value <= shown.high)
    return inside or (Tick(shown.low, number(shown.low)),)
