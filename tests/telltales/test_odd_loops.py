"""Loops that are right, though a rule might take what they do for a fault."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from nets import CLASSES, batches, deep_mlp, loss_of
from torch import nn
from torch.nn import functional

import telltales
from telltales.finding import Finding
from telltales.loss_graph import loss_facts


def rules(watch: telltales.Watch) -> set[str]:
    return {one.rule for root in watch.findings() for one in root.every()}


def clear_data(parameter: nn.Parameter) -> None:
    if parameter.grad is not None:
        parameter.grad.data.zero_()


def clear_nothing(parameter: nn.Parameter) -> None:
    pass


@pytest.mark.parametrize(("clear", "expected"), [(clear_data, False), (clear_nothing, True)])
def test_gradients_that_are_cleared_through_data_do_not_pile_up(
    clear: Callable[[nn.Parameter], None], expected: bool
) -> None:
    torch.manual_seed(0)
    model = deep_mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    with telltales.watch(model, optimizer, schedule=lambda step: True) as watch:
        for x, y in batches(12):
            for parameter in model.parameters():
                clear(parameter)
            loss = loss_of(model(x), y)
            loss.backward()
            optimizer.step()
            watch.step(loss, x, y)
    assert ("missing-zero-grad" in rules(watch)) == expected


@pytest.mark.parametrize("is_given", [True, False])
@pytest.mark.parametrize("fused", [True, False])
def test_an_update_that_a_loss_scaler_leaves_out_is_no_fault(fused: bool, is_given: bool) -> None:
    torch.manual_seed(0)
    model = deep_mlp()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    options = {"scaler": scaler} if is_given else {}
    with telltales.watch(model, optimizer, schedule=lambda step: True, **options) as watch:
        watch.raise_on("error")
        for step, (x, y) in enumerate(batches(12)):
            loss = loss_of(model(x), y)
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            if step == 3:
                model[-1].weight.grad[0, 0] = torch.inf
            scaler.step(optimizer)
            scaler.update()
            watch.step(loss, x, y)
    assert "non-finite" not in rules(watch)


def first_finding(write: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], scale: float = 1.0) -> list[Finding]:
    torch.manual_seed(0)
    model = deep_mlp()
    with torch.no_grad():
        model[-1].weight *= scale
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    x, y = batches(1)[0]
    with telltales.watch(model, optimizer) as watch:
        loss = write(model(x), y)
        loss.backward()
        optimizer.step()
        watch.step(loss, x, y)
    return [one for root in watch.findings() for one in root.every() if one.rule == "initial-loss"]


LOSSES: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "ten times": lambda logits, y: 10 * functional.cross_entropy(logits, y),
    "an auxiliary head": lambda logits, y: (
        functional.cross_entropy(logits, y) + 0.9 * functional.cross_entropy(0.5 * logits, y)
    ),
    "a sum of two for each example": lambda logits, y: (
        functional.cross_entropy(logits.repeat(2, 1), y.repeat(2), reduction="sum") / len(y)
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_what_is_no_mean_of_one_loss_has_another_start(name: str) -> None:
    assert first_finding(LOSSES[name]) == []


def test_a_mean_is_judged_and_so_is_one_of_micro_batches() -> None:
    assert first_finding(functional.cross_entropy, scale=20)
    assert first_finding(
        lambda logits, y: (
            functional.cross_entropy(logits[:8], y[:8]) / 2 + functional.cross_entropy(logits[8:], y[8:]) / 2
        ),
        scale=20,
    )


def test_weights_of_classes_are_seen() -> None:
    logits, y = torch.randn(8, CLASSES, requires_grad=True), torch.arange(8) % CLASSES
    weighted = functional.cross_entropy(logits, y, weight=torch.rand(CLASSES))
    assert loss_facts(weighted)["class_weights"]
    weighted.backward()
    assert loss_facts(weighted)["class_weights"]
    assert not loss_facts(functional.cross_entropy(logits, y))["class_weights"]
