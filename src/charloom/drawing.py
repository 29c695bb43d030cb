"""Items are drawn from rows of alias cells, with random numbers that depend on the seed, the item and the place alone.

**Random numbers.** The t-th character of item i (both from 0) takes mix(key + (t + 1) g) with key = mix(mix(seed) +
(i + 1) g): SplitMix64 (Steele, Lea and Flood 2014), one stream an item. So an item is the same whatever the number of
items, threads or blocks.

**Alias cells** (Walker 1977, Vose 1991). A row of V cells holds a distribution: one cell is chosen evenly, and gives
its own id with the probability of its threshold, otherwise the id it names. Of V times the random number the integer
part chooses the cell, and the next 42 bits are compared with the threshold. A cell is 64 bits: the id in the lowest
`ID_BITS`, above it the threshold in units of 2^-42. So each probability is met to within 2^-42, and one that is 0 is
never drawn.

Each function has a compiled twin in `charloom.compiled.drawing` that gives the same to the last bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from charloom.vocabulary import MARKER

if TYPE_CHECKING:
    from jaxtyping import Float, Int, UInt64

ID_BITS = 21
"""Bits of an id in a cell: there are fewer characters than 2^21."""
ONE = 1 << (64 - ID_BITS - 1)
"""A threshold that is always kept below."""
ENDED, CUT, OPEN = -2, -3, -4
"""States of an item: the marker was drawn; it is as long as it may be; OPEN - r: it waits for the row after row r."""
START = -1
"""State of an item that waits for its first row."""

_STEP = np.uint64(0x9E3779B97F4A7C15)


@dataclass
class Rows:
    """Rows of cells, and which row follows which.

    Row r is followed, after id w, by ``base[r] + step * w``; or, if ``following`` is not empty, by ``following[r, w]``,
    which is -1 where that row is not there yet. A row whose ``base`` is -1 is not there yet itself.
    """

    cells: UInt64[np.ndarray, "rows vocab"]
    base: Int[np.ndarray, " rows"]
    step: int
    following: Int[np.ndarray, "rows vocab"]
    logs: Float[np.ndarray, "rows vocab"]
    """ln p of the unchanged model; empty where nobody asks."""


@dataclass
class Block:
    """Items in the making, numbered from ``first``."""

    first: int
    states: Int[np.ndarray, " items"]
    """The row that comes next, or `ENDED`, `CUT`, `START`, or `OPEN` less the row before."""
    slots: Int[np.ndarray, "items longest"]
    """Their ids, from the left."""
    lengths: Int[np.ndarray, " items"]
    totals: Float[np.ndarray, " items"]
    """ln of the probability of what has been drawn; the end marker included."""

    def begin(self, first: int, prefix: Int[np.ndarray, " prefix"]) -> None:
        """Make it hold the items from ``first`` on, each of them ``prefix``."""
        self.first = first
        self.states[:] = START
        self.slots[:, : len(prefix)] = prefix
        self.lengths[:] = len(prefix)
        self.totals[:] = 0

    def first_items(self, n: int) -> Block:
        """The first ``n`` items, or all if there are not so many."""
        return Block(self.first, self.states[:n], self.slots[:n], self.lengths[:n], self.totals[:n])


def stream_of(seed: int) -> np.uint64:
    """What the random numbers of all items start from."""
    return np.uint64(_mixed(np.array([seed], dtype=np.uint64))[0])


def random_bits(stream: np.uint64, items: Int[np.ndarray, " n"], at: Int[np.ndarray, " n"]) -> UInt64[np.ndarray, " n"]:
    """The 64 random bits of each item (its number) at a place, both from 0."""
    key = _mixed(stream + _STEP * (items + 1).astype(np.uint64))
    bits: UInt64[np.ndarray, " n"] = _mixed(key + _STEP * (at + 1).astype(np.uint64))
    return bits


def alias_cells(shares: Float[np.ndarray, "rows vocab"]) -> UInt64[np.ndarray, "rows vocab"]:
    """The cells of distributions, each of which sums to 1."""
    cells = np.empty(shares.shape, dtype=np.uint64)
    for row, of_row in zip(cells, shares, strict=True):
        _fill_row(row, of_row)
    return cells


def _fill_row(cells: UInt64[np.ndarray, " vocab"], shares: Float[np.ndarray, " vocab"]) -> None:
    """Whoever has less than an even share of the cells is filled up by one that has more, in order.

    What the first so many lack together, and what the first so many have too much, says who fills up whom: one that has
    too much gives until it is used up, and is then filled up itself by the next.
    """
    size = len(shares)
    scaled = shares * size
    is_large = scaled >= 1
    smalls, larges = np.flatnonzero(~is_large), np.flatnonzero(is_large)
    lacking, spare = np.cumsum(1 - scaled[smalls]), np.cumsum(scaled[larges] - 1)
    # By rounding nobody may be left to give: the most probable one does.
    givers = np.append(larges, shares.argmax())
    cells[smalls] = _cells(scaled[smalls], givers[np.searchsorted(spare, np.append(0.0, lacking)[:-1])])
    cells[larges] = _cells(np.ones(len(larges)), larges)
    used_up_at = np.searchsorted(lacking, spare, side="right")
    used_up = np.flatnonzero(used_up_at < len(smalls))
    left = np.maximum(1 - (lacking[used_up_at[used_up]] - spare[used_up]), 0)
    cells[larges[used_up]] = _cells(left, givers[used_up + 1])


def advance(rows: Rows, block: Block, stream: np.uint64, items: Int[np.ndarray, " waiting"]) -> None:
    """Draw each of ``items`` until it ends, is cut, or needs a row that is not there; its state says which."""
    size = rows.cells.shape[1]
    longest = block.slots.shape[1]
    while len(items):
        row = block.states[items]
        ready = rows.base[row] >= 0
        items, row = items[ready], row[ready]
        at = block.lengths[items]
        column, fraction = _split(random_bits(stream, block.first + items, at), size)
        cell = rows.cells[row, column]
        other = (cell & np.uint64((1 << ID_BITS) - 1)).astype(np.int64)
        ids = np.where(fraction < cell >> np.uint64(ID_BITS), column, other)
        block.slots[items, at] = ids
        if rows.logs.size:
            block.totals[items] += rows.logs[row, ids]
        block.lengths[items] = at = at + (ids != MARKER)
        if rows.following.size:
            after = rows.following[row, ids].astype(np.int64)
            after = np.where(after < 0, OPEN - row, after)
        else:
            after = rows.base[row] + rows.step * ids
        after = np.where(ids == MARKER, ENDED, np.where(at == longest, CUT, after))
        block.states[items] = after
        items = items[after >= 0]


def spell(block: Block, codes: Int[np.ndarray, " vocab"]) -> bytes:
    """Every item in UTF-8 and a line feed; ``codes`` are the code points of the ids."""
    width = int(block.lengths.max(initial=0)) + 1
    at, ends = np.arange(width), block.lengths[:, None]
    ids = np.zeros((len(block.slots), width), dtype=block.slots.dtype)
    ids[:, :-1] = block.slots[:, : width - 1]
    line_feed = len(codes)
    points = np.append(codes, ord("\n"))[np.where(at == ends, line_feed, ids)[at <= ends]]
    return points.astype("<u4").tobytes().decode("utf-32-le").encode()


def _split(random: UInt64[np.ndarray, " n"], size: int) -> tuple[Int[np.ndarray, " n"], UInt64[np.ndarray, " n"]]:
    """The upper 64 of the 128 bits of a product with the size, which is a column; and the 42 bits after them."""
    low32, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    low = (random & low32) * np.uint64(size)
    high = (random >> half) * np.uint64(size) + (low >> half)
    return (high >> half).astype(np.int64), ((high << half) | (low & low32)) >> np.uint64(ID_BITS + 1)


def _mixed(z: UInt64[np.ndarray, " n"]) -> UInt64[np.ndarray, " n"]:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return z


def _cells(thresholds: Float[np.ndarray, " n"], ids: Int[np.ndarray, " n"]) -> UInt64[np.ndarray, " n"]:
    return (thresholds * ONE).astype(np.uint64) << np.uint64(ID_BITS) | ids.astype(np.uint64)
