"""The loop: golden losses, resuming to the bit, observers, early stopping, and what it leaves alone."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import small
from charloom.checkpoint import digest_of_arrays
from charloom.devices import choose_device
from charloom.errors import CheckpointError, ConfigError, TrainingError
from charloom.evaluation import mean_loss
from charloom.observer import Measurement, Observer, Outcome, Step
from charloom.training import Training

GOLDEN = Path(__file__).parent / "golden" / "losses.json"
EVERYTHING_RANDOM = small.SMALL_MLP | {"layers": 2, "norm": "batch", "dropout": 0.3}


class Recorder(Observer):
    """Keeps what it sees, and can ask for a stop."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.losses: list[float] = []
        self.events: list[str] = []
        self.measurements: list[Measurement] = []
        self.saved: list[tuple[dict[str, Any], dict[str, Any]]] = []
        self._stop_after = stop_after

    def started(self, training: Training) -> None:
        self.events.append("started")

    def stepped(self, training: Training, step: Step) -> None:
        self.losses.append(step.loss.item())
        if step.number == self._stop_after:
            training.request_stop()

    def evaluated(self, training: Training, measurement: Measurement) -> None:
        self.events.append(f"evaluated {measurement.step}")
        self.measurements.append(measurement)

    def checkpoint_due(self, training: Training) -> None:
        self.events.append(f"checkpoint {training.step}")
        self.saved.append(training.state())

    def ended(self, training: Training, outcome: Outcome) -> None:
        self.events.append(outcome)


@pytest.mark.parametrize("name", ["bigram-net", "mlp", "deep-mlp"])
def test_the_first_ten_losses_are_the_golden_ones(name: str) -> None:
    """Engine and batches are named, so that a faster default does not move these figures."""
    recorder = Recorder()
    model: dict[str, Any] = {"model": name}
    if name != "bigram-net":
        model |= {"context_length": 3, "embedding": 24, "hidden": 32, "layers": 5 if name == "deep-mlp" else 1}
    training = small.training(
        model, steps=10, batch_size=32, seed=7, learning_rate=0.01, engine="torch", batches="rows"
    )
    training.run([recorder])
    golden = json.loads(GOLDEN.read_text())[name]
    assert recorder.losses == pytest.approx(golden, abs=2e-5)


def test_same_seed_same_weights_other_seed_other_weights() -> None:
    def digest(seed: int) -> str:
        training = small.training(EVERYTHING_RANDOM, seed=seed)
        training.run()
        return digest_of_arrays(training.model_arrays())

    assert digest(1) == digest(1)
    assert digest(1) != digest(2)


@pytest.mark.parametrize("rule", [{"optimizer": "adamw"}, {"optimizer": "sgd", "momentum": 0.9}])
@pytest.mark.parametrize("stop_after", [1, 14, 15, 27])
def test_a_stopped_training_goes_on_to_the_same_bits(rule: dict[str, Any], stop_after: int) -> None:
    whole, recorder = small.training(EVERYTHING_RANDOM, **rule), Recorder()
    whole.run([recorder])

    first, stopped = small.training(EVERYTHING_RANDOM, **rule), Recorder(stop_after)
    assert first.run([stopped]) == "interrupted"
    torch.manual_seed(999)  # What others do with the random stream in between must not matter.
    second, resumed = small.training(EVERYTHING_RANDOM, **rule), Recorder()
    arrays, progress = stopped.saved[-1]
    second.restore(arrays, json.loads(json.dumps(progress)))
    second.run([resumed])

    assert stopped.losses + resumed.losses == recorder.losses
    assert digest_of_arrays(second.model_arrays()) == digest_of_arrays(whole.model_arrays())
    assert digest_of_arrays(second.best_arrays) == digest_of_arrays(whole.best_arrays)
    measured = [replace(m, seconds=0) for m in (*stopped.measurements, *resumed.measurements)]
    assert measured == [replace(m, seconds=0) for m in recorder.measurements]


@pytest.mark.parametrize("rule", [{"optimizer": "adam"}, {"optimizer": "sgd", "momentum": 0.9}])
def test_a_training_comes_to_the_same_bits_whoever_looks_at_which_steps(rule: dict[str, Any]) -> None:
    class Stop(Observer):
        def advanced(self, training: Training, loss: Any) -> None:
            if training.step in (7, 20):
                training.request_stop()

    whole = small.training(EVERYTHING_RANDOM, **rule)
    whole.run()
    training = small.training(EVERYTHING_RANDOM, **rule)
    assert training.run([Stop()]) == training.run([Stop(), Recorder()]) == "interrupted"
    assert training.run() == "finished"
    assert digest_of_arrays(training.model_arrays()) == digest_of_arrays(whole.model_arrays())


def test_the_best_weights_survive_a_resume_even_if_no_better_ones_follow() -> None:
    overfitting = {"learning_rate": 0.3, "schedule": "constant", "steps": 200}
    whole, recorder = small.training(small.SMALL_MLP, **overfitting), Recorder()
    whole.run([recorder])
    assert whole.best_step < 150
    arrays, progress = next(saved for saved in recorder.saved if saved[1]["step"] == 150)
    resumed = small.training(small.SMALL_MLP, **overfitting)
    resumed.restore(arrays, progress)
    resumed.run()
    assert digest_of_arrays(resumed.best_arrays) == digest_of_arrays(whole.best_arrays)


