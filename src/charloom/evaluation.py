"""How good a model is on items, and how good its samples are.

A loss is always the mean over *targets* (characters and end markers), so that long items weigh more than short ones and
losses of different batch sizes can be compared.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from charloom.contexts import Contexts, DistinctContexts, distinct_contexts
from charloom.loss import bits, log_softmax, perplexity
from charloom.models import LanguageModel
from charloom.vocabulary import Encoded

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

LOGITS_AT_ONCE = 1 << 22
"""Logits asked of a model at once, which bounds the memory whatever the size of the vocabulary."""


@dataclass(frozen=True)
class Loss:
    """Mean negative log-likelihood of ``targets`` targets, in nats per character."""

    nats: float
    targets: int
    items: int

    def to_json(self) -> dict[str, Any]:
        """``nats``, ``bits``, ``perplexity`` per character (``None``: infinite); numbers of ``targets``, ``items``."""
        return {
            "nats": finite(self.nats),
            "bits": finite(bits(self.nats)),
            "perplexity": finite(perplexity(self.nats)),
            "targets": self.targets,
            "items": self.items,
        }


@dataclass(frozen=True)
class Evaluation:
    """The loss on some items, and apart on those that also stand in the training data and those that do not.

    A part without items is ``None``.
    """

    loss: Loss
    seen: Loss | None
    unseen: Loss | None

    def to_json(self) -> dict[str, Any]:
        """The three losses under ``loss``, ``seen`` and ``unseen``."""
        parts = {"loss": self.loss, "seen": self.seen, "unseen": self.unseen}
        return {name: part.to_json() if part else None for name, part in parts.items()}


def target_losses(model: LanguageModel, encoded: Encoded) -> Float[np.ndarray, " targets"]:
    """Nats of every target, in order. Each distinct context of a block is put to the model once."""
    contexts = Contexts(encoded, model.context_length)
    losses = np.empty(len(contexts))
    done = 0
    for block, targets in contexts.blocks(max(1, LOGITS_AT_ONCE // model.vocabulary_size)):
        distinct, which = distinct_contexts(block, model.vocabulary_size)
        losses[done : done + len(targets)] = -log_softmax(model.next_logits(distinct))[which, targets]
        done += len(targets)
    return losses


def item_losses(model: LanguageModel, encoded: Encoded) -> Float[np.ndarray, " items"]:
    """Mean nats per character of every item, its end marker counted as a character."""
    sums = np.add.reduceat(target_losses(model, encoded), encoded.starts)
    means: Float[np.ndarray, " items"] = sums / _lengths(encoded)
    return means


def mean_loss(model: LanguageModel, encoded: Encoded) -> Loss:
    """The token-weighted loss on all items."""
    return _loss(target_losses(model, encoded), len(encoded.starts))


def mean_nats(model: LanguageModel, distinct: DistinctContexts) -> float:
    """The same loss from distinct contexts, which can be made once for many evaluations."""
    total, vocabulary_size = 0.0, model.vocabulary_size
    size = max(1, LOGITS_AT_ONCE // vocabulary_size)
    for first in range(0, len(distinct), size):
        starts = distinct.starts[first : first + size + 1]
        pairs = slice(starts[0], starts[-1])
        log_p = log_softmax(model.next_logits(distinct.contexts[first : first + size]))
        which = np.repeat(np.arange(len(log_p)), np.diff(starts))
        total -= float(distinct.target_counts[pairs] @ log_p[which, distinct.targets[pairs]])
    return total / int(distinct.counts.sum())


def evaluate(
    model: LanguageModel, encoded: Encoded, items: Sequence[str], training_items: Collection[str]
) -> Evaluation:
    """The loss on ``items`` (encoded as ``encoded``), and apart on those seen in training and those not."""
    losses = target_losses(model, encoded)
    known = frozenset(training_items)
    seen = np.array([item in known for item in items], dtype=bool)
    seen_targets = np.repeat(seen, _lengths(encoded))
    return Evaluation(
        loss=_loss(losses, len(items)),
        seen=_loss_where(losses, seen_targets, int(seen.sum())),
        unseen=_loss_where(losses, ~seen_targets, int((~seen).sum())),
    )


@dataclass(frozen=True)
class SampleQuality:
    """What share of samples is new, and whether they look like the data in length."""

    samples: int
    novel: float
    """Share that does not stand in the training data."""
    unique: float
    """Distinct samples over samples."""
    duplicated: float
    """Share of samples whose text another sample has too."""
    mean_length: float
    data_mean_length: float

    def to_json(self) -> dict[str, Any]:
        """The fields by name."""
        return dict(vars(self))


def sample_quality(samples: Sequence[str], training_items: Collection[str]) -> SampleQuality:
    """Novelty, diversity and length of samples against the training items (lengths in characters)."""
    known = frozenset(training_items)
    counts = Counter(samples)
    return SampleQuality(
        samples=len(samples),
        novel=sum(text not in known for text in samples) / len(samples),
        unique=len(counts) / len(samples),
        duplicated=sum(count for count in counts.values() if count > 1) / len(samples),
        mean_length=sum(map(len, samples)) / len(samples),
        data_mean_length=sum(map(len, training_items)) / len(training_items),
    )


def finite(value: float) -> float | None:
    """The value, or ``None`` for an infinite one, which JSON has no word for."""
    return value if math.isfinite(value) else None


def _lengths(encoded: Encoded) -> Any:
    return np.diff(encoded.starts, append=len(encoded.ids))


def _loss(losses: Float[np.ndarray, " targets"], items: int) -> Loss:
    return Loss(nats=float(losses.mean()) if len(losses) else math.nan, targets=len(losses), items=items)


def _loss_where(losses: Float[np.ndarray, " targets"], chosen: Bool[np.ndarray, " targets"], items: int) -> Loss | None:
    return _loss(losses[chosen], items) if items else None
