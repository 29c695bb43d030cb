"""The compiled engine against PyTorch on the same batches, in every configuration that it covers."""

from __future__ import annotations

import copy
import dataclasses
import sys
from typing import Any

import numpy as np
import pytest
import torch

import small
from charloom.config import TrainingConfig
from charloom.contexts import Batches
from charloom.engine import CompiledEngine, why_not_compiled
from charloom.errors import ConfigError, TrainingError
from charloom.models.bigram import BigramNetwork
from charloom.models.mlp import ACTIVATIONS, MLP
from charloom.observer import Observer
from charloom.optimization import build_optimizer, optimizer_arrays
from charloom.training import Training

pytest.importorskip("numba")

SGD: dict[str, Any] = {"optimizer": "sgd", "learning_rate": 0.1}
MOMENTUM = SGD | {"momentum": 0.9}
ADAM: dict[str, Any] = {"optimizer": "adam", "learning_rate": 0.01}
ADAMW: dict[str, Any] = {"optimizer": "adamw", "learning_rate": 0.01}


def mlp(dtype: torch.dtype = torch.float64, **options: Any) -> MLP:
    """Sizes that fill no register: 19 characters, 4 x 5 inputs, 37 units."""
    sizes: dict[str, Any] = {"vocabulary_size": 19, "context_length": 4, "embedding": 5, "hidden": 37, "layers": 2}
    model = MLP(**(sizes | options), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2))
    return model.to(dtype)


def soft_batches(model: MLP, steps: int, size: int = 23) -> Batches:
    """Contexts with several targets each, and rows of unequal weight."""
    random = np.random.default_rng(0)
    pool = 50
    contexts = random.integers(0, model.vocabulary_size, (pool, model.context_length))
    table = random.random((pool, model.vocabulary_size)) * (random.random((pool, model.vocabulary_size)) < 0.2)
    table[:, 3] += 0.1
    table /= table.sum(axis=1, keepdims=True)
    context, targets = np.nonzero(table)
    rows = random.integers(0, pool, (steps, size))
    weights = random.random((steps, size))
    weights /= weights.sum(axis=1, keepdims=True)
    dtype = model.embedding.weight.detach().numpy().dtype
    starts = np.searchsorted(context, np.arange(pool + 1))
    shares = table[context, targets].astype(dtype)
    return Batches(contexts, starts, targets, shares, rows, weights.astype(dtype), rows)


