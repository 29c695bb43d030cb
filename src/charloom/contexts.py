"""Encoded items become rows: a context of fixed length, and the target that follows it.

Rows are made on demand from the encoded ids, a block at a time, so that memory is bounded by the text and not by the
text times the context length.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

import numpy as np

from charloom.vocabulary import MARKER, Encoded

if TYPE_CHECKING:
    from jaxtyping import Float, Int


LARGEST_DISTINCT = 1 << 25
"""Rows up to which distinct contexts are looked for unasked: for more it takes ten seconds and longer."""
LOOKED_AT_ONCE = 1 << 20
"""Rows among which distinct contexts are looked for at once."""


class Contexts:
    """All (context, target) rows of some encoded items, one row per target, in order.

    A context holds the ``context_length`` ids before its target, oldest first. It never reaches into the item before:
    what would lie there is the marker, id 0.
    """

    def __init__(self, encoded: Encoded, context_length: int) -> None:
        self.context_length = context_length
        self.ids: Int[np.ndarray, " targets"] = encoded.ids
        lengths = np.diff(encoded.starts, append=len(encoded.ids))
        position_in_item = np.arange(len(encoded.ids)) - np.repeat(encoded.starts, lengths)
        self.reach: Int[np.ndarray, " targets"] = np.minimum(position_in_item, context_length).astype(np.int32)
        """How many ids of its own item stand before each, at most ``context_length``."""

    def __len__(self) -> int:
        return len(self.ids)

    def rows(
        self, index: Int[np.ndarray, "*batch"]
    ) -> tuple[Int[np.ndarray, "*batch context"], Int[np.ndarray, "*batch"]]:
        """Contexts and targets of the rows at ``index`` (any shape), as int64."""
        back = np.arange(self.context_length, 0, -1)
        inside = back <= self.reach[index][..., None]
        # Positions before the first id are clipped to it; `inside` masks them like every other id of another item.
        contexts = np.where(inside, self.ids.take(index[..., None] - back, mode="clip"), MARKER)
        return contexts.astype(np.int64), self.ids[index].astype(np.int64)

    def all_rows(self) -> tuple[Int[np.ndarray, "rows context"], Int[np.ndarray, " rows"]]:
        """Every context and target at once: for counting."""
        return self.rows(np.arange(len(self)))

    def blocks(
        self, size: int = 1 << 16
    ) -> Iterator[tuple[Int[np.ndarray, "block context"], Int[np.ndarray, " block"]]]:
        """Every context and target in order, ``size`` rows at a time."""
        for first in range(0, len(self), size):
            yield self.rows(np.arange(first, min(first + size, len(self))))


def distinct_contexts(
    contexts: Int[np.ndarray, "rows context"], vocabulary_size: int
) -> tuple[Int[np.ndarray, "distinct context"], Int[np.ndarray, " rows"]]:
    """The distinct contexts, and for each row which of them it is; ``np.bincount`` of the latter counts them."""
    length = contexts.shape[1]
    if vocabulary_size**length >= 1 << 63:
        distinct, which = np.unique(contexts, axis=0, return_inverse=True)
        return distinct, which.reshape(-1)
    place_values = vocabulary_size ** np.arange(length - 1, -1, -1, dtype=np.int64)
    keys, which = np.unique(contexts @ place_values, return_inverse=True)
    return keys[:, None] // place_values % vocabulary_size, which


class DistinctContexts:
    """The distinct contexts of some rows, how often each occurs, and what follows it how often.

    Context ``i`` is followed by ``targets[starts[i]:starts[i + 1]]``. Contexts are in the order of their ids, the
    newest first.
    """

    def __init__(self, rows: Contexts, vocabulary_size: int) -> None:
        newest_first, which, self.targets, counts = _distinct_pairs(rows, vocabulary_size)
        self.contexts: Int[np.ndarray, "distinct context"] = newest_first[:, ::-1].copy()
        self.counts: Int[np.ndarray, " distinct"] = np.bincount(which, counts).astype(np.int64)
        self.starts: Int[np.ndarray, " distinct_and_1"] = np.searchsorted(which, np.arange(len(self.counts) + 1))
        self.target_counts: Int[np.ndarray, " pairs"] = counts

    def __len__(self) -> int:
        return len(self.counts)


def _distinct_pairs(
    rows: Contexts, vocabulary_size: int
) -> tuple[
    Int[np.ndarray, "distinct context"],
    Int[np.ndarray, " pairs"],
    Int[np.ndarray, " pairs"],
    Int[np.ndarray, " pairs"],
]:
    """The distinct contexts, newest character first; and of each distinct pair of a context and a target, which context
    it has, which target, and how often it occurs. Pairs are in order.

    Where a pair fits into 63 bits, a million rows at a time are looked at, so that memory is bounded by the pairs.
    """
    length = rows.context_length
    if vocabulary_size ** (length + 1) >= 1 << 63:
        contexts, targets = rows.all_rows()
        distinct, which = distinct_contexts(contexts[:, ::-1], vocabulary_size)
        pairs, counts = np.unique(which * vocabulary_size + targets, return_counts=True)
        which, targets = np.divmod(pairs, vocabulary_size)
        return distinct, which, targets, counts
    place_values = vocabulary_size ** np.arange(length, dtype=np.int64)
    parts: list[tuple[Int[np.ndarray, " pairs"], Int[np.ndarray, " pairs"]]] = []
    for contexts, targets in rows.blocks(LOOKED_AT_ONCE):
        parts.append(np.unique((contexts @ place_values) * vocabulary_size + targets, return_counts=True))
        # Merged when the last is as large as the one before, so that each pair is moved a few times only.
        while len(parts) > 1 and 2 * len(parts[-1][0]) > len(parts[-2][0]):
            parts[-2:] = [_merged(*parts[-2:])]
    while len(parts) > 1:
        parts[-2:] = [_merged(*parts[-2:])]
    pairs, counts = parts[0] if parts else (np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
    keys, targets = np.divmod(pairs, vocabulary_size)
    keys, which = np.unique(keys, return_inverse=True)
    return keys[:, None] // place_values[::-1] % vocabulary_size, which, targets, counts


def _merged(
    one: tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]], other: tuple[Int[np.ndarray, " m"], Int[np.ndarray, " m"]]
) -> tuple[Int[np.ndarray, " k"], Int[np.ndarray, " k"]]:
    """Sorted keys with their counts, those of both."""
    keys, place = np.unique(np.concatenate([one[0], other[0]]), return_inverse=True)
    return keys, np.bincount(place, np.concatenate([one[1], other[1]])).astype(np.int64)


@dataclass(frozen=True)
class Batches:
    """Some steps' batches. Each row is a context with the targets that follow it, and a weight in the mean.

    Row ``r`` of ``contexts`` has the targets ``targets[starts[r]:starts[r + 1]]``, which follow it with ``shares`` that
    sum to 1. Step ``s`` trains on ``rows[s]``; its loss is the sum of ``weights[s]`` times the cross-entropies.
    """

    contexts: Int[np.ndarray, "pool context"]
    starts: Int[np.ndarray, " pool_and_1"]
    targets: Int[np.ndarray, " pairs"]
    shares: Float[np.ndarray, " pairs"]
    rows: Int[np.ndarray, "steps batch"]
    weights: Float[np.ndarray, "steps batch"]
    numbers: Int[np.ndarray, "steps batch"]
    """What the rows are called outside: numbers of training rows, or of distinct contexts."""

    def dense(self, vocabulary_size: int) -> Float[np.ndarray, "pool vocab"]:
        """The shares of every target after each context."""
        table = np.zeros((len(self.contexts), vocabulary_size), dtype=np.float32)
        table[np.repeat(np.arange(len(self.contexts)), np.diff(self.starts)), self.targets] = self.shares
        return table


class BatchSource(Protocol):
    """Where batches come from. They are a function of the step, so that a resumed training needs nothing restored."""

    def batches(self, first_step: int, steps: int) -> Batches:
        """The batches of ``steps`` steps from ``first_step`` (from 0) on."""


class RowBatches:
    """Batches of rows, each row once per epoch, in random order; a row's target is the one that follows it there."""

    def __init__(self, contexts: Contexts, batch_size: int, seed: int) -> None:
        self.contexts = contexts
        self._order = RowOrder(len(contexts), batch_size, seed)

    def numbers(self, first_step: int, steps: int) -> Int[np.ndarray, "steps batch"]:
        """Only which rows the steps train on."""
        return self._order.indices(first_step, steps)

    def batches(self, first_step: int, steps: int) -> Batches:
        """See `BatchSource`. All rows weigh the same."""
        rows = self.numbers(first_step, steps)
        contexts, targets = self.contexts.rows(rows.reshape(-1))
        return Batches(
            contexts=contexts,
            starts=np.arange(rows.size + 1),
            targets=targets,
            shares=np.ones(rows.size, dtype=np.float32),
            rows=np.arange(rows.size).reshape(rows.shape),
            weights=np.full(rows.shape, 1 / rows.shape[1], dtype=np.float32),
            numbers=rows,
        )


