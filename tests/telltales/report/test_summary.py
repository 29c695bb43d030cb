"""A record as plain data: chosen numbers come back, and what was not measured stays so."""

from __future__ import annotations

import json
import math
from dataclasses import fields
from typing import Any

import made
import numpy as np
import pytest

from telltales.observation import Evaluation
from telltales.record import Limits, Record
from telltales.report.layers import LayerRow, layers, telling
from telltales.report.summary import NonFinite, loss_at, overview, summary_json

NAN = math.nan


def record_of(*observations: Any, **about: Any) -> Record:
    record = Record(about)
    for observation in observations:
        record.append(observation)
    return record


def row(name: str, **numbers: Any) -> LayerRow:
    """A row with the numbers given and no others."""
    facts = {"type": "Linear", "function": None, "rectifier": False, "parameter": None}
    unmeasured = {field.name: NAN for field in fields(LayerRow)}
    return LayerRow(**{**unmeasured, **facts, "name": name, **numbers})


def test_layers_come_in_depth_order_with_the_numbers_of_their_largest_parameter() -> None:
    first, function, *_, out = layers(made.mlp(depth=2))
    assert [each.name for each in layers(made.mlp(depth=2))] == [
        "hidden.0.linear",
        "hidden.0.activation",
        "hidden.1.linear",
        "hidden.1.activation",
        "out",
    ]
    assert (first.type, first.function, first.parameter) == ("Linear", None, "hidden.0.linear.weight")
    assert (first.activation_mean, first.activation_std, first.weight_std) == pytest.approx((0, 1, 0.3))
    assert (first.activation_gradient_rms, first.gradient_ratio) == pytest.approx((1e-3, 0.1))
    assert first.log10_update_ratio == pytest.approx(-3)
    assert math.isnan(first.saturated)
    assert (function.type, function.function, function.parameter) == ("Tanh", "tanh", None)
    assert math.isnan(function.update_ratio)
    assert out.update_ratio == pytest.approx(3e-3)


def test_each_number_is_the_last_that_was_observed() -> None:
    record = record_of(
        made.observation(0, {"activation": {"a": {"std": 1}, "b": {"std": 5}}}),
        made.observation(1, {"activation": {"a": {"std": 2}}, "activation_gradient": {"a": {"rms": 7}}}),
        made.observation(2, {"activation": {"a": {"std": 3}, "b": {}}}),
    )
    a, b = layers(record)
    assert (a.activation_std, a.activation_gradient_rms, b.activation_std) == (3, 7, 5)
    a, b = layers(record, until=1)
    assert (a.activation_std, b.activation_std) == (2, 5)
    assert math.isnan(layers(record, until=0)[0].activation_gradient_rms)


def test_a_reading_that_was_not_finite_does_not_hide_behind_an_older_one() -> None:
    record = record_of(
        made.observation(0, {"activation": {"a": {"std": 1, "nonfinite": 0}}}),
        made.observation(1, {"activation": {"a": {"std": NAN, "nonfinite": 0.25}}}),
    )
    (only,) = layers(record)
    assert math.isnan(only.activation_std)
    assert only.nonfinite == 0.25


def test_holders_of_parameters_that_never_ran_have_their_place_in_the_depth() -> None:
    record = record_of(
        made.observation(
            0,
            {
                "activation": {"embed": {}, "head": {}},
                "weight": {name: {"std": 1} for name in ("scale", "embed.weight", "cls.token", "head.weight")},
            },
        )
    )
    assert [each.name for each in layers(record)] == ["", "embed", "cls", "head"]
    assert [each.type for each in layers(record)] == ["parameters"] * 4
    assert [each.parameter for each in layers(record)] == ["scale", "embed.weight", "cls.token", "head.weight"]


def test_a_model_that_is_one_module_holds_its_own_parameters() -> None:
    record = record_of(made.observation(0, {"weight": {"weight": {"std": 1}}}), model="Linear")
    record.modules["Linear"] = {"type": "Linear"}
    assert [(each.name, each.parameter) for each in layers(record)] == [("Linear", "weight")]


