"""Numbers and findings reach real trackers, offline."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from nets import adam, batches, deep_mlp, loss_of

import telltales
from telltales.bridges import services, trackers
from telltales.bridges.optional import needed
from telltales.errors import UsageError
from telltales.finding import Finding

UPDATE = "telltales/update_ratio/0.weight"


def train(tracker: trackers.Tracker) -> telltales.Watch:
    """Twelve steps without zero_grad: eleven observed, one finding."""
    torch.manual_seed(0)
    model = deep_mlp()
    optimizer = adam(model)
    with telltales.watch(model, optimizer) as watch:
        trackers.track(watch, tracker)
        for x, y in batches(12):
            loss = loss_of(model(x), y)
            loss.backward()
            optimizer.step()
            watch.step(loss, x, y)
    return watch


def test_jsonl(tmp_path: Path) -> None:
    tracker = trackers.Jsonl(tmp_path / "out.jsonl")
    watch = train(tracker)
    tracker.close()
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "step" in line]
    assert [line["step"] for line in steps] == [*range(10), 10]
    assert steps[3]["telltales/loss"] == pytest.approx(watch.record.scalar("loss")[3])
    assert steps[3][UPDATE] == pytest.approx(watch.record.series("update", "0.weight", "ratio")[3])
    assert "missing-zero-grad" in [line["finding"]["rule"] for line in lines if "finding" in line]


def test_a_tracker_is_three_methods() -> None:
    class Mine:
        def __init__(self) -> None:
            self.seen: list[Any] = []

        def log(self, step: int, numbers: Mapping[str, float]) -> None:
            self.seen.append(step)

        def finding(self, finding: Finding) -> None:
            self.seen.append(finding.rule)

        def close(self) -> None: ...

    mine = Mine()
    train(mine)
    assert mine.seen[:3] == [0, 1, "missing-zero-grad"]


def test_what_is_not_installed_is_named() -> None:
    with pytest.raises(UsageError, match="pip install no-such-tracker"):
        needed("no_such_tracker", "no-such-tracker")


@pytest.mark.filterwarnings("ignore")
def test_tensorboard(tmp_path: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    tracker = trackers.TensorBoard(tmp_path)
    train(tracker)
    tracker.close()
    found = events.EventAccumulator(str(tmp_path))
    found.Reload()
    assert [event.step for event in found.Scalars(UPDATE)] == [*range(10), 10]
    assert "telltales/missing-zero-grad/text_summary" in found.Tags()["tensors"]


@pytest.mark.filterwarnings("ignore")
def test_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")
    for name, value in {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false"}.items():
        monkeypatch.setenv(name, value)
    run = wandb.init(project="telltales", dir=str(tmp_path), mode="offline")
    try:
        train(services.WandB(run))
        assert run.summary["telltales/step"] == 10
        assert UPDATE in dict(run.summary)
    finally:
        run.finish()
    assert list(tmp_path.rglob("*.wandb"))


@pytest.mark.filterwarnings("ignore")
def test_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri((tmp_path / "store").as_uri())
    with mlflow.start_run() as run:
        train(services.MLflow())
    client = mlflow.tracking.MlflowClient()
    history = client.get_metric_history(run.info.run_id, UPDATE)
    assert sorted(one.step for one in history) == [*range(10), 10]
    assert "missing-zero-grad" in client.get_run(run.info.run_id).data.tags["telltales.missing-zero-grad"]


@pytest.mark.filterwarnings("ignore")
def test_trackio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path))
    trackio = pytest.importorskip("trackio", exc_type=ImportError)
    run = trackio.init(project="telltales", embed=False)
    train(services.Trackio(run))
    run.finish()
    (kept,) = trackio.Api().runs("telltales")
    assert "telltales: missing-zero-grad" in [alert["title"] for alert in kept.alerts()]
    logs = importlib.import_module("trackio.sqlite_storage").SQLiteStorage.get_logs("telltales", kept.name)
    assert [log["telltales/step"] for log in logs if UPDATE in log] == [*range(10), 10]
