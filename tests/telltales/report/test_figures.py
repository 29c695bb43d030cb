"""Every figure, from every kind of record, drawn as SVG."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from synthetic import HOSTILE, economy, hostile, mlp, transformer

from telltales.observation import Evaluation, Observation, Picture
from telltales.record import Record
from telltales.report import figure_svg, figures
from telltales.report.description import BitmapPanel, DensityPanel, Figure, HeatPanel, LinePanel, MissingPanel
from telltales.report.figures import SUBJECTS
from telltales.report.figures_densities import activation_histograms, weight_gradient_histograms
from telltales.report.figures_depth import gradient_flow
from telltales.report.figures_maps import activation_over_time, saturation_maps
from telltales.report.figures_over_time import activation_scale, saturated_units, update_ratios
from telltales.report.figures_training import gradient_norm, loss, trend
from telltales.report.words import text_width

BUILDERS = [build for builders in SUBJECTS.values() for build in builders]
EVERY = 19


def one_row() -> Record:
    record = Record()
    record.append(Observation(0, {"loss": 3.0}, {}, None, np.array([3.0], np.float32)))
    return record


RECORDS: dict[str, Callable[[], dict[str, Record]]] = {
    "empty": lambda: {"a": Record()},
    "one row": lambda: {"a": one_row()},
    "one step": lambda: {"a": mlp(steps=1)},
    "economy": lambda: {"a": economy()},
    "five layers": lambda: {"a": mlp(steps=60)},
    "dead": lambda: {"a": mlp("dead", steps=60)},
    "sixty blocks": lambda: {"a": transformer(steps=12)},
    "not finite": lambda: {"a": mlp("broken", steps=60)},
    "hostile": lambda: {HOSTILE[0]: hostile()},
    "side by side": lambda: {
        "a": mlp(steps=60),
        "b": economy(),
        "c": Record(),
        "d": transformer(blocks=4, steps=12),
        "e": mlp("vanishing", steps=30),
    },
}


@pytest.fixture(scope="module", params=RECORDS)
def records(request: pytest.FixtureRequest) -> dict[str, Record]:
    return RECORDS[request.param]()


@pytest.mark.parametrize("build", BUILDERS)
@pytest.mark.parametrize("width", [300, 1100])
def test_every_figure_of_every_record_is_well_formed(build: Any, records: dict[str, Record], width: int) -> None:
    figure = build(records)
    if figure is None:
        return
    assert {len(row) for row in figure.panels} == {figure.columns}
    svg = figure_svg(figure, width)
    root = ET.fromstring(svg)
    assert root.get("role") == "img"
    assert root.get("aria-label", "").startswith(figure.title)
    assert not re.search(r'["\s(,MLhH](nan|inf)', svg)
    assert not {name for node in root.iter() for name in node.attrib if name.startswith("on") or name == "style"}


@pytest.mark.parametrize("build", BUILDERS)
@pytest.mark.parametrize("width", [440, 1100])
def test_no_text_lies_outside_its_figure_or_on_another(build: Any, records: dict[str, Record], width: int) -> None:
    figure = build(records)
    if figure is None:
        return
    root = ET.fromstring(figure_svg(figure, width))
    _, _, wide, high = map(float, root.get("viewBox", "").split())
    boxes = [box_of(node) for node in root.iter("{http://www.w3.org/2000/svg}text")]
    for left, top, right, bottom, text in boxes:
        assert left >= -8, text
        assert right <= wide + 8, text
        assert top >= -2, text
        assert bottom <= high + 6, text
    for one, other in combinations(boxes, 2):
        apart = one[0] >= other[2] or other[0] >= one[2] or one[1] >= other[3] or other[1] >= one[3]
        assert apart, (one, other)


def test_a_record_with_everything_has_every_figure_and_an_empty_one_none() -> None:
    full = [name for shown in figures({"a": mlp(steps=60)}).values() for name in shown]
    assert len(full) == EVERY == len(BUILDERS)
    assert figures({"a": Record()}) == {}
    assert figures({}) == {}
    assert [*figures({"a": economy()})["Loss and updates"]] == ["loss"]


def test_each_record_is_a_column_on_the_same_scale() -> None:
    for shown in figures({"a": mlp(steps=40), "b": mlp("vanishing", steps=80)}).values():
        for figure in shown.values():
            assert figure.columns == 2
            for left, right in figure.panels:
                if isinstance(left, LinePanel) and isinstance(right, LinePanel):
                    assert left.y == right.y
                if isinstance(left, DensityPanel | HeatPanel) and isinstance(right, DensityPanel | HeatPanel):
                    assert left.x == right.x


def test_what_a_record_lacks_is_said_in_its_column() -> None:
    figure = update_ratios({"a": mlp(steps=20), "b": economy()})
    assert figure is not None
    assert isinstance(figure.panels[0][1], MissingPanel)
    assert "not measured" in figure_svg(figure)


def test_the_loss_shows_every_step_its_trend_and_the_evaluations() -> None:
    record = mlp(steps=60)
    figure = loss({"a": record})
    panel = lines_of(figure)
    raw, smooth, dev, test = panel.lines
    assert np.array_equal(raw.y, record.losses.mean)
    assert np.std(np.diff(smooth.y)) < np.std(np.diff(raw.y)) / 1.5
    assert (dev.label, dev.kind, list(dev.x)) == ("dev", "points", [e.step for e in record.evaluations.of("dev")])
    assert test.label == "test"
    assert figure is not None
    assert isinstance(figure.panels[1][0], LinePanel)
    assert figure.panels[1][0].y.label == "learning rate"


def test_losses_that_are_not_finite_are_said_to_be() -> None:
    figure = loss({"a": mlp("broken", steps=60)})
    assert figure is not None
    assert "Not finite: 27 entries between steps 30 and 56" in figure.note


def test_the_trend_is_the_mean_around_each_value() -> None:
    values = np.arange(200.0) ** 2
    assert trend(values)[100] == pytest.approx(values[98:103].mean())
    assert trend(values)[0] == pytest.approx(values[:3].mean())
    values[50] = np.nan
    assert np.isnan(trend(values)[50])
    assert trend(values)[51] == pytest.approx(np.nanmean(values[49:54]))


def test_a_gradient_that_was_never_clipped_is_one_line() -> None:
    record = mlp(steps=8)
    record._scalars[:, 4] = record._scalars[:, 3]
    assert [line.label for line in lines_of(gradient_norm({"a": record})).lines] == ["not clipped"]
    assert [line.label for line in lines_of(gradient_norm({"a": mlp(steps=8)})).lines] == ["before clipping", "as used"]


def test_few_matrices_are_lines_and_many_a_heat_map() -> None:
    panel = lines_of(update_ratios({"a": mlp(steps=20)}))
    assert [line.label for line in panel.lines][::6] == ["embedding.weight", "output.weight"]
    assert [line.colour for line in panel.lines][::6] == ["d0", "d11"]
    assert panel.guides == (1e-3,)
    figure = update_ratios({"a": transformer(blocks=60, steps=8)})
    assert figure is not None
    heat = figure.panels[0][0]
    assert isinstance(heat, HeatPanel)
    assert len(heat.bands) == 6
    assert heat.colours.diverging
    assert heat.colours.shown.position(1e-3) == pytest.approx(0.5)


def test_a_deep_net_beside_a_shallow_one_makes_both_heat_maps() -> None:
    figure = update_ratios({"a": mlp(steps=20), "b": transformer(blocks=8, steps=8)})
    assert figure is not None
    assert [type(panel) for panel in figure.panels[0]] == [HeatPanel, HeatPanel]


def test_of_a_single_picture_there_is_no_first_and_last() -> None:
    record = mlp(steps=20)
    del record.pictures[1:]
    names = [name for shown in figures({"a": record}).values() for name in shown]
    assert [name for name in names if name.endswith("_first")] == []
    assert "activation_histograms_last" in names


def test_no_sixty_block_figure_has_many_labels() -> None:
    for shown in figures({"a": transformer(steps=8)}).values():
        for figure in shown.values():
            assert figure_svg(figure).count("<text") < 90, figure.name


def test_a_heat_map_of_720_modules_shows_all_of_them() -> None:
    figure = activation_scale({"a": transformer(steps=8)})
    assert figure is not None
    heat = figure.panels[0][0]
    assert isinstance(heat, HeatPanel)
    assert len(heat.values) == 180
    assert len(heat.bands) == 12
    assert "720 rows" in figure.note


def test_densities_carry_their_numbers() -> None:
    record = mlp("saturated", steps=60)
    figure = activation_histograms({"a": record})
    assert figure is not None
    panel = figure.panels[0][0]
    assert isinstance(panel, DensityPanel)
    assert [curve.name for curve in panel.curves] == [f"hidden.{i}.activation" for i in range(5)]
    last = record.series("activation", "hidden.0.activation", "saturated")[-1]
    assert f"saturated {100 * last:.0f}%" in panel.curves[0].details
    assert figure.title.endswith("at step 56")
    weights = weight_gradient_histograms({"a": record}, "first")
    assert weights is not None
    assert isinstance(weights.panels[0][0], DensityPanel)
    details = weights.panels[0][0].curves[1].details
    assert details[0].startswith("ratio ")
    assert details[2] == "100×30"


def test_of_a_step_the_record_let_go_the_bins_tell_the_std() -> None:
    record = mlp(steps=60)
    picture = record.pictures[-1]
    record.pictures[-1] = Picture(picture.step + 1, picture.histograms, picture.maps)
    figure = activation_histograms({"a": record})
    assert figure is not None
    assert isinstance(figure.panels[0][0], DensityPanel)
    assert figure.panels[0][0].curves[0].details[0].startswith("std ≈ 0.")


def test_exact_zeros_stand_apart() -> None:
    figure = activation_histograms({"a": mlp("dead", steps=20)})
    assert figure is not None
    assert isinstance(figure.panels[0][0], DensityPanel)
    curve = figure.panels[0][0].curves[0]
    assert 0.5 < curve.zeros < 1
    assert "inactive" in curve.details[1]
    assert curve.details[-1] == f"zero {100 * curve.zeros:.0f}%"
    assert np.trapezoid(curve.density, curve.x) == pytest.approx(1 - curve.zeros, abs=0.08)


def test_gradient_flow_names_the_extremes_of_a_deep_net() -> None:
    record = transformer(steps=8)
    figure = gradient_flow({"a": record})
    assert figure is not None
    row = record.values("gradient", "rms")[-1]
    assert record.names("gradient")[int(row.argmin())] in figure.note
    assert record.names("gradient")[int(row.argmax())] in figure.note
    flow, weights = figure.panels[0]
    assert isinstance(flow, LinePanel)
    assert isinstance(weights, LinePanel)
    assert [line.label for line in flow.lines] == ["step 0", "step 4", "step 7"]
    assert len(flow.lines[0].y) == 60
    assert weights.lines[-1].low is not None
    assert weights.x.names[:2] == ("blocks.0", "blocks.1")


def test_a_map_counts_the_units_that_are_always_saturated() -> None:
    record = mlp("saturated", steps=20)
    figure = saturation_maps({"a": record})
    assert figure is not None
    panel = figure.panels[0][0]
    assert isinstance(panel, BitmapPanel)
    cells = record.pictures[-1].maps["hidden.0.activation"]
    assert f"{cells.all(axis=0).sum()} units on all 32 examples" in panel.detail


def test_a_map_draws_each_true_cell_once() -> None:
    cells = np.array([[True, True, False, True], [False, True, False, True]])
    svg = figure_svg(Figure("m", "Map", ((BitmapPanel(cells, "t", "d"),),)))
    cells_of = {node.get("class"): node.get("d") for node in ET.fromstring(svg).iter() if node.get("d")}
    assert cells_of["s-ink"] == "M0 0.5h1"
    assert cells_of["s-alarm"] == "M1 0.5h1M3 0.5h1M1 1.5h1M3 1.5h1"


def test_a_layer_over_time_holds_each_picture_until_the_next() -> None:
    record = mlp(steps=60)
    figure = activation_over_time({"a": record}, ["hidden.1.activation"])
    assert figure is not None
    (panel,) = figure.panels[0]
    assert isinstance(panel, HeatPanel)
    assert not np.isnan(panel.values).any()
    assert panel.values.max(axis=0) == pytest.approx(np.ones(panel.values.shape[1]))
    assert activation_over_time({"a": record}, ["nowhere"]) is None


def test_the_last_picture_holds_until_the_record_ends() -> None:
    record = mlp(steps=60)
    del record.pictures[1:]
    figure = activation_over_time({"a": record}, ["hidden.1.activation"])
    assert figure is not None
    (panel,) = figure.panels[0]
    assert isinstance(panel, HeatPanel)
    assert not np.isnan(panel.values[:, :-4]).any()


def test_the_later_a_step_the_stronger_its_line() -> None:
    (flow, _), *_ = (gradient_flow({"a": mlp(steps=60)}) or pytest.fail("no figure")).panels
    assert isinstance(flow, LinePanel)
    assert [(line.colour, line.kind) for line in flow.lines] == [("muted", "dashed"), ("muted", "line"), ("c0", "line")]
    (alone, _), *_ = (gradient_flow({"a": mlp(steps=1)}) or pytest.fail("no figure")).panels
    assert isinstance(alone, LinePanel)
    assert [line.colour for line in alone.lines] == ["c0"]


def test_shares_never_leave_their_range() -> None:
    panel = lines_of(saturated_units({"a": mlp("dead", steps=20)}))
    assert panel.y.shown.low == 0
    assert 0.5 < panel.y.shown.high <= 1


def test_an_evaluation_alone_is_drawn() -> None:
    record = Record()
    record.evaluate(Evaluation(5, "dev", 2.0))
    figure = loss({"a": record})
    assert figure is not None
    assert "<circle" in figure_svg(figure)


def box_of(node: ET.Element) -> tuple[float, float, float, float, str]:
    """Left, top, right and bottom of a line of text, about as a browser sets it."""
    x, y, text = float(node.get("x", "")), float(node.get("y", "")), node.text or ""
    width = 0.9 * text_width(text)
    left = x - {"middle": width / 2, "end": width}.get(node.get("text-anchor", ""), 0)
    return left, y - 7, left + width, y + 2, text


def lines_of(figure: Figure | None) -> LinePanel:
    assert figure is not None
    panel = figure.panels[0][0]
    assert isinstance(panel, LinePanel)
    return panel
