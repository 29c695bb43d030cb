"""The captured step, with its kernels played by Python: the same training as PyTorch's, step by step."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import small
from charloom import graphs
from charloom.checkpoint import digest_of_arrays
from charloom.graphs import StepGraph, by_graph
from charloom.observer import Measurement, Observer, Step
from charloom.training import Training

KINDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "rows": (small.SMALL_MLP, {}),
    "batch norm, clipped": (small.SMALL_MLP | {"layers": 2, "norm": "batch"}, {"clip": 0.5}),
    "momentum": (small.SMALL_MLP, {"optimizer": "sgd", "momentum": 0.9, "learning_rate": 0.1}),
    "distinct": (small.SMALL_MLP, {"batches": "distinct", "batch_size": 64}),
    "bigram": ({"model": "bigram-net"}, {"optimizer": "adam", "warmup": 5}),
    "dropout": (small.SMALL_MLP | {"dropout": 0.3}, {}),
    "bf16": (small.SMALL_MLP, {"precision": "bf16"}),
}


def played(step: Callable[[], None], changed: list[torch.Tensor], device: torch.device) -> Callable[[], None]:
    """What `capture` does, without a GPU: the warm-up is made and undone."""
    kept = [tensor.detach().clone() for tensor in changed]
    random_state = torch.get_rng_state()
    for _ in range(graphs.WARM_UP):
        step()
        with torch.no_grad():
            for tensor, before in zip(changed, kept, strict=True):
                tensor.copy_(before)
    torch.set_rng_state(random_state)
    return step


class Graphed:
    """Makes small trainings that play their step."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(graphs, "capture", played)
        self._monkeypatch = monkeypatch

    def __call__(self, model: dict[str, Any], **settings: Any) -> Training:
        training = small.training(model, **(settings | {"engine": "torch"}))

        def choose(observers: Any) -> None:
            training.engine, training.engine_reason = "graph", "the test"

        self._monkeypatch.setattr(training, "choose_engine", choose)
        return training


@pytest.fixture
def graphed(monkeypatch: pytest.MonkeyPatch) -> Graphed:
    return Graphed(monkeypatch)


class Losses(Observer):
    """Keeps measurements and states, and looks at no step."""

    def __init__(self) -> None:
        self.measurements: list[Measurement] = []
        self.saved: list[tuple[dict[str, Any], dict[str, Any]]] = []

    def evaluated(self, training: Training, measurement: Measurement) -> None:
        self.measurements.append(measurement)

    def checkpoint_due(self, training: Training) -> None:
        self.saved.append(training.state())


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_training_step_by_step(kind: str, graphed: Graphed) -> None:
    model, settings = KINDS[kind]
    plain, seen = small.training(model, **(settings | {"engine": "torch"})), Losses()
    assert plain.run([seen]) == "finished"
    training, found = graphed(model, **settings), Losses()
    assert training.run([found]) == "finished"
    assert training.engine == "graph"
    for name, array in training.model_arrays().items():
        np.testing.assert_allclose(array, plain.model_arrays()[name], rtol=0, atol=2e-6, err_msg=name)
    for ours, theirs in zip(found.measurements, seen.measurements, strict=True):
        assert ours.train_loss == pytest.approx(theirs.train_loss, abs=1e-6)
        assert ours.dev_loss == pytest.approx(theirs.dev_loss, abs=1e-6)
        assert ours.learning_rate == theirs.learning_rate
    assert [state[1]["step"] for state in found.saved] == [state[1]["step"] for state in seen.saved]
    for key, array in found.saved[-1][0].items():
        assert array.shape == seen.saved[-1][0][key].shape


@pytest.mark.parametrize("kind", KINDS)
def test_it_goes_on_to_the_same_bits(kind: str, graphed: Graphed) -> None:
    model, settings = KINDS[kind]
    whole, seen = graphed(model, **settings), Losses()
    whole.run([seen])
    arrays, progress = next(saved for saved in seen.saved if saved[1]["step"] == 15)
    resumed = graphed(model, **settings)
    resumed.restore(arrays, json.loads(json.dumps(progress)))
    resumed.run()
    assert digest_of_arrays(resumed.model_arrays()) == digest_of_arrays(whole.model_arrays())
    assert digest_of_arrays(resumed.best_arrays) == digest_of_arrays(whole.best_arrays)


