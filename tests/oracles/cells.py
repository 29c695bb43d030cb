"""Random numbers and alias cells, one at a time in plain Python."""

from itertools import count

import numpy as np

from charloom.drawing import Block, Rows, advance, alias_cells, stream_of

_MASK = (1 << 64) - 1
_STEP = 0x9E3779B97F4A7C15


def mixed(z):
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    z = (z ^ z >> 27) * 0x94D049BB133111EB & _MASK
    return z ^ z >> 31


def splitmix64(seed):
    """The numbers of SplitMix64 (Steele, Lea and Flood 2014)."""
    return (mixed((seed + number * _STEP) & _MASK) for number in count(1))


def stream_key(seed, item):
    """What the stream of an item starts from."""
    return mixed((mixed(seed) + (item + 1) * _STEP) & _MASK)


def chosen_by(cells, bits):
    """The id that a row of cells gives for 64 random bits."""
    column, rest = divmod(bits * len(cells), 1 << 64)
    cell = cells[column]
    return column if rest >> 22 < cell >> 21 else cell & (1 << 21) - 1


def shares_of(cells):
    """The distribution that a row of cells holds, in 2^-42 / V."""
    shares = [0] * len(cells)
    for column, cell in enumerate(cells):
        shares[column] += cell >> 21
        shares[cell & (1 << 21) - 1] += (1 << 42) - (cell >> 21)
    return shares


def drawn_ids(probabilities, n, seed):
    """``n`` ids drawn from one distribution."""
    rows = Rows(
        cells=alias_cells(probabilities[None]),
        base=np.zeros(1, np.int32),
        step=0,
        following=np.empty((0, 0), np.int32),
        logs=np.empty((0, 0)),
    )
    block = Block(0, np.zeros(n, np.int64), np.zeros((n, 1), np.int32), np.zeros(n, np.int64), np.zeros(n))
    advance(rows, block, stream_of(seed), np.arange(n))
    return block.slots[:, 0]
