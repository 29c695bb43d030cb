"""Watched runs: a record and a report in the folder, the same weights, and one record for a training in parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import small
import telltales
from charloom.config import ModelConfig, TrainingConfig
from charloom.errors import ConfigError
from charloom.fitting import fit_run
from charloom.observer import Measurement, Observer, Step
from charloom.runs import Run
from charloom.training import Training
from charloom.watching import PRESETS, Watching, diagnose, diagnose_if_watched, record_path, report_path, watched_with

DEEP = small.SMALL_MLP | {"layers": 2, "norm": "batch", "dropout": 0.1}


class StopAfter(Observer):
    def __init__(self, steps: int) -> None:
        self._steps = steps

    def stepped(self, training: Training, step: Step) -> None:
        if step.number == self._steps:
            training.request_stop()


class StopAtEvaluation(Observer):
    def __init__(self, step: int) -> None:
        self._step = step

    def evaluated(self, training: Training, measurement: Measurement) -> None:
        if measurement.step == self._step:
            training.request_stop()


def new_run(root: Path, name: str) -> Run:
    return Run.create(small.dataset(), ModelConfig(**DEEP), TrainingConfig(**small.QUICK), root=root, name=name)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_watched_run_has_the_same_weights_and_leaves_a_record_and_a_report(tmp_path: Path, preset: str) -> None:
    plain, watched = new_run(tmp_path, "plain"), new_run(tmp_path, preset)
    expected = fit_run(plain, small.dataset())
    result = fit_run(watched, small.dataset(), [Watching(watched, preset)])
    assert expected is not None
    assert result is not None
    assert result["weights_sha256"] == expected["weights_sha256"]
    assert watched_with(plain) is None
    assert watched_with(watched) == preset
    record = telltales.read_record(record_path(watched))
    assert record.outcome == "finished"
    assert record.steps[0] == 0
    assert len(record.losses.steps) >= 30
    assert [evaluation.step for evaluation in record.evaluations.of("dev")] == [10, 20, 30, 40]
    assert "hidden.0.activation" in record.names("activation")
    assert record.scalar("batch_size")[0] == 16
    assert len(next(iter(record.batches.values()))[1]) == 16
    report = report_path(watched).read_text(encoding="utf-8")
    assert "hidden.0.activation" in report
    assert f"<title>{preset} (mlp)</title>" in report


COMPILED = [
    small.SMALL_MLP,
    small.SMALL_MLP | {"layers": 2, "norm": "batch"},
    small.SMALL_MLP | {"activation": "gelu", "norm": "layer"},
]


@pytest.mark.parametrize(
    ("model", "optimizer", "preset"),
    [
        *((COMPILED[0], "sgd", preset) for preset in PRESETS),
        (COMPILED[0], "adamw", "standard"),
        (COMPILED[1], "adamw", "standard"),
        (COMPILED[2], "sgd", "standard"),
    ],
    ids=str,
)
def test_the_compiled_loop_is_watched_beside_it(
    tmp_path: Path, model: dict[str, Any], optimizer: Any, preset: str
) -> None:
    """The weights are those of the unwatched training to the bit, and the record is that of PyTorch's loop."""
    pytest.importorskip("numba")
    settings = small.QUICK | {"optimizer": optimizer, "learning_rate": 0.05, "clip": 1.0}

    def run(name: str, engine: Any, *, watched: bool) -> tuple[Run, dict[str, Any]]:
        made = Run.create(
            small.dataset(), ModelConfig(**model), TrainingConfig(engine=engine, **settings), root=tmp_path, name=name
        )
        result = fit_run(made, small.dataset(), [Watching(made, preset)] if watched else [])
        assert result is not None
        return made, result

    _, expected = run("unwatched", "compiled", watched=False)
    compiled, result = run("compiled", "compiled", watched=True)
    assert result["weights_sha256"] == expected["weights_sha256"]
    torch, _ = run("torch", "torch", watched=True)
    one, other = (telltales.read_record(record_path(each)) for each in (compiled, torch))
    np.testing.assert_array_equal(one.steps, other.steps)
    np.testing.assert_allclose(one.losses.mean, other.losses.mean, rtol=1e-4)
    for table, column in (("activation", "std"), ("gradient", "norm"), ("update", "std"), ("weight", "norm")):
        np.testing.assert_allclose(one.values(table, column), other.values(table, column), rtol=2e-2, atol=1e-6)
    assert [finding["rule"] for finding in diagnose(compiled).findings] == [
        finding["rule"] for finding in diagnose(torch).findings
    ]


