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

    def count(self, piece: Piece) -> bool:
        """Count one piece; whether there was nothing wrong with it."""
        data = piece.data
        control, wide, white, returns = self._kernels.scan(data)
        if control:
            codes = None
        elif wide:
            codes = self._of_unicode(data)
        else:
            codes = self._of_ascii(data, white, returns)
        if codes is None:
            self.fault = Fault(piece.number, chain([piece.as_read()], [piece.following]))
            return False
        lines = int(self._kernels.line_feeds(data)) + (int(self._kernels.lone_returns(data)) if returns else 0)
        head, tail = self._both_ends(codes)
        if self.order == 2 and codes.dtype == np.uint8:
            self.pairs.count(codes, lines=self._by_line)
        else:
            self.grams.count(codes, len(head))
        self.read.append(Read(piece.number, lines, _column(data), head, tail))
        return True

    def _of_ascii(self, data: UInt8[np.ndarray, " bytes"], white: bool, returns: bool) -> Codes | None:
        """The characters to be counted, their case not changed yet; None where a line is too long."""
        if self._by_line:
            if self._too_long(data):
                return None
            strip = self._config.strip and white and self._kernels.edges(data)
            return self._stripped(data) if strip else data
        if returns:
            joined = data.tobytes().replace(b"\r\n", b"\n").replace(b"\r", b"\n")
            return np.frombuffer(bytearray(joined), np.uint8)
        return data

    def _of_unicode(self, data: UInt8[np.ndarray, " bytes"]) -> Codes | None:
        """The characters to be counted; None for what is no UTF-8, or where a line is too long."""
        try:
            text = data.tobytes().decode().replace("\r\n", "\n").replace("\r", "\n")
        except UnicodeDecodeError:
            return None
        treated = normalized(text, self._config)
        codes = _code_points(treated)
        if self._by_line:
            if self._too_long(codes) or (treated is not text and self._too_long(_code_points(text))):
                return None
            return self._stripped(codes) if self._config.strip else codes
        return codes

    def _both_ends(self, codes: Codes) -> tuple[list[int], list[int]]:
        """See `Read`."""
        if self._by_line:
            return [], []
        most = self.order - 1
        head, tail = codes[:most], codes[len(codes) - most :] if len(codes) >= most else codes[:0]
        for some in (head, tail):
            self._alphabet.admit(some)
        return self._alphabet.ids[head].tolist(), self._alphabet.ids[tail].tolist()

    def _stripped(self, codes: Codes) -> Codes:
        out = np.empty_like(codes)
        return out[: self._kernels.stripped(codes, _WHITE, out)]

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
    return merged(*(np.concatenate(part) for part in zip(*parts, strict=True)))


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
