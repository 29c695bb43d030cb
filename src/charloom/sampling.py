"""A model becomes text, one character at a time.

The order in which a next-character distribution is changed, each step working on what the one before left:

1. *temperature*: logits are divided by T. T = 0 keeps the single most probable character.
2. *top-k*: the k most probable characters stay. Of equals, the one with the lower id.
3. *top-p* (Holtzman et al. 2020): the fewest of the most probable characters that sum to at least p stay.
4. *min-p* (Nguyen et al. 2024): characters at least min_p times as probable as the most probable one stay.

What is dropped gets probability 0 exactly, and the rest is scaled to sum to 1.

Distributions are kept in a table (`charloom.tables`) and drawn from by its cells (`charloom.drawing`). Item i depends
on the seed and i alone: not on how many are drawn, by how many threads, or whether by compiled code.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from charloom.blocks import Hand, draw_blocks
from charloom.config import SamplingConfig, Unit
from charloom.drawing import CUT, Block
from charloom.errors import SamplingError
from charloom.evaluation import target_losses
from charloom.loss import log_softmax
from charloom.models import LanguageModel
from charloom.vocabulary import MARKER, Encoded, Vocabulary

if TYPE_CHECKING:
    from jaxtyping import Float, Int

MAX_LENGTH: dict[Unit, int] = {"line": 100, "text": 500}
"""Longest sample in characters, where none is asked for."""
TYPICAL_LENGTH = 8
"""Characters of an item of unit ``line``, about: how much work there is depends on them."""
FIRST_BLOCK: dict[Unit, int] = {"line": 32, "text": 1}
"""Items drawn at first: who asks for twenty names need not wait for thousands. Each block is twice the one before."""
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
    prefix = log_probability(model, vocabulary.encode(config.prefix, where="prefix"))
    for block, _ in _blocks(model, vocabulary, config, unit, logs=True):
        text = vocabulary.decode(block.slots[np.arange(block.slots.shape[1]) < block.lengths[:, None]])
        ends = np.cumsum(block.lengths)
        items = zip(ends - block.lengths, ends, block.totals + prefix, block.states != CUT, strict=True)
        for start, end, logp, complete in items:
            yield Sample(text[start:end], float(logp), bool(complete))


def sample_lines(
    model: LanguageModel,
    vocabulary: Vocabulary,
    config: SamplingConfig,
    n: int,
    *,
    unit: Unit = "line",
    threads: int | None = None,
) -> Iterator[bytes]:
    """The texts of the first ``n`` of `sample` in UTF-8, a line feed after each, many at a time.

    ``threads``: as many as there are cores, if left out; the text is the same with any number. Raises as `sample` does.
    """
    for block, hand in _blocks(model, vocabulary, config, unit, logs=False, threads=threads):
        yield hand.spell(block.first_items(n), vocabulary.codes)
        n -= len(block.states)
        if n <= 0:
            return


def _blocks(
    model: LanguageModel,
    vocabulary: Vocabulary,
    config: SamplingConfig,
    unit: Unit,
    *,
    logs: bool,
    threads: int | None = None,
) -> Iterator[tuple[Block, Hand]]:
    prefix = vocabulary.encode(config.prefix, where="prefix")
    longest = config.max_length or MAX_LENGTH[unit]
    if len(prefix) >= longest:
        raise SamplingError(
            f"the prefix has {len(prefix)} characters and the maximum length is {longest}",
            remedy="Raise --max-length or shorten the prefix.",
        )

    def shape(logits: Float[np.ndarray, "batch vocab"]) -> Float[np.ndarray, "batch vocab"]:
        if unit == "text":
            logits = np.where(np.arange(logits.shape[-1]) == MARKER, -np.inf, logits)
        return next_probabilities(
            logits, temperature=config.temperature, top_k=config.top_k, top_p=config.top_p, min_p=config.min_p
        )

    return draw_blocks(
        model,
        shape,
        prefix,
        longest,
        config.seed,
        first_size=FIRST_BLOCK[unit],
        typical=min(longest, TYPICAL_LENGTH) if unit == "line" else longest,
        logs=logs,
        threads=threads,
    )


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