class Third(Observer):
    """Looks at every third step, and hears of the others."""

    def __init__(self) -> None:
        self.heard: list[float] = []
        self.seen: list[int] = []
        self.hooked = 0

    def started(self, training: Training) -> None:
        training.optimizer.register_step_post_hook(self._count)

    def _count(self, *_: Any) -> None:
        self.hooked += 1

    def free_steps(self, most: int) -> int:
        return min(most, -len(self.heard) % 3)

    def passed(self, training: Training, losses: Any) -> None:
        self.heard += losses.tolist()

    def stepped(self, training: Training, step: Step) -> None:
        assert step.number == training.step == len(self.heard) + 1
        self.seen.append(step.number)
        self.heard.append(step.loss.item())


def test_steps_that_are_looked_at_are_made_by_the_optimizer_itself(graphed: Graphed) -> None:
    class Every(Observer):
        losses: list[float] = []  # noqa: RUF012 -- one observer

        def stepped(self, training: Training, step: Step) -> None:
            self.losses.append(step.loss.item())

    every, expected = Every(), Losses()
    small.training(small.SMALL_MLP, engine="torch").run([every, expected])
    third, found = Third(), Losses()
    graphed(small.SMALL_MLP).run([third, found])
    assert third.seen == list(range(1, 41, 3))
    assert third.hooked == len(third.seen)
    assert third.heard == pytest.approx(every.losses, abs=1e-6)
    means = [[one.train_loss for one in observer.measurements] for observer in (found, expected)]
    assert means[0] == pytest.approx(means[1], abs=1e-6)


def test_batches_of_which_one_is_made_at_once(graphed: Graphed, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = small.training(small.SMALL_MLP, engine="torch")
    plain.run()
    monkeypatch.setattr("charloom.feeding.LARGEST_BLOCK", 1)
    training = graphed(small.SMALL_MLP)
    assert training.run() == "finished"
    for name, array in training.model_arrays().items():
        np.testing.assert_allclose(array, plain.model_arrays()[name], rtol=0, atol=2e-6, err_msg=name)


def test_a_stop_comes_between_two_stretches(graphed: Graphed) -> None:
    class Stop(Observer):
        def advanced(self, training: Training, loss: Any) -> None:
            if training.step >= 5:
                training.request_stop()

    training = graphed(small.SMALL_MLP)
    assert training.run([Stop()]) == "interrupted"
    assert 5 <= training.step <= 10


def test_the_optimizer_is_as_after_its_own_steps_when_the_graph_is_done(graphed: Graphed) -> None:
    training = graphed(small.SMALL_MLP)
    training.run()
    steps = [remembered["step"] for remembered in training.optimizer.state.values()]
    assert {float(step) for step in steps} == {40.0}
    assert len({step.data_ptr() for step in steps}) == len(steps)
    assert all(parameter.grad is None for parameter in training.model.parameters())


def test_a_step_that_cannot_be_captured_is_made_by_pytorch(graphed: Graphed, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(graphs, "capture", fails)
    training, plain = graphed(small.SMALL_MLP), small.training(small.SMALL_MLP, engine="torch")
    assert training.run() == plain.run() == "finished"
    assert training.engine == "torch"
    assert training.engine_reason == "no CUDA graph can be made (operation not permitted when stream is capturing)"
    assert digest_of_arrays(training.model_arrays()) == digest_of_arrays(plain.model_arrays())


@pytest.fixture
def on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> Training:
    """A training that believes to be on a GPU; it can choose its engine, and not run."""
    training = small.training(small.SMALL_MLP)
    monkeypatch.setattr(training, "device", torch.device("cuda"))
    return training


def test_a_gpu_plays_a_graph_unless_it_is_not_to(on_a_gpu: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    class Every(Observer):
        def stepped(self, training: Training, step: Step) -> None:
            """Nothing to do."""

    on_a_gpu.choose_engine([Third(), Losses()])
    assert (on_a_gpu.engine, on_a_gpu.engine_reason) == ("graph", "fastest")
    on_a_gpu.choose_engine([Every()])
    assert (on_a_gpu.engine, on_a_gpu.engine_reason) == ("torch", "every step is looked at")
    monkeypatch.setattr(on_a_gpu, "config", small.training(small.SMALL_MLP, engine="torch").config)
    on_a_gpu.choose_engine([])
    assert (on_a_gpu.engine, on_a_gpu.engine_reason) == ("torch", "it was asked for")


def test_stretches_grow_up_to_what_the_feed_makes_at_once(graphed: Graphed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "CHUNK_SECONDS", 1e9)
    training = graphed(small.SMALL_MLP, steps=600, evaluate_every=600, checkpoint_every=600)
    graph = StepGraph(training._course)
    steps = [0]
    for _ in by_graph(training._course, graph, lambda most: most, losses_wanted=False):
        steps.append(training.step)
    graph.release()
    assert np.diff(steps).tolist() == [1, 4, 16, 64, 256, 256, 3]
