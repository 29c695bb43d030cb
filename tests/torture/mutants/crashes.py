"""Breaks that the tests of kills, crash points, losses of power and failing disks must notice."""

from __future__ import annotations

from torture.mutants import Mutant

_KILLED = "tests/torture/test_kills.py::test_a_run_that_is_killed_five_times_comes_to_the_same_bits"
_STOPPED_EARLY = f"{_KILLED}[deep-mlp, torch, dropout, stopped early]"
_MLP = f"{_KILLED}[mlp, torch, rows]"
_POINTS = "tests/torture/test_crash_points.py"
_STATES = f"{_POINTS}::test_what_a_death_or_a_loss_of_power_leaves_is_gone_on_from_to_the_bit[ngram:3-1]"
_WHOLE = f"{_POINTS}::test_at_every_moment_the_old_file_stands_or_the_new_one"
_DISKS = "tests/torture/test_disks.py"
_COMMAND = f"{_DISKS}::test_a_command_whose_disk_fails_says_so_and_leaves_what_there_was"
_FILES, _TRAINING = "src/charloom/files.py", "src/charloom/training.py"
_FITTING, _RESUMING = "src/charloom/fitting.py", "src/charloom/resuming.py"
_FSYNC = """            file.flush()
            os.fsync(file.fileno())
"""
_RENAME = """        os.replace(temporary, path)
"""
_FLUSH = """        os.replace(temporary, path)
        flush_folder(path.parent)
"""
_SAVED = """        save_checkpoint(run.best_path, counted.arrays(), {"step": None, "dev_loss": None})
"""
_CONCLUDED = """_conclude(run, dataset, text_model(run.model, counted, dataset), counted.arrays(), seconds, "counted")
"""

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "the file is written in place, with no rename",
        2,
        _FILES,
        '    temporary = path.with_name(f".{path.name[:200]}.{os.getpid()}.tmp")\n',
        "    temporary = path\n",
        _WHOLE,
    ),
    Mutant("the file is not flushed before its rename", 2, _FILES, _FSYNC, "", _WHOLE),
    Mutant(
        "the file is flushed after its rename",
        2,
        _FILES,
        f"{_FSYNC}{_RENAME}",
        f"            os.replace(temporary, path)\n{_FSYNC}",
        _WHOLE,
    ),
    Mutant("the folder is not flushed after a rename", 3, _FILES, _FLUSH, _RENAME, _WHOLE),
    Mutant(
        "a new folder is not flushed",
        3,
        _FILES,
        "    path.mkdir(exist_ok=exist_ok)\n    flush_folder(path.parent)\n",
        "    path.mkdir(exist_ok=exist_ok)\n",
        f"{_POINTS}::test_a_new_folder_stays_with_those_it_lies_in",
    ),
    Mutant(
        "the temporary file lies in $TMPDIR",
        7,
        _FILES,
        '    temporary = path.with_name(f".{path.name[:200]}.{os.getpid()}.tmp")\n',
        '    temporary = Path(os.environ.get("TMPDIR", "/tmp")) / f".{path.name[:200]}.{os.getpid()}.tmp"\n',
        "tests/test_checkpoint.py::test_the_file_is_flushed_before_it_is_renamed",
    ),
    Mutant(
        "a temporary file stays when the disk is full",
        7,
        _FILES,
        "            temporary.unlink(missing_ok=True)\n",
        "            pass\n",
        f"{_COMMAND}[count --out]",
    ),
    Mutant(
        "what a killed writer has left stays",
        3,
        "src/charloom/run_lock.py",
        "        path.unlink(missing_ok=True)\n",
        "        pass\n",
        _STATES,
    ),
    Mutant(
        "a run that is being made is taken for one",
        3,
        "src/charloom/run_folders.py",
        "    return {path.name for path in folder.iterdir()} <= FIRST_FILES\n",
        "    return not any(path.name != LOCK for path in folder.iterdir())\n",
        _STATES,
    ),
    Mutant(
        "the random numbers are not restored",
        2,
        "src/charloom/devices.py",
        "        self._cpu = state\n",
        "        del state\n",
        _STOPPED_EARLY,
    ),
    Mutant(
        "the random numbers are written down as they were at the beginning",
        2,
        "src/charloom/devices.py",
        "        if self._inside:\n            self._remember()\n",
        "",
        _STOPPED_EARLY,
    ),
    Mutant(
        "the optimizer's memory is not restored",
        2,
        _TRAINING,
        "        self.optimizer.state.update(memory)\n",
        "        del memory\n",
        _MLP,
    ),
    Mutant(
        "the weights are not restored",
        1,
        _TRAINING,
        '        load_arrays(self.model, parts["model"])\n',
        "",
        _MLP,
    ),
    Mutant(
        "the best weights are not restored",
        1,
        _TRAINING,
        '        self._best_arrays = parts["best"]\n',
        "",
        _STOPPED_EARLY,
    ),
    Mutant(
        "the best weights of a later evaluation stay in the folder",
        1,
        _RESUMING,
        "        RunWriter(run).save_best(training)\n",
        "",
        "tests/test_fitting.py::test_resuming_goes_back_to_the_best_weights_of_the_checkpoint",
    ),
    Mutant(
        "a training that had stopped early makes another step",
        1,
        _TRAINING,
        "        if self._out_of_patience():  # It ended with the checkpoint that it goes on from.\n",
        "        if False:\n",
        "tests/test_fitting.py::test_a_training_that_was_killed_when_it_had_stopped_early_makes_no_further_step",
    ),
    Mutant(
        "the lowest loss is not restored",
        1,
        _TRAINING,
        '        self.best_loss = math.inf if progress["best_loss"] is None else progress["best_loss"]\n',
        "",
        _STOPPED_EARLY,
    ),
    Mutant(
        "the evaluations since the best one are not restored",
        1,
        _TRAINING,
        '        self.evaluations_since_best = progress["evaluations_since_best"]\n',
        "",
        _STOPPED_EARLY,
    ),
    Mutant(
        "the sum of losses since the last evaluation is not restored",
        1,
        _TRAINING,
        '        course.loss_sum.fill_(progress["loss_sum"])\n',
        "",
        _MLP,
    ),
    Mutant(
        "the history is not cut",
        1,
        _RESUMING,
        "        cut(run.history_path, history_bytes)\n",
        "        pass\n",
        _MLP,
    ),
    Mutant(
        "a counted run has its result before its counts",
        1,
        _FITTING,
        f"{_SAVED}        return {_CONCLUDED}",
        f"        result = {_CONCLUDED}{_SAVED}        return result\n",
        _STATES,
    ),
    Mutant(
        "a record is begun in place",
        3,
        "src/telltales/record_file.py",
        "                with replacing(self.path) as self._file:\n",
        '                with self.path.open("wb") as self._file:\n',
        f"{_POINTS}::test_a_record_begins_whole_or_not_at_all",
    ),
    Mutant(
        "a plot is written in place",
        7,
        "src/charloom/cli/training.py",
        '        write_atomically(svg, drawn.encode(), remedy="Free some space or name another place with --svg.")\n',
        "        svg.write_bytes(drawn.encode())\n",
        f"{_COMMAND}[find-lr --svg]",
    ),
    Mutant(
        "findings are written in place",
        7,
        "src/telltales/cli.py",
        "        with replacing(Path(options.sarif)) as file:\n",
        '        with open(options.sarif, "wb") as file:\n',
        f"{_COMMAND}[telltales judge]",
    ),
)
