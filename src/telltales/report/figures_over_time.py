"""Figures of one number of each layer or matrix over the steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from telltales.record import Record
from telltales.report.description import (
    Axis,
    Colours,
    Figure,
    HeatPanel,
    Line,
    LinePanel,
    MissingPanel,
    Numbers,
    Panel,
    depth_colour,
)
from telltales.report.figures_training import Records, headings, step_axis
from telltales.report.scales import Range, range_of
from telltales.report.selection import (
    MOST_LINES,
    MOST_NAMES,
    banded,
    banded_height,
    in_depth_order,
    matrices,
    over_steps,
    shown_layers,
    values_of,
)
from telltales.report.summary import UPDATE_RATIO_GUIDE
from telltales.report.words import counted


@dataclass(frozen=True)
class _OverTime:
    """A number of each row of a table, over time: as lines where there are few rows, else as a heat map."""

    name: str
    title: str
    subtitle: str
    kind: str
    column: str
    label: str
    rows: Callable[[Record], list[str]]
    all_rows: Callable[[Record], list[str]]
    """What a heat map shows, which has room for more."""
    log: bool = True
    shown: Range | None = None
    diverging: bool = False
    guides: tuple[float, ...] = ()

    def figure(self, records: Records) -> Figure | None:
        few = all(len(self._measured(record, self.rows(record))) <= MOST_LINES for record in records.values())
        choose = self.rows if few else self.all_rows
        names = {label: self._measured(record, choose(record)) for label, record in records.items()}
        if not any(names.values()):
            return None
        values = {label: values_of(record, self.kind, self.column, names[label]) for label, record in records.items()}
        x = step_axis(records)
        panels: list[Panel] = []
        for (heading, record), label in zip(headings(records), records, strict=True):
            if not names[label]:
                panels.append(MissingPanel(heading))
            elif few:
                shown = self._range(list(values.values()))
                panels.append(self._lines(record, names[label], values[label], x, shown, heading))
            else:
                shown = self.shown or _central(list(values.values()), self.log)
                panels.append(self._heat(record, names[label], values[label], x, shown, heading))
        note = "" if few else _heat_note(max(map(len, names.values())))
        return Figure(self.name, self.title, (tuple(panels),), self.subtitle, note, wide=not few)

    def _measured(self, record: Record, names: list[str]) -> list[str]:
        if not names or not len(record):
            return []
        values = values_of(record, self.kind, self.column, names)
        return [name for place, name in enumerate(names) if not np.isnan(values[:, place]).all()]

    def _range(self, values: list[Numbers]) -> Range:
        if not self.log:
            return _share_range(values)
        return range_of(values, log=True, include=self.guides)

    def _lines(
        self, record: Record, names: list[str], values: Numbers, x: Axis, shown: Range, heading: str
    ) -> LinePanel:
        steps = record.steps.astype(np.float64)
        lines = tuple(
            Line(steps, values[:, place], name, depth_colour(place, len(names))) for place, name in enumerate(names)
        )
        return LinePanel(x, Axis(self.label, shown), lines, self.guides, heading, height=210)

    def _heat(
        self, record: Record, names: list[str], values: Numbers, x: Axis, shown: Range, heading: str
    ) -> HeatPanel:
        spans = over_steps(record.steps, values, x.shown.low, x.shown.high).T
        with np.errstate(divide="ignore"):
            rows, bands = banded(names, np.log(spans) if self.log else spans)
        rows = np.exp(rows) if self.log else rows
        height = banded_height(len(rows), len(bands))
        return HeatPanel(x, rows, Colours(self.label, shown, self.diverging), bands, title=heading, height=height)


def _share_range(values: list[Numbers]) -> Range:
    """From none to the largest share, or a tenth, lest noise look like much."""
    return Range(0, max([0.1, *(min(float(np.nanmax(each)) * 1.05, 1.0) for each in values if each.size)]))


def _central(values: list[Numbers], log: bool) -> Range:
    """A range that a few extremes can't stretch until nothing else is told apart."""
    if not log:
        return _share_range(values)
    together = np.concatenate([value.ravel() for value in values])
    together = together[np.isfinite(together) & (together > 0)]
    return range_of([np.percentile(together, [0.5, 99.5])] if together.size else [], log=True, pad=0)


