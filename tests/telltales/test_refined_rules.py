"""What rules had to learn beside their first cases, each shown on a small training."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from made import linear
from nets import batches, deep_mlp, loss_of
from torch import nn
from torch.nn import functional

import telltales
from telltales.finding import Finding
from telltales.observation import Evaluation, Observation
from telltales.record import Record
from telltales.verdicts.losses import progress
from telltales.verdicts.run import Run


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    steps: int = 120,
    each: Callable[[int], None] = lambda step: None,
    evaluate: int = 0,
) -> telltales.Watch:
    torch.manual_seed(1)
    data = batches(steps)
    with telltales.watch(model, optimizer) as watch:
        for step, (x, y) in enumerate(data):
            each(step)
            loss = loss_of(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            watch.step(loss, x, y)
            if evaluate and step % evaluate == evaluate - 1:
                model.eval()
                with torch.no_grad():
                    watch.evaluation(loss_of(model(data[0][0]), data[0][1]))
                model.train()
    return watch


def found(watch: telltales.Watch, rule: str) -> list[Finding]:
    return [one for root in watch.findings() for one in root.every() if one.rule == rule]


@pytest.mark.parametrize("momentum", [1e-4, 0.1, None])
def test_buffers_that_stand_still(momentum: float | None) -> None:
    torch.manual_seed(0)
    model = deep_mlp()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.momentum = momentum
    watch = train(model, torch.optim.SGD(model.parameters(), 0.05), evaluate=40)
    said = found(watch, "train-eval-gap")
    assert [one.where for one in said] == (["3"] if momentum == 1e-4 else [])
    assert all("momentum of 0.0001" in one.evidence and "99%" in one.evidence for one in said)


class Branch(nn.Module):
    """A residual branch that begins at zero, so that what is before it in the branch has no gradient at first."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.one, self.two = nn.Embedding(7, 4), nn.Linear(12, 16), nn.Linear(16, 12)
        self.head = nn.Linear(12, 7)
        nn.init.zeros_(self.two.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.embedding(x).flatten(1)
        return self.head(hidden + self.two(torch.relu(self.one(hidden))))


def test_a_rate_of_zero_behind_a_branch_that_begins_at_zero() -> None:
    torch.manual_seed(0)
    model = Branch()
    still = [model.one.weight]
    others = [p for p in model.parameters() if p is not model.one.weight]
    watch = train(model, torch.optim.Adam([{"params": others}, {"params": still, "lr": 0.0}], 3e-3))
    assert [one.where for one in found(watch, "frozen-parameter")] == ["one.weight"]
    torch.manual_seed(0)
    model = Branch()
    assert not found(train(model, torch.optim.Adam(model.parameters(), 3e-3)), "frozen-parameter")


def test_a_gradient_that_is_not_finite_is_not_none() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(7, 4), nn.Flatten(), nn.Linear(12, 8), nn.Linear(8, 7))
    model[2].register_full_backward_hook(lambda module, inputs, outputs: (inputs[0] * math.nan,))
    watch = train(model, torch.optim.SGD(model.parameters(), 1e-3), steps=6)
    assert found(watch, "non-finite")
    assert not found(watch, "no-gradient")


def test_weights_that_are_many_times_as_large_at_once() -> None:
    torch.manual_seed(0)
    model = deep_mlp()
    watch = train(model, torch.optim.Adam(model.parameters(), 0.5), steps=300)
    assert found(watch, "update-too-large") or found(watch, "learning-rate-too-high")
    torch.manual_seed(0)
    model = deep_mlp()
    watch = train(model, torch.optim.Adam(model.parameters(), 3e-3), steps=300)
    assert not found(watch, "update-too-large")


def test_a_rate_of_next_to_nothing_with_adam() -> None:
    torch.manual_seed(0)
    model = deep_mlp(norm=False)
    watch = train(model, torch.optim.Adam(model.parameters(), 3e-6), steps=200)
    assert found(watch, "learning-rate-too-low")


def record_of(losses: np.ndarray, evaluations: dict[int, float]) -> Record:
    """Of a classifier of twenty classes that come equally often."""
    facts = {"kind": "cross_entropy", "classes": 20, "reduction": "mean", "terms": 1}
    record = Record(about={"loss": facts, "models": 1, "optimizer": "Adam", "labels": {str(i): 100 for i in range(20)}})
    record.parameters |= linear("0", 20, 20)
    for step, loss in enumerate(losses.astype(np.float32)):
        record.append(Observation(step, {"loss": float(loss)}, {}, None, losses[step : step + 1].astype(np.float32)))
        if step in evaluations:
            record.evaluate(Evaluation(step, "dev", evaluations[step]))
    return record


@pytest.mark.parametrize("falls", [True, False])
def test_what_still_learns_has_no_wrong_labels(falls: bool) -> None:
    guess = math.log(20)
    losses = 0.98 * guess + 0.05 * np.random.default_rng(0).standard_normal(400)
    losses[:40] += np.linspace(0.5, 0, 40)
    dev = [0.99, 0.97, 0.95, 0.93] if falls else [1.01, 0.99, 1.0, 1.0]
    record = record_of(losses, {80 * (place + 1): share * guess for place, share in enumerate(dev)})
    rules = {one.rule for root in telltales.judge(record) for one in root.every() if one.resolved is None}
    assert ("label-noise-or-shuffled" in rules) != falls


def test_few_losses_need_a_clearer_rise() -> None:
    noise = np.array([0, -300, 300, -200, 200.0])
    # 3.3 standard errors, and 6: of five losses on either side, chance alone lets one in a hundred differ as the first.
    assert progress(Run(record_of(np.concatenate([1900 + noise, 2440 + noise]), {})))[0] is None
    assert progress(Run(record_of(np.concatenate([1900 + noise, 2900 + noise]), {})))[0] is False


