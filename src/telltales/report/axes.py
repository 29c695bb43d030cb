"""The same figures on matplotlib's axes, for those who want to arrange, change or save them.

matplotlib is imported when something is drawn, and by nothing else here.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from telltales.errors import UsageError
from telltales.report.description import (
    Axis,
    BitmapPanel,
    Colours,
    DensityPanel,
    Figure,
    HeatPanel,
    Line,
    LinePanel,
    MissingPanel,
    NamesPanel,
    Panel,
)
from telltales.report.selection import on_all
from telltales.report.style import DIVERGING, LIGHT, SEQUENTIAL
from telltales.report.words import shorten
from telltales.visible import visible

LONGEST_NAME = 150
COLUMN_INCHES, ROW_INCHES = 5.2, 2.8
STRIP_INCHES = 0.45


def draw_figure(figure: Figure) -> Any:
    """The whole figure as a `matplotlib.figure.Figure`. Raises `UsageError` if matplotlib is not installed."""
    columns = max(figure.columns, 1)
    heights = [max(map(_inches, row)) for row in figure.panels]
    drawn = _matplotlib("figure").Figure(figsize=(COLUMN_INCHES * columns, sum(heights) + 0.8), layout="constrained")
    grid = drawn.subplots(len(heights), columns, squeeze=False, height_ratios=heights)
    for row, panels in enumerate(figure.panels):
        for column in range(columns):
            draw_panel(panels[column] if column < len(panels) else MissingPanel(reason=""), grid[row][column])
    drawn.suptitle(_plain(figure.title), x=0.01, ha="left", fontsize="large", fontweight="bold")
    return drawn


def draw_panel(panel: Panel, axes: Any) -> None:
    """One panel on axes that are there already. Raises `UsageError` if matplotlib is not installed."""
    _matplotlib("axes")
    if panel.title:
        axes.set_title(_name(panel.title, 300), loc="left", fontsize="medium")
    axes.spines[["top", "right"]].set_visible(False)
    match panel:
        case LinePanel():
            _lines(panel, axes)
        case DensityPanel():
            _densities(panel, axes)
        case HeatPanel():
            _heat(panel, axes)
        case BitmapPanel():
            _bitmap(panel, axes)
        case NamesPanel():
            _names(panel, axes)
        case MissingPanel():
            axes.set_axis_off()
            axes.text(0.5, 0.5, _plain(panel.reason), ha="center", va="center", transform=axes.transAxes)


def _matplotlib(part: str) -> Any:
    try:
        return importlib.import_module(f"matplotlib.{part}")
    except ImportError as error:
        raise UsageError(
            "matplotlib is not installed", remedy="Install it (pip install matplotlib), or use figure_svg."
        ) from error


def _inches(panel: Panel) -> float:
    match panel:
        case LinePanel() | HeatPanel() | NamesPanel():
            return ROW_INCHES * max(panel.height, 90) / 190
        case DensityPanel():
            return STRIP_INCHES * len(panel.curves) + 0.7
    return ROW_INCHES / 2


def _plain(text: str) -> str:
    """Dollars would begin a formula."""
    return visible(text).replace("$", r"\$")


def _name(text: str, width: float = LONGEST_NAME) -> str:
    return _plain(shorten(text, width))


def _lines(panel: LinePanel, axes: Any) -> None:
    styles: dict[str, dict[str, Any]] = {
        "line": {"linewidth": 1.4},
        "faint": {"linewidth": 0.7, "alpha": 0.5},
        "dashed": {"linewidth": 1.4, "linestyle": "--"},
        "points": {"linewidth": 0.7, "marker": "o", "markersize": 4},
    }
    for one in panel.lines:
        colour, name = LIGHT[one.colour], _name(one.label) if one.label else None
        axes.plot(one.x, _within(one.y, panel.y), color=colour, label=name, **styles[one.kind])
        _band(one, panel.y, axes)
    for guide in panel.guides:
        axes.axhline(guide, color=LIGHT["muted"], linewidth=1, linestyle=(0, (4, 4)))
    _horizontal(panel.x, axes)
    _vertical(panel.y, axes)
    axes.grid(axis="y", color=LIGHT["grid"])
    if any(one.label for one in panel.lines):
        axes.legend(fontsize="x-small", frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))


def _band(one: Line, axis: Axis, axes: Any) -> None:
    if one.low is not None and one.high is not None:
        low, high = _within(one.low, axis), _within(one.high, axis)
        axes.fill_between(one.x, low, high, color=LIGHT[one.colour], alpha=0.18, linewidth=0)


def _within(values: Any, axis: Axis) -> Any:
    """What is infinite, or lies outside, is drawn at the edge."""
    return np.clip(np.asarray(values, np.float64), axis.shown.low, axis.shown.high)


def _densities(panel: DensityPanel, axes: Any) -> None:
    count = len(panel.curves)
    for place, curve in enumerate(panel.curves):
        base, colour = count - 1 - place, LIGHT[curve.colour]
        peak = float(np.max(curve.density, initial=0.0))
        if peak > 0:
            height = base + 0.62 * curve.density / peak
            axes.fill_between(curve.x, base, height, color=colour, alpha=0.28, linewidth=0)
            axes.plot(curve.x, height, color=colour, linewidth=1.3)
        if curve.zeros > 0:
            axes.plot([0, 0], [base, base + 0.62], color=colour, linewidth=1.3)
        axes.axhline(base, color=LIGHT["edge"], linewidth=0.6)
        across = axes.get_yaxis_transform()
        axes.text(0, base + 0.68, _name(curve.name), fontsize="x-small", transform=across)
        detail = _plain(" · ".join(curve.details[:2]))
        axes.text(1, base + 0.68, detail, fontsize="x-small", ha="right", color=LIGHT["muted"], transform=across)
    axes.set_ylim(0, max(count, 1))
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    _horizontal(panel.x, axes)


def _heat(panel: HeatPanel, axes: Any) -> None:
    rows = len(panel.values)
    low, high = (0.0, float(rows)) if panel.y is None else (panel.y.shown.low, panel.y.shown.high)
    edges = np.linspace(high, low, rows + 1) if panel.bands else np.linspace(low, high, rows + 1)
    across = np.linspace(panel.x.shown.low, panel.x.shown.high, panel.values.shape[1] + 1)
    shown = panel.colours.shown
    colours = _matplotlib("colors")
    scale = colours.LogNorm if shown.log else colours.Normalize
    mesh = axes.pcolormesh(
        across,
        edges,
        np.clip(panel.values, shown.low, shown.high),
        cmap=colours.ListedColormap(_ramp(panel.colours)),
        norm=scale(shown.low, shown.high),
        rasterized=True,
    )
    axes.figure.colorbar(mesh, ax=axes, label=_plain(panel.colours.label))
    _horizontal(panel.x, axes)
    if panel.y is not None:
        _vertical(panel.y, axes)
    else:
        named = [band for band in panel.bands if band.name]
        middles = [rows - (band.start + band.stop) / 2 for band in named]
        axes.set_yticks(middles, [_name(band.name) for band in named], fontsize="x-small")


def _ramp(colours: Colours) -> list[str]:
    letter, steps = ("v", DIVERGING) if colours.diverging else ("q", SEQUENTIAL)
    return [LIGHT[f"{letter}{step}"] for step in range(steps)]


def _bitmap(panel: BitmapPanel, axes: Any) -> None:
    levels = panel.cells.astype(np.int64) * (1 + on_all(panel.cells)[None, :])
    colours = _matplotlib("colors").ListedColormap([LIGHT["page"], LIGHT["ink"], LIGHT["alarm"]])
    if levels.size:
        axes.imshow(levels, cmap=colours, vmin=0, vmax=2, aspect="equal", interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.set_xlabel(_plain(panel.detail), fontsize="small", loc="left")


def _names(panel: NamesPanel, axes: Any) -> None:
    for point in panel.points:
        axes.text(point.x, point.y, _name(point.name), color=LIGHT[point.colour], ha="center", va="center")
    for place, (colour, label) in enumerate(panel.groups):
        axes.text(place / len(panel.groups), 1.02, _name(label), color=LIGHT[colour], transform=axes.transAxes)
    _horizontal(panel.x, axes)
    _vertical(panel.y, axes)


def _horizontal(axis: Axis, axes: Any) -> None:
    axes.set_xscale("log" if axis.shown.log else "linear")
    axes.set_xlim(axis.shown.low, axis.shown.high)
    axes.set_xlabel(_plain(axis.label), fontsize="small")
    if axis.names:
        stride = -(-len(axis.names) // 6)
        places = range(0, len(axis.names), stride)
        axes.set_xticks(list(places), [_name(axis.names[place], 80) for place in places], fontsize="x-small")


def _vertical(axis: Axis, axes: Any) -> None:
    axes.set_yscale("log" if axis.shown.log else "linear")
    axes.set_ylim(axis.shown.low, axis.shown.high)
    axes.set_ylabel(_plain(axis.label), fontsize="small")
