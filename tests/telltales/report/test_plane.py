"""Names on a plane, as SVG and with matplotlib."""

from __future__ import annotations

import io
import re

import pytest

from telltales.report import figure_svg
from telltales.report.axes import draw_figure
from telltales.report.description import Axis, Figure, NamesPanel, Point
from telltales.report.scales import Range
from telltales.report.style import LIGHT

PANEL = NamesPanel(
    Axis("across", Range(0, 10)),
    Axis("up", Range(0, 10)),
    (Point("a", 0, 0, "c0"), Point("<b>", 10, 5, "c1"), Point("c", 5, 10, "c1")),
    (("c0", "consonants"), ("c1", "vowels")),
)
FIGURE = Figure("plane", "Plane", ((PANEL,),))


def places(svg: str) -> dict[str, tuple[float, float]]:
    found = re.findall(r'<text x="([\d.]+)" y="([\d.]+)" class="title on f-c\d" [^>]*>([^<]*)', svg)
    return {name: (float(x), float(y)) for x, y, name in found}


def test_names_stand_where_they_are() -> None:
    svg = figure_svg(FIGURE, 600)
    at = places(svg)
    assert list(at) == ["a", "&lt;b&gt;", "c"]
    (ax, ay), (bx, by), (cx, cy) = at.values()
    assert cx == pytest.approx((ax + bx) / 2, abs=0.11)
    assert by == pytest.approx((ay + cy) / 2, abs=0.11)
    assert cy < by < ay
    assert "consonants" in svg
    assert "vowels" in svg


def test_matplotlib_draws_the_same() -> None:
    pytest.importorskip("matplotlib")
    drawn = draw_figure(FIGURE)
    (axes,) = drawn.axes
    texts = {text.get_text(): text for text in axes.texts}
    assert texts["c"].get_position() == (5, 10)
    assert texts["c"].get_color() == LIGHT["c1"]
    assert {"consonants", "vowels"} <= set(texts)
    drawn.savefig(io.BytesIO(), format="svg")


def test_a_logarithmic_axis_is_one_in_matplotlib_too() -> None:
    pytest.importorskip("matplotlib")
    panel = NamesPanel(Axis("across", Range(1, 100, log=True)), PANEL.y, (Point("a", 10, 5),))
    (axes,) = draw_figure(Figure("plane", "Plane", ((panel,),))).axes
    assert axes.get_xscale() == "log"
