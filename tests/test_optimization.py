"""Schedules and update rules."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

import small
from charloom.config import TrainingConfig
from charloom.errors import CheckpointError
from charloom.optimization import build_optimizer, learning_rate_at, optimizer_arrays, stored_memory


def rates(**settings: object) -> list[float]:
    config = TrainingConfig(steps=10, learning_rate=1.0, **settings)  # type: ignore[arg-type]
    return [learning_rate_at(step, config) for step in range(10)]


def test_constant() -> None:
    assert rates(schedule="constant") == [1.0] * 10


def test_step_drops_once() -> None:
    assert rates(schedule="step", drop_at=0.5, drop_factor=0.1) == [1.0] * 5 + [0.1] * 5


def test_cosine_falls_from_the_peak_towards_zero() -> None:
    expected = [0.5 * (1 + math.cos(math.pi * step / 10)) for step in range(10)]
    assert rates(schedule="cosine") == pytest.approx(expected)


def test_warm_up_rises_to_the_peak_in_every_schedule() -> None:
    for schedule in ("constant", "step", "cosine"):
        assert rates(schedule=schedule, warmup=4, drop_at=1.0)[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


def test_only_the_weights_of_linear_layers_decay() -> None:
    training = small.training(small.SMALL_MLP | {"norm": "layer"}, weight_decay=0.5)
    names = {id(parameter): name for name, parameter in training.model.named_parameters()}
    decaying, others = training.optimizer.param_groups
    assert decaying["weight_decay"] == 0.5
    assert {names[id(p)] for p in decaying["params"]} == {"hidden.0.linear.weight", "output.weight"}
    assert others["weight_decay"] == 0
    assert len(decaying["params"]) + len(others["params"]) == len(names)


@pytest.mark.parametrize("rule", ["sgd", "adam", "adamw"])
def test_one_update_is_the_textbook_one(rule: str) -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(2.0)
    config = TrainingConfig(optimizer=rule, learning_rate=0.1, weight_decay=0.5)  # type: ignore[arg-type]
    optimizer = build_optimizer(model, config)
    model.weight.grad = torch.full((1, 1), 3.0)
    optimizer.step()
    # Adam's first update is the learning rate times the gradient's sign; AdamW decays the weight apart from it.
    expected = {"sgd": 2 - 0.1 * (3 + 0.5 * 2), "adam": 2 - 0.1, "adamw": 2 * (1 - 0.1 * 0.5) - 0.1}[rule]
    assert model.weight.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({"nobody/exp_avg": np.zeros(4, np.float32)}, "nobody/exp_avg"),
        ({"output.bias/nothing": np.zeros(27, np.float32)}, "output.bias/nothing"),
        ({"output.bias/exp_avg": None}, "output.bias/exp_avg"),
        ({"output.bias/exp_avg": np.zeros(3, np.float32)}, "float32 of shape"),
        ({"output.bias/exp_avg": np.zeros(27)}, "float64 of shape"),
        ({"output.bias/step": np.zeros(2, np.float32)}, "float32 of shape"),
    ],
)
def test_a_foreign_optimizer_state_is_refused(broken: dict[str, Any], said: str) -> None:
    training = small.training(small.SMALL_MLP)
    training.run()
    arrays = optimizer_arrays(training.optimizer, training.model) | broken
    with pytest.raises(CheckpointError, match=said):
        stored_memory(
            training.optimizer, training.model, {name: one for name, one in arrays.items() if one is not None}
        )


def test_the_state_survives_being_written_as_arrays() -> None:
    first = small.training(small.SMALL_MLP, optimizer="sgd", momentum=0.9)
    first.run()
    arrays = optimizer_arrays(first.optimizer, first.model)
    assert {name.rpartition("/")[2] for name in arrays} == {"momentum_buffer"}
    second = small.training(small.SMALL_MLP, optimizer="sgd", momentum=0.9)
    second.optimizer.state.update(stored_memory(second.optimizer, second.model, arrays))
    again = optimizer_arrays(second.optimizer, second.model)
    assert all((again[name] == array).all() for name, array in arrays.items())
