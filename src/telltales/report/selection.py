"""Which of a record's many rows a figure shows, and how they are put together."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from telltales.bins import EDGES, ZERO_BIN
from telltales.observation import Histogram
from telltales.record import Record
from telltales.report.description import Band

MOST_LINES = 12
"""More lines or strips than that are not told apart."""
LINE = 14
"""Pixels that a line of text takes."""
MOST_NAMES = 36
"""Rows of a heat map that can each have their name."""
MOST_ROWS = 180
MOST_COLUMNS = 96


def in_depth_order(record: Record, kind: str) -> list[str]:
    """The rows of a table, in the order in which their modules ran."""
    depth = {name: place for place, name in enumerate(record.modules)}
    names = record.names(kind)
    if kind in ("activation", "activation_gradient"):
        return sorted(names, key=lambda name: depth.get(name, len(depth)))
    return sorted(names, key=lambda name: depth.get(str(_facts(record.parameters, name).get("module")), len(depth)))


def shown_layers(record: Record, kind: str = "activation") -> list[str]:
    """The activation functions, first to last; where there are fewer than two, all modules."""
    names = in_depth_order(record, kind)
    functions = [name for name in names if _facts(record.modules, name).get("activation")]
    return functions if len(functions) >= 2 else names


def matrices(record: Record, kind: str) -> list[str]:
    """The parameters with two dimensions or more, first to last; where there is none, all parameters."""
    names = in_depth_order(record, kind)
    return [name for name in names if len(shape(record, name)) >= 2] or names


def shape(record: Record, parameter: str) -> tuple[int, ...]:
    """Of a parameter; () if the record does not say."""
    sizes = _facts(record.parameters, parameter).get("shape")
    if not isinstance(sizes, list | tuple):
        return ()
    return tuple(size for size in sizes if isinstance(size, int))


def is_rectifier(record: Record, module: str) -> bool:
    """Whether its flat part is where it is inactive."""
    return bool(_facts(record.modules, module).get("rectifier"))


def _facts(all_facts: Mapping[str, dict[str, Any]], name: str) -> Mapping[str, Any]:
    return all_facts.get(name, {})


def values_of(record: Record, kind: str, column: str, names: Sequence[str]) -> NDArray[np.float64]:
    """(steps, names)"""
    places = {name: place for place, name in enumerate(record.names(kind))}
    return record.values(kind, column)[:, [places[name] for name in names]].astype(np.float64)


def depth_names(names: Sequence[str]) -> tuple[str, ...]:
    """Short names for places on an axis of depth: the blocks, if each has but one."""
    blocks = [block_of(name) for name in names]
    return tuple(blocks if len(set(blocks)) == len(blocks) else common_prefix_removed(names))


def representatives(names: Sequence[str], scores: NDArray[np.floating], most: int = MOST_LINES) -> list[str]:
    """``most`` of the names: evenly spaced, the first and the last among them, and those of the extreme scores."""
    if len(names) <= most:
        return list(names)
    places = set(np.linspace(0, len(names) - 1, most - 2).round().astype(int).tolist())
    if not np.isnan(scores).all():
        places |= {int(np.nanargmin(scores)), int(np.nanargmax(scores))}
    return [names[place] for place in sorted(places)]


def last_measured(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Of (steps, names): each name's last number that is not NaN, (names,)."""
    if not len(values):
        return np.full(values.shape[1], np.nan)
    measured = ~np.isnan(values)
    last = len(values) - 1 - np.argmax(measured[::-1], axis=0)
    picked: NDArray[np.floating] = values[last, np.arange(values.shape[1])]
    return picked


def block_of(name: str) -> str:
    """The part of a name up to its first number, that of its depth: ``blocks.3`` of ``blocks.3.norm.weight``."""
    parts = name.split(".")
    for place, part in enumerate(parts):
        if part.isdecimal():
            return ".".join(parts[: place + 1])
    return ".".join(parts[:-1]) or name


def role_of(name: str) -> str:
    """A name without its numbers: what it is, whatever its depth."""
    return re.sub(r"(?<![^.])\d+(?![^.])", "*", name)


def common_prefix_removed(names: Sequence[str]) -> list[str]:
    """The names without the leading components that all of them share."""
    split = [name.split(".") for name in names]
    shared = 0
    while len(names) > 1 and all(len(parts) > shared + 1 for parts in split):
        if len({parts[shared] for parts in split}) > 1:
            break
        shared += 1
    return [".".join(parts[shared:]) for parts in split]


