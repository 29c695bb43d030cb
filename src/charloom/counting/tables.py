"""What one thread counts with: characters get ids as they come, and n-grams a cell or a row each."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Protocol

import numpy as np

from charloom.counting import plain
from charloom.counting.composing import left_alone
from charloom.errors import DataError

if TYPE_CHECKING:
    from jaxtyping import Int8, Int32, Int64, UInt8, UInt32, UInt64

    Codes = UInt8[np.ndarray, " characters"] | UInt32[np.ndarray, " characters"]
    Check = Callable[[int], None]
    Entries = tuple[UInt64[np.ndarray, " keys"], Int64[np.ndarray, " keys"]]

DENSE_BITS = 22
"""Keys of up to so many bits have a table with a cell for each."""
PLAIN_DENSE_BITS = 16
"""The same without compiled code, which goes through the whole table for every piece."""
KEY_BITS = 63
ROWS = 1 << 12
"""Rows that a hash table begins with."""
OFTEN = 1 << 30
"""Characters after which 32-bit counts are put elsewhere, before they could overflow."""
_CODE_POINTS = 0x110000
_APART = 64
"""Cells between the two tables of pairs: side by side, they would share too few places in the cache."""


class Alphabet:
    """The ids of characters, in the order in which they came; shared by all threads.

    With ``lower`` the capital letters of ASCII have the ids of the small ones; other letters come changed already.
    ``compose`` says whether text is to be composed.
    """

    def __init__(self, *, lines: bool, lower: bool, compose: bool) -> None:
        self.ids: Int32[np.ndarray, " codes"] = np.full(_CODE_POINTS, -1, dtype=np.int32)
        """Id by code point; -1 for a character that has not come yet, 0 for what ends an item."""
        self.kinds: Int8[np.ndarray, " codes"] = np.full(
            _CODE_POINTS, 2 if lower else 0 if compose else 1, dtype=np.int8
        )
        """1 for a character that is to be counted as it is, 2 for one that may have to be composed or of another case,
        0 where that is not known yet."""
        self.codes: list[int] = []
        """Code point by id - 1."""
        self._lower = lower
        self._lock = threading.Lock()
        if lines:
            self.ids[[10, 13]] = 0

    def sort_out(self, codes: Codes) -> None:
        """Find the kind of all characters of ``codes``."""
        for code in np.unique(codes[self.kinds[codes] == 0]).tolist():
            self.kinds[code] = 1 if left_alone(code) else 2

    @property
    def bits(self) -> int:
        """How many bits hold any id there is; at least 5."""
        return max(5, len(self.codes).bit_length())

    def admit(self, codes: Codes) -> None:
        """Give ids to all characters of ``codes``."""
        new = np.unique(codes[self.ids[codes] < 0])
        with self._lock:
            for code in new.tolist():
                small = code + 32 if self._lower and 65 <= code <= 90 else code
                if self.ids[small] < 0:
                    self.codes.append(small)
                    self.ids[small] = len(self.codes)
                self.ids[code] = self.ids[small]


class Pairs:
    """Counts of neighbouring bytes, for text that is ASCII."""

    def __init__(self, kernels: ModuleType) -> None:
        self._kernels = kernels
        both = np.zeros((2 << 16) + _APART, np.uint32)
        self._even, self._odd = both[: 1 << 16], both[_APART + (1 << 16) :]
        self._counts = np.zeros(1 << 16, np.int64)
        self._counted = 0

    def count(self, data: UInt8[np.ndarray, " bytes"], *, lines: bool) -> None:
        """Count the pairs in ``data``, and for ``lines`` that of a line end before them."""
        if lines and len(data):
            self._counts[10 | int(data[0]) << 8] += 1
        self._kernels.count_pairs(data, self._even, self._odd)
        self._counted += len(data)
        if self._counted > OFTEN:
            self._add_up()

    def admit(self, alphabet: Alphabet) -> None:
        """Give ids to all characters there are."""
        alphabet.admit(np.concatenate(self._found()[:2]))

    def entries(self, alphabet: Alphabet) -> Entries:
        """Keys of two ids, ascending, and their counts. All characters must have ids."""
        first, second, counts = self._found()
        ids = [alphabet.ids[one].astype(np.uint64) for one in (first, second)]
        return plain.merged(ids[0] << np.uint64(alphabet.bits) | ids[1], counts)

    def _found(self) -> tuple[UInt8[np.ndarray, " pairs"], UInt8[np.ndarray, " pairs"], Int64[np.ndarray, " pairs"]]:
        self._add_up()
        pairs = np.flatnonzero(self._counts)
        return (pairs & 255).astype(np.uint8), (pairs >> 8).astype(np.uint8), self._counts[pairs]

    def _add_up(self) -> None:
        self._counts += self._even.astype(np.int64) + self._odd
        self._even[:] = self._odd[:] = 0
        self._counted = 0


class Grams:
    """Counts of the n-grams of some text, with keys as `charloom.compiled.counting` has them."""

    def __init__(self, order: int, alphabet: Alphabet, kernels: ModuleType, most: int, where: str) -> None:
        self._order = order
        self._where = where
        self._alphabet = alphabet
        self._kernels = kernels
        self._most = most
        self._older: Entries = (np.zeros(0, np.uint64), np.zeros(0, np.int64))
        self._open()

    def count(self, codes: Codes, start: int = 0) -> None:
        """Count the n-grams that end at ``codes[start]`` and after it. What lies before ``codes[0]`` is the marker.

        Raises `DataError` for n-grams too long for a key, and for more than ``most`` different ones.
        """
        self._alphabet.admit(codes[:start])
        self._widen()
        at, key = start, 0
        for character in self._alphabet.ids[codes[:start]].tolist():
            key = (key << self.bits | character) & self._mask
        while True:
            at, found = self._table.count(codes, at, np.uint64(key), self._alphabet.ids)
            if at == len(codes):
                break
            key, before = int(found), self.bits
            self._alphabet.admit(codes[at:])
            self._widen()
            key = int(widened(np.array([key], np.uint64), self._order, before, self.bits)[0])
        self._counted += len(codes)
        if self._counted > OFTEN:
            self._older = self.entries()
            self._open()

    def entries(self) -> Entries:
        """The keys, ascending, and their counts; with the alphabet's bits."""
        self._widen()
        keys, counts = (np.concatenate(both) for both in zip(self._older, self._table.entries(), strict=True))
        return plain.merged(keys, counts)

    def check(self, different: int) -> None:
        """Raise `DataError` if so many different n-grams are more than are allowed."""
        if different > self._most:
            raise DataError(
                f"there are more than {self._most:,} different n-grams of {self._order}",
                where=self._where,
                remedy="Count shorter ones (--order), fold the letters (--case fold), or allow more (--most).",
            )

    def _widen(self) -> None:
        """Make room for all ids that there are now."""
        if self._alphabet.bits > self.bits:
            before, held = self.bits, (self._older, self._table.entries())
            self._open()
            older, newer = ((widened(keys, self._order, before, self.bits), counts) for keys, counts in held)
            self._older = older
            self._table.put(*newer)

    def _open(self) -> None:
        self.bits = self._alphabet.bits
        self._counted = 0
        width = self.bits * self._order
        if width > KEY_BITS:
            many = len(self._alphabet.codes)
            raise DataError(
                f"n-grams of {self._order} are too long" + (f" for {many:,} different characters" if many else ""),
                where=self._where,
                remedy=f"Count at most {KEY_BITS // self.bits} characters at a time (--order).",
            )
        self._mask = (1 << width) - 1
        compiled = self._kernels is not plain
        self._table: _Table
        if width <= (DENSE_BITS if compiled else PLAIN_DENSE_BITS):
            self._table = _Dense(width, self.bits, self._kernels)
        elif compiled:
            self._table = _Hashed(width, self.bits, self._kernels, self.check)
        else:
            self._table = _Sorted(width, self.bits, self.check)


