"""The statistics of `telltales.statistics` once more, in NumPy and float64, the plain way."""

from __future__ import annotations

import numpy as np

from telltales.bins import BINS, EDGES, PER_SIGN, ZERO_BIN


def moments(x):
    mean = x.mean(1)
    deviation = np.sqrt(((x - mean[:, None]) ** 2).sum(1))
    return np.stack([mean, deviation, x.min(1), x.max(1), (x != 0).mean(1)], 1)


def shares(x):
    return np.stack([(x == 0).mean(1), (~np.isfinite(x)).mean(1)], 1)


def histogram(values):
    """By comparing each value's magnitude with the edges; zero, and what is subnormal, by itself."""
    counts = np.zeros(BINS)
    for value in values[np.isfinite(values)].tolist():
        if abs(value) < 2.0**-126:
            counts[ZERO_BIN] += 1
            continue
        position = int(np.searchsorted(EDGES[PER_SIGN + 1 :], abs(value), side="right")) - 1
        position = min(max(position, 0), PER_SIGN - 1)
        counts[ZERO_BIN + 1 + position if value > 0 else ZERO_BIN - 1 - position] += 1
    return counts


def saturated(x, low, high):
    return (x <= low) | (x >= high)


def normalized_entropy(p):
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p > 0, p * np.log(p), 0.0)
    return float((-terms.sum(-1) / np.log(max(p.shape[-1], 2))).mean())


def spectral_norm(w):
    return float(np.linalg.svd(w.reshape(w.shape[0], -1), compute_uv=False)[0])


def joined(parts):
    """Mean, std, RMS, min, max, zeros and nonfinite of several arrays as one."""
    x = np.concatenate([part.ravel() for part in parts]).astype(np.float64)
    std = x.std(ddof=1) if x.size > 1 else np.nan
    return np.array(
        [x.mean(), std, np.sqrt((x**2).mean()), x.min(), x.max(), (x == 0).mean(), (~np.isfinite(x)).mean()]
    )


def attention_entropy(query, key, mask=None):
    """Of the first example: head by head and query by query; ``mask`` says which keys a query may look at."""
    shares = []
    for head in range(query.shape[1]):
        for place in range(query.shape[2]):
            scores = key[0, head] @ query[0, head, place] / np.sqrt(query.shape[-1])
            scores = scores if mask is None else scores[mask[place]]
            if scores.size > 1:
                p = np.exp(scores - scores.max())
                p = p / p.sum()
                shares.append(-(p * np.log(p)).sum() / np.log(scores.size))
    return float(np.mean(shares))
