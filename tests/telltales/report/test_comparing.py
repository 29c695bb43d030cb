"""Comparing records: what differs is found and said with its numbers, what does not is left out."""

from __future__ import annotations

import json
import math
from typing import Any

import made
import numpy as np
import pytest

from telltales.errors import UsageError
from telltales.observation import Evaluation
from telltales.record import Record
from telltales.report.comparing import Comparison, compare, comparison_text

NAN = math.nan
TANH, RELU = made.TANH, made.RELU


def curve(losses: Any, modules: dict[str, Any] | None = None, **about: Any) -> Record:
    """A record with the loss of every step, observed at the first and the last."""
    record = Record(about, modules or {})
    record.append(made.observation(0, losses=losses[:1]))
    record.append(made.observation(len(losses) - 1, losses=losses[1:]))
    return record


def layered(modules: dict[str, Any], **tables: made.Numbers) -> Record:
    """A record of one step."""
    record = Record(modules=modules)
    record.append(made.observation(0, tables))
    return record


def words(found: Comparison) -> list[str]:
    return [difference.words for difference in found.training + found.layers]


def falling(steps: int, rate: float, end: float = 1.0, start: float = 4.0) -> np.ndarray:
    return end + (start - end) * np.exp(-np.arange(steps) / rate)


def test_equal_records_differ_in_nothing() -> None:
    found = compare({"A": made.mlp(), "B": made.mlp()})
    assert (found.training, found.layers, found.settings) == ((), (), ())
    assert (found.matched, found.unmatched) == (7, ((), ()))


def test_the_loss_is_compared_at_the_last_common_step() -> None:
    found = compare({"A": curve([3.0] + [2.31] * 39), "B": curve([3.0] + [2.08] * 59 + [0.0] * 40)})
    assert found.last_common_step == 39
    assert words(found) == ["loss at step 39 (mean of 2 steps): 2.310 in A, 2.080 in B (−0.2300)"]
    (loss,) = found.training
    assert loss.values == pytest.approx((2.31, 2.08))
    assert loss.size == pytest.approx(0.23 / 2.31 / 0.02, rel=1e-4)


def test_a_difference_of_the_loss_within_its_noise_is_none() -> None:
    noise = np.random.default_rng(0).normal(size=1000)
    apart, near = 2 + noise, 2.1 + noise[::-1]
    assert words(compare({"A": curve([3, *apart]), "B": curve([3, *near])})) == []
    assert len(words(compare({"A": curve([3, *apart]), "B": curve([3, *(near + 2)])}))) == 1


def test_the_steps_to_a_loss_that_all_reach() -> None:
    slow, fast = curve(falling(1000, 300, end=0)), curve(falling(1000, 30, end=0))
    found = compare({"A": slow, "B": fast})
    (steps,) = [difference for difference in found.training if difference.measure == "steps_to_reach"]
    # The means of 50 steps; at the last the slow one's is 0.1547, rounded up to two digits 0.16.
    expected = []
    for losses in (falling(1000, 300, end=0), falling(1000, 30, end=0)):
        means = [losses[i - 49 : i + 1].mean() for i in range(49, 1000)]
        expected.append(50 + next(i for i, mean in enumerate(means) if mean <= 0.16))
    assert steps.values == tuple(expected)
    assert steps.words.startswith(f"steps until the loss is 0.1600: {expected[0]:,} in A, {expected[1]:,} in B (")


def test_a_loss_that_rose_is_reached_by_no_count_of_steps() -> None:
    found = compare({"A": curve(np.linspace(1, 9, 100)), "B": curve(falling(100, 9))})
    assert "steps_to_reach" not in {difference.measure for difference in found.training}


def test_a_loss_that_one_had_from_the_beginning_is_reached_by_no_count_of_steps() -> None:
    found = compare({"A": curve(falling(400, 50)), "B": curve(np.full(400, 1.0))})
    assert "steps_to_reach" not in {difference.measure for difference in found.training}


def test_the_loss_at_the_first_step() -> None:
    assert words(compare({"A": curve([20.0, 3.0]), "B": curve([3.3, 3.0])})) == [
        "loss at step 0: 20.00 in A, 3.300 in B (−16.70)"
    ]
    assert words(compare({"A": curve([3.4, 3.0]), "B": curve([3.3, 3.0])})) == []


