"""The update without its surroundings: the optimizer's own to the bit, whoever made the steps before."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from charloom.config import TrainingConfig
from charloom.models import build_neural
from charloom.optimization import build_optimizer, optimizer_arrays
from charloom.updating import FusedUpdate, OptimizerStep

RULES: list[dict[str, Any]] = [
    {"optimizer": "sgd", "weight_decay": 0.0},
    {"optimizer": "sgd", "weight_decay": 0.1},
    {"optimizer": "sgd", "momentum": 0.9},
    {"optimizer": "adam"},
    {"optimizer": "adamw"},
]


def pair(rule: dict[str, Any]) -> list[tuple[torch.nn.Module, torch.optim.Optimizer]]:
    """The same small model twice, each with its optimizer."""
    shape = {"context_length": 2, "embedding": 3, "hidden": 9, "layers": 2, "norm": "batch"}
    model = build_neural("mlp", vocabulary_size=5, seed=0, **shape)
    config = TrainingConfig(steps=9, learning_rate=0.1, **rule)
    return [(one, build_optimizer(one, config)) for one in (model, copy.deepcopy(model))]


def give_gradients(model: torch.nn.Module, step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def assert_same(one: tuple[Any, Any], other: tuple[Any, Any]) -> None:
    for ours, theirs in zip(one[0].parameters(), other[0].parameters(), strict=True):
        assert torch.equal(ours, theirs)
    remembered, expected = (optimizer_arrays(optimizer, model) for model, optimizer in (one, other))
    assert set(remembered) == set(expected)
    for name, array in remembered.items():
        assert (array == expected[name]).all(), name


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("as_tensor", [False, True])
def test_the_update_is_the_optimizers_to_the_bit(rule: dict[str, Any], as_tensor: bool) -> None:
    ours, theirs = pair(rule)
    update, plain = FusedUpdate(ours[1]), OptimizerStep(theirs[1])
    for step in range(5):
        give_gradients(ours[0], step)
        give_gradients(theirs[0], step)
        rate = 2.0 ** -(step + 3)  # The same number in float32 and float64.
        update(torch.tensor(rate) if as_tensor else rate)  # type: ignore[arg-type]
        plain(rate)
        assert_same(ours, theirs)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_the_optimizer_goes_on_where_the_update_has_stopped_and_back(rule: dict[str, Any]) -> None:
    ours, theirs = pair(rule)
    plain = OptimizerStep(theirs[1])
    update = FusedUpdate(ours[1])
    for step in range(9):
        give_gradients(ours[0], step)
        give_gradients(theirs[0], step)
        if step % 3 == 1:
            update.release()
            OptimizerStep(ours[1])(0.125)
            update.gather()
        else:
            update(0.125)
        plain(0.125)
        assert_same(ours, theirs)


def test_an_optimizer_that_is_left_before_a_step_begins_at_the_first() -> None:
    for rule in RULES:
        ours, theirs = pair(rule)
        FusedUpdate(ours[1]).release()
        for model, optimizer in (ours, theirs):
            give_gradients(model, 0)
            OptimizerStep(optimizer)(0.125)
        for one, other in zip(ours[0].parameters(), theirs[0].parameters(), strict=True):
            assert torch.equal(one, other)


def test_all_that_an_update_changes_is_listed() -> None:
    for rule in RULES:
        (model, optimizer), _ = pair(rule)
        update = FusedUpdate(optimizer)
        before = [tensor.detach().clone() for tensor in update.tensors()]
        give_gradients(model, 0)
        update(0.125)
        with torch.no_grad():
            for tensor, old in zip(update.tensors(), before, strict=True):
                tensor.copy_(old)
        untouched, _ = pair(rule)
        FusedUpdate(untouched[1])
        assert_same((model, optimizer), untouched)


def test_gradients_are_forgotten() -> None:
    (model, optimizer), _ = pair({"optimizer": "sgd"})
    give_gradients(model, 0)
    FusedUpdate(optimizer).clear_gradients()
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("largest", [0.5, 1e6])
def test_clipping_is_pytorchs_to_the_bit(largest: float) -> None:
    ours, theirs = pair({"optimizer": "adamw"})
    for model, update in ((ours[0], FusedUpdate(ours[1])), (theirs[0], OptimizerStep(theirs[1]))):
        give_gradients(model, 0)
        update.clip(largest)
    norms = []
    for one, other in zip(ours[0].parameters(), theirs[0].parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert torch.equal(one.grad, other.grad)
        norms.append(one.grad.norm())
    if largest < 1:
        assert float(torch.stack(norms).norm()) == pytest.approx(largest, rel=1e-4)
