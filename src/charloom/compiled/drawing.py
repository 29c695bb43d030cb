"""Drawing items from rows of alias cells: what `charloom.drawing` does with NumPy, the same to the last bit.

A cell is a threshold and an id, see `charloom.drawing`.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from charloom.compiled import source_digest

LANES = 16
"""Items drawn side by side, so that one does not wait for the memory that another needs."""

_STEP = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_30, _27, _31, _11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)


@njit(inline="always")
def _mixed(z):
    z = (z ^ (z >> _30)) * _FIRST
    z = (z ^ (z >> _27)) * _SECOND
    return z ^ (z >> _31)


@njit(nogil=True, error_model="numpy")
def _alias_row(shares, cells, bits):
    size = len(shares)
    one = np.int64(1) << (64 - bits - 1)
    scaled = shares * size
    best = shares.argmax()
    for i in range(size):
        if scaled[i] < 1:
            cells[i] = (np.uint64(scaled[i] * one) << np.uint64(bits)) | np.uint64(best)
        else:
            cells[i] = (np.uint64(one) << np.uint64(bits)) | np.uint64(i)
    next_small = next_large = 0
    while next_small < size and shares[next_small] * size >= 1:
        next_small += 1
    while next_large < size and shares[next_large] * size < 1:
        next_large += 1
    small, reduced = next_small, False
    while small < size and next_large < size:
        large = next_large
        cells[small] = (np.uint64(scaled[small] * one) << np.uint64(bits)) | np.uint64(large)
        scaled[large] -= 1 - scaled[small]
        reduced = scaled[large] < 1
        if reduced:
            small = large
            next_large += 1
            while next_large < size and shares[next_large] * size < 1:
                next_large += 1
        else:
            next_small += 1
            while next_small < size and shares[next_small] * size >= 1:
                next_small += 1
            small = next_small
    if reduced and next_large == size:
        cells[small] = (np.uint64(scaled[small] * one) << np.uint64(bits)) | np.uint64(best)


@njit(inline="always")
def _take(item, lane, lane_item, lane_row, lane_at, lane_random, states, lengths, stream, first):
    lane_item[lane] = item
    lane_row[lane] = states[item]
    lane_at[lane] = lengths[item]
    lane_random[lane] = _mixed(stream + _STEP * np.uint64(first + item + 1)) + _STEP * np.uint64(lengths[item])


def _entries(sources: int):
    """What is called from Python and kept on disk, under a number made from the sources."""

    @njit(cache=True, nogil=True, error_model="numpy")
    def alias_cells(shares, cells, bits):
        """Fill ``cells`` (rows x vocab, uint64) for the distributions ``shares`` (rows x vocab, float64)."""
        for row in range(len(shares) if sources else 0):
            _alias_row(shares[row], cells[row], bits)

    @njit(cache=True, nogil=True, error_model="numpy")
    def advance(cells, bits, base, step, following, logs, stream, first, items, states, slots, lengths, totals):
        """Draw each of ``items`` until it ends, is cut, or needs a row that is not there.

        ``slots`` (all items x longest) takes the ids, ``lengths`` how many there are, ``totals`` the sums of ``logs``,
        ``states`` what became of an item. See `charloom.drawing.advance`.
        """
        size = cells.shape[1]
        longest = slots.shape[1] if sources else 0
        scale = size * (1.0 / 9007199254740992.0)
        one = np.float64(np.int64(1) << (64 - bits - 1))
        shift, mask = np.uint64(bits), np.uint64((1 << bits) - 1)
        pointed, logged = following.size > 0, logs.size > 0
        # What each lane is at: the item, its row, how long it is, and what its next random number is made from.
        lane_item, lane_row = np.empty(LANES, np.int64), np.empty(LANES, np.int64)
        lane_at, lane_random = np.empty(LANES, np.int64), np.empty(LANES, np.uint64)
        taken = live = lane = np.uint64(0)
        while live < LANES and taken < len(items):
            _take(items[taken], live, lane_item, lane_row, lane_at, lane_random, states, lengths, stream, first)
            live += np.uint64(1)
            taken += np.uint64(1)
        # Unsigned places: signed ones would be looked at for their sign at every step.
        while live > 0:
            item, row, at = np.uint64(lane_item[lane]), np.uint64(lane_row[lane]), lane_at[lane]
            state = np.int64(row)
            after = np.int64(base[row])
            if after >= 0:
                random = lane_random[lane] + _STEP
                lane_random[lane] = random
                place = np.float64(np.int64(_mixed(random) >> _11)) * scale
                column = np.int64(place)
                cell = cells[row, np.uint64(column)]
                other = np.int64(cell & mask)
                # All ones where the column itself is drawn: no branch, for nobody could foresee it.
                itself = (np.int64((place - column) * one) - np.int64(cell >> shift)) >> 63
                id_ = other + ((column - other) & itself)
                slots[item, np.uint64(at)] = id_
                if logged:
                    totals[item] += logs[row, np.uint64(id_)]
                if pointed:
                    state = np.int64(following[row, np.uint64(id_)])
                    if state < 0:
                        state = -4 - np.int64(row)
                else:
                    state = after + step * id_
                at += 1
                if id_ != 0 and at < longest and state >= 0:
                    lane_row[lane] = state
                    lane_at[lane] = at
                    lane += np.uint64(1)
                    if lane >= live:
                        lane = np.uint64(0)
                    continue
                if id_ == 0:
                    state = np.int64(-2)
                    at -= 1
                elif at == longest:
                    state = np.int64(-3)
            states[item] = state
            lengths[item] = at
            if taken < len(items):
                _take(items[taken], lane, lane_item, lane_row, lane_at, lane_random, states, lengths, stream, first)
                taken += np.uint64(1)
            else:
                live -= np.uint64(1)
                lane_item[lane], lane_row[lane] = lane_item[live], lane_row[live]
                lane_at[lane], lane_random[lane] = lane_at[live], lane_random[live]
                if lane >= live:
                    lane = np.uint64(0)

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