def test_facts_that_make_no_sense_do_no_harm() -> None:
    record = record_of(made.observation(0, {"activation": {"a": {}}, "weight": {"a.w": {}}}), model=["x"])
    record.modules["a"] = {"type": None, "activation": 3}
    record.parameters["a.w"] = {"numel": "many", "module": None}
    (only,) = layers(record)
    assert (only.name, only.type, only.function, only.parameter) == ("a", "None", "3", "a.w")
    assert overview(record).values == 0


def test_an_update_of_zero_has_no_logarithm() -> None:
    assert math.isnan(row("a", update_ratio=0.0).log10_update_ratio)


def test_few_rows_are_all_shown() -> None:
    rows = [row("a"), row("b")]
    assert telling(rows, 2, ["update_ratio"]) == rows


def test_of_many_rows_the_ends_and_the_extremes_are_shown_in_order() -> None:
    rows = [row(str(i), update_ratio=1.0, saturated=0.0) for i in range(100)]
    rows[40], rows[20] = row("40", update_ratio=1e-9), row("20", update_ratio=3.0)
    rows[60] = row("60", saturated=0.4)
    assert [each.name for each in telling(rows, 5, ["update_ratio", "saturated"])] == ["0", "20", "40", "60", "99"]


def test_rows_in_which_nothing_is_saturated_do_not_stand_out_by_it() -> None:
    rows = [row(str(i), update_ratio=1.0 + abs(i - 50) / 100, saturated=0.0) for i in range(100)]
    rows[30], rows[31], rows[32] = (row(str(i), update_ratio=9.0 + i, saturated=0.0) for i in (30, 31, 32))
    chosen = [int(each.name) for each in telling(rows, 5, ["saturated", "update_ratio"])]
    assert chosen == [0, 31, 32, 50, 99]


def test_rows_that_are_not_finite_take_at_most_half_the_places() -> None:
    rows = [row(str(i), update_ratio=float(i), nonfinite=0.1 if 30 <= i < 60 else 0.0) for i in range(100)]
    chosen = [int(each.name) for each in telling(rows, 8, ["update_ratio"])]
    assert chosen == [0, 1, 30, 31, 32, 33, 98, 99]


def test_the_overview_says_what_was_watched_and_how_it_went() -> None:
    record = made.mlp(depth=2, steps=40, every=1, optimizer="SGD")
    record.parameters["hidden.0.linear.weight"]["trainable"] = False
    for step, loss in ((10, 1.5), (20, 1.2), (30, 1.3)):
        record.evaluate(Evaluation(step, "dev", loss))
    seen = overview(record)
    assert (seen.modules, seen.parameters, seen.values, seen.trained_values) == (5, 6, 3 * 72, 3 * 72 - 64)
    assert (seen.steps, seen.first_step, seen.last_step, seen.observed) == (40, 0, 39, 40)
    assert (seen.outcome, seen.seconds) == ("finished", 3.9)
    assert seen.first_loss == 3
    assert seen.last_loss is not None
    assert (seen.last_loss.step, seen.last_loss.steps) == (39, 2)
    assert seen.last_loss.mean == pytest.approx(np.mean([1 + 2 * math.exp(-s / 10) for s in (38, 39)]))
    (dev,) = seen.evaluations
    assert (dev.split, dev.count, dev.lowest, dev.lowest_step, dev.last, dev.last_step) == ("dev", 3, 1.2, 20, 1.3, 30)
    assert seen.nonfinite == ()


def test_the_gradient_norm_and_the_share_of_steps_with_clipping() -> None:
    pairs = [(1.0, 1.0), (4.0, 1.0), (2.0, 1.9999), (NAN, 1.0), (8.0, NAN), (3.0, 1.0)]
    record = record_of(
        *(made.observation(i, gradient_norm=norm, gradient_norm_used=used) for i, (norm, used) in enumerate(pairs))
    )
    seen = overview(record)
    assert seen.clipped == pytest.approx(2 / 4)
    assert seen.gradient_norm_median == 3
    assert (seen.gradient_norm_highest, seen.gradient_norm_highest_step) == (8, 4)


def test_an_empty_record_has_an_overview() -> None:
    seen = overview(Record())
    assert (seen.steps, seen.first_step, seen.last_loss, seen.evaluations) == (0, None, None, ())
    assert math.isnan(seen.clipped)
    assert layers(Record()) == []


