"""What a check gives back, and the random numbers that all of them use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    import torch

Answer = float | tuple[int, ...] | str | dict[str, tuple[int, ...]] | None


@dataclass(frozen=True)
class Measured:
    """The truth, and the lines that show it."""

    lines: tuple[str, ...]
    answer: Answer = None
    """A number, a shape, the key of an option, the shapes of a sketch by box; None for a question in words."""


class Check(Protocol):
    """Computes the truth of one question; the same at every call."""

    __name__: str

    def __call__(self) -> Measured: ...


def measured(*lines: str, answer: Answer = None) -> Measured:
    """A `Measured` of some lines."""
    return Measured(lines, answer)


def normal(seed: int, *shape: int) -> torch.Tensor:
    """Standard normal float64 numbers, the same on every machine."""
    import torch

    return torch.from_numpy(stream(seed).standard_normal(shape))


def stream(seed: int) -> np.random.Generator:
    """NumPy's random numbers of that seed."""
    import numpy as np

    return np.random.default_rng(seed)


def first_that(conditions: dict[str, Any]) -> str:
    """The key of the one condition that holds. Raises `ValueError` when none or several do."""
    (key,) = [key for key, holds in conditions.items() if holds]
    return key
