"""A language small enough to list everything in it, and what sampling and search should make of it.

Plain Python, one probability at a time; only `TableModel` speaks arrays, for that is what the package asks it.
"""

import math
from itertools import product

import numpy as np
from scipy.stats import chisquare


class TableModel:
    """Random logits for every context of so many characters; about ``impossible`` of them are -inf."""

    def __init__(self, vocabulary_size, context_length, seed=0, impossible=0.0, spread=1.5):
        self.vocabulary_size = vocabulary_size
        self.context_length = context_length
        generator = np.random.default_rng(seed)
        self.table = generator.normal(0, spread, [vocabulary_size] * (context_length + 1))
        mask = generator.random(self.table.shape) < impossible
        mask[..., generator.integers(vocabulary_size)] = False  # Something must be possible everywhere.
        self.table[mask] = -np.inf

    def parameter_count(self):
        return self.table.size

    def next_logits(self, contexts):
        assert contexts.shape[1:] == (self.context_length,)
        return self.table[tuple(contexts.T)] if self.context_length else np.tile(self.table, (len(contexts), 1))


def next_shares(model, ids):
    """The probability of every character after ``ids``, from the model's logits."""
    context = ([0] * model.context_length + list(ids))[len(ids) :]
    weights = [math.exp(logit) for logit in model.next_logits(np.array([context], np.int64).reshape(1, -1))[0]]
    return [weight / math.fsum(weights) for weight in weights]


def all_items(model, max_length):
    """Every possible item of at most ``max_length`` characters, as a tuple of ids, with its probability."""
    items = {}
    for length in range(max_length + 1):
        for ids in product(range(1, model.vocabulary_size), repeat=length):
            probability = math.prod(next_shares(model, ids[:i])[id_] for i, id_ in enumerate((*ids, 0)))
            if probability > 0:
                items[ids] = probability
    return items


def temper(shares, temperature):
    if temperature == 0:
        return [float(i == shares.index(max(shares))) for i in range(len(shares))]
    return normalized([share ** (1 / temperature) for share in shares])


def keep_top_k(shares, k):
    return normalized([share if i in ranking(shares)[:k] else 0.0 for i, share in enumerate(shares)])


def keep_top_p(shares, p):
    order = ranking(shares)
    fewest = next(n for n in range(1, len(order) + 1) if math.fsum(shares[i] for i in order[:n]) >= p - 1e-12)
    return normalized([share if i in order[:fewest] else 0.0 for i, share in enumerate(shares)])


def keep_min_p(shares, min_p):
    return normalized([share if share >= min_p * max(shares) * (1 - 1e-12) else 0.0 for share in shares])


def changed(shares, *, temperature=1.0, top_k=None, top_p=None, min_p=None, order="tkpm"):
    """The distribution that is drawn from. ``order`` names the steps: temperature, top-k, top-p, min-p."""
    steps = {"t": (temper, temperature), "k": (keep_top_k, top_k), "p": (keep_top_p, top_p), "m": (keep_min_p, min_p)}
    for step, setting in (steps[letter] for letter in order):
        if setting is not None:
            shares = step(shares, setting)
    return shares


def drawn_items(model, max_length, *, prefix=(), unit="line", **settings):
    """Every item that sampling may give, as (ids, complete), with its probability. Cut items are not complete."""
    outcomes = {}
    open_items = {tuple(prefix): 1.0}
    while open_items:
        ids, probability = open_items.popitem()
        if len(ids) == max_length:
            outcomes[ids, False] = probability
            continue
        shares = next_shares(model, ids)
        if unit == "text":
            shares = normalized([0.0, *shares[1:]])
        for id_, share in enumerate(changed(shares, **settings)):
            if share > 0 and id_ == 0:
                outcomes[ids, True] = probability * share
            elif share > 0:
                open_items[*ids, id_] = probability * share
    return outcomes


def fit_of(observed, expected):
    """P-value of observed counts under expected shares; 0 for what cannot happen."""
    observed, expected = np.array(observed), np.array(expected)
    if observed[expected == 0].any():
        return 0.0
    possible = expected > 0
    return chisquare(observed[possible], observed.sum() * expected[possible]).pvalue if possible.sum() > 1 else 1.0


def ranking(shares):
    """Ids from the most probable to the least; of equals the lower first."""
    return sorted(range(len(shares)), key=lambda i: (-shares[i], i))


def normalized(shares):
    total = math.fsum(shares)
    return [share / total for share in shares]
