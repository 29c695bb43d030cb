"""A model becomes text, one character at a time.

The order in which a next-character distribution is changed, each step working on what the one before left:

1. *temperature*: logits are divided by T. T = 0 keeps the single most probable character.
2. *top-k*: the k most probable characters stay. Of equals, the one with the lower id.
3. *top-p* (Holtzman et al. 2020): the fewest of the most probable characters that sum to at least p stay.
4. *min-p* (Nguyen et al. 2024): characters at least min_p times as probable as the most probable one stay.

What is dropped gets probability 0 exactly, and the rest is scaled to sum to 1.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from charloom.config import SamplingConfig, Unit
from charloom.errors import SamplingError
from charloom.evaluation import target_losses
from charloom.loss import log_softmax
from charloom.models import LanguageModel
from charloom.vocabulary import MARKER, Encoded, Vocabulary

if TYPE_CHECKING:
    from jaxtyping import Float, Int

MAX_LENGTH: dict[Unit, int] = {"line": 100, "text": 500}
"""Longest sample in characters, where none is asked for."""
STREAM_ROWS = 1024
"""Items that share one stream of random numbers. Item i depends on the seed and i alone, not on how many are drawn."""
GIVE_UP_AFTER = 20_000
"""Draws in a row that a filter may reject before the request is called impossible."""
ROUNDING = 1e-9
"""By how much, relatively, a sum may miss ``top_p``, or a probability its share ``min_p``, and still reach it."""


@dataclass(frozen=True)
class Sample:
    """One generated item."""

    text: str
    log_probability: float
    """Natural log of the probability that the unchanged model (temperature 1, no filter) gives the item: the prefix,
    every character and the end marker; up to the cut for an item that was cut at the maximum length."""
    complete: bool
    """Whether the model ended the item itself."""

    def to_json(self) -> dict[str, Any]:
        """The fields by name."""
        return dict(vars(self))


def next_probabilities(
    logits: Float[np.ndarray, "batch vocab"],
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
) -> Float[np.ndarray, "batch vocab"]:
    """The distributions that the next characters are drawn from; see the module's text for the order."""
    if temperature == 0:
        chosen = np.zeros(logits.shape)
        chosen[np.arange(len(logits)), logits.argmax(axis=-1)] = 1
        return chosen
    # Shifted first: divided by a tiny temperature, the most probable then stays at 0 while the others go to -inf.
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    with np.errstate(over="ignore"):
        scaled = shifted / temperature
    if top_k is not None and top_k < logits.shape[-1]:
        dropped = np.argsort(-scaled, axis=-1, kind="stable")[:, top_k:]
        np.put_along_axis(scaled, dropped, -np.inf, axis=-1)
    probabilities = np.exp(log_softmax(scaled))
    if top_p is not None and top_p < 1:
        order = np.argsort(-probabilities, axis=-1, kind="stable")
        ranked = np.take_along_axis(probabilities, order, axis=-1)
        sum_before = np.cumsum(ranked, axis=-1) - ranked
        ranked[sum_before >= top_p * (1 - ROUNDING)] = 0
        np.put_along_axis(probabilities, order, ranked, axis=-1)
    if min_p is not None:
        share = probabilities / probabilities.max(axis=-1, keepdims=True)
        probabilities[share < min_p * (1 - ROUNDING)] = 0
    normalized: Float[np.ndarray, "batch vocab"] = probabilities / probabilities.sum(axis=-1, keepdims=True)
    return normalized


