"""Which values lie where their activation function is flat, and which units do so on every example."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from telltales.flat_regions import FlatRegion
from telltales.observation import MAP_EXAMPLES, MAP_UNITS
from telltales.statistics import margins, share_positive
from telltales.transfer import STACKED, Transfer, stacks

WINDOW = 1000
"""A unit counts as saturated when it was so on this many examples in a row, or on all that were observed so far."""


@dataclass
class UnitState:
    """For how many examples in a row each unit of a module has been in the flat region, over the observed steps."""

    flat_for: torch.Tensor | None = None
    seen: int = 0


@dataclass
class Watched:
    """A module's name, its flat region if it has one, and what its units did in the steps before."""

    name: str
    flat: FlatRegion | None
    units: dict[int, UnitState] = field(default_factory=dict)
    """By how many units it has: a function may serve layers of several widths."""


@dataclass
class _Rows:
    """Tickets for a stack of modules."""

    names: list[str]
    values: int
    units: int
    interior: int
    saturated_units: int
    maps: int | None


class FlatValues:
    """Takes in what flat regions are tested on; gives shares and maps when the step is over."""

    def __init__(self, transfer: Transfer, pictures: bool) -> None:
        self._transfer = transfer
        self._pictures = pictures
        self._waiting: dict[tuple[str, int], tuple[Watched, list[torch.Tensor]]] = {}
        self._rows: list[_Rows] = []

    def take(self, watched: Watched, values: torch.Tensor) -> None:
        """``values``: (examples, units)."""
        if values.numel() <= STACKED:
            self._waiting.setdefault((watched.name, values.shape[1]), (watched, []))[1].append(values)
        else:
            self._measure([watched], values[None])

    def put(self) -> None:
        """Measure what was kept for the end of the step."""
        modules = [watched for watched, _ in self._waiting.values()]
        joined = [parts[0] if len(parts) == 1 else torch.cat(parts) for _, parts in self._waiting.values()]
        for places, matrix in stacks(joined):
            self._measure([modules[place] for place in places], matrix.reshape(-1, *joined[places[0]].shape))
        self._waiting = {}

    def shares(self) -> dict[str, tuple[float, float]]:
        """After the transfer: name → share of saturated values, share of saturated units."""
        values: dict[str, list[tuple[int, float]]] = {}
        units: dict[str, dict[int, float]] = {}
        for rows in self._rows:
            interior, flat_units = self._transfer[rows.interior], self._transfer[rows.saturated_units]
            for name, inside, flat in zip(rows.names, interior, flat_units, strict=True):
                values.setdefault(name, []).append((rows.values, 1 - float(inside)))
                units.setdefault(name, {})[rows.units] = float(flat)
        return {
            name: (
                sum(n * share for n, share in found) / sum(n for n, _ in found),
                sum(n * share for n, share in units[name].items()) / sum(units[name]),
            )
            for name, found in values.items()
        }

    def maps(self) -> dict[str, NDArray[np.bool_]]:
        """After the transfer: name → (examples, units), the last ones seen."""
        return {
            name: cells > 0
            for rows in self._rows
            if rows.maps is not None
            for name, cells in zip(rows.names, self._transfer[rows.maps], strict=True)
        }

    def _measure(self, modules: list[Watched], values: torch.Tensor) -> None:
        """``values``: (modules, examples, units)."""
        regions = [module.flat for module in modules if module.flat is not None]
        low, high = (
            _beside(values, [getattr(region, side) for region in regions]).to(values.dtype) for side in ("low", "high")
        )
        inside = margins(values, low, high)
        always_flat = inside.amax(1) <= 0
        states = [module.units.setdefault(values.shape[2], UnitState()) for module in modules]
        put = self._transfer.put
        self._rows.append(
            _Rows(
                [module.name for module in modules],
                values[0].numel(),
                values.shape[2],
                put(share_positive(inside)),
                put(_count_examples(states, always_flat, values.shape[1])),
                put(inside[:, :MAP_EXAMPLES, :MAP_UNITS] <= 0) if self._pictures else None,
            )
        )


def _count_examples(states: list[UnitState], always_flat: torch.Tensor, examples: int) -> torch.Tensor:
    """Bring the states up to date with a batch's (modules, units); give each module's share of saturated units."""
    so_far = []
    for state in states:
        flat_for = state.flat_for
        if flat_for is None or flat_for.shape != always_flat.shape[1:] or flat_for.device != always_flat.device:
            flat_for, state.seen = torch.zeros_like(always_flat[0], dtype=torch.float32), 0
        so_far.append(flat_for)
        state.seen += examples
    counted = (torch.stack(so_far) + examples) * always_flat
    for state, row in zip(states, counted.unbind(), strict=True):
        state.flat_for = row
    needed = _beside(counted, [min(WINDOW, state.seen) for state in states])
    return (counted >= needed[:, None]).float().mean(1)


def _beside(values: torch.Tensor, numbers: list[float]) -> torch.Tensor:
    """A few numbers as a vector where ``values`` are, without a wait for a GPU's work."""
    return torch.tensor(numbers).to(values.device, non_blocking=True)
