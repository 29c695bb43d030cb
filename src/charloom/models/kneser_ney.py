"""Interpolated modified Kneser-Ney smoothing of any order (Chen & Goodman 1998, section 3).

With h a context, h' the same without its oldest character, and c the counts of the order at hand,

    P(w | h) = (c(h, w) - D(c(h, w))) / c(h)  +  gamma(h) P(w | h'),    gamma(h) = sum over w of D(c(h, w)) / c(h)

with D(0) = 0, and P(w | h) = P(w | h') where h was never seen.

- The highest order counts occurrences. Every lower order counts continuations: the different characters that precede
  the n-gram. That holds at an item's start too, because order - 1 markers stand there and each shorter n-gram has one
  to its left. To count occurrences there instead, as is usual with one start marker, is worse: 1.9978 nats/char
  against 1.9740 (order 6, dev of the parity names, classic).
- Below the unigram lies the uniform distribution 1/V, so every character has a probability above 0.
- D takes three values in each order, for counts of 1, 2 and at least 3; see `discounts_from`.

Contexts are nodes of a trie that reads from the newest character back to the oldest: a walk from the root meets every
context the recursion needs. Nodes are numbered level by level, and node i > 0 has the key parent * V + character.
Sorted by key, nodes are in the order of their numbers, so one sorted array holds the trie; what was counted after node
i is ``targets[offsets[i]:offsets[i + 1]]``, with ``counts`` beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from charloom.errors import CheckpointError, ConfigError
from charloom.models.counts import LARGEST_COUNT, check_contexts, check_rows, stored_array

if TYPE_CHECKING:
    from jaxtyping import Float, Int

FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)
"""Discounts where the counts are too few, or too regular, to estimate them from."""


class KneserNey:
    """An n-gram model. Use `fit` to count one."""

    def __init__(
        self,
        vocabulary_size: int,
        *,
        keys: Int[np.ndarray, " contexts"],
        offsets: Int[np.ndarray, " nodes_and_1"],
        targets: Int[np.ndarray, " counts"],
        counts: Int[np.ndarray, " counts"],
        discounts: Float[np.ndarray, "order 3"],
    ) -> None:
        self.vocabulary_size = vocabulary_size
        self.order = len(discounts)
        """n: the context and the target together."""
        self.discounts = discounts
        """D for counts of 1, 2 and at least 3; the unigram's first."""
        self._keys, self._offsets, self._targets, self._counts = keys, offsets, targets, counts
        self._levels = _level_bounds(keys, self.order, vocabulary_size)
        self._kept, self._backoff = _interpolation(offsets, counts, discounts, self._levels)
        root = slice(0, offsets[1])
        self._unigram = np.full(vocabulary_size, self._backoff[0] / vocabulary_size)
        self._unigram[targets[root]] += self._kept[root]

    @property
    def context_length(self) -> int:
        """Characters the model looks back at: order - 1."""
        return self.order - 1

    @classmethod
    def fit(
        cls,
        contexts: Int[np.ndarray, "rows context"],
        targets: Int[np.ndarray, " rows"],
        vocabulary_size: int,
        *,
        order: int,
        weights: Int[np.ndarray, " rows"] | None = None,
    ) -> KneserNey:
        """Count n-grams of length 1 to ``order``, each row ``weights`` times (once if left out).

        Contexts are left-padded with the marker and at least order - 1 wide; of wider ones the newest ids are used.
        No rows at all give the uniform distribution. Raises `ConfigError` for an order below 1, `ValueError` for
        arrays that do not fit together.
        """
        if order < 1:
            raise ConfigError(f"there is no n-gram of order {order}", remedy="The order is at least 1.")
        contexts, targets, weights = check_rows(contexts, targets, weights, order - 1, vocabulary_size)
        keys, leaves = _grow_trie(contexts, vocabulary_size)
        # An n-gram is coded as node * V + target, which sorts by context first.
        grams, counts = _distinct(leaves * vocabulary_size + targets, weights)
        levels = [(grams, counts)]
        for _ in range(order - 1):
            nodes, last = np.divmod(grams, vocabulary_size)
            parents = keys[nodes - 1] // vocabulary_size
            grams, counts = np.unique(parents * vocabulary_size + last, return_counts=True)
            levels.insert(0, (grams, counts))
        nodes, last = np.divmod(np.concatenate([grams for grams, _ in levels]), vocabulary_size)
        return cls(
            vocabulary_size,
            keys=keys,
            offsets=np.searchsorted(nodes, np.arange(len(keys) + 2)),
            targets=last.astype(np.int32),
            counts=np.concatenate([counts for _, counts in levels]),
            discounts=np.array([discounts_from(counts) for _, counts in levels]),
        )

    def parameter_count(self) -> int:
        """Stored counts: the different n-grams of every order, 1 to n."""
        return len(self._counts)

    def next_logits(self, contexts: Int[np.ndarray, "batch context"]) -> Float[np.ndarray, "batch vocab"]:
        """ln P(w | h): natural-log probabilities, each finite, each row summing to 1 before the log.

        Of contexts wider than order - 1 the newest ids are used. Raises `ValueError` for narrower ones, and for ids
        outside the vocabulary.
        """
        contexts = check_contexts(contexts, self.context_length, self.vocabulary_size)
        probabilities = np.zeros((len(contexts), self.vocabulary_size))
        share_left = np.ones(len(contexts))
        for rows, nodes in reversed(self._walk(contexts)):
            first, size = self._offsets[nodes], self._offsets[nodes + 1] - self._offsets[nodes]
            skipped = np.cumsum(size) - size
            entries = np.arange(size.sum()) + np.repeat(first - skipped, size)
            row = np.repeat(rows, size)
            probabilities[row, self._targets[entries]] += share_left[row] * self._kept[entries]
            share_left[rows] *= self._backoff[nodes]
        probabilities += share_left[:, None] * self._unigram
        # At very high orders a product of back-off weights can underflow; a logit of -inf would claim "impossible".
        np.maximum(probabilities, np.finfo(np.float64).tiny, out=probabilities)
        return np.log(probabilities, out=probabilities)

    def arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        """The trie, its counts and the discounts, for storage."""
        return {
            "keys": self._keys,
            "offsets": self._offsets,
            "targets": self._targets,
            "counts": self._counts,
            "discounts": self.discounts,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray[Any, Any]], vocabulary_size: int, *, order: int) -> KneserNey:
        """The model that `arrays` came from.

        Raises `CheckpointError` unless they are a trie of that order with counts that give proper distributions.
        """
        _check_stored(arrays, vocabulary_size, order)
        return cls(vocabulary_size, **arrays)

    def _walk(
        self, contexts: Int[np.ndarray, "batch context"]
    ) -> list[tuple[Int[np.ndarray, " known"], Int[np.ndarray, " known"]]]:
        """For each level below the root, the rows whose context is known that far back, and their nodes."""
        steps = []
        rows, nodes = np.arange(len(contexts)), np.zeros(len(contexts), np.int64)
        for depth in range(1, self.order):
            level = self._keys[self._levels[depth] - 1 : self._levels[depth + 1] - 1]
            if not len(level) or not len(rows):
                break
            wanted = nodes * self.vocabulary_size + contexts[rows, -depth]
            place = np.minimum(np.searchsorted(level, wanted), len(level) - 1)
            known = level[place] == wanted
            rows, nodes = rows[known], self._levels[depth] + place[known]
            steps.append((rows, nodes))
        return steps


