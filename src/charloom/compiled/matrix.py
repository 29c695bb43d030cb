"""Products of small matrices that lie in flat arrays, and transposition."""

from __future__ import annotations

from numba import njit

from charloom.compiled.vector import LANES, tile, transpose_block

_4x3, _4x2, _8x1 = tile(4, 3), tile(4, 2), tile(8, 1)
_1x3, _1x2, _1x1 = tile(1, 3), tile(1, 2), tile(1, 1)


@njit(nogil=True, error_model="numpy")
def multiply(c, c0, c_row, a, a0, a_row, a_k, b, b0, b_row, rows, columns, depth):
    """``C = A B`` for C of ``rows`` x ``columns``: in panels as wide as three vectors, or two, or one.

    Arrays are flat. ``x0`` is the index of a matrix's first element, ``x_row`` the distance of two of its rows, and
    ``a_k`` that of two elements of a row of A, so that A may lie the other way round.
    """
    j = 0
    while j < columns:
        vectors = (columns - j + LANES - 1) // LANES
        if vectors == 4:  # Two and two keep more sums going than three and one.
            vectors = 2
        elif vectors > 3:
            vectors = 3
        tail = min(LANES, columns - j - (vectors - 1) * LANES)
        if vectors == 3:
            for i in range(0, rows - rows % 4, 4):
                _4x3(c, c0 + i * c_row + j, c_row, a, a0 + i * a_row, a_row, a_k, b, b0 + j, b_row, depth, tail)
            for i in range(rows - rows % 4, rows):
                _1x3(c, c0 + i * c_row + j, c_row, a, a0 + i * a_row, a_row, a_k, b, b0 + j, b_row, depth, tail)
        elif vectors == 2:
            for i in range(0, rows - rows % 4, 4):
                _4x2(c, c0 + i * c_row + j, c_row, a, a0 + i * a_row, a_row, a_k, b, b0 + j, b_row, depth, tail)
            for i in range(rows - rows % 4, rows):
                _1x2(c, c0 + i * c_row + j, c_row, a, a0 + i * a_row, a_row, a_k, b, b0 + j, b_row, depth, tail)
        else:
            for i in range(0, rows - rows % 8, 8):
                _8x1(c, c0 + i * c_row + j, c_row, a, a0 + i * a_row, a_row, a_k, b, b0 + j, b_row, depth, tail)
            for i in range(rows - rows % 8, rows):
                _1x1(c, c0 + i * c_row + j, c_row, a, a0 + i * a_row, a_row, a_k, b, b0 + j, b_row, depth, tail)
        j += vectors * LANES


@njit(nogil=True, error_model="numpy")
def transpose(c, c0, a, a0, rows, columns):
    """C, of ``columns`` x ``rows``, becomes the transpose of A; both lie without gaps from their first index on."""
    for i in range(0, rows, LANES):
        for j in range(0, columns, LANES):
            height, width = min(LANES, rows - i), min(LANES, columns - j)
            transpose_block(c, c0 + j * rows + i, rows, a, a0 + i * columns + j, columns, height, width)
