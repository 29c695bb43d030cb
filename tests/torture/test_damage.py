"""The short form of `torture.damage`, and the damages that mutants of the code are caught by."""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import small
import telltales
from charloom.checkpoint import load_checkpoint, read_json, save_checkpoint, write_json, write_sealed
from charloom.config import DataConfig, ModelConfig, TrainingConfig
from charloom.corpus import load
from charloom.errors import CharloomError, CheckpointError, DataError, RunError
from charloom.fitting import create_run, fit_run
from charloom.observer import Observer, Step
from charloom.resuming import HistoryWarning
from charloom.runs import Run
from charloom.training import Training
from telltales.errors import RecordError
from telltales.observation import COLUMNS
from telltales.record_lines import checked, encoded
from torture import damage
from torture.mutating import RAW, blind, json_damage, safetensors_damage
from torture.processes import ForkServer
from torture.shown import SHORT
from torture.victims import victims

COMMANDED = ("config.json", "result.json", "last.safetensors", "record.jsonl", "recall.json")


def test_damaged_files_are_refused_or_mean_what_they_meant() -> None:
    shown = list(damage.show(SHORT, lambda line: None))
    assert [one.failures for one in shown] == [()] * len(shown)
    assert sum(one.count for one in shown) >= SHORT.damages


def test_commands_say_what_is_damaged_and_list_what_is_sound(server: ForkServer, tmp_path: Path) -> None:
    every = [one for one in victims(tmp_path) if one.what.partition(" ")[0] in COMMANDED]
    shown = damage.commands(server, every, tmp_path, 1, 0, lambda line: None)
    assert shown.failures == ()
    assert shown.count >= len(every)


@pytest.mark.parametrize("broken", [True, False])
def test_the_damage_test_notices_what_is_read_wrongly(tmp_path: Path, broken: bool) -> None:
    """A reader that believes what it reads is found out."""
    path = tmp_path / "a.json"
    write_sealed(path, {"steps": list(range(100))})

    def believing() -> Any:
        try:
            return len(path.read_bytes())
        except ValueError:
            raise CheckpointError("no") from None

    means = believing if broken else lambda: read_json(path)
    tally = damage.Tally()
    victim = damage.Victim("a", path, means, (blind, json_damage), (), means)
    expected = means()
    for seed in range(50):
        damage.try_one(victim, expected, random.Random(seed), tally, forged=False)
    assert bool(tally.failures) == broken
    assert read_json(path) == {"steps": list(range(100))}


def test_the_damage_test_notices_foreign_errors_touched_files_and_endless_loops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(damage, "SECONDS", 0.05)
    path = tmp_path / "a.json"
    write_sealed(path, {"a": 1})

    def endless() -> None:
        while True:
            pass

    def foreign() -> None:
        raise KeyError("a")

    def touching() -> None:
        (tmp_path / "other").write_text("")
        raise CheckpointError("no")

    for reader, end in ((endless, "_TooLong"), (foreign, "KeyError"), (touching, "FILES TOUCHED")):
        tally = damage.Tally()
        victim = damage.Victim("a", path, reader, (blind,), (), reader)
        damage.try_one(victim, None, random.Random(1), tally, forged=False)
        assert list(tally.counts) == [end]
        assert len(tally.failures) == 1


@pytest.mark.parametrize("raw", RAW)
def test_json_that_no_writer_writes_is_refused(tmp_path: Path, raw: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(f'{{"a": {RAW[raw]}}}')
    if raw == "huge integer":
        assert read_json(path) == {"a": 10**400}  # For the schema to refuse.
    else:
        with pytest.raises(CheckpointError):
            read_json(path)


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": 1, "a": 1}')
    with pytest.raises(CheckpointError, match="the key 'a' twice"):
        read_json(tmp_path / "a.json")


def test_sealed_json_is_read_only_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_sealed(path, {"steps": 100, "name": "\udcff é"})
    assert read_json(path) == {"steps": 100, "name": "\udcff é"}
    path.write_text(path.read_text().replace("100", "101"))
    with pytest.raises(CheckpointError, match="checksum does not match"):
        read_json(path)
    write_json(path, {"steps": 101})
    assert read_json(path) == {"steps": 101}


def test_what_is_no_file_or_too_long_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="is no file"):
        read_json(tmp_path / "pipe")
    (tmp_path / "long").write_text(" " * 200)
    monkeypatch.setattr("charloom.checkpoint.LARGEST_JSON", 100)
    with pytest.raises(CheckpointError, match="has more than 100 bytes"):
        read_json(tmp_path / "long")


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, 100 << 20, 10**12])
def test_a_safetensors_header_of_absurd_length_is_refused(tmp_path: Path, length: int) -> None:
    path = tmp_path / "a"
    save_checkpoint(path, {"a": np.zeros(3)}, {})
    path.write_bytes(struct.pack("<Q", length) + path.read_bytes()[8:])
    with pytest.raises(CheckpointError):
        load_checkpoint(path)


def test_safetensors_damage_is_never_taken_for_sound(tmp_path: Path) -> None:
    path = tmp_path / "a"
    save_checkpoint(path, {"a": np.arange(6.0).reshape(2, 3), "b": np.zeros(0, np.float32)}, {"step": 3})
    whole = path.read_bytes()
    refused = 0
    for seed in range(300):
        path.write_bytes(safetensors_damage(whole, random.Random(seed)))
        try:
            arrays, state = load_checkpoint(path)
        except CheckpointError:
            refused += 1
        else:
            assert state == {"step": 3}
            np.testing.assert_array_equal(arrays["a"], np.arange(6.0).reshape(2, 3))
    assert refused > 150


class StopAfter(Observer):
    def stepped(self, training: Training, step: Step) -> None:
        if step.number == 25:
            training.request_stop()