class _Table(Protocol):
    def count(self, codes: Codes, at: int, key: np.uint64, ids: Int32[np.ndarray, " codes"]) -> tuple[int, np.uint64]:
        """See `charloom.compiled.counting.count_dense`."""

    def put(self, keys: UInt64[np.ndarray, " keys"], counts: Int64[np.ndarray, " keys"]) -> None:
        """Put distinct keys into a table that is empty."""

    def entries(self) -> Entries:
        """The keys and their counts."""


class _Dense:
    def __init__(self, width: int, bits: int, kernels: ModuleType) -> None:
        self._kernels = kernels
        self._bits, self._mask = np.uint64(bits), np.uint64((1 << width) - 1)
        self._counts = np.zeros(1 << width, np.uint32)

    def count(self, codes: Codes, at: int, key: np.uint64, ids: Int32[np.ndarray, " codes"]) -> tuple[int, np.uint64]:
        stop, key = self._kernels.count_dense(codes, at, key, ids, self._bits, self._mask, self._counts)
        return int(stop), np.uint64(key)

    def put(self, keys: UInt64[np.ndarray, " keys"], counts: Int64[np.ndarray, " keys"]) -> None:
        self._counts[keys] = counts

    def entries(self) -> Entries:
        keys = np.flatnonzero(self._counts)
        return keys.astype(np.uint64), self._counts[keys].astype(np.int64)


