"""Moments of stacks of tensors: measured on the device, joined and completed on the host."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from telltales.observation import Histogram
from telltales.statistics import log_histograms, moments, sample, shares
from telltales.transfer import STACKED, Transfer

Numbers = NDArray[np.float64]

COMPLETE = ("mean", "std", "rms", "min", "max", "zeros", "nonfinite")
"""What `Measured.complete` gives of a tensor, in order; the std is the unbiased one."""


@dataclass
class OnDevice:
    """What was measured of the rows of a matrix, before it is sent."""

    values: int
    """How many values each row holds."""
    moments: torch.Tensor
    histograms: torch.Tensor | None
    shares: torch.Tensor | None
    matrix: torch.Tensor | None
    """The matrix itself, if it is small, for `Measured.look_closer`; it must not change until then."""

    @classmethod
    def of(cls, matrix: torch.Tensor, histograms: bool) -> OnDevice:
        is_long = matrix.shape[1] > STACKED
        return cls(
            matrix.shape[1],
            moments(matrix),
            log_histograms(sample(matrix)) if histograms else None,
            shares(matrix) if is_long else None,
            None if is_long else matrix,
        )

    def rows(self, places: list[int]) -> OnDevice:
        parts = (self.moments, self.histograms, self.shares, self.matrix)
        return OnDevice(self.values, *(None if part is None else part[places] for part in parts))  # type: ignore[arg-type]


@dataclass
class _Stack:
    """Tickets for an `OnDevice`."""

    names: list[str]
    values: int
    moments: int
    histograms: int | None
    shares: int | None
    matrix: torch.Tensor | None


class Measured:
    """What was measured of one kind of tensors. A name may come up several times; its tensors count as one."""

    def __init__(self, transfer: Transfer, histograms: bool) -> None:
        self._transfer = transfer
        self._with_histograms = histograms
        self._stacks: list[_Stack] = []
        self._completed: tuple[list[str], NDArray[np.int64], Numbers] | None = None

    def measure(self, names: list[str], matrix: torch.Tensor) -> None:
        """``matrix``: a row for each name."""
        self.add(names, OnDevice.of(matrix, self._with_histograms))

    def add(self, names: list[str], found: OnDevice) -> None:
        """Take in what was measured before, a row for each name."""
        put = self._transfer.put
        histograms = None if found.histograms is None else put(found.histograms)
        closer = None if found.shares is None else put(found.shares)
        self._stacks.append(_Stack(names, found.values, put(found.moments), histograms, closer, found.matrix))

    def __bool__(self) -> bool:
        return bool(self._stacks)

    def look_closer(self) -> None:
        """After the transfer: where something is not finite, ask the device how much. Needs another transfer."""
        for stack in self._stacks:
            if stack.matrix is not None and not np.isfinite(self._transfer[stack.moments][:, 0]).all():
                stack.shares = self._transfer.put(shares(stack.matrix))
            stack.matrix = None

    def complete(self) -> tuple[list[str], NDArray[np.int64], Numbers]:
        """After the transfers: distinct names, how many values each has, and a row of `COMPLETE` for each.

        Several tensors of one name are joined as Chan, Golub and LeVeque 1979 do.
        """
        if self._completed is None:
            self._completed = self._complete()
        return self._completed

    def _complete(self) -> tuple[list[str], NDArray[np.int64], Numbers]:
        every = [name for stack in self._stacks for name in stack.names]
        names = list(dict.fromkeys(every))
        if not names:
            return [], np.zeros(0, np.int64), np.zeros((0, len(COMPLETE)))
        counts = np.repeat(
            [float(stack.values) for stack in self._stacks], [len(stack.names) for stack in self._stacks]
        )
        rows = np.concatenate([self._transfer[stack.moments] for stack in self._stacks]).astype(np.float64)
        mean, deviation, low, high, nonzero = rows.T
        zeros, nonfinite = 1 - nonzero, np.zeros(len(every))
        begin = 0
        for stack in self._stacks:
            end = begin + len(stack.names)
            if stack.shares is not None:
                zeros[begin:end], nonfinite[begin:end] = self._transfer[stack.shares].T
            begin = end
        table = np.stack([counts, mean, deviation**2, low, high, zeros, nonfinite])
        if len(names) < len(every):
            place_of = {name: place for place, name in enumerate(names)}
            table = _joined(table, np.array([place_of[name] for name in every]), len(names))
        n, mean, squares, low, high, zeros, nonfinite = table
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            std = np.sqrt(squares / (n - 1))
            rms = np.sqrt(squares / n + mean**2)
        return names, n.astype(np.int64), np.stack([mean, std, rms, low, high, zeros, nonfinite], 1)

    def histograms(self) -> dict[str, Histogram]:
        """After the transfer: the histogram of each name, if histograms were wanted."""
        counts: dict[str, Numbers] = {}
        for stack in self._stacks:
            if stack.histograms is not None:
                for name, row in zip(stack.names, self._transfer[stack.histograms], strict=True):
                    counts[name] = counts.get(name, 0) + row.astype(np.float64)
        return {name: Histogram.of(row) for name, row in counts.items()}


def _joined(table: Numbers, places: NDArray[np.intp], distinct: int) -> Numbers:
    """Columns of one place as one column. The rows: count, mean, sum of squared distances from it, min, max, zeros,
    nonfinite; the last two are shares."""
    counts, mean, squares, low, high, zeros, nonfinite = table
    n = np.bincount(places, counts, distinct)
    joint, zeros, nonfinite = (np.bincount(places, counts * share, distinct) / n for share in (mean, zeros, nonfinite))
    squares = np.bincount(places, squares + counts * (mean - joint[places]) ** 2, distinct)
    lows, highs = np.full(distinct, np.inf), np.full(distinct, -np.inf)
    np.minimum.at(lows, places, low)
    np.maximum.at(highs, places, high)
    return np.stack([n, joint, squares, lows, highs, zeros, nonfinite])
