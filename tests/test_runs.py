"""Run folders: what is in them, which is meant, and what is refused."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import small
from charloom.checkpoint import load_checkpoint, save_checkpoint
from charloom.config import DataConfig, ModelConfig, TrainingConfig
from charloom.dataset import Dataset
from charloom.errors import CheckpointError, ConfigError, RunError
from charloom.fitting import fit_run
from charloom.runs import DamagedRunWarning, Run, all_runs

QUICK = TrainingConfig(**small.QUICK)
SMALL_MLP = ModelConfig(**small.SMALL_MLP)


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    """Names in a file of their own."""
    path = tmp_path / "names.txt"
    path.write_text("\n".join(small.names()))
    return Dataset.load(DataConfig(data=str(path)))


def make(data: Dataset, root: Path, model: ModelConfig = SMALL_MLP, name: str | None = None) -> Run:
    run = Run.create(data, model, None if model.counted else QUICK, root=root, name=name)
    fit_run(run, data)
    return run


def test_a_neural_run_holds_what_its_docstring_says(data: Dataset, tmp_path: Path) -> None:
    run = make(data, tmp_path / "runs")
    assert run.name == "names-mlp-1"
    assert {path.name for path in run.folder.iterdir()} == {
        "config.json",
        "vocabulary.json",
        "history.jsonl",
        "best.safetensors",
        "last.safetensors",
        "result.json",
    }
    history = [json.loads(line) for line in run.history_path.read_text().splitlines()]
    assert [line["step"] for line in history] == [10, 20, 30, 40]
    assert run.result()["dev"]["loss"]["nats"] == pytest.approx(min(line["dev_loss"] for line in history), rel=1e-12)


@pytest.mark.parametrize("model", ["unigram", "bigram", "ngram:3", "bigram-net", "mlp", "deep-mlp"])
def test_every_model_comes_back_from_its_folder_as_it_was(data: Dataset, tmp_path: Path, model: str) -> None:
    run = make(data, tmp_path / "runs", ModelConfig(model=model))
    reopened = Run.open(run.name, tmp_path / "runs")
    assert reopened == run
    loaded = reopened.text_model()
    assert loaded.evaluate(data).loss.nats == run.result()["dev"]["loss"]["nats"]
    assert loaded.sample(5) == run.text_model().sample(5)
    assert loaded.reference is not None


def test_names_count_up_and_the_latest_is_the_default(data: Dataset, tmp_path: Path) -> None:
    root = tmp_path / "runs"
    unigram = ModelConfig(model="unigram")
    first, second, third = (make(data, root, unigram, name) for name in (None, None, "mine"))
    assert [run.name for run in (first, second, third)] == ["names-unigram-1", "names-unigram-2", "mine"]
    for age, run in enumerate((third, first, second)):
        for path in run.folder.iterdir():
            os.utime(path, (1e9 - age, 1e9 - age))
    assert Run.open(None, root).name == "mine"
    assert [run.name for run in all_runs(root)] == ["mine", "names-unigram-1", "names-unigram-2"]
    assert Run.open(str(first.folder), Path("elsewhere")).name == first.name


def test_what_cannot_be_opened_says_why(data: Dataset, tmp_path: Path) -> None:
    root = tmp_path / "runs"
    with pytest.raises(RunError, match="no runs yet"):
        Run.open(None, root)
    make(data, root, ModelConfig(model="unigram"), "mine")
    with pytest.raises(RunError, match="no run 'other'") as caught:
        Run.open("other", root)
    assert caught.value.remedy == "Runs here: mine."
    with pytest.raises(RunError, match="already"):
        make(data, root, ModelConfig(model="unigram"), "mine")
    for name in ("", "..", "a/b", "a\0b"):
        with pytest.raises(ConfigError, match="cannot name"):
            Run.create(data, SMALL_MLP, QUICK, root=root, name=name)


def test_changed_or_missing_data_is_noticed(data: Dataset, tmp_path: Path) -> None:
    run = make(data, tmp_path / "runs", ModelConfig(model="unigram"))
    path = Path(data.config.data)
    kept = path.read_text()
    path.write_text(kept + "\nzoe")
    with pytest.raises(RunError, match="has changed"):
        run.dataset()
    path.unlink()
    with pytest.raises(RunError, match="is not there"):
        run.dataset()
    path.write_text(kept)
    assert run.dataset().corpus.items == data.corpus.items


def test_an_unfinished_run_has_no_result(data: Dataset, tmp_path: Path) -> None:
    run = Run.create(data, SMALL_MLP, QUICK, root=tmp_path / "runs")
    with pytest.raises(RunError, match="unfinished"):
        run.result()
    with pytest.raises(RunError, match="no weights yet"):
        run.text_model()
    fit_run(run, data)
    with pytest.raises(RunError, match="finished"):
        fit_run(run, data, resume=True)


@pytest.mark.parametrize(
    "damage",
    [
        lambda config: config.pop("data"),
        lambda config: config.update(more=1),
        lambda config: config.update(format=2),
        lambda config: config["model"].update(hidden="many"),
        lambda config: config["model"].update(hidden=-1),
        lambda config: config["model"].update(hidden=True),
        lambda config: config["model"].update(activation="sine"),
        lambda config: config["training"].update(steps=1.5),
        lambda config: config["training"].update(engine="other"),
        lambda config: config["data"].pop("unit"),
        lambda config: config.update(model=[]),
        lambda config: config.update(environment=3),
        lambda config: config.update(environment=[["python", "3"]]),
        lambda config: config.update(data_sha256=3),
        lambda config: config.update(training=None),
        lambda config: config["model"].update(init_scale=10**400),
        lambda config: config["training"].update(momentum=False),
    ],
)
def test_a_foreign_configuration_is_refused(data: Dataset, tmp_path: Path, damage: Callable[[Any], object]) -> None:
    run = Run.create(data, SMALL_MLP, QUICK, root=tmp_path / "runs")
    path = run.folder / "config.json"
    config = json.loads(path.read_text())
    del config["sha256"]
    path.write_text(json.dumps(config))
    assert Run.open(run.name, tmp_path / "runs") == run
    damage(config)
    path.write_text(json.dumps(config))
    with pytest.raises(CheckpointError):
        Run.open(run.name, tmp_path / "runs")


def test_weights_of_another_shape_are_refused(data: Dataset, tmp_path: Path) -> None:
    run = make(data, tmp_path / "runs")
    with pytest.raises(CheckpointError, match="should be"):
        replace(run, model=replace(run.model, hidden=13)).text_model()
    bigram = make(data, tmp_path / "runs", ModelConfig(model="bigram"))
    with pytest.raises(CheckpointError):
        replace(bigram, model=ModelConfig(model="unigram")).text_model()


def test_weights_that_are_not_the_results_are_refused(data: Dataset, tmp_path: Path) -> None:
    run, other = (make(data, tmp_path / "runs", name=name) for name in ("run", "other"))
    arrays, state = load_checkpoint(other.best_path)
    assert run.text_model().sample(3)
    save_checkpoint(run.best_path, arrays | {"output.bias": arrays["output.bias"] + 1}, state)
    with pytest.raises(CheckpointError, match="not the weights of the run's result"):
        run.text_model()


def test_a_network_of_impossible_size_is_refused_before_it_is_made(data: Dataset, tmp_path: Path) -> None:
    run = make(data, tmp_path / "runs")
    for sizes in ({"hidden": 10**12}, {"layers": 10**12}, {"embedding": 10**15, "context_length": 10**15}):
        with pytest.raises(CheckpointError):
            replace(run, model=replace(run.model, **sizes)).text_model()


def test_a_damaged_run_is_left_out_of_the_list_and_hides_no_other(data: Dataset, tmp_path: Path) -> None:
    unigram = ModelConfig(model="unigram")
    runs = [make(data, tmp_path, unigram, name) for name in ("a", "b", "c", "d")]
    (runs[1].folder / "config.json").write_text("{")
    result = json.loads((runs[2].folder / "result.json").read_text())
    (runs[2].folder / "result.json").write_text(json.dumps(result | {"parameters": 1}))
    with pytest.warns(DamagedRunWarning) as warned:
        assert sorted(run.name for run in all_runs(tmp_path)) == ["a", "d"]
    assert sorted(str(one.message).partition(": ")[2].partition(":")[0] for one in warned) == [
        f"{tmp_path}/b/config.json",
        f"{tmp_path}/c/result.json",
    ]


@pytest.mark.parametrize(
    "damage",
    [
        lambda result: result.pop("dev"),
        lambda result: result.update(more=1),
        lambda result: result.update(dev=3),
        lambda result: result["dev"]["loss"].update(nats="2"),
        lambda result: result["dev"]["loss"].pop("nats"),
        lambda result: result.update(parameters=1.5),
        lambda result: result.update(seconds=10**400),
        lambda result: result["reference"]["items"].pop(),
        lambda result: result["reference"].update(items=dict.fromkeys("abc", 1)),
        lambda result: result.update(reference=None),
    ],
)
def test_a_foreign_result_is_refused(data: Dataset, tmp_path: Path, damage: Callable[[Any], object]) -> None:
    run = make(data, tmp_path / "runs", ModelConfig(model="unigram"))
    path = run.folder / "result.json"
    result = json.loads(path.read_text())
    del result["sha256"]
    path.write_text(json.dumps(result))
    assert run.result() == result
    damage(result)
    path.write_text(json.dumps(result))
    with pytest.raises(CheckpointError, match="not the result of a run"):
        run.result()


@pytest.mark.parametrize("damage", [lambda text: text.replace("1", "2", 1), lambda text: text[:50], lambda text: ""])
def test_a_damaged_history_is_refused(data: Dataset, tmp_path: Path, damage: Callable[[str], str]) -> None:
    run = make(data, tmp_path / "runs")
    assert [one.step for one in run.history()] == [10, 20, 30, 40]
    run.history_path.write_text(damage(run.history_path.read_text()))
    with pytest.raises(CheckpointError, match="damaged"):
        run.history()


@pytest.mark.parametrize("line", ["{", "[]", '{"step": 1}', "[" * 100_000, '{"step": "1"}'])
def test_a_line_of_history_that_is_none_is_named(data: Dataset, tmp_path: Path, line: str) -> None:
    run = Run.create(data, SMALL_MLP, QUICK, root=tmp_path / "runs")
    assert run.history() == ()
    run.history_path.write_text(line)
    with pytest.raises(CheckpointError, match="not a measurement") as caught:
        run.history()
    assert caught.value.where == f"{run.history_path}, line 1"
