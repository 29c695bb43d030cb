"""What is given wrongly: a clear error, or a finding that says so."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from nets import batches, deep_mlp, loss_of
from torch import nn
from torch.nn import functional

import telltales
from telltales.errors import UsageError
from telltales.finding import Finding, worst
from telltales.loss_graph import loss_facts

X, Y = torch.randn(16, 4, generator=torch.Generator().manual_seed(0)), torch.arange(16) % 3


def found(findings: list[Finding], rule: str) -> list[Finding]:
    return [one for root in findings for one in root.every() if one.rule == rule]


@pytest.mark.parametrize("loss", [None, "0.3", [0.3], torch.zeros(2)])
def test_a_loss_is_one_number(loss: Any) -> None:
    with telltales.watch(nn.Linear(4, 3)) as watch:
        with pytest.raises(UsageError, match="loss of"):
            watch.step(loss)
        with pytest.raises(UsageError, match="loss of"):
            watch.evaluation(loss)
        with pytest.raises(UsageError, match="a split is a name"):
            watch.evaluation(0.3, 1.0)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="loss of"), telltales.watch(nn.Linear(4, 3)) as watch:
        watch.evaluation("dev", 0.3)  # type: ignore[arg-type]


def test_rules_that_are_muted_exist() -> None:
    with pytest.raises(UsageError, match="Did you mean dead-relu"):
        telltales.watch(nn.Linear(4, 3), mute=["dead-rellu"])
    with pytest.raises(UsageError, match="no rule is called"):
        telltales.preflight(nn.Linear(4, 3), (X, Y), nn.CrossEntropyLoss(), mute=["dead-rellu@x"])
    telltales.watch(nn.Linear(4, 3), mute="dead-relu").close()


def test_names_to_choose_from_are_shown_where_there_are_some() -> None:
    with pytest.raises(UsageError, match="It has one only"):
        telltales.watch(nn.Linear(4, 3), modules=["nope*"])
    with pytest.raises(UsageError, match="The names are 0, 1; "):
        telltales.watch(nn.Sequential(nn.Linear(4, 3), nn.Tanh()), modules=["nope*"])


@pytest.mark.parametrize(
    ("model", "batch", "loss_fn", "says"),
    [
        (nn.Linear(4, 3), (X, Y), "mse", "loss_fn is a str"),
        (nn.Linear(4, 3), (X, Y), nn.CrossEntropyLoss, "loss_fn is the class CrossEntropyLoss"),
        (nn.Linear(4, 3), (X[:0], Y[:0]), nn.CrossEntropyLoss(), "the batch is empty"),
        (nn.Tanh(), (X, X), nn.MSELoss(), "the model has no parameters"),
    ],
)
def test_what_preflight_can_not_look_at(model: nn.Module, batch: Any, loss_fn: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        telltales.preflight(model, batch, loss_fn)


def with_nan(values: torch.Tensor) -> torch.Tensor:
    values = values.clone()
    values[5, 1] = math.nan
    return values


class Root(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sqrt()


@pytest.mark.parametrize(
    ("model", "x", "y", "says", "where"),
    [
        (nn.Linear(4, 4), with_nan(X), X, "1 of 64 values of the inputs are not finite, the first in example 5", ""),
        (nn.Linear(4, 4), X, with_nan(X), "1 of 64 values of the targets are not finite, the first in example 5", ""),
        (nn.Sequential(nn.Linear(4, 4), Root()), X, X, "the first outputs that are not finite are those of 1", "1"),
        (nn.Linear(4, 4), X, X, None, ""),
    ],
)
def test_preflight_names_what_is_not_finite(
    model: nn.Module, x: torch.Tensor, y: torch.Tensor, says: str | None, where: str
) -> None:
    said = found(telltales.preflight(model, (x, y), nn.MSELoss()), "non-finite")
    assert [one.where for one in said] == ([] if says is None else [where])
    assert all(says in one.evidence for one in said if says is not None)


def test_a_stretched_target_is_said_once() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        looked = telltales.preflight(nn.Linear(4, 1), (X, X[:, 0]), functional.mse_loss)
    assert found(looked, "shape-layout")


def test_a_warning_of_the_loop_is_not_repeated() -> None:
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    with warnings.catch_warnings(record=True) as told, telltales.watch(model, optimizer) as watch:
        warnings.simplefilter("default")
        for _ in range(12):
            loss = functional.mse_loss(model(X), X[:, 0])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            watch.step(loss)
    assert len(told) == 1


LOSSES: dict[str, tuple[Callable[[torch.Tensor, torch.Tensor], torch.Tensor], str]] = {
    "sum of each, mean over them": (lambda o, y: (o - y).square().sum(1).mean(), "example"),
    "the same, written by PyTorch": (
        lambda o, y: functional.smooth_l1_loss(o, y, reduction="none").sum(1).mean(),
        "example",
    ),
    "a sum": (lambda o, y: (o - y).square().sum(), "sum"),
    "a mean": (lambda o, y: (o - y).square().mean(), "mean"),
}


@pytest.mark.parametrize("name", LOSSES)
def test_sums_over_features_are_no_sums_over_the_batch(name: str) -> None:
    loss_fn, reduction = LOSSES[name]
    model = nn.Linear(4, 4)
    assert loss_facts(loss_fn(model(X), X))["reduction"] == reduction
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    with telltales.watch(model, optimizer) as watch:
        loss = loss_fn(model(X), X)
        loss.backward()
        optimizer.step()
        watch.step(loss, X, X)
    assert bool(found(watch.findings(), "loss-reduction")) == (reduction == "sum")
    assert bool(found(telltales.preflight(model, (X, X), loss_fn), "loss-reduction")) == (reduction == "sum")


@pytest.mark.parametrize("order", ["backward, zero, step", "zero, step", "zero, backward, step"])
def test_an_optimizer_that_finds_no_gradients(order: str) -> None:
    torch.manual_seed(0)
    model = deep_mlp()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    with telltales.watch(model, optimizer) as watch:
        for x, y in batches(12):
            loss = loss_of(model(x), y)
            does = {"backward": loss.backward, "zero": optimizer.zero_grad, "step": optimizer.step}
            for part in order.split(", "):
                does[part]()
            watch.step(loss, x, y)
    said = found(watch.findings(), "no-gradient")
    assert [one.numbers.get("cleared") for one in said] == {"b": [True], "z": [False]}.get(
        order[0] if "backward, step" not in order else "", []
    )


@pytest.mark.parametrize("clears", [True, False])
def test_gradients_that_pile_up_over_micro_batches(clears: bool) -> None:
    torch.manual_seed(0)
    model = deep_mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    with telltales.watch(model, optimizer) as watch:
        for step, (x, y) in enumerate(batches(60)):
            loss = loss_of(model(x), y) / 4
            loss.backward()
            if step % 4 == 3:
                optimizer.step()
                if clears:
                    optimizer.zero_grad()
            watch.step(loss, x, y)
    assert bool(found(watch.findings(), "missing-zero-grad")) != clears


def test_the_worst_may_follow_from_another() -> None:
    error = Finding("no-gradient", "error", "", 0, "", "", "")
    root = Finding("dead-relu", "warning", "", 0, "", "", "", symptoms=(error,))
    assert worst([root]) == "error"


def test_a_rate_is_not_read_off_weights_that_have_blown_up() -> None:
    torch.manual_seed(0)
    model = deep_mlp(norm=False)
    optimizer = torch.optim.SGD(model.parameters(), 3e3)
    with telltales.watch(model, optimizer) as watch:
        for x, y in batches(20):
            loss = loss_of(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            watch.step(loss, x, y)
    (said,) = found(watch.findings(), "learning-rate-too-high")
    assert "at most 0.0001 times" in said.remedy


def test_batches_of_one_label_each_are_sorted() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1), nn.Flatten(0))
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    generator = torch.Generator().manual_seed(0)
    with telltales.watch(model, optimizer) as watch:
        for step in range(60):
            x = torch.randn(16, 4, generator=generator)
            y = torch.full((16,), float(step % 20 > 7))
            loss = functional.binary_cross_entropy_with_logits(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            watch.step(loss, x, y)
    assert found(watch.findings(), "unshuffled-data")


def test_a_hard_example_among_easy_ones_is_no_spike() -> None:
    from test_turns import losses_of

    losses = 1e-3 * (1 + 0.05 * np.random.default_rng(0).standard_normal(1000))
    losses[:100] = np.linspace(1, 1e-3, 100)
    for height, expected in ((0.2, set()), (0.9, {"note"}), (30.0, {"warning"})):
        losses[700] = height
        said = found(telltales.judge(losses_of(losses)), "loss-spike")
        assert {one.severity for one in said} == expected


@pytest.mark.parametrize("sign", [1, -1])
def test_a_loss_of_ones_own_that_runs_away(sign: int) -> None:
    torch.manual_seed(0)
    model = nn.Linear(4, 2)
    optimizer = torch.optim.Adam(model.parameters(), 0.3)
    with telltales.watch(model, optimizer) as watch:
        for _ in range(400):
            centres = torch.distributions.Normal(model(X), 0.5)
            loss = -sign * centres.log_prob(X[:, :1]).logsumexp(1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            watch.step(loss, X)
    assert bool(found(watch.findings(), "loss-reduction")) == (sign < 0)


def test_an_optimizer_of_a_copy_is_no_optimizer_without_gradients() -> None:
    torch.manual_seed(0)
    model, copy = deep_mlp(), deep_mlp()
    optimizer = torch.optim.Adam(copy.parameters(), 1e-3)
    with telltales.watch(model, optimizer) as watch:
        for x, y in batches(12):
            optimizer.zero_grad()
            loss = loss_of(model(x), y)
            loss.backward()
            optimizer.step()
            watch.step(loss, x, y)
    assert watch.findings()[0].rule == "optimizer-mismatch"
    assert not found(watch.findings(), "no-gradient")
