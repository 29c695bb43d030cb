"""Small real data that installed packages carry, split into training and held-out parts."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import torch

from faultbench.listening import Batch

Arrays = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]
"""Inputs and targets for training, then the held-out ones."""


@cache
def digits() -> Arrays:
    """1,797 images of digits, (N, 64) of mean 0 and std 1, and their classes."""
    from sklearn import datasets

    found = datasets.load_digits()
    pixels = (found.data - found.data.mean()) / found.data.std()
    return _split(pixels, found.target.astype(np.int64))


@cache
def tumours() -> Arrays:
    """569 tumours: thirty measures of each, normalised, and whether it is benign, as a float."""
    from sklearn import datasets

    found = datasets.load_breast_cancer()
    return _split(_normalised(found.data), found.target.astype(np.float32))


@cache
def diabetes() -> Arrays:
    """442 patients: ten measures of each, normalised, and the disease's progression, normalised."""
    from sklearn import datasets

    found = datasets.load_diabetes()
    return _split(_normalised(found.data), _normalised(found.target[:, None])[:, 0].astype(np.float32))


@cache
def wine() -> Arrays:
    """178 wines: thirteen measures of each, normalised, and the cultivar."""
    from sklearn import datasets

    found = datasets.load_wine()
    return _split(_normalised(found.data), found.target.astype(np.int64))


@cache
def names(context: int) -> Arrays:
    """Contexts of characters from the built-in names, (N, context), and the character that follows each."""
    import charloom
    from charloom.contexts import Contexts

    data = charloom.load_data()
    parts = [Contexts(data.encoded(part), context).all_rows() for part in ("train", "dev")]
    (train_x, train_y), (dev_x, dev_y) = (
        (torch.from_numpy(rows.astype(np.int64)), torch.from_numpy(targets.astype(np.int64))) for rows, targets in parts
    )
    chosen = torch.randperm(len(train_x), generator=torch.Generator().manual_seed(0))[:20_000]
    return train_x[chosen], train_y[chosen], dev_x[:2000], dev_y[:2000]


@cache
def text(length: int) -> Arrays:
    """Stretches of ``length`` characters of Python's own documentation, (N, length), and the same one further on."""
    from pydoc_data.topics import topics

    whole = "".join(topics[name] for name in sorted(topics))[:200_000]
    known = {character: number for number, character in enumerate(sorted(set(whole.lower()) & set(CHARACTERS)))}
    ids = torch.tensor([known[c] for c in whole.lower() if c in known])
    rows = ids[: (len(ids) - 1) // length * length + 1]
    x, y = rows[:-1].view(-1, length), rows[1:].view(-1, length)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    held_out = 64
    return x[order[held_out:]], y[order[held_out:]], x[order[:held_out]], y[order[:held_out]]


CHARACTERS = "abcdefghijklmnopqrstuvwxyz .,:()\n"
VOCABULARY = len(CHARACTERS)


def sampler(x: torch.Tensor, y: torch.Tensor, size: int, seed: int) -> Callable[[int], Batch]:
    """Step → a batch, in a new random order in each epoch; the same for the same step, whoever asks."""
    per_epoch = len(x) // size

    @cache
    def order(epoch: int) -> torch.Tensor:
        return torch.randperm(len(x), generator=torch.Generator().manual_seed(1000 * seed + epoch))

    def batch(step: int) -> Batch:
        epoch, place = divmod(step, per_epoch)
        rows = order(epoch)[place * size : (place + 1) * size]
        return x[rows], y[rows]

    return batch


def batches(x: torch.Tensor, y: torch.Tensor, size: int = 250) -> list[Batch]:
    return list(zip(x.split(size), y.split(size), strict=True))


def _normalised(values: np.ndarray) -> np.ndarray:
    return (values - values.mean(0)) / values.std(0)


def _split(x: np.ndarray, y: np.ndarray) -> Arrays:
    order = np.random.default_rng(0).permutation(len(x))
    held_out = len(x) // 5
    inputs, targets = torch.tensor(x[order], dtype=torch.float32), torch.tensor(y[order])
    return inputs[held_out:], targets[held_out:], inputs[:held_out], targets[:held_out]
