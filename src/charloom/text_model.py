"""A trained model and its vocabulary: text in, text out."""

from __future__ import annotations

import dataclasses
import math
from bisect import bisect_left
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from charloom.config import DataConfig, ModelConfig, SamplingConfig
from charloom.corpus import load, normalized
from charloom.dataset import Dataset, PartName
from charloom.evaluation import Evaluation, evaluate, finite, item_losses, target_losses
from charloom.models import LanguageModel
from charloom.sampling import Sample, sample, sample_filtered, sample_lines, surprisals
from charloom.search import most_probable
from charloom.vocabulary import MARKER, Vocabulary

UNUSUAL_PERCENTILE = 95


@dataclass(frozen=True)
class Reference:
    """How surprising the model finds dev: the 0th to 100th percentile of nats per character.

    ``items`` are the means of whole items, ``characters`` single characters.
    """

    items: list[float]
    characters: list[float]

    @classmethod
    def measure(cls, model: LanguageModel, dataset: Dataset) -> Reference:
        """Percentiles over the dev part of a data set."""
        dev = dataset.encoded("dev")
        return cls(*(_percentiles(losses) for losses in (item_losses(model, dev), target_losses(model, dev))))


@dataclass(frozen=True)
class Score:
    """How surprising a model finds one item."""

    text: str
    characters: list[tuple[str, float]]
    """Each character with its surprisal in nats, the end marker last as an empty string (unit ``line``)."""
    percentile: float | None
    """Share of dev items, in percent, that the model finds less surprising per character."""
    surprising: list[int]
    """Positions of the characters above the 95th percentile of dev's characters."""

    @property
    def nats(self) -> float:
        """Surprisal of the whole item: -ln of its probability."""
        return math.fsum(nats for _, nats in self.characters)

    @property
    def nats_per_character(self) -> float:
        """Mean surprisal, the end marker counted as a character."""
        return self.nats / max(1, len(self.characters))

    @property
    def unusual(self) -> bool | None:
        """Whether the item is more surprising than 95% of dev; ``None`` where nothing is known of dev."""
        return None if self.percentile is None else self.percentile >= UNUSUAL_PERCENTILE

    def to_json(self) -> dict[str, Any]:
        """``text``, ``nats``, ``nats_per_character``, ``percentile``, ``unusual``, and ``characters`` as objects."""
        return {
            "text": self.text,
            "nats": finite(self.nats),
            "nats_per_character": finite(self.nats_per_character),
            "percentile": self.percentile,
            "unusual": self.unusual,
            "characters": [
                {"character": character, "nats": finite(nats), "surprising": position in self.surprising}
                for position, (character, nats) in enumerate(self.characters)
            ],
        }


@dataclass(frozen=True)
class TextModel:
    """A language model with the vocabulary it was made for."""

    config: ModelConfig
    model: LanguageModel
    vocabulary: Vocabulary
    data: DataConfig
    """How the text it was made from was read; prefixes and items to score are read likewise."""
    reference: Reference | None = None

    def samples(self, config: SamplingConfig) -> Iterator[Sample]:
        """Items without end (see `charloom.sampling`)."""
        return sample(self.model, self.vocabulary, self._read(config), unit=self.data.unit)

    def sample_lines(self, n: int, config: SamplingConfig, *, threads: int | None = None) -> Iterator[bytes]:
        """The texts of the first ``n`` of `samples` in UTF-8, a line feed after each, many at a time."""
        return sample_lines(self.model, self.vocabulary, self._read(config), n, unit=self.data.unit, threads=threads)

    def sample(
        self, n: int, *, known: Collection[str] | None = None, unique: bool = False, **settings: Any
    ) -> list[Sample]:
        """``n`` items; ``settings`` are those of `SamplingConfig`. None stands in ``known``; ``unique`` ones differ.

        Raises `SamplingError` when the model does not give that many.
        """
        samples = self.samples(SamplingConfig(**settings))
        return list(sample_filtered(samples, n, known=known, unique=unique))

    def _read(self, config: SamplingConfig) -> SamplingConfig:
        """The settings, with the prefix read as the data was."""
        return dataclasses.replace(config, prefix=normalized(config.prefix, self.data))

    def best(self, n: int, *, prefix: str = "", max_length: int = 100) -> list[Sample]:
        """The ``n`` most probable items, exactly (see `charloom.search`)."""
        prefix = normalized(prefix, self.data)
        return most_probable(self.model, self.vocabulary, n, prefix=prefix, max_length=max_length)

    def score(self, text: str, *, where: str = "item") -> Score:
        """The surprisal of every character of one item.

        Raises `UnknownCharacterError` for a character outside the vocabulary.
        """
        text = normalized(text, self.data)
        if self.data.unit == "line" and self.data.strip:
            text = text.strip()
        ids = self.vocabulary.encode(text, where=where)
        if self.data.unit == "line":
            ids = np.append(ids, MARKER)
        nats = [float(value) for value in surprisals(self.model, ids)]
        characters = list(zip([*text, ""], nats, strict=False))
        if self.reference is None:
            return Score(text, characters, None, [])
        limit = self.reference.characters[UNUSUAL_PERCENTILE]
        mean = math.fsum(nats) / max(1, len(nats))
        percentile = None if self.data.unit == "text" else float(min(100, bisect_left(self.reference.items, mean)))
        return Score(text, characters, percentile, [i for i, value in enumerate(nats) if value > limit])

    def evaluate(self, dataset: Dataset, part: PartName = "dev") -> Evaluation:
        """The loss on one part of a data set, and apart on its items seen and not seen in training."""
        return evaluate(self.model, dataset.encoded(part), dataset.part(part).items, dataset.part("train").items)

    def evaluate_file(self, dataset: Dataset, data: str) -> Evaluation:
        """The loss on all items of another file, read as ``dataset`` was, apart on those in its training part.

        Raises `UnknownCharacterError` for a character outside the vocabulary.
        """
        corpus = load(dataclasses.replace(dataset.config, data=data))
        items = [normalized(item, self.data) for item in corpus.items]
        encoded = self.vocabulary.encode_items(items, unit=corpus.unit, place=corpus.place)
        return evaluate(self.model, encoded, items, dataset.part("train").items)


def _percentiles(losses: Any) -> list[float]:
    return [float(value) for value in np.percentile(np.minimum(losses, 1e6), range(101))]
