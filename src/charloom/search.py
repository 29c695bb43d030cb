"""The most probable items of a model, exactly, by best-first search over prefixes.

A prefix is at least as probable as every item that starts with it, so once the best open prefix is less probable than
the n-th best item found, no better item is left.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

import numpy as np

from charloom.errors import SamplingError
from charloom.loss import log_softmax
from charloom.models import LanguageModel
from charloom.sampling import Sample, log_probability
from charloom.vocabulary import MARKER, Vocabulary

if TYPE_CHECKING:
    from jaxtyping import Int

PREFIXES_AT_ONCE = 256
OPEN_PREFIXES = 5_000_000


def most_probable(
    model: LanguageModel, vocabulary: Vocabulary, n: int, *, prefix: str = "", max_length: int = 100
) -> list[Sample]:
    """The ``n`` most probable items of at most ``max_length`` characters that start with ``prefix``, best first.

    Fewer than ``n`` are returned where no more are possible, and none for an ``n`` below 1. Equally probable items come
    in the order of their ids; which of them is left out, where not all fit, is not defined.

    Raises `UnknownCharacterError` for the prefix, and `SamplingError` when more than five million prefixes are open at
    once: then the model spreads its probability too thinly for ``n`` items to be found exactly.
    """
    start = tuple(int(i) for i in vocabulary.encode(prefix, where="prefix"))
    open_prefixes: list[tuple[float, tuple[int, ...]]] = []
    if n >= 1 and len(start) <= max_length:
        open_prefixes.append((-log_probability(model, np.array(start, dtype=np.int64)), start))
    found: list[tuple[float, tuple[int, ...]]] = []  # a heap whose first entry is the worst of the n best
    while open_prefixes and (len(found) < n or open_prefixes[0][0] <= -found[0][0]):
        batch = [heapq.heappop(open_prefixes) for _ in range(min(PREFIXES_AT_ONCE, len(open_prefixes)))]
        contexts = np.stack([_context(ids, model.context_length) for _, ids in batch])
        costs = -log_softmax(model.next_logits(contexts)) + np.array([cost for cost, _ in batch])[:, None]
        for (_, ids), row in zip(batch, costs, strict=True):
            if np.isfinite(row[MARKER]):
                _keep_best(found, float(row[MARKER]), ids, n)
        bound = -found[0][0] if len(found) == n else np.inf
        for (_, ids), row in zip(batch, costs, strict=True):
            if len(ids) < max_length:
                for character in np.flatnonzero((row <= bound) & np.isfinite(row)):
                    if character != MARKER:
                        heapq.heappush(open_prefixes, (float(row[character]), (*ids, int(character))))
        if len(open_prefixes) > OPEN_PREFIXES:
            raise SamplingError(
                f"more than {OPEN_PREFIXES:,} prefixes are open, with {len(found)} of {n} items found",
                remedy="Ask for fewer items, give a prefix, or a smaller maximum length.",
            )
    ranked = sorted((-negative_cost, ids) for negative_cost, ids in found)
    return [Sample(vocabulary.decode(np.array(ids, dtype=np.int64)), -cost, True) for cost, ids in ranked]


def _keep_best(found: list[tuple[float, tuple[int, ...]]], cost: float, ids: tuple[int, ...], n: int) -> None:
    """Costs are negated so that the heap's first entry is the worst."""
    entry = (-cost, ids)
    if len(found) < n:
        heapq.heappush(found, entry)
    else:
        heapq.heappushpop(found, entry)


def _context(ids: tuple[int, ...], length: int) -> Int[np.ndarray, " context"]:
    context = np.full(length, MARKER, dtype=np.int64)
    recent = ids[max(0, len(ids) - length) :]
    context[length - len(recent) :] = recent
    return context
