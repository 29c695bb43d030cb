r"""Bytes become text, by one policy; whatever falls outside it is an error that names file, line and character.

| found | what happens |
|---|---|
| gzip or xz data | unpacked, whatever the name; an error where damaged, or where a name in .gz or .xz is not true |
| valid UTF-8 | read; every other encoding is an error that says how to convert |
| a byte-order mark (U+FEFF) at the very start | dropped; elsewhere it is ordinary |
| CRLF, CR | become LF; nothing else ends a line: U+0085, U+2028, vertical tab and form feed are ordinary |
| ASCII control characters other than tab, LF, CR, vertical tab and form feed | an error: the file is binary |
| all else, such as joiners, private-use and unassigned characters | kept |

What is done with the text then (blank lines, white space, case, normalisation) is `charloom.corpus`'s policy.
"""

from __future__ import annotations

import codecs
import gzip
import io
import lzma
import re
import shlex
import sys
import zlib
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import BinaryIO, cast

from charloom.characters import code_point, identify, printable
from charloom.config import BUILTIN_DATA
from charloom.errors import DataError

CHUNK = 1 << 20
HEAD = 1024
"""Bytes from the start of a source by which its encoding is guessed."""
CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
_CONTROL_BYTES = bytes([*range(0x09), *range(0x0E, 0x20), 0x7F])
_ARCHIVES = {"gzip": b"\x1f\x8b", "xz": b"\xfd7zXZ\0"}
_OTHER_ARCHIVES = {"zip": rb"PK\x03\x04", "bzip2": rb"BZh\d1A", "zstd": rb"\x28\xb5\x2f\xfd"}
_BYTE_ORDER_MARKS = {  # UTF-32 first: its mark starts with that of UTF-16.
    "UTF-32": (b"\xff\xfe\0\0", b"\0\0\xfe\xff"),
    "UTF-16": (b"\xff\xfe", b"\xfe\xff"),
}


def read_text(source: str) -> Generator[str, None, None]:
    """The text of a file, or of standard input for ``-``, in pieces of about a megabyte, its lines ended by LF.

    Raises `DataError` for what cannot be opened, unpacked or decoded; the text before that place has been given then.
    """
    return decoded(_chunks(source), source)


def decoded(
    chunks: Iterator[bytes], source: str, *, line: int = 1, column: int = 1, head: bytes = b""
) -> Generator[str, None, None]:
    """The text of unpacked bytes that begin somewhere in ``source``, as `read_text` gives it.

    They begin with character ``column`` of a line; ``head`` is what the source begins with, where they do not.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    where = shown_source(source)
    held = ""  # A CR at the end of a piece: the LF that belongs to it may come with the next one.
    started = bool(head)
    last = False
    while not last:
        chunk = next(chunks, b"")
        last = not chunk
        head = head or chunk[:HEAD]
        undecodable = None
        try:
            text = decoder.decode(chunk, final=last)
        except UnicodeDecodeError as error:
            undecodable = error
            text = error.object[: error.start].decode()
        if text and not started:
            started = True
            text = text.removeprefix("\ufeff")
        text = held + text
        held = "\r" if text.endswith("\r") and not last and not undecodable else ""
        text = text.removesuffix(held).replace("\r\n", "\n").replace("\r", "\n")
        control = CONTROL.search(text) if len(chunk.translate(None, _CONTROL_BYTES)) != len(chunk) else None
        if control:
            text = text[: control.start()]
        yield text
        line, column = _advanced(line, column, text)
        place = f"{where}, line {line}, character {column}"
        if control:
            raise _binary(control[0], place, source, head)
        if undecodable:
            raise _undecodable(undecodable, next(chunks, b""), place, source, head)


def shown_source(source: str) -> str:
    """What messages call a source: the name as given, or standard input."""
    return "standard input" if source == "-" else printable(source)


def _advanced(line: int, column: int, text: str) -> tuple[int, int]:
    lines = text.count("\n")
    return line + lines, len(text) - text.rfind("\n") if lines else column + len(text)


@dataclass(frozen=True)
class Opened:
    """A source that is being read."""

    stream: BinaryIO
    """Its unpacked bytes."""
    packed: BinaryIO
    """Its bytes as they lie there."""


@contextmanager
def opened(source: str) -> Iterator[Opened]:
    """A source, ``-`` for standard input, open for reading, unpacked.

    What goes wrong in opening it, and in reading it in the body of the `with`, becomes a `DataError`.
    """
    with telling(source), ExitStack() as stack:
        packed = _standard_input() if source == "-" else stack.enter_context(open(source, "rb"))
        yield Opened(stack.enter_context(_unpacked(packed, source)), packed)


@contextmanager
def telling(source: str) -> Iterator[None]:
    """What goes wrong in opening or reading ``source`` in the body of the `with` becomes a `DataError`."""
    where = shown_source(source)
    try:
        yield
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        cut = isinstance(error, EOFError)
        fact = "the archive is cut off" if cut else f"the archive is damaged ({error})"
        raise DataError(fact, where=where, remedy="Fetch or pack it again.") from None
    except FileNotFoundError:
        remedy = f"Check the path, or leave --data out for the built-in names ({BUILTIN_DATA})."
        raise DataError("there is no such file", where=where, remedy=remedy) from None
    except IsADirectoryError:
        raise DataError("is a folder, not a file", where=where, remedy="Name one file in it.") from None
    except PermissionError:
        remedy = "Make it readable (chmod u+r), or copy it to where you may read it."
        raise DataError("may not be read: permission denied", where=where, remedy=remedy) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name, a closed standard input.
        remedy = "Check the path and the disk, or copy the file and read the copy."
        raise DataError(f"cannot be read ({error})", where=where, remedy=remedy) from None


def _chunks(source: str) -> Iterator[bytes]:
    """The unpacked bytes of ``source``, a bounded number at a time."""
    with opened(source) as one:
        while chunk := one.stream.read(CHUNK):
            yield chunk


def _standard_input() -> BinaryIO:
    if sys.stdin is None:
        raise OSError("there is no standard input")
    return sys.stdin.buffer


def _unpacked(packed: BinaryIO, source: str) -> BinaryIO:
    head = packed.read(6)
    stream = cast(BinaryIO, io.BufferedReader(_Rejoined(head, packed), CHUNK))
    for archive, extension in (("gzip", ".gz"), ("xz", ".xz")):
        if head.startswith(_ARCHIVES[archive]):
            opened = gzip.GzipFile(fileobj=stream) if archive == "gzip" else lzma.LZMAFile(stream)  # noqa: SIM115
            return cast(BinaryIO, opened)
        if source.endswith(extension):
            fact = f"is called {extension} but " + (f"holds no {archive} data" if head else "is empty")
            remedy = "Rename it if it is plain text; otherwise fetch or pack it again."
            raise DataError(fact, where=shown_source(source), remedy=remedy)
    for archive, magic in _OTHER_ARCHIVES.items():
        if re.match(magic, head):
            remedy = "Unpack it first; gzip and xz are unpacked here."
            raise DataError(f"is a {archive} archive", where=shown_source(source), remedy=remedy)
    return stream


class _Rejoined(io.RawIOBase):
    """A stream whose first bytes have been looked at, whole again: a pipe cannot be wound back."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._head = head
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if not self._head:
            return self._rest.readinto(buffer)  # type: ignore[attr-defined, no-any-return]
        data = self._head[: len(buffer)]
        self._head = self._head[len(buffer) :]
        buffer[: len(data)] = data
        return len(data)


