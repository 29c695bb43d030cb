"""Figures over the depth of a net."""

from __future__ import annotations

import numpy as np

from telltales.record import Record
from telltales.report.description import Axis, Figure, Line, LineKind, LinePanel, MissingPanel, Numbers, Panel
from telltales.report.figures_training import Records, headings
from telltales.report.scales import Range, range_of
from telltales.report.selection import (
    MOST_LINES,
    block_of,
    depth_names,
    matrices,
    shown_layers,
    values_of,
)
from telltales.report.words import number

MOMENTS: tuple[tuple[str, LineKind], ...] = (("muted", "dashed"), ("muted", "line"), ("c0", "line"))
"""First, middle and last step: the later, the stronger."""


def gradient_flow(records: Records) -> Figure | None:
    """The rms of the gradients from layer to layer, at the first, the middle and the last step that has them."""
    flows = [_activation_lines(record) for record in records.values()]
    weights = [_weight_lines(record) for record in records.values()]
    rows = [
        _row(records, flow, label)
        for flow, label in ((flows, "rms of activation gradients"), (weights, "rms of weight gradients"))
        if any(lines for lines, _ in flow)
    ]
    if not rows:
        return None
    notes = [note for heading, record in headings(records) if (note := _extremes(record, heading))]
    # One record's two panels stand side by side, several records' below each other.
    panels = (tuple(panel for row in rows for panel in row),) if len(records) == 1 else tuple(rows)
    subtitle = (
        "How large the gradient is in each layer. Weights by block: median, and from the smallest to the largest."
    )
    return Figure("gradient_flow", "Gradient flow over depth", panels, subtitle, " ".join(notes), wide=True)


Flow = tuple[tuple[Line, ...], list[str]]


def _row(records: Records, flows: list[Flow], label: str) -> tuple[Panel, ...]:
    values = [
        value for lines, _ in flows for line in lines for value in (line.y, line.low, line.high) if value is not None
    ]
    y = Axis(label, range_of(values, log=True))
    panels: list[Panel] = []
    for (heading, _), (lines, names) in zip(headings(records), flows, strict=True):
        if not lines:
            panels.append(MissingPanel(heading))
            continue
        x = Axis("layer, first to last", Range(-0.5, len(names) - 0.5), depth_names(names))
        panels.append(LinePanel(x, y, lines, title=heading, height=180))
    return tuple(panels)


def _activation_lines(record: Record) -> Flow:
    names = shown_layers(record, "activation_gradient")
    values = values_of(record, "activation_gradient", "rms", names)
    places = np.arange(len(names), dtype=np.float64)
    lines = [
        Line(places, values[row], f"step {record.steps[row]:,}", colour, kind)
        for row, (colour, kind) in _moments(values)
    ]
    return tuple(lines), names


def _weight_lines(record: Record) -> Flow:
    names = matrices(record, "gradient")
    values = values_of(record, "gradient", "rms", names)
    members: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        members.setdefault(block_of(name), []).append(place)
    places = np.arange(len(members), dtype=np.float64)
    lines = []
    moments = _moments(values)
    for row, (colour, kind) in moments:
        low, middle, high = (_by_block(values[row], members, share) for share in (0, 50, 100))
        band = (low, high) if row == moments[-1][0] and len(members) < len(names) else (None, None)
        lines.append(Line(places, middle, f"step {record.steps[row]:,}", colour, kind, *band))
    return tuple(lines), list(members)


def _by_block(values: Numbers, members: dict[str, list[int]], share: float) -> Numbers:
    measured = [values[places][~np.isnan(values[places])] for places in members.values()]
    # Not interpolated: an infinite neighbour would make NaN of it.
    return np.array(
        [np.percentile(each, share, method="nearest") if each.size else np.nan for each in measured], np.float64
    )


def _moments(values: Numbers) -> list[tuple[int, tuple[str, LineKind]]]:
    """Rows with numbers: the first, the middle and the last, as far as they differ, and how each is drawn."""
    rows = np.flatnonzero(~np.isnan(values).all(axis=1)) if values.size else np.zeros(0, int)
    if not rows.size:
        return []
    chosen = sorted({int(rows[0]), int(rows[len(rows) // 2]), int(rows[-1])})
    return list(zip(chosen, MOMENTS[-len(chosen) :], strict=True))


def _extremes(record: Record, heading: str) -> str:
    """Where there are too many matrices to name them all: which gradients are smallest and largest."""
    names = matrices(record, "gradient")
    values = values_of(record, "gradient", "rms", names)
    moments = _moments(values)
    if len(names) <= MOST_LINES or not moments:
        return ""
    row = moments[-1][0]
    least, most = int(np.nanargmin(values[row])), int(np.nanargmax(values[row]))
    said = (
        f"At step {record.steps[row]:,} the smallest weight gradient is that of {names[least]} "
        f"({number(values[row, least])}), the largest that of {names[most]} ({number(values[row, most])})."
    )
    return f"{heading}: {said}" if heading else said
