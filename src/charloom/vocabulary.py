"""Characters and their ids.

Id 0 is the start/end marker, shown as ``.``; it is not a character. Characters have the ids 1 to V-1 in code-point
order, and V counts the marker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from charloom.characters import code_point, identify, printable
from charloom.config import Unit
from charloom.errors import CheckpointError, DataError, UnknownCharacterError

if TYPE_CHECKING:
    from jaxtyping import Int, Int32, Int64, UInt32

MARKER = 0
"""Id of the start/end marker."""

_UNKNOWN = -1
_BLOCK = 1 << 20
_CODE_POINTS = 0x110000


@dataclass(frozen=True)
class Encoded:
    """Items in ids, one after the other."""

    ids: Int32[np.ndarray, " targets"]
    """The targets in order: the characters of each item, for unit `line` followed by the marker."""
    starts: Int64[np.ndarray, " items"]
    """Where each item begins in ``ids``."""


@dataclass(frozen=True)
class Vocabulary:
    """The characters that a model knows, given in any order, repeated or not.

    Raises `DataError` where there are none, or where a lone surrogate is among them.
    """

    characters: str
    """Each character once, in code-point order: the one at index i has id i + 1."""

    def __post_init__(self) -> None:
        characters = "".join(sorted(set(self.characters)))
        if not characters:
            raise DataError("the vocabulary has no characters", remedy="Give text with at least one character.")
        surrogate = next((character for character in characters if "\ud800" <= character <= "\udfff"), None)
        if surrogate:
            remedy = "It is half a character; read the text as UTF-8 without `surrogatepass` or `surrogateescape`."
            raise DataError(f"the text holds {identify(surrogate)}", remedy=remedy)
        object.__setattr__(self, "characters", characters)

    @classmethod
    def from_items(cls, items: Iterable[str]) -> Vocabulary:
        """The characters that stand in ``items``. Raises `DataError` like the constructor."""
        codes, _ = count_characters(items)
        return cls("".join(map(chr, codes)))

    def __len__(self) -> int:
        """V: the number of characters and the marker."""
        return len(self.characters) + 1

    def __contains__(self, character: object) -> bool:
        return isinstance(character, str) and len(character) == 1 and character in self.characters

    def encode(self, text: str, *, where: str = "text") -> Int32[np.ndarray, " characters"]:
        """The ids of the characters of ``text``, without markers.

        Raises `UnknownCharacterError` that names ``where``, the character's place in it and the character.
        """
        ids = self._ids(text)
        if (ids == _UNKNOWN).any():
            index = int((ids == _UNKNOWN).argmax())
            raise self._unknown(text[index], _place_in(text, index, where))
        return ids

    def encode_items(
        self, items: Sequence[str], *, unit: Unit, place: Callable[[int, int], str] | None = None
    ) -> Encoded:
        """Items in ids. ``place`` words the place of a character, given by the indices of its item and in the item.

        Raises `UnknownCharacterError` for the first character that is not in the vocabulary.
        """
        markers = int(unit == "line")
        lengths = np.fromiter(map(len, items), dtype=np.int64, count=len(items))
        ends = np.cumsum(lengths + markers)
        starts = ends - lengths - markers
        ids = np.empty(int(ends[-1]) if len(items) else 0, dtype=np.int32)
        filled = 0
        # The joint between two items is set to the marker by its position, so what it is does not matter.
        for piece in _pieces(items, joint="\0" * markers):
            ids[filled : filled + len(piece)] = self._ids(piece)
            filled += len(piece)
        if markers:
            ids[ends - 1] = MARKER
        unknown = ids == _UNKNOWN
        if unknown.any():
            index = int(unknown.argmax())
            item = int(np.searchsorted(starts, index, side="right")) - 1
            character = index - int(starts[item])
            where = place(item, character) if place else _place_in(items[item], character, f"item {item + 1}")
            raise self._unknown(items[item][character], where)
        return Encoded(ids, starts)

    def decode(self, ids: Int[np.ndarray, " characters"] | Sequence[int]) -> str:
        """The characters of ``ids``. Raises `DataError` for the marker, and for ids of no character."""
        indices = np.asarray(ids, dtype=np.int64) - 1
        wrong = (indices < 0) | (indices >= len(self.characters))
        if wrong.any():
            position = int(wrong.argmax())
            identity = int(indices[position]) + 1
            fact = "the marker, id 0, is no character" if identity == MARKER else f"there is no id {identity}"
            where = f"position {position + 1}"
            raise DataError(fact, where=where, remedy=f"Characters have the ids 1 to {len(self.characters)}.")
        return self.codes[1:][indices].tobytes().decode("utf-32-le")

    @cached_property
    def codes(self) -> UInt32[np.ndarray, " vocab"]:
        """The code point of every id; 0 for the marker."""
        return _code_points("\0" + self.characters)

    def to_json(self) -> dict[str, str]:
        """``{"characters": "abc"}``, for `from_json`."""
        return {"characters": self.characters}

    @classmethod
    def from_json(cls, content: Any) -> Vocabulary:
        """A stored vocabulary. Raises `CheckpointError` for anything that `to_json` does not give."""
        if not isinstance(content, dict) or set(content) != {"characters"}:
            raise CheckpointError("the stored vocabulary is not an object with the one key `characters`")
        characters = content["characters"]
        if not isinstance(characters, str):
            raise CheckpointError(f"the stored characters are of type {type(characters).__name__}, not a string")
        for before, character in pairwise(characters):
            if before == character:
                raise CheckpointError(f"the stored vocabulary holds {identify(character)} twice")
            if before > character:
                fact = (
                    f"the stored vocabulary is not sorted: {code_point(before)} stands before {code_point(character)}"
                )
                raise CheckpointError(fact)
        try:
            return cls(characters)
        except DataError as error:
            raise CheckpointError(f"the stored vocabulary is damaged: {error.fact}") from None

    def _ids(self, text: str) -> Int32[np.ndarray, " characters"]:
        ids: Int32[np.ndarray, " characters"] = self._table[np.minimum(_code_points(text), len(self._table) - 1)]
        return ids

    @cached_property
    def _table(self) -> Int32[np.ndarray, " codes"]:
        """Id by code point; the last entry, of no character, stands for all beyond."""
        table = np.full(int(self.codes[-1]) + 2, _UNKNOWN, dtype=np.int32)
        table[self.codes[1:]] = np.arange(1, len(self))
        return table

    def _unknown(self, character: str, where: str) -> UnknownCharacterError:
        remedy = f"Use only the {len(self.characters)} known characters: {_excerpt(self.characters)}"
        if character.lower() != character and character.lower() in self:
            remedy += "\nIts lower-case form is known: write that, or read the data with --case lower."
        return UnknownCharacterError(f"{identify(character)} is not in the vocabulary", where=where, remedy=remedy)


def count_characters(
    items: Iterable[str],
) -> tuple[Int64[np.ndarray, " distinct"], Int64[np.ndarray, " distinct"]]:
    """The distinct code points in ``items``, ascending, and how often each occurs."""
    counts = np.zeros(_CODE_POINTS, dtype=np.int64)
    for piece in _pieces(items):
        found = np.bincount(_code_points(piece))
        counts[: len(found)] += found
    codes = np.flatnonzero(counts)
    return codes, counts[codes]


def _pieces(items: Iterable[str], joint: str = "") -> Iterator[str]:
    """Items as text of about a megabyte at a time, each item followed by ``joint``."""
    batch: list[str] = []
    length = 0
    for item in items:
        batch.append(item)
        length += len(item) + len(joint)
        if length >= _BLOCK:
            yield from _cut(joint.join(batch) + joint)
            batch, length = [], 0
    if batch:
        yield from _cut(joint.join(batch) + joint)


def _cut(text: str) -> Iterator[str]:
    for first in range(0, len(text), _BLOCK):
        yield text[first : first + _BLOCK]


def _code_points(text: str) -> UInt32[np.ndarray, " characters"]:
    # Lone surrogates pass, to be reported like any other character that a vocabulary lacks.
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def _place_in(text: str, index: int, where: str) -> str:
    if "\n" not in text:
        return f"{where}, character {index + 1}"
    before = text[:index]
    return f"{where}, line {before.count(chr(10)) + 1}, character {index - before.rfind(chr(10))}"


def _excerpt(characters: str, most: int = 60) -> str:
    shown = printable(characters[:most])
    return shown if len(characters) <= most else f"{shown} and {len(characters) - most:,} more"