@pytest.fixture
def begun(tmp_path: Path) -> Run:
    data = small.dataset(120)
    config = TrainingConfig(**small.QUICK, engine="torch")
    run = create_run(data, ModelConfig(**small.SMALL_MLP), config, root=tmp_path, name="begun")
    assert fit_run(run, data, [StopAfter()]) is None
    return run


@pytest.mark.parametrize(
    "damage_history",
    [
        lambda text: text[:-20],
        lambda text: text.replace("1", "2", 1),
        lambda text: "",
        lambda text: "\n" + text,
    ],
)
def test_a_history_that_is_not_the_checkpoints_is_set_aside_and_the_training_goes_on(
    begun: Run, damage_history: Callable[[str], str]
) -> None:
    damaged = damage_history(begun.history_path.read_text())
    begun.history_path.write_text(damaged)
    with pytest.warns(HistoryWarning, match="a new one is begun, and history.damaged.jsonl keeps it"):
        assert fit_run(begun, begun.dataset(), resume=True) is not None
    assert begun.history_path.with_name("history.damaged.jsonl").read_text() == damaged
    assert [one.step for one in begun.history()][-1] == 40


def test_a_history_that_is_lost_is_begun_anew(begun: Run) -> None:
    begun.history_path.unlink()
    with pytest.warns(HistoryWarning, match="is missing: a new one is begun"):
        fit_run(begun, begun.dataset(), resume=True)
    assert [one.step for one in begun.history()][-1] == 40


def test_a_checkpoint_that_is_gone_is_missed_and_nothing_is_trained_over(begun: Run) -> None:
    begun.last_path.unlink()
    before = {path.name: path.read_bytes() for path in begun.folder.iterdir() if path.name != ".lock"}
    with pytest.raises(CheckpointError, match="is gone: the training has come to step 20") as caught:
        fit_run(begun, begun.dataset(), resume=True)
    assert caught.value.where == str(begun.last_path)
    assert {path.name: path.read_bytes() for path in begun.folder.iterdir() if path.name != ".lock"} == before


def test_files_that_are_gone_or_none_are_named(begun: Run) -> None:
    begun.best_path.unlink()
    with pytest.raises(RunError, match="the weights are gone") as caught:
        begun.text_model()
    assert caught.value.remedy == "Go on with: charloom train --resume"
    os.mkfifo(begun.best_path)
    with pytest.raises(CheckpointError, match="is no file"):
        begun.text_model()
    (begun.folder / "config.json").unlink()
    with pytest.raises(RunError, match=r"it has no config\.json"):
        Run.open(begun.name, begun.folder.parent)


def test_settings_that_are_not_the_weights_name_the_file(begun: Run) -> None:
    other = replace(begun, model=replace(begun.model, hidden=13))
    with pytest.raises(CheckpointError, match="should be") as caught:
        other.text_model()
    assert caught.value.where == str(begun.best_path)


def test_an_optimizer_state_of_another_rule_is_refused_before_anything_is_changed(begun: Run) -> None:
    arrays, state = load_checkpoint(begun.last_path)
    for name in [name for name in arrays if name.endswith("exp_avg_sq")]:
        del arrays[name]
    save_checkpoint(begun.last_path, arrays, state)
    before = begun.history_path.read_bytes()
    with pytest.raises(CheckpointError, match="exp_avg_sq"):
        fit_run(begun, begun.dataset(), resume=True)
    assert begun.history_path.read_bytes() == before


def bomb(path: Path, lines: list[dict[str, Any]]) -> Path:
    """A record with right checksums."""
    header = {"telltales_record": 1, "columns": {kind: list(names) for kind, names in COLUMNS.items()}}
    content, check = b"", 0
    for line in (header, *lines):
        written, after = checked(encoded(line), check)
        content, check = content + written, after or 0
    path.write_bytes(content)
    return path


def test_a_record_that_asks_for_gigabytes_is_refused(tmp_path: Path) -> None:
    names = [f"layer.{number}" for number in range(40_000)]
    lines: list[dict[str, Any]] = [{"rows": {"activation": names}}, {"rows": {"activation": []}}]
    lines += [{"step": step, "tables": {"activation": ""}, "losses": ""} for step in range(1000)]
    with damage._bounded_memory(), pytest.raises(RecordError, match="would hold more than"):
        telltales.read_record(bomb(tmp_path / "a.jsonl", lines))


def test_steps_and_losses_from_far_away_take_no_more_memory(tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = [{"first": step, "losses": "AACAPw=="} for step in (0, 10**9, 10**12, 2**53 - 1)]
    with damage._bounded_memory():
        record = telltales.read_record(bomb(tmp_path / "a.jsonl", lines))
    assert len(record.losses.steps) <= 4
    assert record.losses.last_step == 2**53 - 1
    with pytest.raises(RecordError, match="line 2"):
        telltales.read_record(bomb(tmp_path / "a.jsonl", [{"first": 10**18, "losses": "AACAPw=="}]))


def test_an_archive_that_unpacks_to_one_endless_line_is_refused_at_once(tmp_path: Path) -> None:
    import gzip

    path = tmp_path / "bomb.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(64):
            file.write(b"a" * (1 << 20))
    with pytest.raises(DataError, match="line 1") as caught:
        load(DataConfig(data=str(path)))
    assert "10,000" in f"{caught.value.fact} {caught.value.remedy}"


def test_a_run_whose_data_has_an_impossible_name_says_so(begun: Run) -> None:
    for name in ("/" + "x" * 5000, "/a\0b", "/\udcff"):
        run = Run(begun.folder, DataConfig(data=name), begun.model, begun.training, begun.data_sha256, {})
        with pytest.raises(CharloomError):
            run.dataset()
