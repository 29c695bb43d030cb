"""Interrupted, killed and resumed runs end as if nothing had happened."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import small
from charloom.checkpoint import digest_of_arrays, load_checkpoint, save_checkpoint
from charloom.config import ModelConfig, TrainingConfig
from charloom.devices import Surroundings
from charloom.errors import CheckpointError, ConfigError
from charloom.fitting import create_run, fit, fit_run
from charloom.observer import Observer, Step
from charloom.resuming import EnvironmentWarning
from charloom.runs import Run
from charloom.training import Training

TRAIN = [
    *("--model", "mlp", "--hidden", "16", "--layers", "2", "--norm", "batch", "--dropout", "0.1"),
    *("--steps", "1500", "--batch-size", "16", "--evaluate-every", "100", "--checkpoint-every", "70"),
]


def charloom(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "100"}
    command = [sys.executable, "-m", "charloom", *arguments]
    return subprocess.Popen(
        command, cwd=cwd, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    while not path.exists() and process.poll() is None:
        time.sleep(0.01)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], list[dict[str, Any]]]:
    """A folder with a data file and an uninterrupted run, its result and its history."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "names.txt").write_text("\n".join(small.names()))
    process = charloom("train", "whole", "--data", "names.txt", *TRAIN, "--json", cwd=folder)
    output, messages = process.communicate(timeout=120)
    assert process.returncode == 0, messages
    return folder, json.loads(output), history(folder / "runs/whole")


