"""What counting gives: every distinct n-gram of a text and how often it occurs; and the models that this makes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from charloom.config import DataConfig, ModelConfig
from charloom.corpus import empty
from charloom.counting.plain import merged
from charloom.counting.tables import Alphabet
from charloom.errors import ConfigError
from charloom.models import CountedModel, counted_family
from charloom.text_model import TextModel
from charloom.vocabulary import MARKER, Vocabulary

if TYPE_CHECKING:
    from jaxtyping import Int32, Int64, UInt64


@dataclass(frozen=True)
class Gram:
    """One n-gram."""

    characters: tuple[str, ...]
    """Its characters, oldest first; the marker is the empty string."""
    count: int
    """How often it occurs."""
    share: float
    """The same over all targets."""

    def to_json(self) -> dict[str, Any]:
        """``characters``, ``count``, ``share``."""
        return {"characters": list(self.characters), "count": self.count, "share": self.share}


@dataclass(frozen=True)
class NGramCounts:
    """The distinct n-grams of a text, by context and then by target, in the order of their ids.

    They are what counting the rows of `charloom.contexts.Contexts` gives: each item has order - 1 markers before it
    and, for unit `line`, one after it.
    """

    data: DataConfig
    """How the text was read."""
    vocabulary: Vocabulary
    contexts: Int32[np.ndarray, "distinct context"] = field(repr=False)
    """The ids before the target, order - 1 of them, oldest first."""
    targets: Int32[np.ndarray, " distinct"] = field(repr=False)
    counts: Int64[np.ndarray, " distinct"] = field(repr=False)
    """How often each n-gram occurs."""
    items: int
    """Number of items; 1 for unit `text`."""
    lines: int
    """Number of lines, blank ones included."""
    bytes_read: int
    """Length of the text as it was read, unpacked."""

    @property
    def order(self) -> int:
        """n: the context and the target together."""
        return int(self.contexts.shape[1]) + 1

    @property
    def blank_lines(self) -> int:
        """Number of blank lines that were dropped."""
        return self.lines - self.items if self.data.unit == "line" else 0

    @property
    def total(self) -> int:
        """Number of targets: characters, and for unit `line` the end of each item."""
        return int(self.counts.sum())

    @property
    def characters(self) -> int:
        """Number of characters in the items."""
        return self.total - (self.items if self.data.unit == "line" else 0)

    def __len__(self) -> int:
        """How many different n-grams there are."""
        return len(self.counts)

    def most_common(self, k: int | None = None) -> list[Gram]:
        """The ``k`` commonest n-grams, or all; of those that occur equally often, in the order of their ids."""
        order = np.argsort(-self.counts, kind="stable")[:k]
        return [self.gram(index) for index in order.tolist()]

    def gram(self, index: int) -> Gram:
        """The n-gram at ``index`` of ``counts``."""
        ids = [*self.contexts[index].tolist(), int(self.targets[index])]
        characters = tuple(self.vocabulary.characters[one - 1] if one else "" for one in ids)
        count = int(self.counts[index])
        return Gram(characters, count, count / self.total)

    def model(self, config: ModelConfig | None = None) -> CountedModel:
        """A counted model of the text, the same as if it were fitted on all rows.

        Left out, it is the one of this order: unigram, bigram, or Kneser-Ney. Raises `ConfigError` for a model that is
        not counted, or that looks back further than these n-grams.
        """
        config = self._config(config)
        if not config.counted:
            raise ConfigError(f"{config.model} is trained, not counted", remedy="Counted: unigram, bigram, ngram:N.")
        if config.reach >= self.order:
            raise ConfigError(
                f"{config.model} looks at {config.reach + 1} characters at a time; these are n-grams of {self.order}",
                remedy=f"Count with order {config.reach + 1}.",
            )
        family = counted_family(config.family)
        return family.fit(self.contexts, self.targets, len(self.vocabulary), weights=self.counts, **config.options())

    def text_model(self, config: ModelConfig | None = None) -> TextModel:
        """The same with its vocabulary: it samples and scores. Nothing is known of dev, as all text was counted."""
        config = self._config(config).resolved()
        return TextModel(config, self.model(config), self.vocabulary, self.data)

    def _config(self, config: ModelConfig | None) -> ModelConfig:
        names = {1: "unigram", 2: "bigram"}
        return config or ModelConfig(model=names.get(self.order, f"ngram:{self.order}"))


def assembled(
    keys: UInt64[np.ndarray, " keys"],
    counts: Int64[np.ndarray, " keys"],
    alphabet: Alphabet,
    config: DataConfig,
    *,
    order: int,
    lines: int,
    bytes_read: int,
) -> NGramCounts:
    """Counts by key, of ``order`` ids or of two for single characters, with ids in the order of characters.

    Raises `DataError` where there are no items.
    """
    codes = np.array(alphabet.codes, dtype=np.int64)
    if not len(keys) or (config.unit == "text" and all(chr(code).isspace() for code in alphabet.codes)):
        raise empty(config.data, lines)
    final = np.zeros(len(codes) + 1, np.int32)
    final[1:][np.argsort(codes)] = np.arange(1, len(codes) + 1)
    bits, width = np.uint64(alphabet.bits), max(2, order)
    columns = [
        final[(keys >> np.uint64(place) * bits & (np.uint64(1) << bits) - np.uint64(1)).astype(np.int64)]
        for place in range(width - 1, -1, -1)
    ][-order:]
    ordered = np.zeros(len(keys), np.uint64)
    for column in columns:
        ordered = ordered << bits | column.astype(np.uint64)
    ordered, counts = merged(ordered, counts)
    grams = np.empty((len(ordered), order), np.int32)
    for place in range(order):
        grams[:, order - 1 - place] = ordered >> np.uint64(place) * bits & (np.uint64(1) << bits) - np.uint64(1)
    targets = grams[:, -1].copy()
    return NGramCounts(
        data=config,
        vocabulary=Vocabulary("".join(map(chr, alphabet.codes))),
        contexts=grams[:, :-1],
        targets=targets,
        counts=counts,
        items=int(counts[targets == MARKER].sum()) if config.unit == "line" else 1,
        lines=lines,
        bytes_read=bytes_read,
    )
