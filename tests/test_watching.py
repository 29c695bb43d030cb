"""Watched runs: a record and a report in the folder, the same weights, and one record for a training in parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import small
import telltales
from charloom.config import ModelConfig, TrainingConfig
from charloom.errors import ConfigError
from charloom.fitting import fit_run
from charloom.observer import Observer, Step
from charloom.runs import Run
from charloom.training import Training
from charloom.watching import PRESETS, Watching, record_path, report_path, watched_with

DEEP = small.SMALL_MLP | {"layers": 2, "norm": "batch", "dropout": 0.1}


class StopAfter(Observer):
    def __init__(self, steps: int) -> None:
        self._steps = steps

    def stepped(self, training: Training, step: Step) -> None:
        if step.number == self._steps:
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
    assert watched_with(run) is None
    with pytest.warns(UserWarning, match="a new record is begun"):
        assert fit_run(run, small.dataset(), [Watching(run, "full")], resume=True) is not None
    assert telltales.read_record(record_path(run)).steps[0] == 25


def test_a_report_that_cannot_be_written_does_not_spoil_the_run(tmp_path: Path) -> None:
    run = new_run(tmp_path, "unwritable")
    report_path(run).mkdir()
    with pytest.warns(UserWarning, match="there is no report"):
        assert fit_run(run, small.dataset(), [Watching(run, "economy")]) is not None


def test_there_are_three_presets(tmp_path: Path) -> None:
    assert PRESETS == ("economy", "standard", "full")
    with pytest.raises(ConfigError, match="'rich' is none of economy, standard, full"):
        Watching(new_run(tmp_path, "none"), "rich")
