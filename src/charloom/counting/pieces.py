"""A source in pieces that can be counted apart: cut where a line ends, in buffers that are used again."""

from __future__ import annotations

import os
import re
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from charloom import decoding
from charloom.config import BUILTIN_DATA, DataConfig
from charloom.corpus import builtin_names
from charloom.decoding import HEAD
from charloom.errors import DataError

if TYPE_CHECKING:
    from jaxtyping import UInt8

PIECE = 1 << 19
"""Bytes that are read before they are cut: what stays in a core's own cache while it is counted."""
AHEAD = 128
"""Bytes that stay unread behind a cut, so that an error can tell what follows it."""

SEARCHED = 1 << 12
"""Bytes of contiguous text without line ends in which a place to cut is looked for."""
_SAFE = re.compile(rb" |(?<=[0-9A-Za-z])[0-9A-Za-z]|[\xe5-\xe8][\x80-\xbf]{2}")
"""What contiguous text may be cut before: composition and case look neither past a space nor past an ideograph, nor
between letters and digits of ASCII."""
_MARK = "\ufeff".encode()

Progress = Callable[[int, int | None], None]
"""Told of bytes read, and of how many there are, where that is known; of an archive's own bytes."""


@dataclass
class Piece:
    """Bytes from the start of a line to the end of one."""

    number: int
    """From 0."""
    buffer: bytearray
    size: int
    following: bytes
    """Some bytes that come next."""
    ended: bool
    """Whether the last byte is a line end that was added."""

    @property
    def data(self) -> UInt8[np.ndarray, " bytes"]:
        """The bytes, in the buffer."""
        return np.frombuffer(self.buffer, np.uint8, self.size)

    def as_read(self) -> bytes:
        """A copy of the bytes, without what was added."""
        return self.data[: self.size - self.ended].tobytes()


@dataclass(frozen=True)
class Fault:
    """Bytes that cannot be counted, from piece ``number`` on, for `charloom.corpus.check` to say why."""

    number: int
    chunks: Iterator[bytes]


