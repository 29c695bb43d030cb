"""Models that are tables of counts: the unigram and the bigram, with add-k smoothing.

Fitting is counting; nothing is trained, and nothing but NumPy is needed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from charloom.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from jaxtyping import Float, Int

LARGEST_TABLE = 1 << 27
"""Most cells a dense table of pairs may have: 1 GiB of counts, which is 11,585 characters."""
LARGEST_COUNT = 1 << 53
"""Counts beyond this are no longer exact in float64."""


class Unigram:
    """How often each character occurs, whatever came before.

    P(w) = (c(w) + k) / sum over v of (c(v) + k). With k = 0 a character never seen has probability 0, a logit of -inf.
    Where there is no count at all and k = 0, the distribution is uniform: what every k > 0 gives there.
    """

    context_length = 0

    def __init__(self, counts: Int[np.ndarray, " vocab"], *, smoothing: float = 1.0) -> None:
        _check_smoothing(smoothing)
        self.counts = counts
        """c(w), int64."""
        self.smoothing = smoothing
        """k."""
        self.vocabulary_size = len(counts)

    @classmethod
    def fit(
        cls,
        contexts: Int[np.ndarray, "rows context"],
        targets: Int[np.ndarray, " rows"],
        vocabulary_size: int,
        *,
        smoothing: float = 1.0,
        weights: Int[np.ndarray, " rows"] | None = None,
    ) -> Unigram:
        """Count ``targets``, each ``weights`` times (once if left out). Contexts may have any width.

        Raises `ValueError` for arrays that do not fit together, `ConfigError` for a negative ``smoothing``.
        """
        _, targets, weights = check_rows(contexts, targets, weights, 0, vocabulary_size)
        return cls(_count(targets, weights, vocabulary_size), smoothing=smoothing)

    def parameter_count(self) -> int:
        """Stored counts: V."""
        return self.counts.size

    def next_logits(self, contexts: Int[np.ndarray, "batch context"]) -> Float[np.ndarray, "batch vocab"]:
        """ln P(w), the same for each context."""
        contexts = check_contexts(contexts, 0, self.vocabulary_size)
        return np.repeat(_log_add_k(self.counts[None], self.smoothing), len(contexts), axis=0)

    def arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        """The counts, for storage."""
        return {"counts": self.counts}

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, np.ndarray[Any, Any]], vocabulary_size: int, *, smoothing: float = 1.0
    ) -> Unigram:
        """The model that `arrays` came from. Raises `CheckpointError` when they do not make one."""
        return cls(_stored_table(arrays, (vocabulary_size,)), smoothing=smoothing)


class Bigram:
    """How often each character follows each other one, as a dense table.

    P(w | u) = (c(u, w) + k) / sum over v of (c(u, v) + k). With k = 0 a pair never seen has probability 0, a logit of
    -inf. After a character that was never followed by anything, k = 0 gives the uniform distribution, as every k > 0
    does.
    """

    context_length = 1

    def __init__(self, counts: Int[np.ndarray, "vocab vocab"], *, smoothing: float = 1.0) -> None:
        _check_smoothing(smoothing)
        self.counts = counts
        """c(u, w), int64: a row for the character before, a column for the next one."""
        self.smoothing = smoothing
        """k."""
        self.vocabulary_size = len(counts)

    @classmethod
    def fit(
        cls,
        contexts: Int[np.ndarray, "rows context"],
        targets: Int[np.ndarray, " rows"],
        vocabulary_size: int,
        *,
        smoothing: float = 1.0,
        weights: Int[np.ndarray, " rows"] | None = None,
    ) -> Bigram:
        """Count the pairs (last id of the context, target), each ``weights`` times (once if left out).

        Contexts may be wider than 1. Raises `ValueError` for arrays that do not fit together, `ConfigError` for a
        negative ``smoothing`` or a vocabulary whose table would pass `LARGEST_TABLE`.
        """
        cells = vocabulary_size * vocabulary_size
        if cells > LARGEST_TABLE:
            raise ConfigError(
                f"a bigram table of {vocabulary_size:,} characters would hold {cells:,} counts",
                remedy="Use ngram:2, which stores only the pairs that occur.",
            )
        contexts, targets, weights = check_rows(contexts, targets, weights, 1, vocabulary_size)
        counts = _count(contexts[:, 0] * vocabulary_size + targets, weights, cells)
        return cls(counts.reshape(vocabulary_size, vocabulary_size), smoothing=smoothing)

    def parameter_count(self) -> int:
        """Stored counts: V * V, the zeros included."""
        return self.counts.size

    def next_logits(self, contexts: Int[np.ndarray, "batch context"]) -> Float[np.ndarray, "batch vocab"]:
        """ln P(w | u), where u is the last id of each context."""
        contexts = check_contexts(contexts, 1, self.vocabulary_size)
        return _log_add_k(self.counts[contexts[:, 0]], self.smoothing)

    def arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        """The counts, for storage."""
        return {"counts": self.counts}

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, np.ndarray[Any, Any]], vocabulary_size: int, *, smoothing: float = 1.0
    ) -> Bigram:
        """The model that `arrays` came from. Raises `CheckpointError` when they do not make one."""
        return cls(_stored_table(arrays, (vocabulary_size, vocabulary_size)), smoothing=smoothing)


def check_contexts(
    contexts: Int[np.ndarray, "batch context"], length: int, vocabulary_size: int
) -> Int[np.ndarray, "batch length"]:
    """The last ``length`` ids of each context, as int64.

    Wider contexts are welcome, so that models of different reach can be asked about the same rows. Raises `ValueError`
    for contexts that are too narrow, and for ids outside the vocabulary, which would silently read another row.
    """
    if contexts.ndim != 2 or contexts.shape[1] < length:
        raise ValueError(f"contexts have shape {contexts.shape}; this model needs (batch, at least {length})")
    recent = contexts[:, contexts.shape[1] - length :]
    _check_ids("contexts", recent, vocabulary_size)
    return recent.astype(np.int64, copy=False)


def check_rows(
    contexts: Int[np.ndarray, "rows context"],
    targets: Int[np.ndarray, " rows"],
    weights: Int[np.ndarray, " rows"] | None,
    length: int,
    vocabulary_size: int,
) -> tuple[Int[np.ndarray, "counted length"], Int[np.ndarray, " counted"], Int[np.ndarray, " counted"] | None]:
    """Rows fit to be counted, as int64: the last ``length`` ids of each context, its target, and its weight.

    Rows of weight 0 are dropped. Raises `ValueError` for shapes that differ, ids outside the vocabulary, or weights
    that are negative or no integers.
    """
    contexts = check_contexts(contexts, length, vocabulary_size)
    if targets.shape != contexts.shape[:1]:
        raise ValueError(f"{len(contexts)} contexts, but targets of shape {targets.shape}")
    _check_ids("targets", targets, vocabulary_size)
    targets = targets.astype(np.int64, copy=False)
    if weights is None:
        return contexts, targets, None
    if weights.shape != targets.shape or weights.dtype.kind not in "iu" or (weights < 0).any():
        raise ValueError("weights must be integers of at least 0, one for each row")
    counted = weights > 0
    return contexts[counted], targets[counted], weights[counted].astype(np.int64, copy=False)


def stored_array(
    arrays: Mapping[str, np.ndarray[Any, Any]], name: str, dtype: type, shape: tuple[int | None, ...]
) -> np.ndarray[Any, Any]:
    """``arrays[name]``, or `CheckpointError` unless it has that type and shape (None: any length)."""
    if name not in arrays:
        raise CheckpointError(f"the stored model has no array {name!r}")
    array = arrays[name]
    fits = array.ndim == len(shape) and all(want in (None, have) for want, have in zip(shape, array.shape, strict=True))
    if not fits or array.dtype != dtype:
        wanted = " x ".join("any" if length is None else str(length) for length in shape)
        raise CheckpointError(
            f"the stored array {name!r} is {array.dtype} of shape {array.shape}, not {np.dtype(dtype)} of {wanted}"
        )
    return array


def _check_ids(name: str, ids: Int[np.ndarray, "..."], vocabulary_size: int) -> None:
    if ids.dtype.kind not in "iu":
        raise ValueError(f"{name} are {ids.dtype}, not integers")
    if ids.size and (ids.min() < 0 or ids.max() >= vocabulary_size):
        raise ValueError(f"{name} hold ids from {ids.min()} to {ids.max()}; the vocabulary has {vocabulary_size}")


def _check_smoothing(smoothing: float) -> None:
    if not (math.isfinite(smoothing) and smoothing >= 0):
        raise ConfigError(f"smoothing {smoothing} is not a finite number of at least 0", remedy="Use 1, or 0 for none.")


def _count(
    cells: Int[np.ndarray, " rows"], weights: Int[np.ndarray, " rows"] | None, size: int
) -> Int[np.ndarray, " size"]:
    return np.bincount(cells, weights, minlength=size).astype(np.int64, copy=False)


def _log_add_k(counts: Int[np.ndarray, "batch vocab"], smoothing: float) -> Float[np.ndarray, "batch vocab"]:
    smoothed = counts + float(smoothing)
    totals = smoothed.sum(axis=1, keepdims=True)
    shares = np.full(smoothed.shape, 1 / smoothed.shape[1])
    np.divide(smoothed, totals, out=shares, where=totals > 0)
    # ln 0 = -inf is what no smoothing means, so it is no cause for a warning.
    with np.errstate(divide="ignore"):
        np.log(shares, out=shares)
    return shares


def _stored_table(arrays: Mapping[str, np.ndarray[Any, Any]], shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    counts = stored_array(arrays, "counts", np.int64, shape)
    if len(arrays) > 1:
        raise CheckpointError("the stored model has arrays besides 'counts'")
    if ((counts < 0) | (counts > LARGEST_COUNT)).any():
        raise CheckpointError(f"the stored counts are not all from 0 to {LARGEST_COUNT}")
    return counts
