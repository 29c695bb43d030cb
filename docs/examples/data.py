"""What the examples learn: characters of the built-in names, a table of numbers, and numbers from a table."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

import charloom
from charloom.contexts import Contexts

CLASSES = 27
CONTEXT = 3

Pair = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Data:
    """Examples to train on, and others."""

    x: torch.Tensor
    y: torch.Tensor
    held_out: Pair

    def batch(self, step: int, size: int) -> Pair:
        """The same rows for the same step."""
        rows = torch.randint(len(self.x), (size,), generator=torch.Generator().manual_seed(step))
        return self.x[rows], self.y[rows]


@cache
def names(context: int = CONTEXT) -> Data:
    """Contexts (N, context) of the built-in names and the character that follows (N,)."""
    parts = []
    for part in ("train", "dev"):
        rows, targets = Contexts(charloom.load_data().encoded(part), context).all_rows()
        parts.append((torch.from_numpy(rows.astype(np.int64)), torch.from_numpy(targets.astype(np.int64))))
    (x, y), (dev_x, dev_y) = parts
    return Data(x, y, (dev_x[:2000], dev_y[:2000]))


@cache
def texts(length: int = 12) -> Data:
    """Pieces (N, length) of the names one after another, and the same one character on."""
    ids = names().y  # Each name's characters and its end, one name after another.
    count = (len(ids) - 1) // length
    x, y = (ids[shift : shift + count * length].view(count, length) for shift in (0, 1))
    return Data(x[:-500], y[:-500], (x[-500:], y[-500:]))


@cache
def table(rows: int = 4000) -> Data:
    """Ten measurements (N, 10), each of mean 0 and std 1, and one of five classes (N,) that depends on them."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows + 1000, 10, generator=generator)
    y = (torch.tanh(x @ torch.randn(10, 12, generator=generator)) @ torch.randn(12, 5, generator=generator)).argmax(1)
    return Data(x[:rows], y[:rows], (x[rows:], y[rows:]))


@cache
def measured() -> Data:
    """The same measurements, and a number (N,) that depends on them."""
    data = table()
    weights = torch.randn(10, generator=torch.Generator().manual_seed(1))
    return Data(data.x, data.x @ weights, (data.held_out[0], data.held_out[0] @ weights))