def sample(
    model: LanguageModel, vocabulary: Vocabulary, config: SamplingConfig, *, unit: Unit = "line"
) -> Iterator[Sample]:
    """Items without end, each a function of the seed and its number alone.

    With unit ``text`` the marker is never drawn and every sample has the maximum length.

    Raises `UnknownCharacterError` for a prefix the vocabulary cannot spell, and `SamplingError` for one that leaves
    no room below the maximum length.
    """
    prefix = vocabulary.encode(config.prefix, where="prefix")
    max_length = config.max_length or MAX_LENGTH[unit]
    if len(prefix) >= max_length:
        raise SamplingError(
            f"the prefix has {len(prefix)} characters and the maximum length is {max_length}",
            remedy="Raise --max-length or shorten the prefix.",
        )
    prefix_log_probability = log_probability(model, prefix)
    batch = 32
    first = 0
    while True:
        # Small batches first: who asks for twenty names need not wait for a thousand.
        last = min(first + batch, (first // STREAM_ROWS + 1) * STREAM_ROWS)
        for ids, logp, complete in _sample_batch(model, config, unit, prefix, max_length, first, last):
            yield Sample(vocabulary.decode(ids), prefix_log_probability + logp, complete)
        first, batch = last, min(2 * batch, STREAM_ROWS)


def sample_filtered(
    samples: Iterator[Sample], n: int, *, known: Collection[str] | None = None, unique: bool = False
) -> Iterator[Sample]:
    """The first ``n`` samples that are not in ``known`` and, if ``unique``, not repeated.

    Raises `SamplingError` after many rejections in a row; those found before have been yielded by then.
    """
    seen: set[str] = set()
    excluded = frozenset(known or ())
    found = rejected = 0
    while found < n:
        candidate = next(samples)
        if candidate.text in excluded or (unique and candidate.text in seen):
            rejected += 1
            if rejected >= GIVE_UP_AFTER:
                raise SamplingError(
                    f"found {found} of {n} items: the next {rejected:,} draws were all known or repeated",
                    remedy="Ask for fewer, raise the temperature, or loosen top-k, top-p and min-p.",
                )
            continue
        if unique:
            seen.add(candidate.text)
        found, rejected = found + 1, 0
        yield candidate


def log_probability(model: LanguageModel, ids: Int[np.ndarray, " length"]) -> float:
    """Natural log of the probability that an item starts with ``ids``; with the end marker last, that it is ``ids``."""
    return -float(surprisals(model, ids).sum())


def surprisals(model: LanguageModel, ids: Int[np.ndarray, " length"]) -> Float[np.ndarray, " length"]:
    """Nats of each id of one item, given those before it."""
    return target_losses(model, Encoded(ids, starts=np.zeros(1, dtype=np.int64)))


def _sample_batch(
    model: LanguageModel,
    config: SamplingConfig,
    unit: Unit,
    prefix: Int[np.ndarray, " prefix"],
    max_length: int,
    first: int,
    last: int,
) -> Iterator[tuple[Int[np.ndarray, " length"], float, bool]]:
    """Items number ``first`` to ``last``, which lie in one stream: ids without the end marker, log p, complete."""
    n, context = last - first, model.context_length
    key = np.array([config.seed, first // STREAM_ROWS], dtype=np.uint64)
    random = np.random.Generator(np.random.Philox(key=key))
    drawn = np.full((n, max_length - len(prefix)), MARKER, dtype=np.int64)
    start = np.concatenate([np.full(context, MARKER, dtype=np.int64), prefix])[len(prefix) :]
    contexts = np.tile(start, (n, 1))
    log_probabilities = np.zeros(n)
    alive = np.arange(n)
    for position in range(drawn.shape[1]):
        uniform = random.random(STREAM_ROWS)[first % STREAM_ROWS :][alive]
        logits = model.next_logits(contexts)
        log_p = log_softmax(logits)
        if unit == "text":
            logits = np.where(np.arange(logits.shape[-1]) == MARKER, -np.inf, logits)
        probabilities = next_probabilities(
            logits,
            temperature=config.temperature,
            top_k=config.top_k,
            top_p=config.top_p,
            min_p=config.min_p,
        )
        ids = draw(probabilities, uniform)
        log_probabilities[alive] += log_p[np.arange(len(alive)), ids]
        drawn[alive, position] = ids
        going_on = ids != MARKER
        alive = alive[going_on]
        if len(alive) == 0:
            break
        contexts = np.concatenate([contexts, ids[:, None]], axis=1)[going_on, 1:]
    incomplete = np.zeros(n, dtype=bool)
    incomplete[alive] = True
    for row, ids in enumerate(drawn):
        length = drawn.shape[1] if incomplete[row] else int((ids == MARKER).argmax())
        yield np.concatenate([prefix, ids[:length]]), float(log_probabilities[row]), not incomplete[row]


def draw(
    probabilities: Float[np.ndarray, "batch vocab"], uniform: Float[np.ndarray, " batch"]
) -> Int[np.ndarray, " batch"]:
    """The inverse of the cumulative distribution at ``uniform`` in [0, 1): an id of probability 0 is never drawn."""
    cumulative = np.cumsum(probabilities, axis=-1)
    total = cumulative[:, -1]
    threshold = np.minimum(uniform * total, np.nextafter(total, 0))
    chosen: Int[np.ndarray, " batch"] = (cumulative > threshold[:, None]).argmax(axis=-1)
    return chosen
