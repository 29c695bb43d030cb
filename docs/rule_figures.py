"""The picture of a rule's page: the numbers that it rests on, without the fault and with it, on one axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from examples.example import LOSS

from telltales.record import Record
from telltales.report import figures_training
from telltales.report.description import Axis, Figure, Line, LinePanel, depth_colour
from telltales.report.scales import range_of

MOST_LINES = 8
LOG_FROM = 30
"""From this ratio of the largest to the smallest number on, the axis is logarithmic."""


def figure_of(shows: tuple[str, str], records: Mapping[str, Record]) -> Figure:
    """``shows``: a table and a column. ``records``: heading → record, drawn side by side."""
    if shows == LOSS:
        figure = figures_training.loss(records)
        assert figure is not None
        return figure
    lines = [_lines(record, *shows) for record in records.values()]
    values = np.concatenate([line.y[np.isfinite(line.y)] for some in lines for line in some])
    above = values[values > 0]
    is_log = bool(above.size) and bool((values >= 0).all()) and above.max() > LOG_FROM * above.min()
    x = Axis("step", range_of([line.x for some in lines for line in some]))
    y = Axis(_words(shows), range_of([values], log=is_log))
    panels = tuple(LinePanel(x, y, tuple(some), title=heading) for heading, some in zip(records, lines, strict=True))
    return Figure("-".join(shows), _words(shows).capitalize(), (panels,))


def _lines(record: Record, table: str, column: str) -> Sequence[Line]:
    """The number of each step, or the rows of a table from the first layer to the last."""
    steps = record.steps.astype(np.float64)
    if table == "scalar":
        return [Line(steps, record.scalar(column), column.replace("_", " "), "c0")]
    rows = {name: record.series(table, name, column).astype(np.float64) for name in record.names(table)}
    known = [name for name, values in rows.items() if np.isfinite(values).any()]
    if table in ("gradient", "weight", "update"):
        known = [name for name in known if len(record.parameters[name]["shape"]) >= 2]
    shown = known[:: -(-len(known) // MOST_LINES) or 1]
    return [Line(steps, rows[name], name, depth_colour(place, len(shown))) for place, name in enumerate(shown)]


def _words(shows: tuple[str, str]) -> str:
    table, column = (part.replace("_", " ") for part in shows)
    return column if table in ("scalar", "group") else f"{table} {column}"
