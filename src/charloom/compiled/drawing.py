"""Drawing items from rows of alias cells: what `charloom.drawing` does with NumPy, the same to the last bit.

A cell is a threshold and an id, see `charloom.drawing`.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from charloom.compiled import source_digest

LANES = 64
"""Items drawn side by side: what does not depend on one another is done for all at once, by vectors."""

_STEP = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_27, _30, _31, _32 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)
_ONE = np.uint64(1)


@njit(inline="always")
def _mixed(z):
    z = (z ^ (z >> _30)) * _FIRST
    z = (z ^ (z >> _27)) * _SECOND
    return z ^ (z >> _31)


@njit(inline="always")
def _cell(threshold, id_, bits):
    return np.uint64(threshold * (np.int64(1) << (63 - bits))) << np.uint64(bits) | np.uint64(id_)


@njit(nogil=True, error_model="numpy")
def _next_large(shares, after):
    size = len(shares)
    large = after + 1
    while large < size and shares[large] * size < 1:
        large += 1
    return large


@njit(nogil=True, error_model="numpy")
def _fill_row(cells, shares, bits):
    size = len(shares)
    best = shares.argmax()
    large = _next_large(shares, -1)
    lacking = 0.0
    spare = shares[large] * size - 1 if large < size else 0.0
    for id_ in range(size):
        cells[id_] = _cell(1.0, id_, bits)
    for small in range(size + 1):
        if small < size and shares[small] * size >= 1:
            continue
        # One that is used up is filled up itself by the next.
        while large < size and spare < lacking:
            following = _next_large(shares, large)
            giver = following if following < size else best
            cells[large] = _cell(max(1 - (lacking - spare), 0.0), giver, bits)
            large = following
            if large < size:
                spare += shares[large] * size - 1
        if small < size:
            scaled = shares[small] * size
            cells[small] = _cell(scaled, large if large < size else best, bits)
            lacking += 1 - scaled


@njit(nogil=True, error_model="numpy")
def _draw(cells, bits, rows, randoms, columns, fractions, ids):
    """An id for each lane, from its row and its next random number. One loop for each thing that vectors can do."""
    size = np.uint64(cells.shape[1])
    shift, mask = np.uint64(bits), (_ONE << np.uint64(bits)) - _ONE
    dropped = shift + _ONE
    flat = cells.reshape(-1)
    for lane in range(LANES):
        random = randoms[lane] + _STEP
        randoms[lane] = random
        mixed = _mixed(random)
        # The product with the size, 128 bits: the column is its upper half.
        low = (mixed & _LOW) * size
        high = (mixed >> _32) * size + (low >> _32)
        columns[lane] = high >> _32
        fractions[lane] = (high << _32 | low & _LOW) >> dropped
    for lane in range(LANES):
        ids[lane] = flat[rows[lane] * size + columns[lane]]
    for lane in range(LANES):
        cell = ids[lane]
        ids[lane] = columns[lane] if fractions[lane] < cell >> shift else cell & mask


@njit(inline="always")
def _take(item, lane, items_, rows, places, randoms, states, lengths, stream, first):
    items_[lane] = item
    rows[lane] = states[item]
    places[lane] = lengths[item]
    randoms[lane] = _mixed(stream + _STEP * np.uint64(first + item + 1)) + _STEP * np.uint64(lengths[item])


def _entries(sources: int):
    """What is called from Python and kept on disk, under a number made from the sources."""

    @njit(cache=True, nogil=True, error_model="numpy")
    def alias_cells(shares, cells, bits):
        """Fill ``cells`` (rows x vocab, uint64) for the distributions ``shares`` (rows x vocab, float64)."""
        for row in range(len(shares) if sources else 0):
            _fill_row(cells[row], shares[row], bits)

    @njit(cache=True, nogil=True, error_model="numpy")
    def advance(cells, bits, base, step, following, logs, stream, first, items, states, slots, lengths, totals):
        """Draw each of ``items`` until it ends, is cut, or needs a row that is not there.

        ``slots`` (all items x longest) takes the ids, ``lengths`` how many there are, ``totals`` the sums of ``logs``,
        ``states`` what became of an item. See `charloom.drawing.advance`.
        """
        longest = np.uint64(slots.shape[1] if sources else 0)
        pointed, logged = following.size > 0, logs.size > 0
        # What each lane is at: the item, its row, how long it is, and what its next random number is made from.
        items_, rows = np.zeros(LANES, np.uint64), np.zeros(LANES, np.uint64)
        places, randoms = np.zeros(LANES, np.uint64), np.zeros(LANES, np.uint64)
        columns, fractions = np.zeros(LANES, np.uint64), np.zeros(LANES, np.uint64)
        ids = np.zeros(LANES, np.uint64)
        taken, live = 0, np.uint64(0)
        while True:
            # Free lanes take the next items whose rows are there.
            while live < LANES and taken < len(items):
                if base[states[items[taken]]] >= 0:
                    _take(items[taken], live, items_, rows, places, randoms, states, lengths, stream, first)
                    live += _ONE
                taken += 1
            if live == 0:
                return
            _draw(cells, bits, rows, randoms, columns, fractions, ids)
            lane = np.uint64(0)
            while lane < live:
                item, row, id_, at = items_[lane], rows[lane], ids[lane], places[lane]
                slots[item, at] = id_
                if logged:
                    totals[item] += logs[row, id_]
                if id_ == 0:
                    state = np.int64(-2)
                else:
                    at += _ONE
                    if at == longest:
                        state = np.int64(-3)
                    elif pointed:
                        state = np.int64(following[row, id_])
                        state = state if state >= 0 else -4 - np.int64(row)
                    else:
                        state = np.int64(base[row]) + step * np.int64(id_)
                if state >= 0 and base[np.uint64(state)] >= 0:
                    rows[lane] = state
                    places[lane] = at
                    lane += _ONE
                    continue
                states[item] = state
                lengths[item] = at
                # The last lane takes the place of this one.
                live -= _ONE
                items_[lane], rows[lane], places[lane] = items_[live], rows[live], places[live]
                randoms[lane], ids[lane] = randoms[live], ids[live]

    @njit(cache=True, nogil=True, error_model="numpy")
    def spell(slots, lengths, letters, sizes, out):
        """Write each item in UTF-8 and a line feed; ``letters`` (vocab x 4) holds ``sizes`` bytes of each id.

        Returns the number of bytes written to ``out``.
        """
        written = np.uint64(0)
        single = sizes.max() == 1
        for item in range(len(slots) if sources else 0):
            ids = slots[item]
            for at in range(lengths[item]):
                id_ = np.uint64(ids[np.uint64(at)])
                if single:
                    out[written] = letters[id_, np.uint64(0)]
                    written += np.uint64(1)
                else:
                    for byte in range(sizes[id_]):
                        out[written] = letters[id_, np.uint64(byte)]
                        written += np.uint64(1)
            out[written] = 10
            written += np.uint64(1)
        return written

    return alias_cells, advance, spell


alias_cells, advance, spell = _entries(source_digest())