def history(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [line | {"seconds": None} for line in lines]


def test_ctrl_c_ends_with_a_checkpoint_and_a_hint_and_resumes_to_the_bit(whole: Any) -> None:
    folder, result, measured = whole
    process = charloom("train", "stopped", "--data", "names.txt", *TRAIN, cwd=folder)
    wait_for(folder / "runs/stopped/history.jsonl", process)
    process.send_signal(signal.SIGINT)
    output, messages = process.communicate(timeout=60)
    assert process.returncode == 130, messages
    assert "charloom train --resume stopped" in messages
    assert "Traceback" not in messages
    assert (folder / "runs/stopped/last.safetensors").exists()
    assert not (folder / "runs/stopped/result.json").exists()

    process = charloom("train", "--resume", "stopped", "--json", cwd=folder)
    output, messages = process.communicate(timeout=120)
    assert process.returncode == 0, messages
    assert json.loads(output)["weights_sha256"] == result["weights_sha256"]
    assert history(folder / "runs/stopped") == measured


@pytest.mark.parametrize("seed", range(3))
def test_a_killed_training_loses_only_what_came_after_the_last_checkpoint(whole: Any, seed: int) -> None:
    folder, result, measured = whole
    name = f"killed-{seed}"
    delay = random.Random(seed).uniform(0, 0.5)
    process = charloom("train", name, "--data", "names.txt", *TRAIN, cwd=folder)
    wait_for(folder / f"runs/{name}/config.json", process)
    time.sleep(delay)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    process = charloom("train", "--resume", name, "--json", cwd=folder)
    output, messages = process.communicate(timeout=120)
    assert process.returncode == 0, messages
    assert json.loads(output)["weights_sha256"] == result["weights_sha256"]
    assert history(folder / f"runs/{name}") == measured


class StopAfter(Observer):
    def __init__(self, steps: int) -> None:
        self._steps = steps

    def stepped(self, training: Training, step: Step) -> None:
        if step.number == self._steps:
            training.request_stop()


def interrupted_run(root: Path) -> Run:
    config = TrainingConfig(**small.QUICK, engine="torch")
    run = Run.create(small.dataset(), ModelConfig(**small.SMALL_MLP), config, root=root)
    assert fit_run(run, small.dataset(), [StopAfter(25)]) is None
    return run


def test_without_its_random_stream_a_resumed_training_would_end_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ModelConfig(**small.SMALL_MLP, dropout=0.2)
    config = TrainingConfig(**small.QUICK, engine="torch")
    ends = []
    for restored in (True, True, False):
        run = Run.create(small.dataset(), model, config, root=tmp_path)
        assert fit_run(run, small.dataset(), [StopAfter(25)]) is None
        if not restored:
            monkeypatch.setattr(Surroundings, "restore", lambda self, arrays: None)
        result = fit_run(run, small.dataset(), resume=True)
        assert result is not None
        ends.append(result["weights_sha256"])
    assert ends[0] == ends[1] != ends[2]


def test_resuming_rewinds_the_history_to_the_checkpoint(tmp_path: Path) -> None:
    run = interrupted_run(tmp_path)
    with open(run.history_path, "a") as file:
        file.write('{"step": 30, "half a li')  # What a crash in the middle of the next evaluation leaves.
    fit_run(run, small.dataset(), resume=True)
    assert [line["step"] for line in history(run.folder)] == [10, 20, 30, 40]


def test_a_training_that_was_killed_when_it_had_stopped_early_makes_no_further_step(tmp_path: Path) -> None:
    config = TrainingConfig(**small.QUICK | {"steps": 400}, engine="torch", learning_rate=0.5, patience=1)
    run = Run.create(small.dataset(), ModelConfig(**small.SMALL_MLP), config, root=tmp_path)
    result = fit_run(run, small.dataset())
    assert result is not None
    assert result["outcome"] == "stopped early"
    (run.folder / "result.json").unlink()  # What a crash between the last checkpoint and the result leaves.
    resumed = fit_run(run, small.dataset(), resume=True)
    assert resumed == result


class StopAtOnce(Observer):
    def started(self, training: Training) -> None:
        training.request_stop()


def test_resuming_goes_back_to_the_best_weights_of_the_checkpoint(tmp_path: Path) -> None:
    run = interrupted_run(tmp_path)
    arrays, state = load_checkpoint(run.best_path)
    # What a crash between an evaluation and the next checkpoint leaves.
    save_checkpoint(run.best_path, {name: 2 * array for name, array in arrays.items()}, {"step": 30, "dev_loss": 1.0})
    assert fit_run(run, small.dataset(), [StopAtOnce()], resume=True) is None
    restored, state_now = load_checkpoint(run.best_path)
    assert state_now == state
    assert digest_of_arrays(restored) == digest_of_arrays(arrays)


def test_before_any_evaluation_the_present_weights_are_the_best(tmp_path: Path) -> None:
    config = TrainingConfig(**small.QUICK)
    run = Run.create(small.dataset(), ModelConfig(**small.SMALL_MLP), config, root=tmp_path)
    fit_run(run, small.dataset(), [StopAfter(3)])
    assert load_checkpoint(run.best_path)[1] == {"step": 3, "dev_loss": None}
    assert len(run.text_model().sample(3)) == 3


def test_another_environment_is_pointed_out(tmp_path: Path) -> None:
    run = interrupted_run(tmp_path)
    arrays, state = load_checkpoint(run.last_path)
    state["environment"]["torch"] = "1.0"
    save_checkpoint(run.last_path, arrays, state)
    with pytest.warns(EnvironmentWarning, match=r"torch 1\.0 -> "):
        fit_run(run, small.dataset(), resume=True)


def test_another_engine_is_pointed_out(tmp_path: Path) -> None:
    pytest.importorskip("numba")
    config = TrainingConfig(**small.QUICK)
    run = Run.create(small.dataset(), ModelConfig(**small.SMALL_MLP), config, root=tmp_path)
    assert fit_run(run, small.dataset(), [StopAfter(25)]) is None
    with pytest.warns(EnvironmentWarning, match=r"engine torch -> compiled"):
        fit_run(run, small.dataset(), resume=True)


def test_a_foreign_training_state_is_refused(tmp_path: Path) -> None:
    run = interrupted_run(tmp_path)
    arrays, _ = load_checkpoint(run.last_path)
    save_checkpoint(run.last_path, arrays, {"progress": {}})
    with pytest.raises(CheckpointError, match="not a training state"):
        fit_run(run, small.dataset(), resume=True)


def test_in_memory_and_in_a_folder_the_same_model_comes_out(tmp_path: Path) -> None:
    config = TrainingConfig(**small.QUICK)
    model = ModelConfig(**small.SMALL_MLP)
    run = Run.create(small.dataset(), model, config, root=tmp_path)
    fit_run(run, small.dataset())
    assert fit(small.dataset(), model, config).sample(10) == run.text_model().sample(10)


def test_an_engine_asked_for_by_name_is_refused_where_it_cannot_train(tmp_path: Path) -> None:
    model, config = ModelConfig(**small.SMALL_MLP, dropout=0.1), TrainingConfig(**small.QUICK, engine="compiled")
    for make in (
        lambda: fit(small.dataset(), model, config),
        lambda: create_run(small.dataset(), model, config, root=tmp_path),
    ):
        with pytest.raises(ConfigError, match=r"--engine compiled cannot train this: .*dropout"):
            make()
    assert not list(tmp_path.iterdir())
