"""One thread's work: pieces become characters, by the policy of `charloom.corpus`, and are counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from charloom.config import BUILTIN_DATA, DataConfig
from charloom.corpus import normalized
from charloom.counting.pieces import Fault, Piece
from charloom.counting.plain import merged
from charloom.counting.tables import Alphabet, Grams, Pairs
from charloom.decoding import shown_source

if TYPE_CHECKING:
    from jaxtyping import Bool, UInt8, UInt32

    from charloom.counting.tables import Codes, Entries

FEW = 16
"""If fewer than one in so many bytes is of other than ASCII, lines with one are counted apart."""
_LF, _WIDE, _LAST = np.uint8(10), np.uint8(128), np.uint8(255)
_WHITE: Bool[np.ndarray, " codes"] = np.array([chr(code).isspace() for code in range(0x3001)])
"""Whether a code point is white space; none beyond is."""


@dataclass(frozen=True)
class Read:
    """What is known of a piece that has been counted."""

    number: int
    lines: int
    """Line ends in it."""
    column: int
    """Characters after the last of them."""
    head: list[int]
    """For contiguous text, the ids of its first characters, order - 1 of them: their n-grams reach back further."""
    tail: list[int]
    """Those of its last characters; none where there are fewer."""


class Worker:
    """Counts the pieces that it is given. ``order`` is at least 2."""

    def __init__(self, config: DataConfig, order: int, alphabet: Alphabet, kernels: ModuleType, most: int) -> None:
        self.pairs = Pairs(kernels)
        self.grams = Grams(order, alphabet, kernels, most, shown_source(config.data))
        self.read: list[Read] = []
        self.fault: Fault | None = None
        """The first piece that is not text as it should be."""
        self.order = order
        self._config = config
        self._by_line = config.unit == "line"
        self._alphabet = alphabet
        self._kernels = kernels
        self._decoded = np.empty(0, np.uint32)

    def count(self, piece: Piece) -> bool:
        """Count one piece; whether there was nothing wrong with it. Its bytes are not the same afterwards."""
        data = piece.data
        control, wide, white, returns = self._kernels.scan(data)
        lines = int(self._kernels.within(data, _LF, _LF))
        if returns:
            lines += int(self._kernels.lone_returns(data))
        before = piece.as_read() if control or wide else b""
        parts = None if control else self._parts(data, wide, white, returns)
        if parts is None:
            self.fault = Fault(piece.number, chain([before or piece.as_read()], [piece.following]))
            return False
        column = 0
        head: list[int] = []
        tail: list[int] = []
        if not self._by_line:
            column = _column(data)
            head, tail = self._both_ends(parts[0])
        for codes in parts:
            if self.order == 2 and codes.dtype == np.uint8:
                self.pairs.count(codes, lines=self._by_line)
            else:
                self.grams.count(codes, len(head))
        self.read.append(Read(piece.number, lines, column, head, tail))
        return True

    def _parts(self, data: UInt8[np.ndarray, " bytes"], wide: bool, white: bool, returns: bool) -> list[Codes] | None:
        """The characters to be counted, lines in any order; None where something is wrong with them."""
        if not wide:
            parts = [self._of_ascii(data, white, returns)]
        elif self._by_line and self._kernels.within(data, _WIDE, _LAST) < len(data) // FEW:
            rest = np.empty_like(data)
            rest = rest[: self._kernels.take_wide(data, rest)]
            parts = [self._of_unicode(rest), self._of_ascii(data, white, returns)]
        else:
            parts = [self._of_unicode(data)]
        found = [codes for codes in parts if codes is not None]
        return found if len(found) == len(parts) else None

    def _of_ascii(self, data: UInt8[np.ndarray, " bytes"], white: bool, returns: bool) -> Codes | None:
        """The characters to be counted, their case not changed yet; None where a line is too long."""
        if self._by_line:
            if self._too_long(data):
                return None
            if self._config.strip and white and self._kernels.edges(data):
                self._kernels.blank_edges(data, _WHITE)
            return data
        if returns:
            joined = data.tobytes().replace(b"\r\n", b"\n").replace(b"\r", b"\n")
            return np.frombuffer(bytearray(joined), np.uint8)
        return data

    def _of_unicode(self, data: UInt8[np.ndarray, " bytes"]) -> Codes | None:
        """The characters to be counted; None for what is no UTF-8, or where a line is too long."""
        if len(self._decoded) < len(data):
            self._decoded = np.empty(len(data), np.uint32)
        length, settled, unknown = self._kernels.decode(data, self._decoded, self._alphabet.kinds)
        if length < 0:
            return None
        codes: Codes = self._decoded[:length]
        if unknown:
            self._alphabet.sort_out(codes)
            settled = bool((self._alphabet.kinds[codes] == 1).all())
        if self._by_line and self._too_long(codes):
            return None
        if not settled or (not self._by_line and (codes == 13).any()):
            text = data.tobytes().decode().replace("\r\n", "\n").replace("\r", "\n")
            codes = _code_points(normalized(text, self._config))
        if self._by_line:
            if self._too_long(codes):
                return None
            if self._config.strip:
                self._kernels.blank_edges(codes, _WHITE)
        return codes

    def _both_ends(self, codes: Codes) -> tuple[list[int], list[int]]:
        """See `Read`."""
        most = self.order - 1
        head, tail = codes[:most], codes[len(codes) - most :] if len(codes) >= most else codes[:0]
        for some in (head, tail):
            self._alphabet.admit(some)
        return self._alphabet.ids[head].tolist(), self._alphabet.ids[tail].tolist()

    def _too_long(self, codes: Codes) -> bool:
        return bool(self._kernels.too_long(codes, self._config.max_line))


def added_up(workers: Sequence[Worker], read: Sequence[Read], alphabet: Alphabet) -> Entries:
    """The keys of all n-grams, ascending, and their counts; ``read`` is of all pieces, in order."""
    for worker in workers:
        worker.pairs.admit(alphabet)
    order = workers[0].order
    parts = [worker.grams.entries() for worker in workers]
    if order == 2:
        parts += [worker.pairs.entries(alphabet) for worker in workers]
    parts.append(_seams(read, order, alphabet.bits))
    keys, counts = merged(*(np.concatenate(part) for part in zip(*parts, strict=True)))
    real = keys > 0  # Key 0 is that of blank lines.
    return keys[real], counts[real]


def _seams(read: Sequence[Read], order: int, bits: int) -> Entries:
    """The n-grams of contiguous text that reach over from one piece to the next."""
    keys = []
    key, mask = 0, (1 << bits * order) - 1
    for one in read:
        for character in one.head:
            key = (key << bits | character) & mask
            keys.append(key)
        for character in one.tail:
            key = (key << bits | character) & mask
    return np.array(keys, np.uint64), np.ones(len(keys), np.int64)


def lowers(config: DataConfig) -> bool:
    """Whether capital letters become small ones."""
    return config.case != "keep" or config.data == BUILTIN_DATA


def _code_points(text: str) -> UInt32[np.ndarray, " characters"]:
    return np.frombuffer(bytearray(text.encode("utf-32-le")), "<u4")


def _column(data: UInt8[np.ndarray, " bytes"]) -> int:
    """Characters after the last line end; bytes that go on with one do not count."""
    if not len(data) or data[-1] in (10, 13):
        return 0
    rest = data.tobytes().replace(b"\r", b"\n").rpartition(b"\n")[2]
    return len(rest.decode())
