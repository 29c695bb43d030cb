"""A prescription is code that mends what it was written for: run on the sick model, the finding is gone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

import telltales
from telltales.catalogue import made
from telltales.prescribing import prescribe
from telltales.verdicts.grouping import grouped

Made = tuple[nn.Sequential, torch.optim.Optimizer]


def net(*, norm: bool = False) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs in (10, 64):
        layers += [nn.Linear(inputs, 64, bias=not norm), *([nn.BatchNorm1d(64)] if norm else []), nn.Tanh()]
    return nn.Sequential(*layers, nn.Linear(64, 5))


def batch(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(32, 10, generator=generator)
    return x, x[:, :5].argmax(1)


def told(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 60) -> dict[str, telltales.Finding]:
    """Rule → what preflight and a short training find, symptoms and notes among it."""
    before = telltales.preflight(model, batch(0), functional.cross_entropy, optimizer)
    with telltales.watch(model, optimizer) as watch:
        for step in range(steps):
            x, y = batch(step)
            loss = functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            watch.step(loss, x, y)
    roots = grouped((*before, *watch.findings()))
    return {one.rule: one for root in roots for one in root.every() if one.resolved is None}


def adam(model: nn.Module, **options: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), **{"lr": 1e-3, **options})


def large_weights() -> Made:
    model = net()
    nn.init.normal_(model[0].weight)
    nn.init.normal_(model[2].weight)
    return model, adam(model)


def large_output() -> Made:
    model = net()
    with torch.no_grad():
        model[4].weight *= 50
    return model, adam(model)


def head_left_out() -> Made:
    model = net()
    return model, torch.optim.Adam(model[:4].parameters(), lr=1e-3)


def head_replaced() -> Made:
    model = net()
    optimizer = adam(model)
    model[4] = nn.Linear(64, 5)
    return model, optimizer


def with_adam(**options: float) -> Callable[[], Made]:
    def make() -> Made:
        model = net()
        return model, adam(model, **options)

    return make


def strong_decay() -> Made:
    model = net()
    return model, torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=50.0)


def bias_and_norm() -> Made:
    model = net(norm=True)
    model[0] = nn.Linear(10, 64)
    return model, torch.optim.SGD(model.parameters(), lr=0.1)


def decay_on_all() -> Made:
    model = net(norm=True)
    return model, torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)


CASES: dict[str, Callable[[], Made]] = {
    "poor-init": large_weights,
    "initial-loss": large_output,
    "unregistered-parameter": head_left_out,
    "optimizer-mismatch": head_replaced,
    "learning-rate-too-high": with_adam(lr=1.0),
    "learning-rate-too-low": with_adam(lr=1e-6),
    "excessive-weight-decay": strong_decay,
    "low-adam-epsilon": with_adam(eps=1e-30),
    "bias-before-norm": bias_and_norm,
    "decay-on-norm": decay_on_all,
    "adam-l2": with_adam(weight_decay=1e-2),
}


@pytest.mark.parametrize("rule", CASES)
def test_the_code_mends_it(rule: str) -> None:
    torch.manual_seed(0)
    finding = told(*CASES[rule]())[rule]
    prescription = prescribe(finding)
    assert prescription is not None
    assert (prescription.rule, bool(prescription.text)) == (rule, True)
    torch.manual_seed(0)
    model, optimizer = CASES[rule]()
    space: dict[str, Any] = {"torch": torch, "model": model, "optimizer": optimizer, "lr": 1e-3, "weight_decay": 1e-2}
    exec(prescription.code, space)  # noqa: S102 - what a reader is told to run
    assert rule not in told(space["model"], space["optimizer"])


@pytest.mark.parametrize(
    ("rule", "numbers"),
    [
        ("poor-init", {}),
        ("learning-rate-too-high", {"ratio": 0.0, "learning_rate": 0.1}),
        ("learning-rate-too-low", {"ratio": 1e-6}),
        ("excessive-weight-decay", {"weight_decay": 0.0, "share": 1.0}),
        ("overfitting", {}),
        ("label-noise-or-shuffled", {}),
    ],
)
def test_what_needs_a_person_is_not_prescribed(rule: str, numbers: dict[str, float]) -> None:
    assert prescribe(made(rule, "seen", numbers=numbers)) is None


def test_the_best_step_is_where_to_stop() -> None:
    prescription = prescribe(made("overfitting", "seen", "dev", numbers={"best_step": 1200}))
    assert prescription is not None
    assert prescription.code == "steps = 1200"
