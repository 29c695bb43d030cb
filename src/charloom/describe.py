"""What a corpus is like, in numbers."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np

from charloom.characters import character_name, code_point
from charloom.config import Protocol, Unit
from charloom.corpus import Corpus
from charloom.decoding import shown_source
from charloom.errors import DataError
from charloom.splits import Part, overlap, split
from charloom.vocabulary import count_characters

_MOST_BINS = 20


@dataclass(frozen=True)
class CharacterCount:
    """A character of the alphabet."""

    character: str
    code_point: str
    """Such as ``U+0061``."""
    name: str
    """Its Unicode name, or its kind in small letters."""
    count: int
    """How often it occurs."""


@dataclass(frozen=True)
class Bin:
    """A bar of the length histogram."""

    least: int
    most: int
    items: int
    """Items of ``least`` to ``most`` characters."""


@dataclass(frozen=True)
class Lengths:
    """Lengths of the items in characters."""

    min: int
    mean: float
    median: float
    max: int
    histogram: list[Bin]
    """From the shortest to the longest, without gaps, of one width."""


@dataclass(frozen=True)
class PartSize:
    """One part of a split."""

    items: int
    targets: int
    """Characters to predict, end markers included."""
    overlap: float | None
    """Share of the items that also stand in train; ``None`` for train itself and for unit `text`."""


@dataclass(frozen=True)
class SplitSizes:
    """A corpus split by one protocol."""

    train: PartSize
    dev: PartSize
    test: PartSize


@dataclass(frozen=True)
class Description:
    """A corpus in numbers; `to_json` has a key for each attribute, here and below."""

    name: str
    source: str
    """As messages call it."""
    unit: Unit
    lines: int
    """Lines read."""
    blank_lines: int
    """Lines dropped as blank."""
    items: int
    distinct: int
    duplicates: int
    """Items that repeat an earlier one: ``items - distinct``."""
    characters: int
    """Characters in all items, without end markers."""
    targets: int
    """Characters to predict, end markers included."""
    vocabulary_size: int
    """V: the characters of the alphabet and the marker."""
    uniform_loss: float
    """ln V in nats per character: the loss of a model that knows nothing."""
    alphabet: list[CharacterCount]
    """In code-point order."""
    lengths: Lengths
    splits: dict[Protocol, SplitSizes | None]
    """By protocol; ``None`` where there are too few items."""
    problems: dict[Protocol, str]
    """Why a corpus cannot be split, for each ``None`` above."""

    def to_json(self) -> dict[str, Any]:
        """Plain dictionaries, lists, strings and numbers."""
        return dataclasses.asdict(self)


def describe(corpus: Corpus, *, seed: int = 42) -> Description:
    """The numbers of a corpus; ``seed`` is that of the shuffle before the split."""
    codes, counts = count_characters(corpus.items)
    alphabet = [_character_count(chr(code), int(count)) for code, count in zip(codes, counts, strict=True)]
    distinct = len(set(corpus.items))
    characters = int(counts.sum())
    splits: dict[Protocol, SplitSizes | None] = {}
    problems: dict[Protocol, str] = {}
    for protocol in get_args(Protocol):
        try:
            splits[protocol] = _split_sizes(corpus, protocol, seed)
        except DataError as error:
            splits[protocol] = None
            problems[protocol] = f"{error.fact}. {error.remedy}"
    return Description(
        name=corpus.name,
        source=shown_source(corpus.source),
        unit=corpus.unit,
        lines=corpus.lines_read,
        blank_lines=corpus.blank_lines,
        items=len(corpus.items),
        distinct=distinct,
        duplicates=len(corpus.items) - distinct,
        characters=characters,
        targets=characters + (len(corpus.items) if corpus.unit == "line" else 0),
        vocabulary_size=len(alphabet) + 1,
        uniform_loss=math.log(len(alphabet) + 1),
        alphabet=alphabet,
        lengths=_lengths(corpus.items),
        splits=splits,
        problems=problems,
    )


def _character_count(character: str, count: int) -> CharacterCount:
    return CharacterCount(character, code_point(character), character_name(character), count)


def _lengths(items: list[str]) -> Lengths:
    lengths = np.fromiter(map(len, items), dtype=np.int64, count=len(items))
    least, most = int(lengths.min()), int(lengths.max())
    width = _bin_width(most - least + 1)
    first = least // width * width
    heights = np.bincount((lengths - first) // width)
    starts = range(first, most + 1, width)
    histogram = [Bin(start, start + width - 1, int(height)) for start, height in zip(starts, heights, strict=True)]
    return Lengths(least, float(lengths.mean()), float(np.median(lengths)), most, histogram)


def _bin_width(span: int) -> int:
    """The least of 1, 2, 5, 10, 20, 50, ... that makes no more than 20 bins of ``span`` lengths."""
    decade = 1
    while True:
        for width in (decade, 2 * decade, 5 * decade):
            if span <= _MOST_BINS * width:
                return width
        decade *= 10


def _split_sizes(corpus: Corpus, protocol: Protocol, seed: int) -> SplitSizes:
    splits = split(corpus, protocol, seed)
    return SplitSizes(*(_part_size(part, splits.train) for part in (splits.train, splits.dev, splits.test)))


def _part_size(part: Part, train: Part) -> PartSize:
    comparable = part is not train and part.corpus.unit == "line"
    return PartSize(len(part.items), part.targets, overlap(part, train) if comparable else None)