def banded(
    names: Sequence[str], values: NDArray[np.floating], most_rows: int = MOST_ROWS
) -> tuple[NDArray[np.floating], tuple[Band, ...]]:
    """Rows for a heat map from ``values`` (names, columns), and their names.

    Few rows have their own names. Many are put together by role, each in the order of depth, and if they are too many
    still, neighbours of a role are averaged.
    """
    if len(names) <= MOST_NAMES:
        return values, tuple(Band(name, i, i + 1) for i, name in enumerate(common_prefix_removed(names)))
    members: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        members.setdefault(role_of(name), []).append(place)
    stride = int(np.ceil(len(names) / most_rows))
    rows: list[NDArray[np.floating]] = []
    bands = []
    labels = common_prefix_removed(list(members))
    for label, places in zip(labels, members.values(), strict=True):
        start = len(rows)
        for first in range(0, len(places), stride):
            rows.append(_mean(values[places[first : first + stride]]))
        bands.append(Band(label, start, len(rows)))
    return np.array(rows), _legible(bands, len(rows))


def banded_height(rows: int, bands: int) -> int:
    """How many pixels high a heat map is drawn: a line of text for each band, as far as that goes."""
    return min(max(2 * rows, LINE * bands), LINE * MOST_NAMES)


def _legible(bands: list[Band], rows: int) -> tuple[Band, ...]:
    """Without the names for which there is no room."""
    room = LINE * rows / banded_height(rows, len(bands))
    shown, end = [], -np.inf
    for band in bands:
        middle = (band.start + band.stop) / 2
        shown.append(band if middle - end >= room else Band("", band.start, band.stop))
        if shown[-1].name:
            end = middle
    return tuple(shown)


def _mean(rows: NDArray[np.floating]) -> NDArray[np.floating]:
    """Down the rows, of what is not NaN."""
    counts = (~np.isnan(rows)).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        mean: NDArray[np.floating] = np.nansum(rows, axis=0) / np.where(counts, counts, np.nan)
    return mean


def over_steps(
    steps: NDArray[np.integer], values: NDArray[np.floating], low: float, high: float, columns: int = MOST_COLUMNS
) -> NDArray[np.float64]:
    """``values`` (steps, …) in ``columns`` equal spans of steps, (columns, …): each span's last measured row.

    A span without a row shows the one before; before the first row and after the last there is nothing.
    """
    result = np.full((columns, *values.shape[1:]), np.nan)
    if not len(steps):
        return result
    edges = np.linspace(low, high, columns + 1)
    place = np.searchsorted(steps, edges[1:], side="right") - 1
    seen = (place >= 0) & (edges[:-1] <= steps[-1])
    result[seen] = values[place[seen]]
    return result


def density(histogram: Histogram, width: float) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """A histogram in logarithmic bins as a density over a linear axis: (x, density, share of exact zeros).

    Bins are joined until they are at least ``width`` wide, or a thousand would share one pixel near zero. Zeros are
    left out and told apart: a point mass has no density.
    """
    counts = histogram.counts.astype(np.float64)
    total = counts.sum()
    if not total:
        return np.zeros(0), np.zeros(0), 0.0
    full = np.zeros(len(EDGES) - 1)
    full[histogram.first : histogram.first + len(counts)] = counts
    zeros = full[ZERO_BIN] / total
    full[ZERO_BIN] = 0
    kept = _wide_enough(width)
    cumulative = np.concatenate([[0.0], np.cumsum(full)])[kept]
    edges = EDGES[kept]
    centres, heights = (edges[:-1] + edges[1:]) / 2, np.diff(cumulative) / np.diff(edges) / total
    filled = np.flatnonzero(heights)
    if not filled.size:
        return np.zeros(0), np.zeros(0), float(zeros)
    near = slice(max(filled[0] - 1, 0), filled[-1] + 2)
    return centres[near], heights[near], float(zeros)


def _wide_enough(width: float) -> NDArray[np.intp]:
    """Which edges stay so that bins are at least ``width`` wide, the same on both sides of zero."""
    last = len(EDGES) - 1
    right = [ZERO_BIN + 1]
    for place in range(ZERO_BIN + 2, last + 1):
        # The first bin reaches from -width/2 to width/2, so that zero is a bin's middle.
        needed = EDGES[right[-1]] + width if len(right) > 1 else width / 2
        if EDGES[place] >= needed:
            right.append(place)
    return np.array([*(last - place for place in reversed(right[1:])), *right[1:]])


def central_range(histograms: Sequence[Histogram], tail: float = 0.0025) -> tuple[float, float]:
    """From the lowest to the highest value that any of them holds, but for a ``tail`` of each at either end."""
    low, high = np.inf, -np.inf
    for histogram in histograms:
        counts = histogram.counts.astype(np.float64)
        total = counts.sum()
        if total:
            position = np.cumsum(counts) / total
            first = int(np.searchsorted(position, tail, side="right"))
            last = int(np.searchsorted(position, 1 - tail))
            low = min(low, float(EDGES[histogram.first + first]))
            high = max(high, float(EDGES[histogram.first + min(last, len(counts) - 1) + 1]))
    return (low, high) if low < high else (-1.0, 1.0)


def on_all(cells: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which columns are true in every row; none if there are no rows."""
    return np.asarray(cells.all(axis=0) & bool(len(cells)))