def _binary(character: str, place: str, source: str, head: bytes) -> DataError:
    encoding = _wide_encoding(head)
    remedy = _conversion(encoding, source) if encoding else "Give a text file; this looks like a binary one."
    fact = f"holds the control character {code_point(character)}"
    return DataError(fact + (f"; it looks like {encoding}" if encoding else ""), where=place, remedy=remedy)


def _undecodable(error: UnicodeDecodeError, following: bytes, place: str, source: str, head: bytes) -> DataError:
    rest = error.object[error.start :] + following
    if error.reason == "unexpected end of data":
        fact = f"ends in the middle of a character (bytes {rest.hex(' ').upper()})"
        return DataError(fact, where=place, remedy="It seems to be cut off: fetch it again.")
    if rest[0] == 0xED and len(rest) >= 3 and 0xA0 <= rest[1] <= 0xBF and 0x80 <= rest[2] <= 0xBF:
        surrogate = rest[:3].decode("utf-8", "surrogatepass")
        fact = f"the bytes {rest[:3].hex(' ').upper()} are {identify(surrogate)}, which is not valid UTF-8"
        remedy = "Whatever wrote it took a character apart, as UTF-16 does; export it again as UTF-8."
        return DataError(fact, where=place, remedy=remedy)
    fact = f"the byte 0x{rest[0]:02X} is not valid UTF-8"
    encoding = _wide_encoding(head)
    if encoding:
        return DataError(f"{fact}; it looks like {encoding}", where=place, remedy=_conversion(encoding, source))
    nearby = error.object[max(0, error.start - 100) : error.start] + rest[:100]
    if len(nearby.translate(None, _CONTROL_BYTES)) != len(nearby):
        return DataError(fact, where=place, remedy="Give a text file; this looks like a binary one.")
    remedy = f"{_conversion('WINDOWS-1252', source)} (or the encoding that it is in, such as GB18030, after -f)."
    return DataError(f"{fact}; it looks like Latin-1 or another older encoding", where=place, remedy=remedy)


def _wide_encoding(head: bytes) -> str | None:
    """UTF-16 or UTF-32 where the first bytes look like that: a byte-order mark, or every other byte zero."""
    for encoding, marks in _BYTE_ORDER_MARKS.items():
        if head.startswith(marks):
            return encoding
    pairs = len(head) // 2
    zeros = [head[start : 2 * pairs : 2].count(0) for start in (0, 1)]
    if pairs >= 2 and max(zeros) >= 0.7 * pairs and min(zeros) <= 0.1 * pairs:
        return "UTF-16LE" if zeros[1] > zeros[0] else "UTF-16BE"
    return None


def _conversion(encoding: str, source: str) -> str:
    plain = source != "-" and not source.endswith((".gz", ".xz"))
    command = f"iconv -f {encoding} -t UTF-8"
    return f"Convert it: {command} {shlex.quote(printable(source))} > utf8.txt" if plain else f"Convert it: {command}"