def test_a_resumed_run_is_as_if_it_had_not_been_stopped_whoever_watches(tmp_path: Path) -> None:
    """The first step after a resume is looked at in any case, and is made like the others."""
    config = TrainingConfig(**small.QUICK)
    whole, parts = (
        Run.create(small.dataset(), ModelConfig(**small.SMALL_MLP), config, root=tmp_path, name=name)
        for name in ("whole", "parts")
    )
    expected = fit_run(whole, small.dataset(), [Watching(whole, "economy")])
    assert fit_run(parts, small.dataset(), [Watching(parts, "economy"), StopAtEvaluation(20)]) is None
    result = fit_run(parts, small.dataset(), [Watching(parts, "economy")], resume=True)
    assert expected is not None
    assert result is not None
    assert result["weights_sha256"] == expected["weights_sha256"]
    assert 20 in telltales.read_record(record_path(parts)).steps


def test_a_resumed_run_goes_on_with_its_record(tmp_path: Path) -> None:
    whole, parts = new_run(tmp_path, "whole"), new_run(tmp_path, "parts")
    fit_run(whole, small.dataset(), [Watching(whole, "full")])
    assert fit_run(parts, small.dataset(), [Watching(parts, "full"), StopAfter(25)]) is None
    assert telltales.read_record(record_path(parts)).outcome == "interrupted"
    with open(record_path(parts), "a") as file:
        file.write('{"step": 30, "half a li')  # What a crash leaves.
    fit_run(parts, small.dataset(), [Watching(parts, "full")], resume=True)
    one, other = (telltales.read_record(record_path(run)) for run in (whole, parts))
    np.testing.assert_array_equal(other.steps, one.steps)
    np.testing.assert_array_equal(other.losses.mean, one.losses.mean)
    np.testing.assert_array_equal(other.values("update", "ratio"), one.values("update", "ratio"))
    assert other.evaluations.of("dev") == one.evaluations.of("dev")
    assert other.outcome == "finished"


def test_a_damaged_record_does_not_keep_a_run_from_going_on(tmp_path: Path) -> None:
    run = new_run(tmp_path, "damaged")
    assert fit_run(run, small.dataset(), [Watching(run, "full"), StopAfter(25)]) is None
    record_path(run).write_text("not a record\n")
    assert watched_with(run) == "standard"
    with pytest.warns(UserWarning, match="a new record is begun, and record.damaged.jsonl keeps the old one"):
        assert fit_run(run, small.dataset(), [Watching(run, "full")], resume=True) is not None
    assert telltales.read_record(record_path(run)).steps[0] == 25
    assert (run.folder / "record.damaged.jsonl").read_text() == "not a record\n"
    assert diagnose_if_watched(run) is not None


def test_a_run_whose_record_was_lost_is_watched_again(tmp_path: Path) -> None:
    run = new_run(tmp_path, "lost")
    assert fit_run(run, small.dataset(), [Watching(run, "full"), StopAfter(25)]) is None
    record_path(run).unlink()
    assert watched_with(run) == "standard"
    assert diagnose_if_watched(run) is None


def test_a_report_that_cannot_be_written_does_not_spoil_the_run(tmp_path: Path) -> None:
    run = new_run(tmp_path, "unwritable")
    report_path(run).mkdir()
    with pytest.warns(UserWarning, match="there is no report"):
        assert fit_run(run, small.dataset(), [Watching(run, "economy")]) is not None


def test_there_are_three_presets(tmp_path: Path) -> None:
    assert PRESETS == ("economy", "standard", "full")
    with pytest.raises(ConfigError, match="'rich' is none of economy, standard, full"):
        Watching(new_run(tmp_path, "none"), "rich")