class Pieces:
    """The pieces of a source, each given once, to whichever thread asks. To be used in a `with`.

    Raises `DataError` for a source that cannot be opened.
    """

    def __init__(self, config: DataConfig, on_progress: Progress | None = None) -> None:
        self.head = b""
        """What the source begins with."""
        self.size: int | None = None
        """How many bytes the source has as it lies there, if that is known."""
        self.read = 0
        """How many bytes have been read, unpacked."""
        self.fault: Fault | None = None
        """Why there are no more pieces, if that is not the end."""
        self._config = config
        self._on_progress = on_progress
        self._lock = threading.Lock()
        self._stack = ExitStack()
        self._rest = b""
        self._given = 0
        self._ended = False
        self._opened: decoding.Opened | None = None

    def __enter__(self) -> Pieces:
        if self._config.data == BUILTIN_DATA:
            self._rest = builtin_names().encode()
            self.size = self.read = len(self._rest)
        else:
            self._opened = self._stack.enter_context(decoding.opened(self._config.data))
            if self._config.data != "-":
                status = os.fstat(self._opened.packed.fileno())
                self.size = status.st_size if stat.S_ISREG(status.st_mode) else None  # Of a pipe it is not known.
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._stack.close()

    def stop(self) -> None:
        """Give no more pieces."""
        self._ended = True

    def take(self, buffer: bytearray) -> Piece | None:
        """The next piece, in ``buffer`` or a larger one; None where there is no more that can be counted."""
        with self._lock:
            return None if self._ended else self._next(buffer)

    def report(self) -> None:
        """Tell how much has been read."""
        if self._on_progress:
            read = self.read if self.size is None or self._opened is None else self._opened.packed.tell()
            self._on_progress(read, self.size)

    def _next(self, buffer: bytearray) -> Piece | None:
        filled = len(self._rest)
        buffer = _holding(self._rest, buffer, PIECE)
        while True:
            try:
                with decoding.telling(self._config.data):
                    filled = self._fill(buffer, filled)
            except DataError as error:
                self._give_up(buffer, _raising(error))
                return None
            if filled < len(buffer):
                self._ended = True
                return self._piece(buffer, filled, b"") if filled else None
            size = _cut(buffer, filled, self._config.unit == "text")
            if size:
                self._rest = bytes(memoryview(buffer)[size:filled])
                return self._piece(buffer, size, self._rest)
            if self._config.unit == "line" and filled > AHEAD + 4 * self._config.max_line + 4:
                self._filled = filled
                self._give_up(buffer, self._remaining())
                return None
            buffer = _holding(buffer, bytearray(), 2 * len(buffer))

    def _fill(self, buffer: bytearray, filled: int) -> int:
        """Read until the buffer is full or the source ends; how full it is then."""
        self._filled = filled
        if self._opened is None:
            return filled
        with memoryview(buffer) as view:
            while self._filled < len(buffer):
                found = self._readinto(view[self._filled : self._filled + decoding.CHUNK])
                if not found:
                    break
                if len(self.head) < HEAD:
                    self.head += bytes(view[self._filled : self._filled + min(found, HEAD - len(self.head))])
                self._filled += found
                self.read += found
                if self.read - found < 3 <= self.read and view[:3] == _MARK:
                    self._filled -= 3
                    view[: self._filled] = bytes(view[3 : self._filled + 3])
        return self._filled

    def _readinto(self, view: memoryview) -> int:
        assert self._opened is not None
        return self._opened.stream.readinto(view)  # type: ignore[attr-defined, no-any-return]

    def _piece(self, buffer: bytearray, size: int, following: bytes) -> Piece:
        unended = self._config.unit == "line" and buffer[size - 1] not in b"\r\n"
        if unended:
            buffer[size] = 10  # After the last line there is room.
        self._given += 1
        return Piece(self._given - 1, buffer, size + unended, following, unended)

    def _give_up(self, buffer: bytearray, following: Iterator[bytes]) -> None:
        """What is in the buffer is of no piece: `charloom.corpus.check` reads it, and what comes after it."""
        self._ended = True
        # No bytes would be taken for the end: nothing is in the buffer where an archive's first bytes are damaged.
        held = filter(None, [bytes(memoryview(buffer)[: self._filled])])
        self.fault = Fault(self._given, chain(held, following))

    def _remaining(self) -> Iterator[bytes]:
        with decoding.telling(self._config.data):
            buffer = bytearray(decoding.CHUNK)
            while found := self._readinto(memoryview(buffer)):
                yield bytes(memoryview(buffer)[:found])


def _raising(error: DataError) -> Iterator[bytes]:
    yield from ()
    raise error


def _holding(content: bytes | bytearray, buffer: bytearray, size: int) -> bytearray:
    """``buffer``, or a new one of at least ``size`` bytes if it is smaller, with room behind ``content``."""
    size = max(size, 2 * len(content))
    if len(buffer) < size:
        buffer = bytearray(size)
    memoryview(buffer)[: len(content)] = content
    return buffer


def _cut(buffer: bytearray, filled: int, text: bool) -> int:
    """Where the bytes up to ``filled`` can be cut, at least `AHEAD` before it; 0 if nowhere.

    That is after a line end, or in contiguous text without one, at a `_SAFE` place.
    """
    end = filled - AHEAD
    place = buffer.rfind(b"\n", 0, max(0, end)) + 1
    if end <= 0 or place > end // 2:
        return place
    returned = buffer.rfind(b"\r", place, min(end, filled - 1))
    if returned >= 0:
        return returned + (2 if buffer[returned + 1] == 10 else 1)
    if text:
        for found in _SAFE.finditer(buffer, max(place, end - SEARCHED), end):
            place = found.start() or place
    return place