class _Hashed:
    def __init__(self, width: int, bits: int, kernels: ModuleType, check: Check) -> None:
        self._kernels = kernels
        self._bits, self._mask = np.uint64(bits), np.uint64((1 << width) - 1)
        self._check = check
        self._used = 0
        self._rows = np.zeros((ROWS, 2), np.uint64)

    def count(self, codes: Codes, at: int, key: np.uint64, ids: Int32[np.ndarray, " codes"]) -> tuple[int, np.uint64]:
        while True:
            room = len(self._rows) // 2
            at, found, self._used = self._kernels.count_hashed(
                codes, at, key, ids, self._bits, self._mask, self._rows, self._used, room
            )
            key = np.uint64(found)
            if at == len(codes) or not 0 <= ids[codes[at]] < 1 << int(self._bits):
                return int(at), key
            self._grow(2 * len(self._rows))

    def put(self, keys: UInt64[np.ndarray, " keys"], counts: Int64[np.ndarray, " keys"]) -> None:
        rows = len(self._rows)
        while rows < 2 * len(keys):
            rows *= 2
        self._rows = np.zeros((rows, 2), np.uint64)
        self._used = len(keys)
        self._kernels.insert(keys, counts.astype(np.uint64), self._rows)

    def entries(self) -> Entries:
        taken = self._rows[self._rows[:, 0] > 0]
        return taken[:, 0] - np.uint64(1), taken[:, 1].astype(np.int64)

    def _grow(self, rows: int) -> None:
        self._check(self._used - 1)  # One may be that of blank lines.
        entries = self.entries()
        self._rows = np.zeros((rows, 2), np.uint64)
        self.put(*entries)


class _Sorted:
    """Keys in order, and those of the last pieces beside them, until they are many."""

    def __init__(self, width: int, bits: int, check: Check) -> None:
        self._bits, self._mask = np.uint64(bits), np.uint64((1 << width) - 1)
        self._check = check
        self._held: Entries = (np.zeros(0, np.uint64), np.zeros(0, np.int64))
        self._new: list[Entries] = []
        self._waiting = 0

    def count(self, codes: Codes, at: int, key: np.uint64, ids: Int32[np.ndarray, " codes"]) -> tuple[int, np.uint64]:
        keys, at, key = plain.keys_of(codes, at, key, ids, self._bits, self._mask)
        distinct, counts = np.unique(keys, return_counts=True)
        self._new.append((distinct, counts))
        self._waiting += len(distinct)
        if self._waiting > len(self._held[0]) + ROWS:
            self._held = self.entries()
            self._check(len(self._held[0]) - 1)
        return at, key

    def put(self, keys: UInt64[np.ndarray, " keys"], counts: Int64[np.ndarray, " keys"]) -> None:
        self._held = (keys, counts)

    def entries(self) -> Entries:
        keys, counts = (np.concatenate(parts) for parts in zip(self._held, *self._new, strict=True))
        self._held = plain.merged(keys, counts)
        self._new, self._waiting = [], 0
        return self._held


def widened(keys: UInt64[np.ndarray, " keys"], order: int, before: int, bits: int) -> UInt64[np.ndarray, " keys"]:
    """Keys of ids of ``before`` bits as keys of ids of ``bits`` bits; their order stays."""
    if bits == before:
        return keys
    wider = np.zeros_like(keys)
    for place in range(order):
        ids = keys >> np.uint64(place * before) & np.uint64((1 << before) - 1)
        wider |= ids << np.uint64(place * bits)
    return wider