def test_a_transposed_convolution_sums_over_its_first_dimension() -> None:
    torch.manual_seed(0)

    class Up(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.start = nn.Linear(4, 64)
            self.up = nn.ConvTranspose2d(64, 2, 2, 2)
            self.end = nn.Linear(8, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.end(torch.relu(self.up(torch.relu(self.start(x))[:, :, None, None])).flatten(1))

    model = Up()
    nn.init.kaiming_normal_(model.start.weight)
    # 64 inputs for each of its outputs; by the second dimension it would be 8.
    nn.init.normal_(model.up.weight, std=math.sqrt(2 / 256))
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    with telltales.watch(model, optimizer) as watch:
        x, y = torch.randn(16, 4), torch.arange(16) % 3
        loss = functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        watch.step(loss, x, y)
    from telltales.verdicts.initial import first_scales

    assert [scale.fan_in for scale in first_scales(Run(watch.record)) if scale.module == "up"] == [256]


def digits(classes: int = 4, examples: int = 400) -> tuple[torch.Tensor, torch.Tensor]:
    """Points around a centre for each class."""
    generator = torch.Generator().manual_seed(0)
    centres, y = torch.randn(classes, 16, generator=generator), torch.arange(examples) % classes
    return centres[y] + 0.8 * torch.randn(examples, 16, generator=generator), y


def divided(shuffled: bool, parts: int) -> telltales.Watch:
    """A small net on the digits, whose loss is divided as that of micro-batches is."""
    torch.manual_seed(0)
    x, y = digits()
    if shuffled:
        y = y[torch.randperm(len(y))]
    held_out = digits()[0][:100] + 0.1, digits()[1][:100]
    model = nn.Sequential(nn.Linear(16, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 4))
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    with telltales.watch(model, optimizer) as watch:
        for step in range(400):
            rows = torch.randint(len(x), (32,))
            loss = functional.cross_entropy(model(x[rows]), y[rows]) / parts
            loss.backward()
            if step % parts == parts - 1:
                optimizer.step()
                optimizer.zero_grad()
            watch.step(loss, x[rows], y[rows])
            if step % 50 == 49:
                model.eval()
                with torch.no_grad():
                    watch.evaluation(functional.cross_entropy(model(held_out[0]), held_out[1]))
                model.train()
    return watch


@pytest.mark.parametrize("parts", [1, 8])
def test_a_loss_that_is_divided_is_not_compared_with_one_that_is_not(parts: int) -> None:
    watch = divided(False, parts)
    assert not [finding for finding in watch.findings() if finding.severity != "note"]


def test_a_loss_that_is_divided_by_one_is_compared() -> None:
    assert found(divided(True, 1), "label-noise-or-shuffled")


@pytest.mark.parametrize(("bias", "dead"), [(-0.3, False), (-10.0, True)])
def test_half_of_the_units_behind_a_bottleneck_are_not_dead(bias: float, dead: bool) -> None:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(16, 2), nn.Sigmoid(), nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 4))
    with torch.no_grad():
        model[2].bias += bias
    x, y = digits()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    with telltales.watch(model, optimizer) as watch:
        for _ in range(60):
            rows = torch.randint(len(x), (32,))
            loss = functional.cross_entropy(model(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            watch.step(loss, x[rows], y[rows])
    silent = watch.record.series("activation", "3", "saturated_units")
    assert (silent[:10] > 0.5).all()
    assert bool(found(watch, "dead-relu")) == dead


def test_a_bias_before_a_norm_is_not_frozen() -> None:
    torch.manual_seed(0)
    model = deep_mlp()
    watch = train(model, torch.optim.SGD(model.parameters(), 1e-5), steps=200)
    assert found(watch, "learning-rate-too-low")
    assert not found(watch, "frozen-parameter")


def test_labels_that_leak_into_the_training_inputs_leave_a_gap_that_is_noted() -> None:
    torch.manual_seed(0)
    x, y = digits()
    x = 0.3 * x
    leaking = torch.cat([x, 3 * functional.one_hot(y, 4).float()], 1)
    held_out = torch.cat([x[:100] + 0.5 * torch.randn(100, 16), torch.zeros(100, 4)], 1), y[:100]
    model = nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 4))
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    with telltales.watch(model, optimizer) as watch:
        for step in range(600):
            rows = torch.randint(len(x), (32,))
            loss = functional.cross_entropy(model(leaking[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            watch.step(loss, leaking[rows], y[rows])
            if step % 100 == 99:
                with torch.no_grad():
                    watch.evaluation(functional.cross_entropy(model(held_out[0]), held_out[1]))
    assert found(watch, "overfitting")


@pytest.mark.parametrize("scale", [1e-3, 1.0])
def test_a_branch_that_begins_near_zero_is_meant_to_grow(scale: float) -> None:
    torch.manual_seed(0)
    x, y = digits()

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.start, self.branch, self.head = nn.Linear(16, 32), nn.Linear(32, 32), nn.Linear(32, 4)
            with torch.no_grad():
                self.branch.weight *= scale
                self.branch.bias *= scale

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            hidden = torch.relu(self.start(x))
            return self.head(hidden + self.branch(hidden))

    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    with telltales.watch(model, optimizer) as watch:
        for step in range(300):
            if scale == 1 and step == 30:
                with torch.no_grad():
                    model.branch.weight *= 100
            rows = torch.randint(len(x), (32,))
            loss = functional.cross_entropy(model(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            watch.step(loss, x[rows], y[rows])
    stds = watch.record.series("activation", "branch", "std")
    assert stds[-1] > 10 * stds[5]
    assert bool(found(watch, "activation-drift")) == (scale == 1)
