"""A curve over a logarithmic axis: in the terminal with braille dots, and as an SVG file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from itertools import pairwise

from charloom.characters import printable
from charloom.cli.console import out

DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Bits of the braille cell by row and column."""


def plot(
    xs: Sequence[float], ys: Sequence[float], *, mark: float, x: str, y: str, columns: int = 60, rows: int = 12
) -> None:
    """Draw ys over log xs on standard output, with a line at ``mark``."""
    low, high = min(ys), max(ys)
    cells = [[0] * columns for _ in range(rows)]

    def set_dot(across: float, up: float) -> None:
        column = min(2 * columns - 1, int(across * 2 * columns))
        row = min(4 * rows - 1, int((1 - up) * 4 * rows))
        cells[row // 4][column // 2] |= DOTS[row % 4][column % 2]

    points = [(_across(value, xs), (loss - low) / max(high - low, 1e-12)) for value, loss in zip(xs, ys, strict=True)]
    for (x0, y0), (x1, y1) in pairwise(points):
        steps = max(1, int(max(abs(x1 - x0) * 2 * columns, abs(y1 - y0) * 4 * rows)))
        for i in range(steps + 1):
            set_dot(x0 + (x1 - x0) * i / steps, y0 + (y1 - y0) * i / steps)
    for row in range(0, 4 * rows, 3):
        set_dot(_across(mark, xs), 1 - (row + 0.5) / (4 * rows))
    out.print(y)
    for number, row_cells in enumerate(cells):
        label = f"{high:.2f}" if number == 0 else f"{low:.2f}" if number == rows - 1 else ""
        out.print(f"{label:>7} " + "".join(chr(0x2800 + cell) for cell in row_cells), soft_wrap=True)
    left, right = f"{xs[0]:.0e}", f"{xs[-1]:.0e}"
    out.print(" " * 8 + left + f"{x}, log scale".center(columns - len(left) - len(right)) + right, soft_wrap=True)


def to_svg(xs: Sequence[float], ys: Sequence[float], *, mark: float, x: str, y: str) -> str:
    """The same curve as a self-contained SVG, legible on light and dark."""
    width, height, left, bottom = 640, 360, 64, 48
    low, high = min(ys), max(ys)
    inner_width, inner_height = width - left - 16, height - bottom - 24

    def at(across: float, up: float) -> str:
        return f"{left + across * inner_width:.1f},{24 + (1 - up) * inner_height:.1f}"

    curve = " ".join(at(_across(a, xs), (b - low) / max(high - low, 1e-12)) for a, b in zip(xs, ys, strict=True))
    decades = range(math.ceil(math.log10(xs[0])), math.floor(math.log10(xs[-1])) + 1)
    ticks = "".join(_x_tick(left + _across(10.0**d, xs) * inner_width, f"1e{d}", height - bottom) for d in decades)
    levels = "".join(
        f'<text x="{left - 8}" y="{28 + (1 - share) * inner_height:.1f}" text-anchor="end">'
        f"{low + share * (high - low):.2f}</text>"
        for share in (0, 0.25, 0.5, 0.75, 1)
    )
    mark_x = left + _across(mark, xs) * inner_width
    base = height - bottom
    x, y = escape(printable(x)), escape(printable(y))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"'
        ' font-family="sans-serif" font-size="13">'
        "<style>text{fill:#333}.axis{stroke:#999}"
        "@media(prefers-color-scheme:dark){svg{background:#16191d}text{fill:#ddd}}</style>"
        f'<path class="axis" fill="none" d="M{left} 24V{base}H{width - 16}"/>{ticks}{levels}'
        f'<polyline points="{curve}" fill="none" stroke="#2a7fb8" stroke-width="2"/>'
        f'<path d="M{mark_x:.1f} 24V{base}" stroke="#d55e00" stroke-dasharray="5 4"/>'
        f'<text x="{mark_x + 6:.1f}" y="36">{mark:.2g}</text>'
        f'<text x="{left + inner_width / 2}" y="{height - 8}" text-anchor="middle">{x} (log scale)</text>'
        f'<text x="{left}" y="14">{y}</text></svg>\n'
    )


def _across(value: float, xs: Sequence[float]) -> float:
    """Where a value lies between the first and the last x on a logarithmic axis, from 0 to 1."""
    return math.log(value / xs[0]) / math.log(xs[-1] / xs[0])


def _x_tick(position: float, label: str, base: int) -> str:
    return (
        f'<line class="axis" x1="{position:.1f}" x2="{position:.1f}" y1="{base}" y2="{base + 5}"/>'
        f'<text x="{position:.1f}" y="{base + 20}" text-anchor="middle">{label}</text>'
    )
