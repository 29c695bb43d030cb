"""Figures of densities, layer by layer or matrix by matrix, from a record's pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from telltales.bins import EDGES
from telltales.observation import Histogram, Picture
from telltales.record import Record
from telltales.report.description import (
    Axis,
    Curve,
    DensityPanel,
    Figure,
    MissingPanel,
    Panel,
    depth_colour,
)
from telltales.report.figures_training import Records, headings
from telltales.report.scales import Range, range_of
from telltales.report.selection import (
    central_range,
    density,
    is_rectifier,
    matrices,
    representatives,
    shape,
    shown_layers,
)
from telltales.report.words import number, share

Which = Literal["first", "last"]
ENDS: tuple[Which, ...] = ("first", "last")

RESOLUTION = 90
"""How many bins at most share the width of a density."""


@dataclass(frozen=True)
class _Densities:
    """The histograms of one table, each as a density, at the first or the last picture."""

    kind: str
    title: str
    subtitle: str
    label: str
    names: Callable[[Record], list[str]]
    details: Callable[[Record, str, int], tuple[str, ...]]
    """What is said of a name, at a row of the record."""

    def figure(self, records: Records, which: Which) -> Figure | None:
        pictures = {name: picture_of(record, self.kind, which) for name, record in records.items()}
        steps = {picture.step for picture in pictures.values() if picture is not None}
        if not steps:
            return None
        x = Axis(self.label, self._range(records))
        panels: list[Panel] = []
        omitted = False
        for (heading, record), picture in zip(headings(records), pictures.values(), strict=True):
            if picture is None:
                panels.append(MissingPanel(heading))
                continue
            chosen, names = self._chosen(record, picture)
            omitted = omitted or len(chosen) < len(names)
            panels.append(DensityPanel(x, self._curves(record, picture.step, chosen, names, x), heading))
        when = f" at step {steps.pop():,}" if len(steps) == 1 else f", {which} picture"
        note = "Evenly spaced, and the narrowest and the widest." if omitted else ""
        return Figure(f"{self.kind}_histograms_{which}", self.title + when, (tuple(panels),), self.subtitle, note)

    def _range(self, records: Records) -> Range:
        """The same for the first and the last picture, so that they can be compared."""
        histograms = [
            histogram
            for record in records.values()
            for which in ENDS
            if (picture := picture_of(record, self.kind, which)) is not None
            for histogram in self._chosen(record, picture)[0].values()
        ]
        return range_of([central_range(histograms)], pad=0.08)

    def _chosen(self, record: Record, picture: Picture) -> tuple[dict[str, Histogram], list[str]]:
        """The histograms that are shown, and the names of all that could be."""
        there = picture.histograms[self.kind]
        names = [name for name in self.names(record) if name in there] or list(there)
        # Those that are extreme at the end are shown at the beginning too.
        at_end = picture_of(record, self.kind, "last")
        spreads = [spread_of(at_end.histograms[self.kind].get(name)) if at_end else np.nan for name in names]
        return {name: there[name] for name in representatives(names, np.array(spreads))}, names

    def _curves(
        self, record: Record, step: int, chosen: dict[str, Histogram], names: list[str], x: Axis
    ) -> tuple[Curve, ...]:
        row = row_of(record, step)
        curves = []
        for name, histogram in chosen.items():
            if row is not None and name in record.names(self.kind):
                details = self.details(record, name, row)
            else:
                details = (f"std ≈ {number(spread_of(histogram))}",)
            curves.append(_curve(name, histogram, x, depth_colour(names.index(name), len(names)), details))
        return tuple(curves)


def _curve(name: str, histogram: Histogram, x: Axis, colour: str, details: tuple[str, ...]) -> Curve:
    centres, heights, zeros = density(histogram, (x.shown.high - x.shown.low) / RESOLUTION)
    shown = (centres >= x.shown.low) & (centres <= x.shown.high)
    if zeros >= 0.01:
        details = (*details, f"zero {share(zeros)}")
    return Curve(name, centres[shown], heights[shown], details, zeros if zeros >= 0.01 else 0.0, colour)


def _activation_details(record: Record, name: str, row: int) -> tuple[str, ...]:
    saturated = _number(record, "activation", name, "saturated", row)
    word = "inactive" if is_rectifier(record, name) else "saturated"
    return (
        f"std {number(_number(record, 'activation', name, 'std', row))}",
        *([] if np.isnan(saturated) else [f"{word} {share(saturated)}"]),
        f"mean {number(_number(record, 'activation', name, 'mean', row))}",
    )


def _gradient_details(record: Record, name: str, row: int) -> tuple[str, ...]:
    return (
        f"std {number(_number(record, 'activation_gradient', name, 'std', row))}",
        f"mean {number(_number(record, 'activation_gradient', name, 'mean', row))}",
    )


def _weight_details(record: Record, name: str, row: int) -> tuple[str, ...]:
    sizes = "×".join(map(str, shape(record, name)))
    return (
        f"ratio {number(_number(record, 'gradient', name, 'ratio', row))}",
        f"std {number(_number(record, 'gradient', name, 'std', row))}",
        *([sizes] if sizes else []),
    )


def _number(record: Record, kind: str, name: str, column: str, row: int) -> float:
    return float(record.series(kind, name, column)[row])


ACTIVATIONS = _Densities(
    "activation",
    "Activations by layer",
    "Density of each layer's output. Each curve is as high as its own peak.",
    "output",
    shown_layers,
    _activation_details,
)
ACTIVATION_GRADIENTS = _Densities(
    "activation_gradient",
    "Activation gradients by layer",
    "Density of the gradient by each layer's output. Each curve is as high as its own peak.",
    "gradient",
    lambda record: shown_layers(record, "activation_gradient"),
    _gradient_details,
)
WEIGHT_GRADIENTS = _Densities(
    "gradient",
    "Weight gradients by matrix",
    "Density of each matrix's gradient. Ratio: std of the gradient by std of the weights.",
    "gradient",
    lambda record: matrices(record, "gradient"),
    _weight_details,
)


def activation_histograms(records: Records, which: Which = "last") -> Figure | None:
    """The density of each layer's output, at the first or the last picture."""
    return ACTIVATIONS.figure(records, which)


def activation_gradient_histograms(records: Records, which: Which = "last") -> Figure | None:
    """The density of the gradient of the loss by each layer's output."""
    return ACTIVATION_GRADIENTS.figure(records, which)


def weight_gradient_histograms(records: Records, which: Which = "last") -> Figure | None:
    """The density of each matrix's gradient, with the gradient ratio."""
    return WEIGHT_GRADIENTS.figure(records, which)


def spread_of(histogram: Histogram | None) -> float:
    """The standard deviation, as if all values lay in the middle of their bins; NaN if there is none."""
    if histogram is None or not histogram.counts.any():
        return float("nan")
    counts = histogram.counts.astype(np.float64)
    edges = EDGES[histogram.first : histogram.first + len(counts) + 1]
    middles = (edges[:-1] + edges[1:]) / 2
    mean = np.average(middles, weights=counts)
    return float(np.sqrt(np.average((middles - mean) ** 2, weights=counts)))


def picture_of(record: Record, kind: str, which: Which) -> Picture | None:
    """The first or the last picture that has histograms of a table."""
    pictures = [picture for picture in record.pictures if picture.histograms.get(kind)]
    if not pictures:
        return None
    return pictures[0 if which == "first" else -1]


def row_of(record: Record, step: int) -> int | None:
    """Where a step is among those that the record holds."""
    row = int(np.searchsorted(record.steps, step))
    return row if row < len(record) and record.steps[row] == step else None
