"""Text becomes items: one per line, or one contiguous text.

`charloom.decoding` says how bytes become text. What is done with the text then, by setting of `DataConfig`:

| setting | what happens |
|---|---|
| case | letters are lower-cased (`lower`), folded (`fold`, Unicode's full case folding), or kept |
| normalize | canonical composition (`nfc`) or `none`; before the change of case, and again after it for what it undid |
| strip | Unicode white space around each item is dropped |
| max_line | a longer line, before or after all that, is an error; no more of it is held than a piece (1 MB) |

Lines that are empty then are dropped and counted. Unit `text` is one item, the whole text with its line ends (LF), and
knows neither strip nor max_line. Text without any item is an error. Memory is bounded by the items.

Items written out, one a line after a byte-order mark, are read again as the same items.
"""

from __future__ import annotations

import hashlib
import lzma
import re
import unicodedata
from array import array
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from itertools import islice
from pathlib import PurePath

from charloom.characters import identify, printable
from charloom.config import BUILTIN_DATA, DataConfig, Unit
from charloom.decoding import CONTROL, decoded, read_text, shown_source
from charloom.errors import DataError

BUILTIN_SHA256 = "321a6424213c724fe6b001c3aab67b89cff9c656b6bfff9174d6967398261d48"
_BATCH = 1 << 16
_COUNTED_LENGTH = 100_000_000


