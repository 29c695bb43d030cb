"""Maps from a record's pictures: a layer's density over time, and which values are saturated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from telltales.observation import Histogram, Picture
from telltales.record import Record
from telltales.report.description import (
    Axis,
    BitmapPanel,
    Colours,
    Figure,
    HeatPanel,
    MissingPanel,
    Panel,
)
from telltales.report.figures_training import Records, headings, step_axis
from telltales.report.scales import Range, range_of
from telltales.report.selection import (
    central_range,
    density,
    in_depth_order,
    is_rectifier,
    on_all,
    over_steps,
    representatives,
    shown_layers,
)
from telltales.report.words import counted, share

VALUE_ROWS = 64
MAP_COLUMNS = 3
"""Maps side by side where one record is shown."""


def activation_over_time(records: Records, names: Sequence[str] | None = None) -> Figure | None:
    """The density of a layer's output from picture to picture: of ``names``, or the first, middle and last layer."""
    if names is None:
        names = _first_middle_last(records)
    x = step_axis(records)
    rows = [_heat_row(records, name, x) for name in names]
    rows = [row for row in rows if any(isinstance(panel, HeatPanel) for panel in row)]
    if not rows:
        return None
    # One record's layers stand side by side, several records' below each other.
    panels = (tuple(panel for row in rows for panel in row),) if len(records) == 1 else tuple(rows)
    subtitle = "Density of a layer's output over the steps, exact zeros left out; each step by its own peak."
    return Figure("activation_over_time", "Activations over time", panels, subtitle, wide=True)


def _first_middle_last(records: Records) -> list[str]:
    for record in records.values():
        there = {name for picture in record.pictures for name in picture.histograms.get("activation", {})}
        names = [name for name in shown_layers(record) if name in there] or sorted(there)
        if names:
            return list(dict.fromkeys([names[0], names[len(names) // 2], names[-1]]))
    return []


def _heat_row(records: Records, name: str, x: Axis) -> tuple[Panel, ...]:
    found = {
        label: [
            (picture.step, picture.histograms["activation"][name])
            for picture in record.pictures
            if name in picture.histograms.get("activation", {})
        ]
        for label, record in records.items()
    }
    every = [histogram for pairs in found.values() for _, histogram in pairs]
    y = Axis("output", range_of([central_range(every)], pad=0.02))
    panels: list[Panel] = []
    for (heading, record), pairs in zip(headings(records), found.values(), strict=True):
        title = f"{heading}: {name}" if heading else name
        if not pairs:
            panels.append(MissingPanel(title))
            continue
        steps = np.array([step for step, _ in pairs])
        heights = np.array([_on_grid(histogram, y.shown) for _, histogram in pairs])
        end = float(max(steps[-1], record.steps[-1] if len(record) else 0))
        # The last picture holds until the record ends.
        spans = over_steps(np.append(steps, end), np.append(heights, heights[-1:], axis=0), x.shown.low, x.shown.high)
        panels.append(HeatPanel(x, spans.T, Colours("density / peak", Range(0, 1)), y=y, title=title))
    return tuple(panels)


def _on_grid(histogram: Histogram, shown: Range) -> NDArray[np.float64]:
    """The density in `VALUE_ROWS` equal bins of a range, by its peak; exact zeros are left out."""
    edges = np.linspace(shown.low, shown.high, VALUE_ROWS + 1)
    centres, heights, _ = density(histogram, edges[1] - edges[0])
    middles = (edges[:-1] + edges[1:]) / 2
    values = np.interp(middles, centres, heights, left=0, right=0) if centres.size else np.zeros(VALUE_ROWS)
    peak = values.max(initial=0)
    return values / peak if peak else values


def saturation_maps(records: Records) -> Figure | None:
    """Which units lie in the flat part of the activation function on which examples, at the last picture with maps."""
    pictures = {
        label: next((picture for picture in reversed(record.pictures) if picture.maps), None)
        for label, record in records.items()
    }
    columns = [
        _maps(record, picture, heading) if picture is not None else [MissingPanel(heading)]
        for (heading, record), picture in zip(headings(records), pictures.values(), strict=True)
    ]
    if not any(pictures.values()):
        return None
    rows: list[tuple[Panel, ...]]
    if len(columns) == 1:
        across = MAP_COLUMNS
        rows = [tuple(columns[0][first : first + across]) for first in range(0, len(columns[0]), across)]
        padding = across - len(rows[-1]) if len(rows) > 1 else 0
        rows[-1] += (MissingPanel(reason=""),) * padding
    else:
        deepest = max(map(len, columns))
        rows = [
            tuple(column[row] if row < len(column) else MissingPanel(reason="") for column in columns)
            for row in range(deepest)
        ]
    steps = sorted({picture.step for picture in pictures.values() if picture is not None})
    subtitle = (
        "Examples down, units across; a mark: the value lies in the flat part. A unit in colour: on all examples. "
        f"Step {', '.join(f'{step:,}' for step in steps)}."
    )
    return Figure("saturation_maps", "Saturated values, unit by unit", tuple(rows), subtitle, wide=True)


def _maps(record: Record, picture: Picture, heading: str) -> list[Panel]:
    order = {name: place for place, name in enumerate(in_depth_order(record, "activation"))}
    names = sorted(picture.maps, key=lambda name: order.get(name, len(order)))
    shares = np.array([cells.mean() if (cells := picture.maps[name]).size else np.nan for name in names])
    panels: list[Panel] = []
    for name in representatives(names, shares):
        cells = picture.maps[name]
        word = "inactive" if is_rectifier(record, name) else "saturated"
        always = int(on_all(cells).sum())
        detail = f"{share(float(cells.mean())) if cells.size else '–'} {word}"
        detail += f", {counted(always, 'unit')} on all {len(cells)} examples" if always else ""
        panels.append(BitmapPanel(cells, f"{heading}: {name}" if heading else name, detail))
    return panels