def test_the_loss_at_a_step_is_the_mean_of_a_twentieth_of_the_way_there() -> None:
    record = record_of(made.observation(99, losses=np.arange(100.0)))
    late, early = loss_at(record), loss_at(record, 39)
    assert late is not None
    assert early is not None
    assert (late.mean, late.steps, late.error) == pytest.approx((97, 5, math.sqrt(2.5 / 5)))
    assert (early.mean, early.steps, early.error) == pytest.approx((38.5, 2, 0.5))


def test_the_mean_of_a_coarse_curve_is_over_all_steps_of_its_spans() -> None:
    record = Record(limits=Limits(losses=4))
    record.append(made.observation(15, losses=np.arange(16.0)))
    found = loss_at(record)
    assert found is not None
    assert (found.mean, found.steps) == (13.5, 4)


def test_without_the_loss_of_every_step_that_of_the_observed_ones_counts() -> None:
    record = record_of(made.observation(0, loss=2.0), made.observation(10), made.observation(20, loss=1.0))
    seen = overview(record)
    assert seen.first_loss == 2
    assert seen.last_loss is not None
    assert (seen.last_loss.mean, seen.last_loss.step) == (1, 20)
    assert seen.nonfinite == ()


def test_the_first_loss_is_that_of_one_step_even_where_the_curve_is_coarse() -> None:
    record = Record(limits=Limits(losses=4))
    record.append(made.observation(0, losses=[5.0]))
    record.append(made.observation(15, losses=[1.0] * 15))
    assert record.losses.mean[0] != 5
    assert overview(record).first_loss == 5


def test_what_is_not_finite_is_told_in_the_order_in_which_it_came() -> None:
    broken, whole = {"nonfinite": 0.5}, {"nonfinite": 0.0}
    record = record_of(
        made.observation(0, {"activation": {"a": whole, "b": whole, "c": whole}}, losses=[1.0]),
        made.observation(
            4,
            {
                "activation": {"a": whole, "b": broken, "c": broken},
                "gradient": {"a.w": broken, "b.w": broken, "c.w": whole},
            },
            losses=[1.0, 1.0, 1.0, NAN],
        ),
        made.observation(5, {"weight": {"a.w": broken}, "activation": {"a": {"nonfinite": 1.0}}}, losses=[math.inf]),
    )
    assert overview(record).nonfinite == (
        NonFinite("activation", 4, "b", 2),
        NonFinite("loss", 4, "loss", 1),
        NonFinite("gradient", 4, "b.w", 2),
        NonFinite("weight", 5, "a.w", 1),
    )


def test_a_loss_that_was_not_finite_in_a_coarse_curve_came_within_a_span() -> None:
    record = Record(limits=Limits(losses=4))
    record.append(made.observation(15, losses=[1.0] * 9 + [NAN] + [1.0] * 6))
    (found,) = overview(record).nonfinite
    assert (found.kind, found.step, found.within) == ("loss", 8, 4)


def test_what_was_thinned_out_is_remembered_as_not_finite() -> None:
    record = Record(limits=Limits(rows=16))
    for step in range(20):
        tables = {"activation": {"a": {"nonfinite": 1.0 if step == 5 else 0.0}}}
        record.append(made.observation(step, tables))
    assert 5 not in record.steps
    assert overview(record).nonfinite == (NonFinite("activation", 5, "a", 1),)


def test_the_json_form_is_json_and_says_what_the_data_say() -> None:
    record = record_of(made.observation(0, {"update": {"a.w": {"ratio": 0}}}, gradient_norm=math.inf), note="x\x1b")
    found = json.loads(json.dumps(summary_json(record), allow_nan=False))
    assert set(found) == {"overview", "layers", "guide"}
    assert found["overview"]["gradient_norm_highest"] == "inf"
    assert found["overview"]["first_loss"] is None
    assert found["overview"]["about"] == {"note": "x\x1b"}
    (layer,) = found["layers"]
    assert (layer["update_ratio"], layer["log10_update_ratio"]) == (0, None)
    assert found["guide"] == {"update_ratio": 1e-3}