@dataclass(frozen=True)
class Corpus:
    """The items of one source, and where each stands in it."""

    name: str
    """Short name: of a file without its folder and .txt, .gz, .xz; `stdin`; `ssa-2018`."""
    source: str
    """The source as given."""
    unit: Unit
    """Whether items are lines or there is one contiguous text."""
    items: list[str] = field(repr=False)
    """The items in order; for unit `text` exactly one."""
    lines: array[int] = field(repr=False)
    """Line number of each item, from 1 (of each item's place in the list, if it came from one)."""
    lines_read: int
    """Number of lines, blank ones included."""
    blank_lines: int
    """Number of blank lines dropped."""
    place_word: str = field(default="line", repr=False)
    """What ``lines`` counts: `line`, or `item` where the source was a list."""

    @classmethod
    def from_items(cls, items: Iterable[str], *, name: str = "items", config: DataConfig | None = None) -> Corpus:
        """A corpus of strings, treated by ``config`` just as `load` treats lines; for unit `text`, of one string.

        Raises `DataError` that names the item for a control character, a lone surrogate, an over-long item, or (unit
        `line`) one of several lines.
        """
        config = config or DataConfig(data="-")
        if isinstance(items, str):
            raise DataError("the items are one string", where=name, remedy="Give a list of strings.")
        if config.unit == "line":
            return _of_lines(_joined(items, name), name, name, config, "item")
        texts = list(items)
        if len(texts) != 1:
            raise DataError(f"{len(texts)} items for unit text", where=name, remedy="Give one, or use unit line.")
        _check_item(texts[0], f"{name}, item 1")
        return _of_text([texts[0].replace("\r\n", "\n").replace("\r", "\n")], name, name, config)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the items as UTF-8, joined by LF: that of a clean file without its last line end."""
        digest = hashlib.sha256()
        for first in range(0, len(self.items), _BATCH):
            digest.update(("\n" if first else "").encode())
            digest.update("\n".join(self.items[first : first + _BATCH]).encode())
        return digest.hexdigest()

    def place(self, item: int, character: int) -> str:
        """Such as ``names.txt, line 3, character 7``, for indices (from 0) of an item and of a character in it.

        Characters are counted (from 1) in the item as it was read: stripped and normalised. For unit `text` they are
        counted in their line.
        """
        line = self.lines[item]
        if self.unit == "text":
            before = self.items[item][:character]
            line += before.count("\n")
            character -= before.rfind("\n") + 1
        return f"{shown_source(self.source)}, {self.place_word} {line}, character {character + 1}"


def load(config: DataConfig) -> Corpus:
    """Read the data that ``config`` names.

    Raises `DataError` for what cannot be read under the policy above and that of `charloom.decoding`.
    """
    source = config.data
    if source == BUILTIN_DATA:
        return _of_pieces(iter([builtin_names()]), BUILTIN_DATA, config)
    with closing(read_text(source)) as pieces:
        return _of_pieces(pieces, "stdin" if source == "-" else _stem(source), config)


def check(chunks: Iterator[bytes], config: DataConfig, *, line: int = 1, column: int = 1, head: bytes = b"") -> None:
    """Read bytes and keep nothing; see `charloom.decoding.decoded` for where they begin. For lines, ``column`` is 1.

    Raises the `DataError` of `load` for what cannot be read; there need be no items.
    """
    pieces = decoded(chunks, config.data, line=line, column=column, head=head)
    if config.unit == "line":
        for _ in _LineReader(config.data, config, "line", line - 1).batches(pieces):
            pass
    else:
        for _ in pieces:
            pass


def normalized(text: str, config: DataConfig) -> str:
    """Text in the composition and case that ``config`` asks for; the built-in names are always lower-case."""
    text = _composed(text, config)
    case = "lower" if config.data == BUILTIN_DATA else config.case
    if case == "keep":
        return text
    return _composed(text.lower() if case == "lower" else text.casefold(), config)


def _of_pieces(pieces: Iterable[str], name: str, config: DataConfig) -> Corpus:
    if config.unit == "text":
        return _of_text(pieces, name, config.data, config)
    return _of_lines(pieces, name, config.data, config, "line")


def _of_text(pieces: Iterable[str], name: str, source: str, config: DataConfig) -> Corpus:
    text = normalized("".join(pieces), config)
    lines = text.count("\n") + (not text.endswith("\n"))
    if not text or text.isspace():
        raise empty(source, lines if text else 0)
    return Corpus(name, source, "text", [text], array("I", [1]), lines, 0)


def _of_lines(pieces: Iterable[str], name: str, source: str, config: DataConfig, word: str) -> Corpus:
    items: list[str] = []
    numbers = array("I")
    reader = _LineReader(source, config, word)
    for first, lines in reader.batches(pieces):
        if config.strip:
            lines = [line.strip() for line in lines]
        if "" in lines:
            numbers.extend(number for number, line in enumerate(lines, first) if line)
            items.extend(filter(None, lines))
        else:
            numbers.extend(range(first, first + len(lines)))
            items.extend(lines)
    if not items:
        raise empty(source, reader.read, word)
    return Corpus(name, source, "line", items, numbers, reader.read, reader.read - len(items), word)


class _LineReader:
    """Pieces of text become batches of lines, normalised and no longer than allowed."""

    def __init__(self, source: str, config: DataConfig, word: str, read: int = 0) -> None:
        self.read = read
        self._source = source
        self._config = config
        self._word = word

    def batches(self, pieces: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
        """Lists of lines, each with the number of its first."""
        pieces = iter(pieces)
        pending = ""
        for piece in pieces:
            complete, newline, pending = (pending + piece).rpartition("\n")
            if newline:
                yield self.read + 1, self._lines(complete)
            if len(pending) > self._config.max_line:
                raise self._too_long(self.read + 1, _length_of_line(pending, pieces))
        if pending:
            yield self.read + 1, self._lines(pending)

    def _lines(self, text: str) -> list[str]:
        lines = text.split("\n")
        treated = normalized(text, self._config)
        made = lines if treated is text else treated.split("\n")
        # Before and after at once: it is the first line that is told, however the text falls into pieces.
        if max(max(map(len, lines)), max(map(len, made))) > self._config.max_line:
            for number, lengths in enumerate(zip(map(len, lines), map(len, made), strict=True), self.read + 1):
                if max(lengths) > self._config.max_line:
                    raise self._too_long(number, f"{next(n for n in lengths if n > self._config.max_line):,}")
        self.read += len(made)
        return made

    def _too_long(self, number: int, length: str) -> DataError:
        return DataError(
            f"the {self._word} has {length} characters; at most {self._config.max_line:,} are accepted",
            where=f"{shown_source(self._source)}, {self._word} {number}",
            remedy="Raise --max-line, or read it all as one text with --unit text.",
        )


def _length_of_line(start: str, rest: Iterator[str]) -> str:
    """Length of a line that is longer than allowed: read to its end, but not held, and not for ever."""
    length = len(start)
    try:
        for piece in rest:
            line, newline, _ = piece.partition("\n")
            length += len(line)
            if newline:
                return f"{length:,}"
            if length > _COUNTED_LENGTH:
                return f"more than {_COUNTED_LENGTH:,}"
    except DataError:  # What is wrong further on comes second.
        return f"at least {length:,}"
    return f"{length:,}"


def _composed(text: str, config: DataConfig) -> str:
    return text if config.normalize == "none" or text.isascii() else unicodedata.normalize("NFC", text)


def _joined(items: Iterable[str], name: str) -> Iterator[str]:
    """Items as text, one a line, a batch at a time; each must be one line."""
    items = iter(items)
    number = 0
    while batch := list(islice(items, _BATCH)):
        try:
            text = "\n".join(batch) + "\n"
            text.encode()
            faulty = text.count("\n") != len(batch) or "\r" in text or CONTROL.search(text)
        except (TypeError, UnicodeEncodeError):
            faulty = True
        if faulty:
            for index, item in enumerate(batch, number + 1):
                _check_item(item, f"{name}, item {index}", one_line=True)
        number += len(batch)
        yield text


def _check_item(item: object, where: str, *, one_line: bool = False) -> None:
    if not isinstance(item, str):
        raise DataError(f"is of type {type(item).__name__}, not a string", where=where, remedy="Give strings only.")
    remedy = "Remove it, or clean the items first."
    found = re.search("[\ud800-\udfff\n\r]" if one_line else "[\ud800-\udfff]", item) or CONTROL.search(item)
    if found:
        raise DataError(f"holds {identify(found[0])}", where=f"{where}, character {found.start() + 1}", remedy=remedy)


def empty(source: str, lines: int, word: str = "line") -> DataError:
    """What is said of a source of so many lines with no item among them."""
    fact = f"holds only blank {word}s ({lines:,})" if lines else "is empty"
    return DataError(fact, where=shown_source(source), remedy="Give text with at least one item, one a line.")


def _stem(source: str) -> str:
    name = PurePath(source).name
    stem = name.removesuffix(".gz").removesuffix(".xz").removesuffix(".txt")
    return printable(stem or name or source)


def builtin_names() -> str:
    """The built-in names in the file's order, one a line, lower-cased; one given to both sexes comes twice."""
    resource = files("charloom") / "data" / "yob2018.txt.xz"
    remedy = "The installation is damaged: install charloom again."
    try:
        rows = lzma.decompress(resource.read_bytes())
    except (OSError, lzma.LZMAError) as error:
        raise DataError(f"the built-in names cannot be read ({error})", where=str(resource), remedy=remedy) from None
    if hashlib.sha256(rows).hexdigest() != BUILTIN_SHA256:
        raise DataError("the built-in names do not match their checksum", where=str(resource), remedy=remedy)
    return "\n".join(row.partition(",")[0] for row in rows.decode().lower().split("\r\n"))
