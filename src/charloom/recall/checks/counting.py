"""Counted models, data, losses and sampling: computed with NumPy and with the counted models of charloom."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from charloom.recall.checks.measured import Measured, first_that, measured, stream

if TYPE_CHECKING:
    from charloom.models.counts import Bigram


def bigram_likelihood() -> Measured:
    """A table of pairs counted on `ab` and `b`, and its loss on them."""
    from charloom.contexts import Contexts
    from charloom.evaluation import mean_loss
    from charloom.models.counts import Bigram
    from charloom.vocabulary import Vocabulary

    names = ["ab", "b"]
    vocabulary = Vocabulary.from_items(names)
    encoded = vocabulary.encode_items(names, unit="line")
    contexts, targets = Contexts(encoded, 1).all_rows()
    model = Bigram.fit(contexts, targets, len(vocabulary), smoothing=0)
    loss = mean_loss(model, encoded)
    rows = (f"after {symbol}: {_counts(row, '.ab')}" for symbol, row in zip(".ab", model.counts, strict=True))
    return measured(*rows, f"{loss.targets} targets, mean loss {loss.nats:.4f} nats/char", answer=loss.nats)


def add_one() -> Measured:
    """P of a pair that was never seen, in a row of 73 counts."""
    import numpy as np

    model = _row_of_73(smoothing=1)
    logp = model.next_logits(np.array([[1]]))[0]
    return measured(
        f"P(never seen) = {math.exp(logp[26]):.4f}, P(seen 73 times) = {math.exp(logp[0]):.4f}",
        f"the row sums to {np.exp(logp).sum():.4f}",
        answer=math.exp(logp[26]),
    )


def unseen_pair() -> Measured:
    """The loss of 999 likely targets and one that has probability 0."""
    import numpy as np

    losses = {}
    for smoothing in (0.0, 1.0):
        logp = _row_of_73(smoothing=smoothing).next_logits(np.array([[1]]))[0]
        losses[smoothing] = -(999 * logp[0] + logp[26]) / 1000
    return measured(
        "mean loss of 1,000 targets, one of them never seen:"
        f" {losses[0.0]} without smoothing, {losses[1.0]:.4f} with +1",
        answer=first_that({"infinite": math.isinf(losses[0.0]), "slightly": math.isfinite(losses[0.0])}),
    )


def repeated_names() -> Measured:
    """How many dev names stand in train as well, by protocol."""
    from charloom.config import DataConfig
    from charloom.corpus import load
    from charloom.splits import overlap, split

    corpus = load(DataConfig())
    share = {}
    for protocol in ("classic", "unique"):
        parts = split(corpus, protocol, 42)
        share[protocol] = overlap(parts.dev, parts.train)
    return measured(
        f"built-in names, split seed 42: {share['classic']:.1%} of dev in train by lines (classic),"
        f" {share['unique']:.1%} when repeated names are dropped first (unique)",
        answer=first_that({"flatters": share["classic"] > share["unique"], "same": share["classic"] == 0}),
    )


def selection_on_dev() -> Measured:
    """The best of 200 coin-flipping classifiers, on the 100 examples it was chosen by and on 1,000 others."""
    guesses = stream(0).integers(0, 2, (200, 1100))
    truth = stream(1).integers(0, 2, 1100)
    right = guesses == truth
    dev, test = right[:, :100].mean(1), right[:, 100:].mean(1)
    best = int(dev.argmax())
    return measured(
        "200 classifiers that flip coins, 100 dev and 1,000 test examples:",
        f"the best on dev is right on {dev[best]:.0%} of dev and {test[best]:.0%} of test",
        f"the mean of all is {dev.mean():.1%} and {test.mean():.1%}",
    )


def longer_contexts() -> Measured:
    """Train and dev loss of counted n-grams, add-0.1, as n grows."""
    import numpy as np

    from charloom.config import DataConfig
    from charloom.contexts import Contexts, distinct_contexts
    from charloom.dataset import Dataset

    dataset = Dataset.load(DataConfig())
    V = len(dataset.vocabulary)
    losses: dict[str, list[float]] = {"train": [], "dev": []}
    orders = range(2, 7)
    for n in orders:
        rows = {part: Contexts(dataset.encoded(part), n - 1).all_rows() for part in ("train", "dev")}
        split = len(rows["train"][1])
        _, which = distinct_contexts(np.concatenate([rows["train"][0], rows["dev"][0]]), V)
        targets = np.concatenate([rows["train"][1], rows["dev"][1]])
        cells = which * V + targets
        size = int(which.max()) + 1
        pairs = np.bincount(cells[:split], minlength=size * V)
        totals = np.bincount(which[:split], minlength=size)
        nats = -np.log((pairs[cells] + 0.1) / (totals[which] + 0.1 * V))
        losses["train"].append(float(nats[:split].mean()))
        losses["dev"].append(float(nats[split:].mean()))
    best = int(np.argmin(losses["dev"]))
    return measured(
        "n      " + "  ".join(f"{n:>6}" for n in orders),
        *(f"{part:<5}  " + "  ".join(f"{loss:6.4f}" for loss in losses[part]) for part in losses),
        "built-in names, unique protocol, split seed 42, add-0.1, nats/char",
        answer=first_that(
            {
                "falls": best == len(losses["dev"]) - 1,
                "turns": 0 < best < len(losses["dev"]) - 1,
                "rises": best == 0,
            }
        ),
    )


def uniform_loss() -> Measured:
    """Cross-entropy of equal logits over 27 characters."""
    import numpy as np

    from charloom.loss import log_softmax

    loss = -float(log_softmax(np.zeros((1, 27)))[0, 5])
    return measured(f"27 equal logits: loss {loss:.4f} nats, whichever the target", answer=loss)


def perplexity_to_bits() -> Measured:
    """Eight equally likely characters."""
    import numpy as np

    from charloom.loss import bits, log_softmax, perplexity

    nats = -float(log_softmax(np.zeros((1, 8)))[0, 0])
    return measured(
        f"8 equal logits: {nats:.4f} nats = {bits(nats):.4f} bits, perplexity {perplexity(nats):.4f}",
        answer=bits(nats),
    )


def token_weighting() -> Measured:
    """The mean over 40 targets in two batches of unequal size, and the mean of the two means."""
    import numpy as np

    batches = [np.full(30, 2.0), np.full(10, 3.0)]
    every = float(np.concatenate(batches).mean())
    return measured(
        f"mean over the 40 targets {every:.4f}; mean of the two batch means {np.mean([b.mean() for b in batches]):.4f}",
        answer=every,
    )


def context_rows() -> Measured:
    """The contexts of three names."""
    import numpy as np

    from charloom.contexts import Contexts
    from charloom.vocabulary import MARKER, Vocabulary

    names = ["emma", "olivia", "ava"]
    vocabulary = Vocabulary.from_items(names)
    contexts, targets = Contexts(vocabulary.encode_items(names, unit="line"), 3).all_rows()

    def spelled(ids: list[int]) -> str:
        return "".join("." if id == MARKER else vocabulary.decode(np.array([id])) for id in ids)

    shown = [f"{spelled(row)} -> {spelled([target])}" for row, target in zip(contexts.tolist(), targets, strict=True)]
    return measured(", ".join(shown[:5]), f"contexts {contexts.shape}, targets {targets.shape}", answer=contexts.shape)


def temperature() -> Measured:
    """(0.8, 0.2) at several temperatures."""
    import numpy as np

    from charloom.sampling import next_probabilities

    logits = np.log([[0.8, 0.2]])
    first = {T: float(next_probabilities(logits, temperature=T)[0, 0]) for T in (0.0, 0.5, 1.0, 2.0, 100.0)}
    return measured(
        "P(first): " + ", ".join(f"{share:.4f} at T = {T:g}" for T, share in first.items()), answer=first[0.5]
    )


def top_k() -> Measured:
    """The two most probable of four."""
    import numpy as np

    from charloom.sampling import next_probabilities

    kept = next_probabilities(np.log([[0.5, 0.3, 0.1, 0.1]]), top_k=2)[0]
    return measured("kept: " + ", ".join(f"{share:.4f}" for share in kept), answer=float(kept[0]))


def masking_leak() -> Measured:
    """What ln(0 + 1e-12) / 10 lets through, of one character and of 22 of them."""
    import numpy as np

    probabilities = np.array([0.4, 0.3, 0.15, 0.1, 0.05] + [0.0] * 22)
    weights = np.exp(np.log(probabilities + 1e-12) / 10)
    leaked = weights[5:].sum() / weights.sum()
    return measured(
        f"weight of one masked character {weights[5]:.4f}; of one with p = 0.05 {weights[4]:.4f}",
        f"the 22 masked characters of 27 together get {leaked:.1%} of the samples at T = 10",
        answer=float(weights[5]),
    )


def _row_of_73(smoothing: float) -> Bigram:
    """27 characters; after id 1, id 0 was seen 73 times and nothing else."""
    import numpy as np

    from charloom.models.counts import Bigram

    counts = np.zeros((27, 27), dtype=np.int64)
    counts[1, 0] = 73
    return Bigram(counts, smoothing=smoothing)


def _counts(row: object, symbols: str) -> str:
    import numpy as np

    return ", ".join(f"{symbol} {count}" for symbol, count in zip(symbols, np.asarray(row), strict=True) if count)


ALL = (
    bigram_likelihood,
    add_one,
    unseen_pair,
    repeated_names,
    selection_on_dev,
    longer_contexts,
    uniform_loss,
    perplexity_to_bits,
    token_weighting,
    context_rows,
    temperature,
    top_k,
    masking_leak,
)
