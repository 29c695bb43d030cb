"""A series as a line of block characters, and what stands for them where the encoding has none."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

BLOCKS = "▁▂▃▄▅▆▇█"
LARGEST = 1e300
"""What is larger is drawn as large as this: sums and differences stay finite."""
_MIDDLE = BLOCKS[3]
_ASCII = str.maketrans(BLOCKS + "−–…∞×→─", "_.,-=+*#--~Ix>-")
"""One character each, so that what was aligned stays so."""


def sparkline(values: ArrayLike, width: int = 40, *, log: bool = False) -> str:
    """At most ``width`` block characters, from the lowest value to the highest; a gap is a space.

    Of more values than that, each character shows the mean of its part; of fewer, each value has one. What is not
    finite is a gap, and so is, with ``log``, what is not above zero.
    """
    numbers = np.asarray(values, np.float64).ravel()
    with np.errstate(divide="ignore", invalid="ignore"):
        numbers = np.log(numbers) if log else numbers
    means = _means(np.where(np.isfinite(numbers), numbers.clip(-LARGEST, LARGEST), np.nan), width)
    shown = means[~np.isnan(means)]
    if not shown.size:
        return " " * means.size
    low, high = float(shown.min()), float(shown.max())
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        return "".join(" " if np.isnan(mean) else _MIDDLE for mean in means)
    levels = np.nan_to_num((means - low) / (high - low) * len(BLOCKS)).astype(int).clip(0, len(BLOCKS) - 1)
    return "".join(" " if np.isnan(mean) else BLOCKS[level] for mean, level in zip(means, levels.tolist(), strict=True))


def for_encoding(text: str, encoding: str | None) -> str:
    """``text`` as an output of that encoding can hold it: plain marks for blocks, escapes for other characters."""
    encoding = encoding or "ascii"
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return text.translate(_ASCII).encode("ascii", "backslashreplace").decode("ascii")
    return text


def _means(numbers: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """The mean of each of at most ``width`` parts of nearly equal length, NaN where a part has no number."""
    count = numbers.size
    if count <= width:
        return numbers
    places = np.arange(count) * width // count
    known = ~np.isnan(numbers)
    counts = np.bincount(places[known], minlength=width)
    sums = np.bincount(places[known], numbers[known], minlength=width)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
