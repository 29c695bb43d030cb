"""Train, dev and test: 80, 10 and 10 in a hundred, by one of two protocols.

`classic` shuffles the items and splits them; an item that stands twice may fall into two parts. `unique` keeps the
first of each first. The shuffle is that of Python's `random.Random(seed)`, so that figures published on it can be
compared. Unit `text` is cut into three stretches by characters, unshuffled, by either protocol.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from charloom.config import Protocol
from charloom.corpus import Corpus
from charloom.decoding import shown_source
from charloom.errors import DataError

LEAST = 6
"""The fewest items (characters, for unit `text`) of which no part is empty."""


@dataclass(frozen=True)
class Part:
    """One part of a corpus."""

    corpus: Corpus = field(repr=False)
    items: list[str] = field(repr=False)
    """The items in shuffled order; for unit `text` the one stretch of it."""
    indices: Sequence[int] = field(repr=False)
    """Where each item stands in ``corpus.items``."""
    offset: int = 0
    """Where the items begin in those of the corpus, in characters: above 0 for unit `text` only."""

    @property
    def targets(self) -> int:
        """Number of characters to predict, end markers included."""
        characters = sum(map(len, self.items))
        return characters + len(self.items) if self.corpus.unit == "line" else characters

    def place(self, item: int, character: int) -> str:
        """`Corpus.place` of a character of this part, such as ``names.txt, line 3, character 7``."""
        return self.corpus.place(self.indices[item], self.offset + character)


@dataclass(frozen=True)
class Splits:
    """A corpus in three parts. Select on dev; read test once, at the end."""

    protocol: Protocol
    seed: int
    train: Part
    dev: Part
    test: Part


def split(corpus: Corpus, protocol: Protocol, seed: int) -> Splits:
    """Split a corpus. Raises `DataError` where a part would be empty."""
    if corpus.unit == "text":
        return Splits(protocol, seed, *_stretches(corpus))
    indices = _first_of_each(corpus.items) if protocol == "unique" else list(range(len(corpus.items)))
    random.Random(seed).shuffle(indices)
    parts = []
    counted = "distinct items" if protocol == "unique" else "items"
    for start, end in _bounds(len(indices), corpus, counted):
        chosen = indices[start:end]
        parts.append(Part(corpus, [corpus.items[index] for index in chosen], chosen))
    return Splits(protocol, seed, *parts)


def overlap(part: Part, train: Part) -> float:
    """Share of the items of ``part`` that also stand in ``train``."""
    known = set(train.items)
    return sum(item in known for item in part.items) / len(part.items)


def _stretches(corpus: Corpus) -> list[Part]:
    text = corpus.items[0]
    bounds = _bounds(len(text), corpus, "characters")
    return [Part(corpus, [text[start:end]], [0], start) for start, end in bounds]


def _bounds(n: int, corpus: Corpus, counted: str) -> list[tuple[int, int]]:
    if n < LEAST:
        raise DataError(
            f"too few {counted} to split into train, dev and test: {n}",
            where=shown_source(corpus.source),
            remedy=f"Give at least {LEAST}.",
        )
    # As published figures were split: in floating point.
    first, second = int(0.8 * n), int(0.9 * n)
    return [(0, first), (first, second), (second, n)]


def _first_of_each(items: Sequence[str]) -> list[int]:
    first: dict[str, int] = {}
    for index, item in enumerate(items):
        first.setdefault(item, index)
    return list(first.values())