def _heat_note(count: int) -> str:
    if count <= MOST_NAMES:
        return "First layer on top. Blank: not measured."
    return f"{counted(count, 'row')}, by what they are; within a band, first layer on top. Blank: not measured."


def _modules(record: Record) -> list[str]:
    return in_depth_order(record, "activation")


UPDATE_RATIOS = _OverTime(
    "update_ratios",
    "Update ratios",
    "Std of a change of a matrix, by the std of the matrix. 10⁻³ (dashed, or neutral in colour) is a guide, no law.",
    "update",
    "ratio",
    "update ratio",
    rows=lambda record: matrices(record, "update"),
    all_rows=lambda record: matrices(record, "update"),
    shown=Range(UPDATE_RATIO_GUIDE / 100, UPDATE_RATIO_GUIDE * 100, True),
    diverging=True,
    guides=(UPDATE_RATIO_GUIDE,),
)
WEIGHT_SCALE = _OverTime(
    "weight_scale",
    "Weight scale",
    "Standard deviation of each matrix.",
    "weight",
    "std",
    "weight std",
    rows=lambda record: matrices(record, "weight"),
    all_rows=lambda record: matrices(record, "weight"),
)
ACTIVATION_SCALE = _OverTime(
    "activation_scale",
    "Activation scale",
    "Standard deviation of each layer's output.",
    "activation",
    "std",
    "activation std",
    rows=shown_layers,
    all_rows=_modules,
)
SATURATION = _OverTime(
    "saturation",
    "Saturated values",
    "Share of each activation function's values in its flat part; of a rectifier's, the inactive ones.",
    "activation",
    "saturated",
    "share of values",
    rows=shown_layers,
    all_rows=shown_layers,
    log=False,
)
SATURATED_UNITS = _OverTime(
    "saturated_units",
    "Saturated and dead units",
    "Share of units in the flat part on all of the last thousand or so examples; of a rectifier, the dead ones.",
    "activation",
    "saturated_units",
    "share of units",
    rows=shown_layers,
    all_rows=shown_layers,
    log=False,
)

ENTROPY = _OverTime(
    "entropy",
    "Entropy of attention and softmax",
    "Mean entropy of the weights, as a share of a uniform distribution's: 1 looks everywhere, 0 at one place.",
    "activation",
    "entropy",
    "entropy",
    rows=_modules,
    all_rows=_modules,
    log=False,
)
SPECTRAL_NORMS = _OverTime(
    "spectral_norms",
    "Spectral norms",
    "The largest singular value of each matrix.",
    "weight",
    "spectral_norm",
    "spectral norm",
    rows=lambda record: matrices(record, "weight"),
    all_rows=lambda record: matrices(record, "weight"),
)


def update_ratios(records: Records) -> Figure | None:
    """How large each step is beside the matrix that it changes."""
    return UPDATE_RATIOS.figure(records)


def weight_scale(records: Records) -> Figure | None:
    """The standard deviation of each matrix over time."""
    return WEIGHT_SCALE.figure(records)


def activation_scale(records: Records) -> Figure | None:
    """The standard deviation of each layer's output over time."""
    return ACTIVATION_SCALE.figure(records)


def saturation(records: Records) -> Figure | None:
    """The share of values in the flat part of the activation function, over time."""
    return SATURATION.figure(records)


def saturated_units(records: Records) -> Figure | None:
    """The share of units that are in the flat part on every example, over time."""
    return SATURATED_UNITS.figure(records)


def entropy(records: Records) -> Figure | None:
    """How spread out attention and softmax are, over time."""
    return ENTROPY.figure(records)


def spectral_norms(records: Records) -> Figure | None:
    """The largest singular value of each matrix over time, where it was measured."""
    return SPECTRAL_NORMS.figure(records)
