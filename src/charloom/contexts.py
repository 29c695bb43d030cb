"""Encoded items become rows: a context of fixed length, and the target that follows it.

Rows are made on demand from the encoded ids, a block at a time, so that memory is bounded by the text and not by the
text times the context length.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from charloom.vocabulary import MARKER, Encoded

if TYPE_CHECKING:
    from jaxtyping import Int


class Contexts:
    """All (context, target) rows of some encoded items, one row per target, in order.

    A context holds the ``context_length`` ids before its target, oldest first. It never reaches into the item before:
    what would lie there is the marker, id 0.
    """

    def __init__(self, encoded: Encoded, context_length: int) -> None:
        self.context_length = context_length
        self._ids = encoded.ids
        lengths = np.diff(encoded.starts, append=len(encoded.ids))
        position_in_item = np.arange(len(encoded.ids)) - np.repeat(encoded.starts, lengths)
        self._reach = np.minimum(position_in_item, context_length).astype(np.int32)

    def __len__(self) -> int:
        return len(self._ids)

    def rows(
        self, index: Int[np.ndarray, "*batch"]
    ) -> tuple[Int[np.ndarray, "*batch context"], Int[np.ndarray, "*batch"]]:
        """Contexts and targets of the rows at ``index`` (any shape), as int64."""
        back = np.arange(self.context_length, 0, -1)
        inside = back <= self._reach[index][..., None]
        # Positions before the first id are clipped to it; `inside` masks them like every other id of another item.
        contexts = np.where(inside, self._ids.take(index[..., None] - back, mode="clip"), MARKER)
        return contexts.astype(np.int64), self._ids[index].astype(np.int64)

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
