"""Two series in bounded memory: the loss of every step, and the evaluations."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from telltales.observation import Evaluation

RECENT = 100
"""So many of the last losses are known one by one, however many there were."""


class Losses:
    """The loss of every step, in equal spans of steps: exact while they fit, later each span's mean and extremes."""

    def __init__(self, capacity: int) -> None:
        self.span = 1
        """How many steps share an entry."""
        self._capacity = capacity = max(capacity - capacity % 2, 2)
        self._first_step: int | None = None
        self.last_step = -1
        """The last step whose loss is known; -1 before the first."""
        self._counts = np.zeros(capacity, np.int64)
        self._sums = np.zeros(capacity)
        self._lowest = np.full(capacity, np.inf)
        self._highest = np.full(capacity, -np.inf)
        self.recent = np.zeros(0)
        """The last `RECENT` losses, that of ``last_step`` at the end."""

    def extend(self, first_step: int, losses: NDArray[np.floating]) -> None:
        """Take in the losses of consecutive steps. What is not finite makes its span's mean so."""
        if losses.size == 0:
            return
        if self._first_step is None:
            self._first_step = first_step
        self.last_step = first_step + losses.size - 1
        last = self.last_step - self._first_step
        while last // self.span >= self._capacity:
            self._halve()
        places = (np.arange(first_step, first_step + losses.size) - self._first_step) // self.span
        values = losses.astype(np.float64)
        self.recent = np.concatenate([self.recent, values])[-RECENT:]
        with np.errstate(invalid="ignore"):
            np.add.at(self._sums, places, values)
            np.add.at(self._counts, places, 1)
            np.minimum.at(self._lowest, places, np.where(np.isnan(values), np.inf, values))
            np.maximum.at(self._highest, places, np.where(np.isnan(values), -np.inf, values))

    @property
    def steps(self) -> NDArray[np.int64]:
        """The first step of each span."""
        return np.flatnonzero(self._counts) * self.span + (self._first_step or 0)

    @property
    def mean(self) -> NDArray[np.float64]:
        filled = self._counts > 0
        return self._sums[filled] / self._counts[filled]

    @property
    def lowest(self) -> NDArray[np.float64]:
        return self._lowest[self._counts > 0]

    @property
    def highest(self) -> NDArray[np.float64]:
        return self._highest[self._counts > 0]

    def _halve(self) -> None:
        half = self._capacity // 2
        for array, merge, empty in (
            (self._counts, np.add, 0),
            (self._sums, np.add, 0.0),
            (self._lowest, np.minimum, np.inf),
            (self._highest, np.maximum, -np.inf),
        ):
            with np.errstate(invalid="ignore"):
                merged = merge(array[0::2], array[1::2])
            array[:] = empty
            array[:half] = merged
        self.span *= 2


class Evaluations:
    """Losses on held-out data. When full, every other one goes, but the first, the last and each split's best stay.

    Where splits are so many that these alone would fill a quarter, no best is spared.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._all: list[Evaluation] = []

    def append(self, evaluation: Evaluation) -> None:
        if len(self._all) >= self._capacity:
            best: dict[str, Evaluation] = {}
            for one in self._all:
                if one.split not in best or one.loss < best[one.split].loss:
                    best[one.split] = one
            spared = {id(one) for one in best.values()} if len(best) <= max(1, self._capacity // 4) else set()
            last = len(self._all) - 1
            self._all = [e for i, e in enumerate(self._all) if i % 2 == 0 or i == last or id(e) in spared]
        self._all.append(evaluation)

    def __len__(self) -> int:
        return len(self._all)

    @property
    def splits(self) -> list[str]:
        """In the order in which they appeared."""
        return list(dict.fromkeys(evaluation.split for evaluation in self._all))

    def of(self, split: str) -> list[Evaluation]:
        return [evaluation for evaluation in self._all if evaluation.split == split]
