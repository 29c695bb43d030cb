"""Figures of the training as a whole: the loss and the gradient norm; and what all figures of records share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from telltales.record import Record
from telltales.report.description import (
    Axis,
    Figure,
    Line,
    LinePanel,
    MissingPanel,
    Numbers,
    Panel,
)
from telltales.report.scales import Range, range_of
from telltales.report.selection import (
    MOST_LINES,
)
from telltales.report.style import CATEGORIES
from telltales.report.words import counted

Records = Mapping[str, Record]

TREND_SHARE = 40
"""The trend is a mean over one in so many of the entries."""
LOG_FROM = 8
"""A loss that falls by more than this factor is drawn on a logarithmic axis."""


def headings(records: Records) -> list[tuple[str, Record]]:
    """What stands above each column: nothing if there is only one."""
    return list(records.items()) if len(records) > 1 else [("", record) for record in records.values()]


def step_axis(records: Records) -> Axis:
    """Of all steps that any of the records knows of."""
    ends = [record.steps[[0, -1]] for record in records.values() if len(record)]
    ends += [record.losses.steps[[0, -1]] for record in records.values() if len(record.losses.steps)]
    return Axis("step", range_of(ends, pad=0.0))


def loss(records: Records) -> Figure | None:
    """The loss of every step, its trend, the evaluations, and the learning rate below."""
    lines = {label: _loss_lines(record) for label, record in records.items()}
    shown = [line for each in lines.values() for line in each]
    if not shown:
        return None
    values = [values for line in shown for values in (line.y, line.low, line.high) if values is not None]
    y = Axis("loss", _loss_range(values))
    x = step_axis(records)
    top = tuple(
        LinePanel(x, y, tuple(_loss_lines(record)), title=heading, height=230)
        if _loss_lines(record)
        else MissingPanel(heading)
        for heading, record in headings(records)
    )
    rates = [_rates(record) for record in records.values()]
    rows: list[tuple[Panel, ...]] = [top]
    if any(rates):
        rate_axis = Axis("learning rate", range_of([line.y for each in rates for line in each], include=(0,)))
        rows.append(tuple(LinePanel(x, rate_axis, each, height=56) for each in rates))
    spans = {record.losses.span for record in records.values() if len(record.losses.steps)}
    subtitle = "Every step, its trend, and the evaluations on held-out data."
    if spans - {1}:
        subtitle = f"Mean, lowest and highest of every {max(spans):,} steps, the trend, and the evaluations."
    notes = [note for heading, record in headings(records) if (note := _not_finite(record, heading))]
    return Figure("loss", "Loss", tuple(rows), subtitle, " ".join(notes), wide=True)


def _loss_lines(record: Record) -> list[Line]:
    lines = []
    losses = record.losses
    if len(losses.steps):
        with np.errstate(invalid="ignore"):
            empty = losses.lowest > losses.highest
        low, high = np.where(empty, np.nan, losses.lowest), np.where(empty, np.nan, losses.highest)
        steps = losses.steps.astype(np.float64)
        lines.append(Line(steps, losses.mean, "", "c0", "faint", low, high))
        lines.append(Line(steps, trend(losses.mean), "train, trend", "c0"))
    for place, split in enumerate(record.evaluations.splits):
        points = record.evaluations.of(split)
        x, y = np.array([float(point.step) for point in points]), np.array([point.loss for point in points])
        lines.append(Line(x, y, split, f"c{1 + place % (CATEGORIES - 1)}", "points"))
    return lines


def _not_finite(record: Record, heading: str) -> str:
    """What a line can't show: that there was a loss, and that it was none."""
    steps = record.losses.steps[~np.isfinite(record.losses.mean)]
    if not steps.size:
        return ""
    last = steps[-1] + record.losses.span - 1
    said = f"Not finite: {counted(steps.size, 'entry', 'entries')} between steps {steps[0]:,} and {last:,}."
    return f"{heading}: {said}" if heading else said