def discounts_from(counts: Int[np.ndarray, " counts"]) -> tuple[float, float, float]:
    """D for counts of 1, 2 and at least 3 (Chen & Goodman 1998, section 3).

    With n_i the number of n-grams counted i times and Y = n_1 / (n_1 + 2 n_2), D_i = i - (i + 1) Y n_(i+1) / n_i.
    Where one of n_1 ... n_4 is 0, as in tiny corpora and at the unigram, or a D_i is not above 0, all three are
    `FALLBACK_DISCOUNTS`. So 0 < D_i < i always.
    """
    n1, n2, n3, n4 = (int(np.count_nonzero(counts == i)) for i in (1, 2, 3, 4))
    if not (n1 and n2 and n3 and n4):
        return FALLBACK_DISCOUNTS
    y = n1 / (n1 + 2 * n2)
    estimated = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    return estimated if min(estimated) > 0 else FALLBACK_DISCOUNTS


def _grow_trie(
    contexts: Int[np.ndarray, "rows context"], vocabulary_size: int
) -> tuple[Int[np.ndarray, " contexts"], Int[np.ndarray, " rows"]]:
    """The keys of all nodes but the root, and the deepest node of each row."""
    nodes = np.zeros(len(contexts), np.int64)
    levels = [np.zeros(0, np.int64)]
    created = 1
    for depth in range(1, contexts.shape[1] + 1):
        level, place = np.unique(nodes * vocabulary_size + contexts[:, -depth], return_inverse=True)
        nodes = created + place
        created += len(level)
        levels.append(level)
    return np.concatenate(levels), nodes


