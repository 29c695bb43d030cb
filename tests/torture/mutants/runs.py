"""Breaks of who writes to a run, where it is, and what is said when conditions have changed."""

from __future__ import annotations

from torture.mutants import Mutant

LOCK = "src/charloom/run_lock.py"
FOLDERS = "src/charloom/run_folders.py"
RUNS = "src/charloom/runs.py"
FITTING = "src/charloom/fitting.py"
RESUMING = "src/charloom/resuming.py"

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "a run is not locked while it is written",
        1,
        FITTING,
        "    with locked(run.folder):\n",
        "    if run.folder:\n",
        "tests/test_run_lock.py::test_a_finished_run_holds_no_lock_file_and_a_run_being_written_is_not_fitted",
    ),
    Mutant(
        "the lock file of a finished run stays",
        1,
        FITTING,
        "            (run.folder / LOCK).unlink(missing_ok=True)\n",
        "            pass\n",
        "tests/test_run_lock.py::test_a_finished_run_holds_no_lock_file_and_a_run_being_written_is_not_fitted",
    ),
    Mutant(
        "a lock file that is there counts as a lock, stale or not",
        1,
        LOCK,
        "    path = folder / NAME\n",
        '    path = folder / NAME\n    if path.exists():\n        raise RunError("held")\n',
        "tests/test_run_lock.py::test_a_lock_file_with_anything_in_it_locks_nothing",
    ),
    Mutant(
        "the refused writer is not told who holds the run",
        1,
        LOCK,
        'return f": process {said}"',
        'return ""',
        "tests/test_run_lock.py::test_a_second_writer_is_refused_and_told_who_writes",
    ),
    Mutant(
        "temporary files of a killed writer stay",
        3,
        LOCK,
        "            remove_temporary_files(folder)\n",
        "            pass\n",
        "tests/test_run_lock.py::test_what_a_killed_writer_left_half_written_is_taken_away",
    ),
    Mutant(
        "a folder that a killed process has left can never be used again",
        3,
        FOLDERS,
        "    return {path.name for path in folder.iterdir()} <= FIRST_FILES\n",
        "    return not list(folder.iterdir())\n",
        "tests/test_run_lock.py::test_a_folder_that_never_became_a_run_is_used_again",
    ),
    Mutant(
        "a new run is written between files that are not ours",
        3,
        FOLDERS,
        "        if not _is_free(folder):\n",
        "        if False:\n",
        "tests/test_run_lock.py::test_a_folder_with_other_files_is_not_written_between",
    ),
    Mutant(
        "data is looked for only where it was",
        1,
        RUNS,
        "            if not os.path.exists(self.folder / path.name):\n",
        "            if True:\n",
        "tests/test_run_lock.py::test_data_that_has_moved_is_found_in_the_run_folder",
    ),
    Mutant(
        "data that has changed is trained on",
        5,
        RUNS,
        "        if dataset.corpus.sha256 != self.data_sha256:\n",
        "        if False:\n",
        "tests/test_runs.py::test_changed_or_missing_data_is_noticed",
    ),
    Mutant(
        "nobody is warned of changed conditions",
        4,
        RESUMING,
        "    if changed:\n",
        "    if False:\n",
        "tests/test_fitting.py::test_another_environment_is_pointed_out",
    ),
    Mutant(
        "the seconds of a training are read from a clock that can be set",
        1,
        "src/charloom/training.py",
        "        started, seconds_before = time.perf_counter(), self.seconds\n",
        "        started, seconds_before = time.time(), self.seconds\n",
        "tests/torture/test_writers.py",
    ),
)
