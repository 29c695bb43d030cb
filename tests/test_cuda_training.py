"""On a GPU: the captured step comes to what PyTorch comes to step by step, and is resumed to the bit."""

from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np
import pytest
import torch

import small
from charloom.checkpoint import digest_of_arrays
from charloom.observer import Measurement, Observer, Step
from charloom.training import Training

if not torch.cuda.is_available():
    pytest.skip("there is no GPU", allow_module_level=True)

KINDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "rows": ({}, {}),
    "batch norm, clipped": ({"layers": 3, "norm": "batch"}, {"clip": 0.5}),
    "layer norm": ({"norm": "layer", "activation": "gelu"}, {"optimizer": "adam"}),
    "momentum": ({}, {"optimizer": "sgd", "momentum": 0.9, "learning_rate": 0.1}),
    "distinct": ({}, {"batches": "distinct", "batch_size": 64}),
    "dropout": ({"dropout": 0.3}, {}),
    "bf16": ({}, {"precision": "bf16"}),
    "tf32": ({}, {"precision": "tf32"}),
}


class Kept(Observer):
    """Keeps losses, measurements and states; looks at no step that it need not see."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.losses: list[float] = []
        self.measurements: list[Measurement] = []
        self.saved: dict[int, tuple[dict[str, Any], dict[str, Any]]] = {}
        self._stop_after = stop_after

    def free_steps(self, most: int) -> int:
        return most

    def passed(self, training: Training, losses: Any) -> None:
        self.losses += losses.tolist()
        self._stop(training)

    def stepped(self, training: Training, step: Step) -> None:
        self.losses.append(step.loss.item())
        self._stop(training)

    def evaluated(self, training: Training, measurement: Measurement) -> None:
        self.measurements.append(measurement)

    def checkpoint_due(self, training: Training) -> None:
        self.saved[training.step] = training.state()

    def _stop(self, training: Training) -> None:
        if self._stop_after is not None and training.step >= self._stop_after:
            training.request_stop()


def made(kind: str, **settings: Any) -> Training:
    model, rule = KINDS[kind]
    return small.training(small.SMALL_MLP | model, **({"device": "cuda", "batches": "rows"} | rule | settings))


def ran(kind: str, **settings: Any) -> tuple[Training, Kept]:
    training, kept = made(kind, **settings), Kept()
    assert training.run([kept]) == "finished"
    return training, kept


@pytest.mark.parametrize("kind", KINDS)
def test_the_graph_comes_to_the_losses_of_the_steps(kind: str) -> None:
    plain, expected = ran(kind, engine="torch")
    graph, found = ran(kind)
    assert (plain.engine, graph.engine, graph.engine_reason) == ("torch", "graph", "fastest")
    tolerance = 2e-2 if kind in ("bf16", "tf32") else 2e-4
    assert found.losses == pytest.approx(expected.losses, abs=tolerance)
    assert found.losses[:2] == pytest.approx(expected.losses[:2], abs=tolerance / 100)
    for ours, theirs in zip(found.measurements, expected.measurements, strict=True):
        assert ours.train_loss == pytest.approx(theirs.train_loss, abs=tolerance)
        assert ours.dev_loss == pytest.approx(theirs.dev_loss, abs=tolerance)
        assert ours.learning_rate == theirs.learning_rate
    assert [len(saved[0]) for saved in found.saved.values()] == [len(saved[0]) for saved in expected.saved.values()]


@pytest.mark.parametrize("engine", ["torch", "auto"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_stopped_training_goes_on_to_the_same_bits(kind: str, engine: str) -> None:
    whole, kept = ran(kind, engine=engine)
    stopped = Kept(stop_after=13)
    first = made(kind, engine=engine)
    assert first.run([stopped]) == "interrupted"
    torch.cuda.manual_seed(999)
    second, rest = made(kind, engine=engine), Kept()
    arrays, progress = stopped.saved[first.step]
    second.restore(arrays, json.loads(json.dumps(progress)))
    assert second.run([rest]) == "finished"
    assert stopped.losses + rest.losses == kept.losses
    assert digest_of_arrays(second.model_arrays()) == digest_of_arrays(whole.model_arrays())
    assert digest_of_arrays(second.best_arrays) == digest_of_arrays(whole.best_arrays)


def test_what_trains_first_can_be_trained_further_by_the_other() -> None:
    for first, second in (("torch", "auto"), ("auto", "torch")):
        begun, kept = ran("batch norm, clipped", engine=first)
        other = made("batch norm, clipped", engine=second)
        other.restore(*kept.saved[15])
        other.run()
        for name, array in other.model_arrays().items():
            np.testing.assert_allclose(array, begun.model_arrays()[name], rtol=0, atol=1e-3, err_msg=name)


def test_steps_that_are_looked_at_are_made_between_those_of_the_graph() -> None:
    class Some(Kept):
        def free_steps(self, most: int) -> int:
            return min(most, -len(self.losses) % 7)

    _, expected = ran("batch norm, clipped", engine="torch")
    training, some = made("batch norm, clipped"), Some()
    training.run([some])
    assert training.engine == "graph"
    assert some.losses == pytest.approx(expected.losses, abs=2e-4)


def test_batches_of_which_one_is_made_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    _, expected = ran("rows", engine="torch")
    monkeypatch.setattr("charloom.feeding.LARGEST_BLOCK", 1)
    training, found = ran("rows")
    assert training.engine == "graph"
    assert found.losses == pytest.approx(expected.losses, abs=2e-4)


def test_no_step_waits_for_the_gpu() -> None:
    """All waits are at evaluations, checkpoints and the pace, and one at the beginning: none comes from the steps."""
    waits: list[str] = []

    class Careful(Observer):
        def started(self, training: Training) -> None:
            torch.cuda.set_sync_debug_mode("warn")

        def ended(self, training: Training, outcome: str) -> None:
            torch.cuda.set_sync_debug_mode("default")

    for kind in ("batch norm, clipped", "distinct"):
        for engine in ("torch", "auto"):
            training = made(kind, engine=engine, evaluate_every=40, checkpoint_every=40)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                training.run([Careful()])
            waits += [
                f"{kind}, {engine}: {one.filename}:{one.lineno}"
                for one in caught
                if "called a sync" in str(one.message)
            ]
    assert len([wait for wait in waits if "updating.py" in wait]) <= 4, waits
    places = ("training.py", "recalibration.py", "neural.py", "weights.py", "stepping.py", "devices.py", "updating.py")
    assert [wait for wait in waits if not any(place in wait for place in places)] == []
    assert len([wait for wait in waits if "stepping.py" in wait]) <= 4, waits


def test_tf32_is_for_the_steps_and_not_for_evaluations() -> None:
    seen: set[tuple[bool, str]] = set()
    training = made("tf32", engine="torch")
    training.model.output.register_forward_hook(
        lambda module, inputs, output: seen.add((module.training, torch.backends.cuda.matmul.fp32_precision))
    )
    training.run()
    assert seen == {(True, "tf32"), (False, "ieee")}


def test_a_loss_that_is_not_finite_ends_the_training_at_the_evaluation() -> None:
    training = made("rows", learning_rate=1e30, optimizer="sgd", schedule="constant")
    with pytest.raises(Exception, match="the loss is"):
        training.run()
    assert training.engine == "graph"
    assert training.step == 10


def test_the_callers_random_stream_and_products_are_left_alone() -> None:
    torch.cuda.manual_seed(5)
    before, products = torch.cuda.get_rng_state(), torch.backends.cuda.matmul.fp32_precision
    made("dropout", precision="tf32").run()
    assert torch.equal(torch.cuda.get_rng_state(), before)
    assert torch.backends.cuda.matmul.fp32_precision == products


def test_a_training_can_be_stopped_and_run_again() -> None:
    training = made("dropout")
    assert training.run([Kept(stop_after=5)]) == "interrupted"
    assert training.run() == "finished"
    whole, _ = ran("dropout")
    assert digest_of_arrays(training.model_arrays()) == digest_of_arrays(whole.model_arrays())
