"""Counting n-grams in text as numbers: bytes of ASCII, or code points. `charloom.counting.plain` has the plain twins.

A character's id is looked up in ``ids``; id 0 ends an item. The *key* of an n-gram is its ids side by side, ``bits``
bits each, the newest one lowest, so that the next key is a shift away. After an id 0 the key is 0: what lies before an
item is the marker. All keys are uint64.
"""

from __future__ import annotations

import numpy as np
from numba import njit

_BYTE, _PAIR = np.uint64(0xFF), np.uint64(0xFFFF)
_MIXER = np.uint64(0x9E3779B97F4A7C15)
_ONE = np.uint64(1)
_HIGH = np.uint64(0x8080808080808080)


@njit(nogil=True, cache=True)
def scan(data):
    """Whether there are control characters (but tab, LF, VT, FF, CR); bytes of other than ASCII; white space; CR."""
    control, wide, white, returns = False, False, False, False
    for i in range(len(data)):
        x = data[i]
        control = control | ((x == 127) | ((x < 32) & ((x < 9) | (x > 13))))
        wide = wide | (x > 127)
        white = white | (x == 32) | (x == 9) | (x == 11) | (x == 12)
        returns = returns | (x == 13)
    return control, wide, white, returns


@njit(nogil=True, cache=True)
def edges(data):
    """Whether white space of ASCII begins or ends a line. The bytes are whole lines."""
    found = False
    for i in range(len(data) - 1):
        x, y = data[i], data[i + 1]
        ends = (x == 10) | (x == 13)
        white = (x == 32) | (x == 9) | (x == 11) | (x == 12)
        ends_next = (y == 10) | (y == 13)
        white_next = (y == 32) | (y == 9) | (y == 11) | (y == 12)
        found = found | (ends & white_next) | (white & ends_next)
    x = data[0] if len(data) > 0 else np.uint8(10)
    return found | (x == 32) | (x == 9) | (x == 11) | (x == 12)


@njit(nogil=True, cache=True)
def within(data, least, most):
    """How many bytes are from ``least`` to ``most``, both uint8."""
    count = 0
    span = np.uint8(most - least)
    blocks = len(data) // 128
    for block in range(blocks):
        part = data[block * 128 : block * 128 + 128]
        few = np.uint8(0)  # So small that 32 are added at once.
        for i in range(128):
            few = np.uint8(few + np.uint8(np.uint8(part[i] - least) <= span))
        count += int(few)
    for i in range(blocks * 128, len(data)):
        count += int(np.uint8(data[i] - least) <= span)
    return count


@njit(nogil=True, cache=True)
def lone_returns(data):
    """How many CR without LF behind."""
    count = 0
    for i in range(len(data) - 1):
        count += (data[i] == 13) & (data[i + 1] != 10)
    return count + (data[-1] == 13 if len(data) > 0 else False)


@njit(nogil=True, cache=True)
def too_long(codes, most):
    """Whether a line has more than ``most`` characters."""
    start = 0
    while start + most < len(codes):
        at = start + most
        while at >= start and codes[at] != 10 and codes[at] != 13:
            at -= 1
        if at < start:
            return True
        start = at + 1
    return False


@njit(nogil=True, cache=True)
def decode(data, out, kinds):
    """Write the code points of UTF-8 to ``out``, as long as ``data``; how many, or -1 for what is no UTF-8.

    Also whether all of them are of the kind 1 in ``kinds``, by code point; and whether any is of kind 0.
    """
    filled = at = 0
    all_one, any_zero = True, False
    while at < len(data):
        x = np.int64(data[at])
        if x < 0x80:
            more, code, least = 0, x, 0
        elif x < 0xC2:
            return -1, False, False
        elif x < 0xE0:
            more, code, least = 1, x & 0x1F, 0x80
        elif x < 0xF0:
            more, code, least = 2, x & 0x0F, 0x800
        elif x < 0xF5:
            more, code, least = 3, x & 0x07, 0x10000
        else:
            return -1, False, False
        if at + more >= len(data):
            return -1, False, False
        for k in range(1, more + 1):
            y = np.int64(data[at + k])
            if y & 0xC0 != 0x80:
                return -1, False, False
            code = code << 6 | y & 0x3F
        if code < least or code > 0x10FFFF or 0xD800 <= code < 0xE000:
            return -1, False, False
        kind = kinds[code]
        all_one = all_one & (kind == 1)
        any_zero = any_zero | (kind == 0)
        out[filled] = code
        filled += 1
        at += more + 1
    return filled, all_one, any_zero