def torch_losses(
    model: MLP, optimizer: torch.optim.Optimizer, config: TrainingConfig, batches: Batches, rates: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    """PyTorch's loop, written out."""
    dtype = model.embedding.weight.dtype
    table = torch.from_numpy(batches.dense(model.vocabulary_size)).to(dtype)
    exact = np.zeros(table.shape)
    exact[np.repeat(np.arange(len(exact)), np.diff(batches.starts)), batches.targets] = batches.shares
    table = torch.from_numpy(exact).to(dtype)
    losses = []
    model.train()
    for rows, weights, rate in zip(batches.rows, batches.weights, rates, strict=True):
        logits = model(torch.from_numpy(batches.contexts[rows]))
        each = torch.nn.functional.cross_entropy(logits, table[rows], reduction="none")
        loss = (each * torch.from_numpy(weights)).sum()
        optimizer.zero_grad()
        loss.backward()
        if config.clip is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        losses.append(loss.item())
    return np.array(losses)


def compare(model: MLP, steps: int, **settings: Any) -> tuple[float, float, float]:
    """Largest differences of losses, of parameters and statistics, and of what the optimizers remember."""
    config = TrainingConfig(steps=steps, **settings)
    twin = copy.deepcopy(model)
    theirs, ours = build_optimizer(model, config), build_optimizer(twin, config)
    batches = soft_batches(model, steps)
    rates = np.linspace(config.learning_rate, config.learning_rate / 3, steps)
    expected = torch_losses(model, theirs, config, batches, rates)
    engine = CompiledEngine(twin, ours, config)
    split = steps // 3
    parts = [
        engine.train(dataclasses.replace(batches, rows=batches.rows[part], weights=batches.weights[part]), rates[part])
        for part in (slice(0, split), slice(split, None))
    ]
    parts[0] = parts[0][:split]
    states = zip(model.state_dict().values(), twin.state_dict().values(), strict=True)
    kept = optimizer_arrays(theirs, model), optimizer_arrays(ours, twin)
    assert set(kept[0]) == set(kept[1])
    return (
        float(abs(np.concatenate(parts) - expected).max()),
        max(float(abs(one - other).max()) for one, other in states),
        max((float(abs(kept[0][name] - kept[1][name]).max()) for name in kept[0]), default=0.0),
    )


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_in_float64(activation: str) -> None:
    assert max(compare(mlp(activation=activation), 30, **SGD)) < 1e-12


@pytest.mark.parametrize("norm", ["none", "batch", "layer", "rms"])
@pytest.mark.parametrize(
    "settings",
    [SGD, MOMENTUM, ADAM, ADAMW, SGD | {"clip": 0.1}, ADAMW | {"clip": 0.1}, MOMENTUM | {"weight_decay": 0.0}],
    ids=str,
)
def test_every_norm_and_update_rule_in_float64(norm: str, settings: dict[str, Any]) -> None:
    model = mlp(norm=norm)
    assert max(compare(model, 30, **settings)) < 1e-10


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("hidden", [1, 16, 64, 200])
def test_other_shapes(layers: int, hidden: int) -> None:
    assert max(compare(mlp(layers=layers, hidden=hidden, context_length=1, vocabulary_size=40), 10, **SGD)) < 1e-11


@pytest.mark.parametrize("norm", ["none", "batch", "layer", "rms"])
def test_float32_agrees_to_its_precision(norm: str) -> None:
    losses, parameters, _ = compare(mlp(torch.float32, norm=norm), 100, **MOMENTUM)
    assert losses < 5e-6
    assert parameters < 5e-5


@pytest.mark.parametrize("norm", ["none", "batch", "layer", "rms"])
@pytest.mark.parametrize("activation", ["tanh", "gelu"])
def test_gradients_are_the_slopes_of_the_loss(norm: str, activation: str) -> None:
    """Central differences in random directions, in float64: no PyTorch in between."""
    model = mlp(norm=norm, activation=activation)
    config = TrainingConfig(steps=1, weight_decay=0.0, **SGD)
    batches = soft_batches(model, 1)

    def loss_and_gradient(state: dict[str, torch.Tensor]) -> tuple[float, dict[str, torch.Tensor]]:
        twin = copy.deepcopy(model)
        twin.load_state_dict(state)
        before = {name: parameter.detach().clone() for name, parameter in twin.named_parameters()}
        loss = CompiledEngine(twin, build_optimizer(twin, config), config).train(batches, np.ones(1))[0]
        return float(loss), {name: before[name] - parameter.detach() for name, parameter in twin.named_parameters()}

    start = copy.deepcopy(model.state_dict())
    _, gradient = loss_and_gradient(start)
    for name, slopes in gradient.items():
        direction = torch.randn(slopes.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
        at = [loss_and_gradient(start | {name: start[name] + sign * 1e-5 * direction})[0] for sign in (1, -1)]
        assert (at[0] - at[1]) / 2e-5 == pytest.approx(float((slopes * direction).sum()), abs=1e-8)


class Losses(Observer):
    """Keeps what evaluations and checkpoints show."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.train_losses: list[float] = []
        self.dev_losses: list[float] = []
        self.states: list[Any] = []
        self._stop_at = stop_at

    def advanced(self, training: Training, loss: Any) -> None:
        if self._stop_at is not None and training.step >= self._stop_at:
            training.request_stop()

    def evaluated(self, training: Training, measurement: Any) -> None:
        self.train_losses.append(measurement.train_loss)
        self.dev_losses.append(measurement.dev_loss)

    def checkpoint_due(self, training: Training) -> None:
        self.states.append(training.state())


@pytest.mark.parametrize("batches", ["rows", "distinct"])
@pytest.mark.parametrize("optimizer", [SGD, ADAMW], ids=str)
def test_a_training_is_the_same_by_either_engine(batches: str, optimizer: dict[str, Any]) -> None:
    seen = []
    for engine in ("torch", "compiled"):
        training, losses = small.training(small.SMALL_MLP, engine=engine, batches=batches, **optimizer), Losses()
        assert training.run([losses]) == "finished"
        assert training.engine == engine
        seen.append(losses)
    np.testing.assert_allclose(seen[0].train_losses, seen[1].train_losses, atol=2e-6)
    np.testing.assert_allclose(seen[0].dev_losses, seen[1].dev_losses, atol=2e-6)


@pytest.mark.parametrize("batches", ["rows", "distinct"])
@pytest.mark.parametrize("optimizer", [MOMENTUM, ADAMW], ids=str)
def test_a_compiled_training_goes_on_to_the_bit(batches: str, optimizer: dict[str, Any]) -> None:
    settings = optimizer | {"engine": "compiled", "batches": batches}
    whole = small.training(small.SMALL_MLP, **settings)
    whole.run()
    first, observer = small.training(small.SMALL_MLP, **settings), Losses(stop_at=13)
    assert first.run([observer]) == "interrupted"
    assert 13 <= first.step < 40
    second = small.training(small.SMALL_MLP, **settings)
    second.restore(*observer.states[-1])
    assert second.run() == "finished"
    for name, array in whole.model_arrays().items():
        np.testing.assert_array_equal(array, second.model_arrays()[name], err_msg=name)


def test_a_loss_that_is_not_finite_ends_the_training_before_its_update() -> None:
    training = small.training(small.SMALL_MLP, engine="compiled", optimizer="sgd", learning_rate=1e30)
    with pytest.raises(TrainingError, match="the loss is"):
        training.run()
    assert training.engine == "compiled"
    assert 0 < training.step < 40


class EveryStep(Observer):
    """Looks at each step."""

    def stepped(self, training: Training, step: Any) -> None:
        """Nothing to do."""


def test_what_the_engine_does_not_cover_is_trained_by_pytorch_and_says_why() -> None:
    cpu = torch.device("cpu")
    assert why_not_compiled(mlp(), cpu) is None
    assert "dropout" in str(why_not_compiled(mlp(dropout=0.1), cpu))
    assert "MLPs only" in str(why_not_compiled(BigramNetwork(vocabulary_size=3), cpu))
    assert "cuda" in str(why_not_compiled(mlp(), torch.device("cuda")))
    training = small.training(small.SMALL_MLP | {"dropout": 0.1})
    training.run()
    assert training.engine == "torch"
    assert "dropout" in training.engine_reason
    training = small.training(small.SMALL_MLP)
    training.run([EveryStep()])
    assert (training.engine, training.engine_reason) == ("torch", "every step is looked at")


def test_without_numba_pytorch_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charloom.engine.available", lambda: False)
    training = small.training(small.SMALL_MLP)
    assert training.run() == "finished"
    assert training.engine == "torch"
    assert "numba is not installed" in training.engine_reason


def test_a_numba_that_cannot_be_used_is_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "charloom.compiled.mlp", None)
    monkeypatch.delattr("charloom.compiled.mlp")
    training = small.training(small.SMALL_MLP)
    assert training.run() == "finished"
    assert training.engine == "torch"
    assert "numba cannot be used" in training.engine_reason


@pytest.mark.parametrize("model", [{"dropout": 0.1}, {"norm": "batch"}], ids=str)
def test_distinct_contexts_are_refused_where_rows_are_not_judged_by_themselves(model: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="distinct contexts do not go with"):
        small.training(small.SMALL_MLP | model, batches="distinct")
