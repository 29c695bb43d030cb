"""When updates come, who makes them, and what a long training or an interrupted one still tells."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nets import batches, deep_mlp, loss_of
from torch import nn

import telltales
from telltales.errors import TelltalesWarning, UsageError
from telltales.finding import Finding
from telltales.observation import Observation
from telltales.record import Limits, Record
from telltales.schedule import Rhythm


def found(watch: telltales.Watch, rule: str) -> list[Finding]:
    return [one for root in watch.findings() for one in root.every() if one.rule == rule]


@pytest.mark.parametrize("accumulate", [1, 4, 7])
@pytest.mark.parametrize("scaled", [False, True])
def test_steps_that_are_micro_batches(accumulate: int, scaled: bool) -> None:
    torch.manual_seed(0)
    model = deep_mlp()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0) if scaled else None
    with telltales.watch(model, optimizer, scaler=scaler) as watch:
        for step, (x, y) in enumerate(batches(260)):
            loss = loss_of(model(x), y) / accumulate
            (loss if scaler is None else scaler.scale(loss)).backward()
            if step % accumulate == accumulate - 1:
                if scaler is None:
                    optimizer.step()
                else:
                    scaler.step(optimizer)
                    scaler.update()
                optimizer.zero_grad()
            watch.step(loss, x, y)
    late = watch.record.steps >= 2 * accumulate
    assert late.sum() >= 10
    assert (watch.record.scalar("optimizer_steps")[late] == 1).all()
    assert not found(watch, "loss-scale-collapse")
    assert not found(watch, "optimizer-mismatch")


def test_a_rhythm_is_learnt_and_an_idle_optimizer_not_waited_for() -> None:
    rhythm = Rhythm()
    assert [rhythm.saw(step, step % 5 == 4) for step in range(10)] == [True] * 4 + [False] + [True] * 4 + [False]
    assert [step for step in range(10, 30) if rhythm.has_its_turn(step)] == [14, 19, 24, 29]
    idle = Rhythm()
    assert sum(idle.saw(step, False) for step in range(1000)) == Rhythm.MOST


class Wrapped(torch.optim.Optimizer):
    """Updates by another optimizer of its own, in a method that is not called step."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(list(parameters), {"lr": 0.01})
        self.inner = torch.optim.SGD(self.param_groups, 0.01)

    def second_step(self) -> None:
        self.inner.step()


@pytest.mark.parametrize("updates", [False, True])
def test_an_optimizer_that_never_updates_is_named(updates: bool) -> None:
    torch.manual_seed(0)
    model = deep_mlp()
    optimizer = Wrapped(model.parameters())
    with telltales.watch(model, optimizer) as watch:
        for x, y in batches(120):
            optimizer.zero_grad()
            loss = loss_of(model(x), y)
            loss.backward()
            if updates:
                optimizer.second_step()
            watch.step(loss, x, y)
    (finding,) = found(watch, "optimizer-mismatch")
    assert finding.numbers["moved"] == updates
    assert ("inside" in finding.remedy) == updates
    assert ("optimizer.step()" in finding.remedy) != updates


def losses_of(values: np.ndarray[Any, Any]) -> Record:
    """A record of a training with these losses, every hundredth step of which was observed."""
    record = Record(about={"loss": {"kind": "mse", "reduction": "mean"}, "models": 1, "optimizer": "SGD"})
    for end in range(100, len(values) + 1, 100):
        some = values[end - 100 : end].astype(np.float32)
        record.append(Observation(end - 1, {"loss": float(some[-1])}, {}, None, some))
    return record


def rules_of(record: Record) -> set[str]:
    return {one.rule for root in telltales.judge(record) for one in root.every() if one.resolved is None}


@pytest.mark.parametrize("at", [700, 5003, 9990])
def test_a_spike_is_seen_however_long_the_training(at: int) -> None:
    generator = np.random.default_rng(0)
    losses = 1 + 0.05 * generator.standard_normal(10_000)
    assert "loss-spike" not in rules_of(losses_of(losses))
    losses[at] = 30
    assert "loss-spike" in rules_of(losses_of(losses))


