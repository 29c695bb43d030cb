"""The twins of `charloom.compiled.counting` in NumPy, for where there is no numba: the same arguments and results.

In place of a hash table there are sorted keys: `keys_of` gives those of a piece, and `merged` adds counts of two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, Int, Int8, Int32, UInt8, UInt32, UInt64

    Codes = UInt8[np.ndarray, " characters"] | UInt32[np.ndarray, " characters"]

_LF, _CR = 10, 13
_PLAIN_WHITE = np.isin(np.arange(256), (9, 11, 12, 32))
_CONTROL = (np.arange(256) < 32) & ((np.arange(256) < 9) | (np.arange(256) > 13)) | (np.arange(256) == 127)


def scan(data: UInt8[np.ndarray, " bytes"]) -> tuple[bool, bool, bool, bool]:
    """Whether there are control characters (but tab, LF, VT, FF, CR); bytes of other than ASCII; white space; CR."""
    present = np.bincount(data, minlength=256) > 0
    white = bool((present & _PLAIN_WHITE).any())
    return bool((present & _CONTROL).any()), bool(present[128:].any()), white, bool(present[_CR])


def edges(data: UInt8[np.ndarray, " bytes"]) -> bool:
    """Whether white space of ASCII begins or ends a line. The bytes are whole lines."""
    ends, white = _ends(data), _PLAIN_WHITE[data]
    return bool(white[:1].any() or (ends[:-1] & white[1:]).any() or (white[:-1] & ends[1:]).any())


def within(data: UInt8[np.ndarray, " bytes"], least: np.uint8, most: np.uint8) -> int:
    """How many bytes are from ``least`` to ``most``."""
    return int(np.count_nonzero((data >= least) & (data <= most)))


def lone_returns(data: UInt8[np.ndarray, " bytes"]) -> int:
    """How many CR without LF behind."""
    following = np.append(data[1:], 0) if len(data) else data
    return int(np.count_nonzero((data == _CR) & (following != _LF)))


def too_long(codes: Codes, most: int) -> bool:
    """Whether a line has more than ``most`` characters."""
    places = np.concatenate([[-1], np.flatnonzero(_ends(codes)), [len(codes)]])
    return bool((np.diff(places) - 1 > most).any())


def decode(
    data: UInt8[np.ndarray, " bytes"], out: UInt32[np.ndarray, " bytes"], kinds: Int8[np.ndarray, " codes"]
) -> tuple[int, bool, bool]:
    """Write the code points of UTF-8 to ``out``, as long as ``data``; how many, or -1 for what is no UTF-8.

    Also whether all of them are of the kind 1 in ``kinds``, by code point; and whether any is of kind 0.
    """
    try:
        codes = np.frombuffer(data.tobytes().decode().encode("utf-32-le"), "<u4")
    except UnicodeDecodeError:
        return -1, False, False
    out[: len(codes)] = codes
    found = kinds[codes]
    return len(codes), bool((found == 1).all()), bool((found == 0).any())


def blank_edges(codes: Codes, white: Bool[np.ndarray, " codes"]) -> None:
    """Put LF in place of all white space around lines: the lines are stripped then, with blank ones between them."""
    ends = _ends(codes)
    solid = ends | ~(white[np.minimum(codes.astype(np.int64), len(white) - 1)] & (codes < len(white)))
    place = np.arange(len(codes))
    before = np.maximum.accumulate(np.where(solid, place, -1))
    after = np.minimum.accumulate(np.where(solid, place, len(codes))[::-1])[::-1]
    edge = np.concatenate([[True], ends, [False]])
    codes[~solid & (edge[before + 1] | edge[after + 1])] = _LF


def take_wide(data: UInt8[np.ndarray, " bytes"], out: UInt8[np.ndarray, " bytes"]) -> int:
    """Move the lines with bytes of other than ASCII to ``out``, and put LF in their place; how much it holds then."""
    ends = _ends(data)
    line = np.cumsum(ends) - ends
    wide = np.zeros(int(line[-1]) + 1, np.bool_)
    wide[line[data > 127]] = True
    moved = wide[line]
    result = np.where(ends, _LF, data)[moved]
    out[: len(result)] = result
    data[moved & ~ends] = _LF
    return len(result)


def count_pairs(
    data: UInt8[np.ndarray, " bytes"], even: UInt32[np.ndarray, " pairs"], odd: UInt32[np.ndarray, " pairs"]
) -> None:
    """Add the pairs of neighbouring bytes to two tables, which hold the counts together, at first + 256 * second."""
    even += np.bincount(data[:-1] | data[1:].astype(np.uint16) << 8, minlength=1 << 16).astype(np.uint32)


def count_dense(
    codes: Codes,
    at: int,
    key: np.uint64,
    ids: Int32[np.ndarray, " codes"],
    bits: np.uint64,
    mask: np.uint64,
    counts: UInt32[np.ndarray, " keys"],
) -> tuple[int, np.uint64]:
    """Count the n-grams that end at ``codes[at]`` and after it; where it stopped, and the key there."""
    keys, stop, key = keys_of(codes, at, key, ids, bits, mask)
    counts += np.bincount(keys.astype(np.int64), minlength=len(counts)).astype(np.uint32)
    return stop, key


def keys_of(
    codes: Codes, at: int, key: np.uint64, ids: Int32[np.ndarray, " codes"], bits: np.uint64, mask: np.uint64
) -> tuple[UInt64[np.ndarray, " characters"], int, np.uint64]:
    """The keys of the n-grams that end at ``codes[at]`` and after it; where that stops, as in `count_dense`, and the
    key there."""
    width = int(bits)
    before = [int(key) >> shift & (1 << width) - 1 for shift in range(int(mask).bit_length() - 2 * width, -1, -width)]
    found = ids[codes[at:]]
    without = (found < 0) | (found >= 1 << width)
    stop = int(without.argmax()) if without.any() else len(found)
    characters = np.concatenate([before, found[:stop]]).astype(np.uint64)
    place = np.arange(len(characters))
    # An id 0 belongs to its own n-gram and to none after it.
    start = np.maximum.accumulate(np.where(characters == 0, place, -1))
    start = np.concatenate([[-1], start[:-1]])
    keys = characters.copy()
    for back in range(1, len(before) + 1):
        inside = place[back:] - back > start[back:]
        keys[back:] |= np.where(inside, characters[:-back], 0).astype(np.uint64) << np.uint64(back * width)
    keys = keys[len(before) :]
    if not stop:
        return keys, at, key
    return keys, at + stop, keys[-1] if characters[-1] else np.uint64(0)


def merged(
    keys: UInt64[np.ndarray, " keys"], counts: Int[np.ndarray, " keys"]
) -> tuple[UInt64[np.ndarray, " distinct"], Int[np.ndarray, " distinct"]]:
    """The distinct keys, ascending, each with the sum of its counts."""
    order = np.argsort(keys, kind="stable")
    keys, counts = keys[order], counts[order]
    first = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])[: len(keys)])
    return keys[first], np.add.reduceat(counts, first) if len(first) else counts


def _ends(codes: Any) -> Bool[np.ndarray, " characters"]:
    ends: Bool[np.ndarray, " characters"] = (codes == _LF) | (codes == _CR)
    return ends