@njit(nogil=True, cache=True)
def blank_edges(codes, white):
    """Put LF in place of all white space around lines: the lines are stripped then, with blank ones between them.

    ``white`` says of each code point whether it is white space; none beyond it is.
    """
    for i in range(-1, len(codes)):
        if i >= 0 and codes[i] != 10 and codes[i] != 13:
            continue
        k = i + 1
        while k < len(codes) and codes[k] < len(white) and white[codes[k]] and codes[k] != 10 and codes[k] != 13:
            codes[k] = 10
            k += 1
        k = i - 1
        while k >= 0 and codes[k] < len(white) and white[codes[k]] and codes[k] != 10 and codes[k] != 13:
            codes[k] = 10
            k -= 1


@njit(nogil=True, cache=True)
def take_wide(data, out):
    """Move the lines with bytes of other than ASCII to ``out``, and put LF in their place; how much it holds then.

    The bytes end with a line end.
    """
    filled = at = 0
    words = data[: len(data) // 8 * 8].view(np.uint64)
    while at < len(data):
        while at % 8 == 0 and at // 8 < len(words) and words[at // 8] & _HIGH == 0:
            at += 8
        if at < len(data) and data[at] > 127:
            start = at
            while start > 0 and data[start - 1] != 10 and data[start - 1] != 13:
                start -= 1
            while data[at] != 10 and data[at] != 13:
                at += 1
            for k in range(start, at):
                out[filled] = data[k]
                data[k] = 10
                filled += 1
            out[filled] = 10
            filled += 1
        at += 1
    return filled


@njit(nogil=True, cache=True)
def count_pairs(data, even, odd):
    """Add the pairs of neighbouring bytes to two tables, which hold the counts together, at first + 256 * second.

    One table alone would wait for itself: the same pair comes again before its count is back in memory.
    """
    words = data[: len(data) // 8 * 8].view(np.uint64)
    one = np.uint32(1)
    if len(words) > 0:
        before = words[0] & _BYTE
        for i in range(len(words)):
            x = words[i]
            even[before | ((x & _BYTE) << np.uint64(8))] += one
            odd[x & _PAIR] += one
            even[(x >> np.uint64(8)) & _PAIR] += one
            odd[(x >> np.uint64(16)) & _PAIR] += one
            even[(x >> np.uint64(24)) & _PAIR] += one
            odd[(x >> np.uint64(32)) & _PAIR] += one
            even[(x >> np.uint64(40)) & _PAIR] += one
            odd[x >> np.uint64(48)] += one
            before = x >> np.uint64(56)
        # The first byte has none before it.
        even[np.int64(data[0]) | np.int64(data[0]) << 8] -= one
    for i in range(max(1, 8 * len(words)), len(data)):
        even[np.int64(data[i - 1]) | np.int64(data[i]) << 8] += one


@njit(nogil=True, cache=True)
def count_dense(codes, at, key, ids, bits, mask, counts):
    """Count the n-grams that end at ``codes[at]`` and after it, in a table with a cell for each key.

    Stops before a character without an id, or with one that has no room in ``bits``. Returns where, and the key there.
    """
    room = np.int64(1) << np.int64(bits)
    for i in range(at, len(codes)):
        character = np.int64(ids[codes[i]])
        if character < 0 or character >= room:
            return i, key
        key = ((key << bits) | np.uint64(character)) & mask
        counts[key] += np.uint32(1)
        if character == 0:
            key = np.uint64(0)
    return len(codes), key


@njit(nogil=True, cache=True)
def count_hashed(codes, at, key, ids, bits, mask, table, used, most):
    """`count_dense` in a hash table: rows of key + 1 (0: free) and count, a power of two of them, ``used`` taken.

    Stops too where a row more than ``most`` would be taken. Returns where, the key there, and the rows taken.
    """
    room = np.int64(1) << np.int64(bits)
    last = np.uint64(len(table) - 1)
    for i in range(at, len(codes)):
        character = np.int64(ids[codes[i]])
        if character < 0 or character >= room:
            return i, key, used
        following = ((key << bits) | np.uint64(character)) & mask
        row = following * _MIXER
        row = (row ^ (row >> np.uint64(32))) & last
        while table[row, 0] != following + _ONE:
            if table[row, 0] == 0:
                if used >= most:
                    return i, key, used
                used += 1
                table[row, 0] = following + _ONE
                break
            row = (row + _ONE) & last
        table[row, 1] += _ONE
        key = following if character != 0 else np.uint64(0)
    return len(codes), key, used


@njit(nogil=True, cache=True)
def insert(keys, counts, table):
    """Put distinct keys with their counts into an empty hash table with room for them."""
    last = np.uint64(len(table) - 1)
    for i in range(len(keys)):
        row = keys[i] * _MIXER
        row = (row ^ (row >> np.uint64(32))) & last
        while table[row, 0] != 0:
            row = (row + _ONE) & last
        table[row, 0] = keys[i] + _ONE
        table[row, 1] = counts[i]