def test_swinging_losses_are_seen_however_long_the_training() -> None:
    losses = 1 + 0.05 * np.random.default_rng(0).standard_normal(10_000)
    losses[-200:] += 0.3 * (-1) ** np.arange(200)
    assert "oscillating" in rules_of(losses_of(losses))
    losses[-100:] = 1
    assert "oscillating" not in rules_of(losses_of(losses))


def test_how_it_began_stays_in_a_record() -> None:
    record = Record(limits=Limits(rows=64))
    for step in range(5000):
        record.append(Observation(step, {"loss": 1.0}, {}))
    assert record.steps[:16].tolist() == [*range(16)]
    assert len(record) <= 64


def test_a_listener_that_fails_is_asked_no_more() -> None:
    torch.manual_seed(0)
    model = deep_mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    heard: list[str] = []

    def fails(finding: Finding) -> None:
        heard.append(finding.rule)
        raise ValueError("no room for it")

    watch = telltales.watch(model, optimizer, schedule=lambda step: True)
    watch.on_finding(fails)

    def train(steps: int) -> None:
        for x, y in batches(steps):
            loss = loss_of(model(x), y)
            loss.backward()
            optimizer.step()
            watch.step(loss, x, y)

    with pytest.warns(TelltalesWarning, match="no room for it"):
        train(3)
    train(3)
    watch.close()
    assert heard == ["missing-zero-grad"]
    assert len(watch.record) == 6


def test_settings_of_any_number_type_can_be_written(tmp_path: Path) -> None:
    model = deep_mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=np.float32(0.01), weight_decay=np.float64(0))
    with telltales.watch(model, optimizer, path=tmp_path / "record.jsonl") as watch:
        for x, y in batches(3):
            optimizer.zero_grad()
            loss = loss_of(model(x), y)
            loss.backward()
            optimizer.step()
            watch.step(loss, x, y)
    assert len(telltales.read_record(tmp_path / "record.jsonl")) == 3


class Interrupted(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise KeyboardInterrupt


class Users(torch.overrides.TorchFunctionMode):
    """Someone's own mode."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


def modes() -> list[Any]:
    return [torch._C._get_function_stack_at(place) for place in range(torch._C._len_torch_function_stack())]


def test_an_interrupt_leaves_no_mode_and_takes_none_away() -> None:
    model = nn.Sequential(nn.Linear(2, 2), Interrupted())
    watch = telltales.watch(model, torch.optim.SGD(model.parameters(), 0.1))
    with pytest.raises(KeyboardInterrupt):
        model(torch.randn(3, 2))
    with Users() as mine:
        watch.close()
        assert modes() == [mine]
    assert modes() == []


def test_preflight_knows_an_optimizer_that_asks_for_the_loss() -> None:
    torch.manual_seed(0)
    x = torch.randn(16, 4)
    model = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 1))
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1)
    looked = telltales.preflight(model, (x, x.sum(1, keepdim=True)), nn.functional.mse_loss, optimizer)
    assert not looked
    assert "failed" not in str(looked)


class Distilling:
    """An object with a teacher, whose method is the forward pass."""

    def __init__(self) -> None:
        self.teacher = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))

    def forward(self, model: nn.Module, batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
        output = model(batch[0])
        return output, nn.functional.mse_loss(output, self.teacher(batch[0]).detach())


def test_preflight_restores_what_a_method_has_used() -> None:
    torch.manual_seed(0)
    owner = Distilling()
    before = {name: tensor.clone() for name, tensor in owner.teacher.state_dict().items()}
    model = nn.Linear(4, 3)
    telltales.preflight(model, (torch.randn(8, 4), torch.zeros(8)), forward=owner.forward)
    assert all(torch.equal(tensor, before[name]) for name, tensor in owner.teacher.state_dict().items())


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[None]:
    if not torch.distributed.is_available():
        pytest.skip("this torch has no torch.distributed")
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def test_sharded_parameters_are_refused(alone: None) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    model = nn.Linear(4, 4)
    whole = telltales.watch(model)
    model.weight = nn.Parameter(distribute_tensor(model.weight.detach(), init_device_mesh("cpu", (1,)), [Shard(0)]))
    with pytest.raises(UsageError, match="sharded"):
        telltales.watch(model)
    whole.close()
