"""What one observed step says of the modules: their outputs and the gradients of the loss with respect to these.

Small outputs are kept and measured together at the end of the step, which takes few operations; large ones are measured
on the spot, so that nothing of their size has to be kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from telltales.bins import EDGES
from telltales.flat_values import FlatValues, Watched
from telltales.moments import COMPLETE, Measured
from telltales.observation import COLUMNS, Histogram, Reading
from telltales.statistics import log_histograms
from telltales.transfer import STACKED, Transfer, stacks

SUMS = 5
"""How many numbers stand before the histogram in `gradient_sums`."""


class ModuleReadings:
    """Takes tensors in while the step runs; gives tables when it is over."""

    def __init__(self, transfer: Transfer, pictures: bool) -> None:
        self._transfer = transfer
        self._pictures = pictures
        self._outputs = _Kept(Measured(transfer, pictures))
        self._gradients = _Kept(Measured(transfer, pictures))
        self._flat = FlatValues(transfer, pictures)
        self._entropies: dict[str, list[int]] = {}
        self._sums: dict[str, int] = {}
        self.backward_begun: Callable[[], None] = lambda: None
        """Called when a gradient arrives."""
        self.order: dict[str, None] = {}
        """The modules that gave something, in the order in which they first did."""

    def output(self, watched: Watched, values: torch.Tensor, source: torch.Tensor | None) -> None:
        """Take in an output of any shape, and as (examples, units) what its flat region is tested on, if anything."""
        self.order.setdefault(watched.name)
        self._outputs.take(watched.name, values)
        if source is not None:
            self._flat.take(watched, source)

    def gradient(self, name: str, values: torch.Tensor) -> None:
        """Take in the gradient of the loss with respect to an output, of any shape."""
        self._gradients.take(name, values)

    def gradient_sums(self, name: str, sums: torch.Tensor) -> None:
        """Take in `gradient_sums` of an output's gradient, as a compiled graph delivers them."""
        self._sums[name] = self._transfer.put(sums)

    def entropy(self, name: str, entropy: torch.Tensor) -> None:
        """Take in a mean entropy, as a share of the uniform distribution's."""
        self._entropies.setdefault(name, []).append(self._transfer.put(entropy))

    def put(self) -> None:
        """Measure what was kept for the end of the step."""
        self._outputs.put()
        self._gradients.put()
        self._flat.put()

    def look_closer(self) -> None:
        """See `Measured.look_closer`."""
        self._outputs.measured.look_closer()
        self._gradients.measured.look_closer()

    def tables(self, scale: float) -> dict[str, Reading]:
        """After the transfers: the two tables of modules; gradients are divided by the loss scale."""
        names = tuple(self.order)
        places = {name: place for place, name in enumerate(names)}
        activation = np.full((len(names), len(COLUMNS["activation"])), np.nan, np.float32)
        gradient = np.full((len(names), len(COLUMNS["activation_gradient"])), np.nan, np.float32)
        for table, kept in ((activation, self._outputs), (gradient, self._gradients)):
            found, _, rows = kept.measured.complete()
            table[[places[name] for name in found], : len(COMPLETE)] = rows
        for name, ticket in self._sums.items():
            gradient[places[name]] = _from_sums(self._transfer[ticket])
        gradient[:, : COLUMNS["activation_gradient"].index("zeros")] /= scale
        for name, (saturated, units) in self._flat.shares().items():
            activation[places[name], 7:9] = saturated, units
        # What is NaN lies in no region, and outside none.
        activation[np.isnan(activation[:, 0]), 7:9] = np.nan
        for name, tickets in self._entropies.items():
            activation[places[name], 9] = np.mean([self._transfer[ticket] for ticket in tickets])
        tables = {"activation": Reading(names, activation)}
        if self._gradients.measured or self._sums:
            tables["activation_gradient"] = Reading(names, gradient)
        return tables

    def histograms(self, scale: float) -> dict[str, dict[str, Histogram]]:
        """After the transfer: the histograms of both tables' rows; gradients are divided by the loss scale."""
        gradients = self._gradients.measured.histograms()
        if self._pictures:
            gradients |= {name: Histogram.of(self._transfer[ticket][SUMS:]) for name, ticket in self._sums.items()}
        if scale != 1:
            gradients = {name: histogram.divided(scale) for name, histogram in gradients.items()}
        return {"activation": self._outputs.measured.histograms(), "activation_gradient": gradients}

    def maps(self) -> dict[str, NDArray[np.bool_]]:
        """After the transfer: (examples, units), which values lie in the flat region."""
        return self._flat.maps()


@dataclass
class _Kept:
    """Small tensors that wait for the end of the step, and what was measured."""

    measured: Measured

    def __post_init__(self) -> None:
        self._waiting: dict[str, list[torch.Tensor]] = {}

    def take(self, name: str, values: torch.Tensor) -> None:
        if values.numel() <= STACKED:
            self._waiting.setdefault(name, []).append(values)
        else:
            ((_, row),) = stacks([values])
            self.measured.measure([name], row)

    def put(self) -> None:
        names = [name for name, tensors in self._waiting.items() for _ in tensors]
        for places, matrix in stacks([tensor for tensors in self._waiting.values() for tensor in tensors]):
            self.measured.measure([names[place] for place in places], matrix)
        self._waiting = {}


def gradient_sums(g: torch.Tensor) -> torch.Tensor:
    """The count, sum, sum of squares, zeros and non-finite values of ``g``, then its histogram's counts, as one vector.

    Two such vectors add up to that of both tensors together, as autograd adds up gradients.
    """
    flat = g.detach().to(torch.float32).reshape(1, -1)
    count = torch.ones_like(flat).sum()
    zeros, nonfinite = (flat == 0).float().sum(), (~flat.isfinite()).float().sum()
    return torch.cat([torch.stack([count, flat.sum(), flat.square().sum(), zeros, nonfinite]), log_histograms(flat)[0]])


def _from_sums(sums: NDArray[np.float32]) -> NDArray[np.float64]:
    """A row of `COMPLETE`; the extremes are edges of bins."""
    n, total, squares, zeros, nonfinite = sums[:SUMS].astype(np.float64)
    filled = np.flatnonzero(sums[SUMS:])
    low, high = (EDGES[filled[0]], EDGES[filled[-1] + 1]) if filled.size else (np.nan, np.nan)
    mean = total / n
    with np.errstate(invalid="ignore", divide="ignore"):
        std = np.sqrt(np.maximum(squares - n * mean**2, 0.0) / (n - 1))
    return np.array([mean, std, np.sqrt(squares / n), low, high, zeros / n, nonfinite / n])