def _loss_range(values: Sequence[Numbers]) -> Range:
    finite = np.concatenate([value[np.isfinite(value)] for value in values])
    log = bool(finite.size) and finite.min() > 0 and finite.max() / finite.min() > LOG_FROM
    return range_of(values, log=log)


def trend(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean around each value, of what is finite; NaN where the value itself is not."""
    half = max(1, len(values) // (2 * TREND_SHARE))
    finite = np.isfinite(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(finite, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(finite)])
    places = np.arange(len(values))
    start, stop = np.maximum(places - half, 0), np.minimum(places + half + 1, len(values))
    with np.errstate(invalid="ignore", divide="ignore"):
        means: NDArray[np.float64] = (sums[stop] - sums[start]) / (counts[stop] - counts[start])
    return np.where(finite, means, np.nan)


def _rates(record: Record) -> tuple[Line, ...]:
    """The learning rate of each parameter group, those that are the same once."""
    rates = record.values("group", "learning_rate").astype(np.float64)
    steps = record.steps.astype(np.float64)
    different: dict[bytes, Line] = {}
    for place, name in enumerate(record.names("group")):
        series = rates[:, place]
        if not np.isnan(series).all():
            colour = "muted" if not different else f"c{len(different) % CATEGORIES}"
            different.setdefault(series.tobytes(), Line(steps, series, name, colour))
    lines = list(different.values())[:MOST_LINES]
    if len(lines) == 1:
        return (Line(steps, lines[0].y, "learning rate", "muted"),)
    return tuple(lines)


def gradient_norm(records: Records) -> Figure | None:
    """The norm of all gradients together, as it was computed and as the optimizer used it."""
    series = {
        label: [
            (record.steps.astype(np.float64), record.scalar(name)) for name in ("gradient_norm", "gradient_norm_used")
        ]
        for label, record in records.items()
    }
    values = [values for each in series.values() for _, values in each]
    if not any(np.isfinite(value).any() for value in values):
        return None
    x, y = step_axis(records), Axis("gradient norm", range_of(values, log=True))
    panels: list[Panel] = []
    for (heading, _), ((steps, before), (_, used)) in zip(headings(records), series.values(), strict=True):
        if np.isnan(before).all() and np.isnan(used).all():
            panels.append(MissingPanel(heading))
            continue
        lines = [Line(steps, before, "before clipping", "c1")]
        if not np.isnan(used).all():
            same = np.allclose(before, used, rtol=1e-4, equal_nan=True)
            lines = [Line(steps, used, "not clipped", "c0")] if same else [*lines, Line(steps, used, "as used", "c0")]
        panels.append(LinePanel(x, y, tuple(lines), title=heading))
    subtitle = "Norm of all gradients together, before clipping and as the optimizer used it."
    infinite = any(np.isinf(value).any() for value in values)
    note = "What is infinite is drawn at the upper edge." if infinite else ""
    return Figure("gradient_norm", "Gradient norm", (tuple(panels),), subtitle, note)


def noise_scale(records: Records) -> Figure | None:
    """The batch size at which the gradient's noise equals the gradient, where it was measured."""
    values = [record.scalar("noise_scale") for record in records.values()]
    if not any(np.isfinite(value).any() for value in values):
        return None
    x, y = step_axis(records), Axis("examples", range_of(values, log=True))
    panels: list[Panel] = []
    for (heading, record), scale in zip(headings(records), values, strict=True):
        if np.isnan(scale).all():
            panels.append(MissingPanel(heading))
            continue
        steps = record.steps.astype(np.float64)
        lines = (Line(steps, scale, "noise scale", "c1"), Line(steps, record.scalar("batch_size"), "batch size", "c0"))
        panels.append(LinePanel(x, y, lines, title=heading))
    subtitle = "The batch size at which the gradient's noise equals the gradient, an estimate that needs many steps."
    return Figure("noise_scale", "Gradient noise scale", (tuple(panels),), subtitle)