def test_evaluations_on_the_same_split() -> None:
    a, b, c = curve([1.0, 1.0]), curve([1.0, 1.0]), curve([1.0, 1.0])
    for record, loss in ((a, 2.0), (b, 2.5)):
        record.evaluate(Evaluation(2, "dev", loss))
    a.evaluate(Evaluation(2, "test", 9.0))
    assert words(compare({"A": a, "B": b})) == ["lowest dev loss: 2.000 in A, 2.500 in B (+0.5000)"]
    assert words(compare({"A": a, "B": b, "C": c})) == ["lowest dev loss: 2.000 in A, 2.500 in B, – in C"]


def test_clipping_norms_and_speed() -> None:
    a, b = Record(), Record()
    for step in range(4):
        a.append(made.observation(step, gradient_norm=1.0, gradient_norm_used=1.0, seconds=step * 0.1))
        b.append(made.observation(step, gradient_norm=4.0, gradient_norm_used=4.0 - (step % 2), seconds=step * 1.0))
    assert words(compare({"A": a, "B": b})) == [
        "seconds a step: 0.075 in A, 0.75 in B (10×)",
        "observed steps at which the gradient was clipped: 0% in A, 50% in B",
        "gradient norm, median of the observed steps: 1 in A, 4 in B (4×)",
    ]


def test_norms_are_compared_up_to_the_last_common_step() -> None:
    a, b = Record(), Record()
    for step in range(20):
        a.append(made.observation(step, gradient_norm=1.0 if step < 5 else 9.0))
    for step in range(5):
        b.append(made.observation(step, gradient_norm=1.0))
    assert words(compare({"A": a, "B": b})) == []


def test_what_is_not_finite_comes_first() -> None:
    found = compare({"A": curve([9.0, 1.0]), "B": curve([1.0, NAN])})
    assert words(found)[0] == "first value not finite: none in A, loss, step 1, in B"
    assert json.loads(json.dumps(found.as_json(), allow_nan=False))["training"][0]["size"] == "inf"


def test_saturated_values_and_units_are_compared_in_points() -> None:
    a = layered({"hidden.2.activation": TANH}, activation={"hidden.2.activation": {"saturated": 0.41}})
    b = layered({"hidden.2.activation": TANH}, activation={"hidden.2.activation": {"saturated": 0.03}})
    assert words(compare({"A": a, "B": b})) == ["hidden.2.activation: 41% saturated in A, 3.0% in B"]
    assert compare({"A": a, "B": b}).layers[0].size == pytest.approx(3.8)


def test_a_rectifier_is_inactive_and_its_units_dead() -> None:
    records = {
        label: layered({"act": RELU}, activation={"act": {"saturated": flat, "saturated_units": dead}})
        for label, flat, dead in (("A", 0.9, 0.5), ("B", 0.5, 0.0))
    }
    assert words(compare(records)) == ["act: 50% of units dead in A, 0% in B", "act: 90% inactive in A, 50% in B"]


def test_what_is_saturated_means_another_thing_in_another_function() -> None:
    a = layered({"act": TANH}, activation={"act": {"saturated": 0.0}})
    b = layered({"act": RELU}, activation={"act": {"saturated": 0.5}})
    assert words(compare({"A": a, "B": b})) == ["act: tanh in A, relu in B"]


def test_ratios_are_compared_as_factors_the_most_different_first() -> None:
    modules = {"a": {"type": "Linear"}, "b": {"type": "Linear"}}
    parameters = [made.linear("a", bias=False) | made.linear("b", bias=False)] * 2
    records = {
        label: layered(modules, update={"a.weight": {"ratio": first}, "b.weight": {"ratio": second}})
        for label, first, second in (("A", 2e-4, 2e-4), ("B", 6e-4, 2e-6))
    }
    for record, facts in zip(records.values(), parameters, strict=True):
        record.parameters.update(facts)
    assert words(compare(records)) == [
        "b: update ratio 2e−4 in A, 2e−6 in B (100×)",
        "a: update ratio 2e−4 in A, 6e−4 in B (3×)",
    ]


def test_a_ratio_of_zero_is_as_far_as_a_factor_goes() -> None:
    records = {
        label: layered({"a": {"type": "Linear"}}, update={"a.weight": {"ratio": ratio}})
        for label, ratio in (("A", 0.0), ("B", 2e-4))
    }
    (difference,) = compare(records).layers
    assert difference.words == "a: update ratio 0 in A, 2e−4 in B"
    assert difference.size == pytest.approx(6 / math.log10(2))


