"""Text, read, split and spelled in ids: what every model is trained and judged on."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from charloom.config import DataConfig
from charloom.corpus import Corpus, load
from charloom.splits import Part, Splits, split
from charloom.vocabulary import Encoded, Vocabulary

PartName = Literal["train", "dev", "test"]


@dataclass(frozen=True)
class Dataset:
    """A corpus, its vocabulary and its split. The vocabulary spans all parts, so that no dev item is unspellable."""

    config: DataConfig
    corpus: Corpus
    vocabulary: Vocabulary
    _encoded: dict[str, Encoded] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def load(cls, config: DataConfig, vocabulary: Vocabulary | None = None) -> Dataset:
        """Read the data that ``config`` names, and spell it in ``vocabulary`` or in its own.

        Raises `DataError` for text that cannot be read, and `UnknownCharacterError` for a character that a given
        vocabulary lacks.
        """
        corpus = load(config)
        return cls(config, corpus, vocabulary or Vocabulary.from_items(corpus.items))

    @cached_property
    def splits(self) -> Splits:
        """Train, dev and test by the configured protocol."""
        return split(self.corpus, self.config.protocol, self.config.split_seed)

    def part(self, name: PartName) -> Part:
        """One part of the split."""
        part: Part = getattr(self.splits, name)
        return part

    def encoded(self, name: PartName) -> Encoded:
        """One part of the split in ids; made once."""
        if name not in self._encoded:
            part = self.part(name)
            self._encoded[name] = self.vocabulary.encode_items(
                part.items,
                unit=self.corpus.unit,
                place=part.place,
            )
        return self._encoded[name]