def _distinct(
    grams: Int[np.ndarray, " rows"], weights: Int[np.ndarray, " rows"] | None
) -> tuple[Int[np.ndarray, " grams"], Int[np.ndarray, " grams"]]:
    if weights is None:
        return np.unique(grams, return_counts=True)
    distinct, place = np.unique(grams, return_inverse=True)
    return distinct, np.bincount(place, weights, minlength=len(distinct)).astype(np.int64)


def _level_bounds(keys: Int[np.ndarray, " contexts"], order: int, vocabulary_size: int) -> list[int]:
    """Level k of the trie is nodes ``bounds[k]`` up to ``bounds[k + 1]``, for k = 0 (the root) to order - 1."""
    bounds = [0, 1]
    for _ in range(order - 1):
        bounds.append(1 + int(np.searchsorted(keys, bounds[-1] * vocabulary_size)))
    return bounds


def _interpolation(
    offsets: Int[np.ndarray, " nodes_and_1"],
    counts: Int[np.ndarray, " counts"],
    discounts: Float[np.ndarray, "order 3"],
    levels: list[int],
) -> tuple[Float[np.ndarray, " counts"], Float[np.ndarray, " nodes"]]:
    """(c - D(c)) / c(h) of each n-gram, and gamma(h) of each context; gamma is 1 where nothing was counted."""
    nodes = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    level = np.repeat(np.arange(len(discounts)), np.diff(offsets[levels]))
    taken = discounts[level, np.minimum(counts, 3) - 1]
    total = np.bincount(nodes, counts, minlength=len(offsets) - 1)
    given = np.bincount(nodes, taken, minlength=len(offsets) - 1)
    return (counts - taken) / total[nodes], np.divide(given, total, out=np.ones(len(total)), where=total > 0)


def _check_stored(arrays: Mapping[str, np.ndarray[Any, Any]], vocabulary_size: int, order: int) -> None:
    keys = stored_array(arrays, "keys", np.int64, (None,))
    offsets = stored_array(arrays, "offsets", np.int64, (len(keys) + 2,))
    targets = stored_array(arrays, "targets", np.int32, (None,))
    counts = stored_array(arrays, "counts", np.int64, (len(targets),))
    discounts = stored_array(arrays, "discounts", np.float64, (order, 3))
    _require(len(arrays) == 5, "has arrays that do not belong to it")
    _require(order >= 1 and 1 <= vocabulary_size <= (2**63 - 1) // (len(keys) + 1), "has an impossible size")

    _require(_rising(keys) and bool((keys >= 0).all()), "has contexts out of order")
    _require(bool((keys // vocabulary_size <= np.arange(len(keys))).all()), "has a context without its shorter one")
    _require(_level_bounds(keys, order, vocabulary_size)[-1] == len(keys) + 1, f"has contexts longer than {order - 1}")

    # Compared, not subtracted: differences of hostile offsets overflow.
    _require(bool((offsets[1:] >= offsets[:-1]).all()), "has offsets that fall")
    _require(offsets[0] == 0 and offsets[-1] == len(targets), "has offsets that do not cover the counts")
    _require(bool(((targets >= 0) & (targets < vocabulary_size)).all()), "has characters outside the vocabulary")
    nodes = np.repeat(np.arange(len(keys) + 1), np.diff(offsets))
    _require(_rising(nodes * vocabulary_size + targets), "has an n-gram twice or out of order")
    _require(bool(((counts >= 1) & (counts <= LARGEST_COUNT)).all()), f"has counts outside 1 to {LARGEST_COUNT}")
    _require(bool(((discounts > 0) & (discounts <= (1, 2, 3))).all()), "has discounts outside 0 to the count")


def _rising(values: Int[np.ndarray, " n"]) -> bool:
    return bool((values[1:] > values[:-1]).all())


def _require(holds: bool | np.bool_, fact: str) -> None:
    if not holds:
        raise CheckpointError(f"the stored n-gram model {fact}", remedy="Restore the file, or count the model again.")