class DistinctBatches:
    """Batches of distinct contexts, each with all the targets that follow it anywhere.

    The cross-entropy of each context against the shares of its targets, weighted by how often it occurs, sums to the
    loss over all rows exactly. Where not every context fits into a batch, its first half holds the commonest ones, and
    the others are drawn by their counts: ordered by their newest characters, one from each stretch of equal mass. Every
    one of those weighs the same, so that the expected loss, and the expected gradient, are those over all rows.
    """

    STEPS_AT_ONCE = 256

    def __init__(self, distinct: DistinctContexts, batch_size: int, seed: int) -> None:
        self._distinct = distinct
        self._counts = distinct.counts
        self._shares = (distinct.target_counts / np.repeat(distinct.counts, np.diff(distinct.starts))).astype(
            np.float32
        )
        self._seed = seed
        self._everything = len(self._counts) <= batch_size
        kept = len(self._counts) if self._everything else batch_size // 2
        by_count = np.argsort(-self._counts, kind="stable")
        self._kept = np.sort(by_count[:kept])
        self._others = np.sort(by_count[kept:])
        self._drawn = 0 if self._everything else batch_size - kept
        self._mass = np.cumsum(self._counts[self._others])
        self._draws = lru_cache(maxsize=2)(self._draw)

    def batches(self, first_step: int, steps: int) -> Batches:
        """See `BatchSource`."""
        kept = np.broadcast_to(self._kept, (steps, len(self._kept)))
        certain = self._counts[self._kept] / self._counts.sum()
        weights = np.empty((steps, len(self._kept) + self._drawn), dtype=np.float32)
        weights[:, : len(self._kept)] = certain
        if self._drawn:
            weights[:, len(self._kept) :] = self._mass[-1] / self._counts.sum() / self._drawn
            drawn = [self._draws(block)[step] for block, step in self._steps(first_step, steps)]
            rows = np.concatenate([kept, np.stack(drawn)], axis=1)
        else:
            rows = kept.copy()
        return Batches(
            contexts=self._distinct.contexts,
            starts=self._distinct.starts,
            targets=self._distinct.targets,
            shares=self._shares,
            rows=rows,
            weights=weights,
            numbers=rows,
        )

    def _steps(self, first: int, steps: int) -> Iterator[tuple[int, int]]:
        return (divmod(step, self.STEPS_AT_ONCE) for step in range(first, first + steps))

    def _draw(self, block: int) -> Int[np.ndarray, "steps drawn"]:
        """One context from each of as many stretches of equal mass, for the steps of a block."""
        key = np.array([self._seed, block], dtype=np.uint64)
        random = np.random.Generator(np.random.Philox(key=key))
        place = (np.arange(self._drawn) + random.random((self.STEPS_AT_ONCE, self._drawn))) / self._drawn
        found: Int[np.ndarray, "steps drawn"] = self._others[
            np.searchsorted(self._mass, place * self._mass[-1], side="right").clip(max=len(self._others) - 1)
        ]
        return found


class RowOrder:
    """Which rows each step trains on: every row once per epoch, in an order that seed and epoch alone decide.

    The order is a function of the step and keeps no state, so that a resumed training needs none to be restored.
    """

    def __init__(self, rows: int, batch_size: int, seed: int) -> None:
        self.rows = rows
        self.batch_size = batch_size
        self.seed = seed
        self._permutation = lru_cache(maxsize=2)(self._permute)

    def indices(self, first_step: int, steps: int) -> Int[np.ndarray, "steps batch"]:
        """Row numbers of ``steps`` batches from ``first_step`` on; a batch may reach into the next epoch."""
        position = first_step * self.batch_size
        end = position + steps * self.batch_size
        pieces = []
        while position < end:
            epoch, offset = divmod(position, self.rows)
            piece = self._permutation(epoch)[offset : offset + end - position]
            pieces.append(piece)
            position += len(piece)
        return np.concatenate(pieces).reshape(steps, self.batch_size)

    def _permute(self, epoch: int) -> Int[np.ndarray, " rows"]:
        key = np.array([self.seed, epoch], dtype=np.uint64)
        return np.random.Generator(np.random.Philox(key=key)).permutation(self.rows)
