"""The table of layers as plain text, as wide as there is room for."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from telltales.report.layers import LayerRow, Measure
from telltales.report.plain import aligned, columns, cut
from telltales.report.selection import common_prefix_removed
from telltales.report.words import number, share
from telltales.visible import visible

ROOM_FOR_NAMES = 28
"""Where longer names have fewer columns than this, columns of numbers make room."""
LEAST_ROOM = 12
OUTERMOST = "(model)"
"""What stands for the empty name: the model itself, where it holds parameters of its own."""


@dataclass(frozen=True)
class Column:
    """A column of numbers; ``dispensable`` says how soon it makes room, the least first, None never."""

    group: str
    heading: str
    cell: Callable[[LayerRow], str]
    measure: Measure | None
    dispensable: int | None


COLUMNS = (
    Column("", "type", lambda row: cut(row.type, 18), None, 0),
    Column("activation", "mean", lambda row: number(row.activation_mean), "activation_mean", 1),
    Column("activation", "std", lambda row: number(row.activation_std), "activation_std", None),
    Column("activation", "satur.", lambda row: share(row.saturated), "saturated", None),
    Column("activation", "units", lambda row: share(row.saturated_units), "saturated_units", 4),
    Column("act.grad", "RMS", lambda row: number(row.activation_gradient_rms), "activation_gradient_rms", 3),
    Column("weight", "std", lambda row: number(row.weight_std), "weight_std", 2),
    Column("gradient", "ratio", lambda row: number(row.gradient_ratio), "gradient_ratio", 5),
    Column("update", "log10", lambda row: exponent(row.update_ratio), "update_ratio", None),
)
MEASURES = tuple(column.measure for column in COLUMNS if column.measure is not None)


def layer_table(rows: Sequence[LayerRow], width: int) -> list[str]:
    """Two lines of headings and a line for each row, in about ``width`` columns."""
    names = [visible(row.name or OUTERMOST) for row in rows]
    cells = {column: [column.cell(row) for row in rows] for column in COLUMNS}
    # A column in which nothing was measured says nothing.
    kept = [column for column in COLUMNS if any(cell != "–" for cell in cells[column])]
    needed = min(max(map(columns, ["layer", *names])), ROOM_FOR_NAMES)
    while (room := width - sum(_widths(kept, cells)) - 2 * len(kept)) < needed:
        dispensable = [column for column in kept if column.dispensable is not None]
        if not dispensable:
            break
        kept.remove(min(dispensable, key=lambda column: _rank(column, names)))
    names = [cut(name, max(room, LEAST_ROOM)) for name in short_names(names, max(room, LEAST_ROOM))]
    table = [names, *([heading, *cells[column]] for column, heading in zip(kept, _headings(kept), strict=True))]
    justify = "l" + "".join("r" if column.measure else "l" for column in kept)
    groups = _group_line(kept, _widths(kept, cells))
    return [" " * max(map(columns, names)) + groups, *aligned(list(zip(*table, strict=True)), justify)]


def short_names(names: Sequence[str], room: int) -> list[str]:
    """A heading, then the names; what they all begin with goes into the heading where they are too long with it."""
    if max(map(columns, names)) <= room:
        return ["layer", *names]
    short = common_prefix_removed(names)
    shared = names[0].removesuffix(short[0]).removesuffix(".")
    return [f"layer in {shared}" if shared else "layer", *short]


def exponent(ratio: float) -> str:
    """The decimal logarithm of a ratio: ``−3.1``. A ratio of zero has none."""
    if 0 < ratio < math.inf:
        return f"{math.log10(ratio):.1f}".replace("-", "−")
    return "zero" if ratio == 0 else number(ratio)


def _rank(column: Column, names: Sequence[str]) -> float:
    """The lowest makes room first. Where names are mere numbers, as in `torch.nn.Sequential`, types tell more."""
    if column.measure is None and any(name.rpartition(".")[2].isdecimal() for name in names):
        return math.inf
    return column.dispensable or 0


def _headings(kept: Sequence[Column]) -> list[str]:
    """A column that is alone in its group is at least as wide as the group's name."""
    groups = [column.group for column in kept]
    return [c.heading.rjust(len(c.group)) if groups.count(c.group) == 1 else c.heading for c in kept]


def _widths(kept: Sequence[Column], cells: Mapping[Column, Sequence[str]]) -> list[int]:
    return [
        max(columns(text) for text in (heading, *cells[column]))
        for column, heading in zip(kept, _headings(kept), strict=True)
    ]


def _group_line(kept: Sequence[Column], widths: Sequence[int]) -> str:
    """The names of the groups above their columns."""
    line = ""
    for group, members in itertools.groupby(zip(kept, widths, strict=True), key=lambda member: member[0].group):
        found = [width for _, width in members]
        total = sum(found) + 2 * (len(found) - 1)
        line += "  " + (f" {group} ".center(total, "─") if len(found) > 1 else group.rjust(total))
    return line