def test_observers_hear_of_everything_in_order() -> None:
    recorder = Recorder()
    assert small.training(small.SMALL_MLP).run([recorder]) == "finished"
    assert recorder.events == [
        "started",
        "evaluated 10",
        "checkpoint 15",
        "evaluated 20",
        "evaluated 30",
        "checkpoint 30",
        "evaluated 40",
        "checkpoint 40",
        "finished",
    ]
    assert len(recorder.losses) == 40
    assert recorder.measurements[0].train_loss == pytest.approx(np.mean(recorder.losses[:10]))


def test_a_step_tells_which_rows_it_used() -> None:
    steps: list[Step] = []

    class Keep(Observer):
        def stepped(self, training: Training, step: Step) -> None:
            steps.append(step)

    training = small.training(small.SMALL_MLP)
    training.run([Keep()])
    for step in steps[:3]:
        contexts, targets = training.contexts.rows(step.rows)
        assert (step.contexts.numpy() == contexts).all()
        assert (step.targets.numpy() == targets).all()


def test_the_best_weights_are_those_of_the_lowest_dev_loss() -> None:
    training, recorder = small.training(small.SMALL_MLP, learning_rate=0.3, schedule="constant", steps=200), Recorder()
    training.run([recorder])
    lowest = min(recorder.measurements, key=lambda m: m.dev_loss)
    assert lowest.step != recorder.measurements[-1].step, "the test needs a dev loss that rises again"
    training.load_best()
    assert training.best_step == lowest.step
    assert mean_loss(training.model, small.dataset().encoded("dev")).nats == pytest.approx(lowest.dev_loss, rel=1e-12)
    assert not training.model.training


def test_early_stopping_waits_for_as_many_evaluations_as_asked() -> None:
    training, recorder = small.training(small.SMALL_MLP, learning_rate=0.3, steps=2000, patience=3), Recorder()
    assert training.run([recorder]) == "stopped early"
    best = [m.best for m in recorder.measurements]
    assert best[-3:] == [False] * 3
    assert best[-4]


def test_a_loss_that_is_not_finite_ends_the_training_before_the_update() -> None:
    training, recorder = (
        small.training(small.SMALL_MLP, learning_rate=1e30, optimizer="sgd", schedule="constant"),
        Recorder(),
    )
    with pytest.raises(TrainingError, match="the loss is") as caught:
        training.run([recorder])
    assert caught.value.where == f"step {training.step + 1}"
    assert all(math.isfinite(loss) for loss in recorder.losses)
    assert recorder.events[-1] == "failed"


def test_clipping_bounds_the_gradient() -> None:
    norms = []

    class Norm(Observer):
        def stepped(self, training: Training, step: Step) -> None:
            norms.append(
                math.sqrt(sum(float(p.grad.square().sum()) for p in training.model.parameters() if p.grad is not None))
            )

    small.training(small.SMALL_MLP, clip=0.01).run([Norm()])
    assert max(norms) <= 0.01 * 1.001
    norms.clear()
    small.training(small.SMALL_MLP).run([Norm()])
    assert max(norms) > 0.02


def test_the_callers_random_stream_and_threads_are_left_alone() -> None:
    torch.manual_seed(5)
    threads = torch.get_num_threads()
    before = torch.get_rng_state()
    small.training(EVERYTHING_RANDOM).run()
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads


def test_the_threads_asked_for_are_used() -> None:
    seen = []

    class Threads(Observer):
        def started(self, training: Training) -> None:
            seen.append(torch.get_num_threads())

    small.training(small.SMALL_MLP, threads=2).run([Threads()])
    assert seen == [2]


def test_batches_of_one_are_refused_by_batch_norm() -> None:
    with pytest.raises(ConfigError, match="batch norm"):
        small.training(EVERYTHING_RANDOM, batch_size=1)


@pytest.mark.parametrize(
    "damage",
    [
        lambda arrays, progress: arrays.pop("model/output.bias"),
        lambda arrays, progress: arrays.update({"model/output.bias": np.zeros(3, dtype=np.float32)}),
        lambda arrays, progress: arrays.update({"model/output.bias": np.zeros(27, dtype=np.float64)}),
        lambda arrays, progress: arrays.update({"other/x": np.zeros(3)}),
        lambda arrays, progress: arrays.pop("random/cpu"),
        lambda arrays, progress: arrays.update({"random/cpu": np.zeros(3, dtype=np.uint8)}),
        lambda arrays, progress: progress.pop("step"),
        lambda arrays, progress: progress.update(step="many"),
        lambda arrays, progress: progress.update(step=-1),
        lambda arrays, progress: progress.update(step=1e9),
        lambda arrays, progress: progress.update(seconds=10**400),
        lambda arrays, progress: progress.update(more=1),
        lambda arrays, progress: arrays.pop("best/output.bias"),
        lambda arrays, progress: arrays.pop("optimizer/output.bias/exp_avg_sq"),
        lambda arrays, progress: arrays.update({"optimizer/output.bias/exp_avg": np.zeros(27)}),
    ],
)
def test_a_state_that_does_not_fit_is_refused_and_touches_nothing(damage: Any) -> None:
    recorder = Recorder(5)
    small.training(small.SMALL_MLP).run([recorder])
    arrays, progress = recorder.saved[-1]
    damage(arrays, progress)
    other = small.training(small.SMALL_MLP, seed=1)
    before, progress_before = other.state()
    with pytest.raises(CheckpointError):
        other.restore(arrays, progress)
    after, progress_after = other.state()
    assert progress_after == progress_before
    assert digest_of_arrays(after) == digest_of_arrays(before)


def test_a_gpu_that_is_not_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto").type == "cpu"
    with pytest.raises(ConfigError, match="no CUDA"):
        choose_device("cuda")