def test_layers_are_matched_by_name_then_by_type_in_the_order_of_depth() -> None:
    functions = {"in": TANH, "act1": TANH, "1": RELU}

    def named(*names: str, out: float) -> Record:
        modules = {name: {"type": "Linear"} if "lin" in name else functions[name] for name in names}
        return layered(modules, activation={name: {"std": out + place} for place, name in enumerate(names)})

    found = compare({"A": named("in", "lin1", "act1", "lin2", out=1), "B": named("in", "0.lin", "1", out=100)})
    assert found.matched == 3
    assert found.unmatched == (("lin2",), ())
    places = {difference.places for difference in found.layers}
    assert places == {("in", "in"), ("lin1", "0.lin"), ("act1", "1")}
    assert "lin1 / 0.lin: activation std 2 in A, 101 in B (50.5×)" in words(found)
    assert "without counterpart: 1 layer of A (lin2)" in comparison_text(found)


def test_layers_are_compared_at_the_last_common_step() -> None:
    a, b = Record(modules={"a": {"type": "Linear"}}), Record(modules={"a": {"type": "Linear"}})
    for step, std in enumerate([1.0, 1.0, 50.0]):
        a.append(made.observation(step, {"activation": {"a": {"std": std}}}))
    for step in range(2):
        b.append(made.observation(step, {"activation": {"a": {"std": 1.0}}}))
    assert compare({"A": a, "B": b}).layers == ()


def test_a_number_for_a_name_has_its_type_beside_it() -> None:
    records = {
        label: layered({"net.3": {"type": "Conv2d"}}, activation={"net.3": {"std": std}})
        for label, std in (("A", 1.0), ("B", 9.0))
    }
    assert words(compare(records)) == ["net.3 (Conv2d): activation std 1 in A, 9 in B (9×)"]


def test_settings_that_differ() -> None:
    a = curve([1.0, 1.0], device="cpu", optimizer={"name": "SGD", "momentum": 0.9}, torch="2")
    b = curve([1.0, 1.0], device="cuda", optimizer={"name": "SGD"}, torch="2")
    found = {setting.name: setting.values for setting in compare({"A": a, "B": b}).settings}
    assert found == {"device": ("cpu", "cuda"), "optimizer.momentum": (0.9, None)}


def test_learning_rates_that_differ_are_settings() -> None:
    def scheduled(first: float, last: float) -> Record:
        record = Record()
        for step, rate in enumerate((first, last)):
            group = {"0": {"learning_rate": rate, "weight_decay": 0.01}}
            record.append(made.observation(step, {"group": group}))
        return record

    (setting,) = compare({"A": scheduled(0.1, 0.01), "B": scheduled(0.1, 0.1)}).settings
    assert (setting.name, setting.values) == ("learning_rate", ("0.1 → 0.01", 0.1))


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_are_refused(count: int) -> None:
    with pytest.raises(UsageError, match=f"needs two records and was given {count}"):
        compare({str(i): made.mlp() for i in range(count)})


def test_a_record_without_steps_can_be_compared() -> None:
    text = comparison_text(compare({"A": Record(), "B": made.mlp()}))
    assert "no end" in text


def test_the_text_names_a_few_layers_of_many_and_counts_the_rest() -> None:
    def uniform(std: float) -> Record:
        names = [f"blocks.{i}.norm" for i in range(30)]
        return layered(
            {name: {"type": "LayerNorm"} for name in names}, activation={name: {"std": std} for name in names}
        )

    found = compare({"A": uniform(1.0), "B": uniform(2.0)})
    assert len(found.layers) == 30
    text = comparison_text(found, 80)
    assert text.count("activation std") == 4
    assert "26 more layers likewise" in text
    assert max(map(len, text.splitlines())) <= 80


def test_labels_and_names_can_do_no_harm_in_the_text() -> None:
    records = {
        label: layered({"a\x1b[31m\n": TANH}, activation={"a\x1b[31m\n": {"saturated": flat}})
        for label, flat in (("A\x1b]0;x\x07", 0.9), ("B", 0.1))
    }
    for record, device in zip(records.values(), ("\x1b[2J", "cpu"), strict=True):
        record.about["device"] = device
        record.outcome = "\x1b[2J"
    text = comparison_text(compare(records))
    assert "a\\x1b[31m\\x0a: 90% saturated in A\\x1b]0;x\\x07, 10% in B" in text
    assert not set(text) & set(map(chr, [*range(10), *range(11, 32), *range(127, 160)]))
