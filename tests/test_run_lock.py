"""One process at a time writes to a run folder, and what a killed one has left is in nobody's way."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import small
from charloom.config import DataConfig, ModelConfig, TrainingConfig
from charloom.dataset import Dataset
from charloom.errors import RunError
from charloom.fitting import create_run, fit_run
from charloom.run_lock import locked
from charloom.runs import Run, all_runs

BIGRAM = ModelConfig(model="bigram")

HOLD_AND_DIE = """
import os, sys
from pathlib import Path
from charloom.run_lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
    os.kill(os.getpid(), 9)
"""


def test_a_second_writer_is_refused_and_told_who_writes(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_AND_DIE, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        said = f"another process is writing to this run: process {holder.pid} on "
        with pytest.raises(RunError, match=said), locked(tmp_path):
            pass
        holder.communicate("die\n")
    # The killed holder's file is still there, with its number in it, and locks nothing.
    assert str(holder.pid) in (tmp_path / ".lock").read_text()
    with locked(tmp_path), pytest.raises(RunError, match=f"process {os.getpid()} on "), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


def test_what_a_killed_writer_left_half_written_is_taken_away(tmp_path: Path) -> None:
    (tmp_path / ".best.safetensors.77.tmp").write_bytes(b"half")
    (tmp_path / "best.safetensors").write_bytes(b"whole")
    with locked(tmp_path):
        assert {path.name for path in tmp_path.iterdir()} == {".lock", "best.safetensors"}


def test_a_lock_file_with_anything_in_it_locks_nothing(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_bytes(b"\xff\xfe not a number")
    with locked(tmp_path), pytest.raises(RunError, match="another process is writing"), locked(tmp_path):
        pass


def test_a_file_system_without_locks_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import filelock

    def none(_lock: object, **_settings: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(filelock.FileLock, "acquire", none)
    with pytest.warns(UserWarning, match="cannot be locked .No locks available."), locked(tmp_path):
        pass


def test_a_finished_run_holds_no_lock_file_and_a_run_being_written_is_not_fitted(tmp_path: Path) -> None:
    data = small.dataset()
    run = Run.create(data, BIGRAM, None, root=tmp_path)
    with locked(run.folder), pytest.raises(RunError, match="another process is writing"):
        fit_run(run, data)
    assert not run.finished
    fit_run(run, data)
    assert not (run.folder / ".lock").exists()


@pytest.mark.parametrize("left", [(), ("vocabulary.json",), (".vocabulary.json.77.tmp", ".lock"), ("data.txt",)])
def test_a_folder_that_never_became_a_run_is_used_again(tmp_path: Path, left: tuple[str, ...]) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    for name in left:
        (folder / name).write_text("half")
    assert all_runs(tmp_path) == []
    run = Run.create(small.dataset(), BIGRAM, None, root=tmp_path, name="mine")
    assert run.folder == folder
    assert Run.open("mine", tmp_path) == run
    assert not list(folder.glob(".*.tmp"))


def test_a_folder_with_other_files_is_not_written_between(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "thesis.txt").write_text("precious")
    with pytest.raises(RunError, match="already"):
        Run.create(small.dataset(), BIGRAM, None, root=tmp_path, name="mine")
    assert (folder / "thesis.txt").read_text() == "precious"
    assert not (folder / "config.json").exists()


def test_what_is_being_made_by_another_process_is_not_taken_over(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with locked(tmp_path / "mine"), pytest.raises(RunError, match="another process is writing"):
        Run.create(small.dataset(), BIGRAM, None, root=tmp_path, name="mine")


def half_trained(tmp_path: Path) -> tuple[Run, Dataset]:
    """A training on a file of its own that was interrupted after its first checkpoint."""
    path = tmp_path / "names.txt"
    path.write_text("\n".join(small.names()))
    data = Dataset.load(DataConfig(data=str(path)))
    run = create_run(data, ModelConfig(**small.SMALL_MLP), TrainingConfig(**small.QUICK), root=tmp_path / "runs")
    from charloom.observer import Observer
    from charloom.training import Training

    class Stop(Observer):
        def checkpoint_due(self, training: Training) -> None:
            training.request_stop()

    assert fit_run(run, data, [Stop()]) is None
    return run, data


def test_a_copied_and_a_moved_run_go_on_as_the_first_does(tmp_path: Path) -> None:
    run, data = half_trained(tmp_path)
    copy, moved = tmp_path / "elsewhere" / "copy", tmp_path / "moved" / "under another name"
    shutil.copytree(run.folder, copy)
    expected = fit_run(run, data, resume=True)
    again = Run.open("copy", copy.parent)
    results = [expected, fit_run(again, again.dataset(), resume=True)]
    shutil.rmtree(run.folder)
    moved.parent.mkdir()
    copy.rename(moved)
    (moved / "result.json").unlink()
    again = Run.open(moved.name, moved.parent)
    results.append(fit_run(again, again.dataset(), resume=True))
    assert len({result["weights_sha256"] for result in results if result is not None}) == 1
    assert None not in results


def test_data_that_has_moved_is_found_in_the_run_folder(tmp_path: Path) -> None:
    run, data = half_trained(tmp_path)
    path = Path(data.config.data)
    path.rename(tmp_path / "other.txt")
    with pytest.raises(RunError, match="is not there") as caught:
        run.dataset()
    assert caught.value.remedy == "Put the file back, or a copy of it into the run's folder."
    shutil.copy(tmp_path / "other.txt", run.folder / path.name)
    assert run.dataset().corpus.items == data.corpus.items
    (run.folder / path.name).write_text("other\nnames\nthan\nthose\n")
    with pytest.raises(RunError, match="has changed"):
        run.dataset()
