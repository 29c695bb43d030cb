"""What a training writes into its run folder as it goes on, and how it goes on from there."""

from __future__ import annotations

import hashlib
import json
import warnings
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from charloom import models
from charloom.checkpoint import RESTORE, Arrays, append, cut, load_checkpoint, save_checkpoint
from charloom.errors import CheckpointError
from charloom.observer import Observer
from charloom.runs import Run, environment
from charloom.schemas import StateJson, fits, read_history

if TYPE_CHECKING:
    from charloom.observer import Measurement
    from charloom.training import Training


class EnvironmentWarning(UserWarning):
    """A run goes on under other conditions than it began under, so that bit-exactness is not promised."""


class HistoryWarning(UserWarning):
    """A run goes on with a new history, as the old one is not that of its last checkpoint."""


class RunWriter(Observer):
    """Writes a run's files as its training goes on."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def evaluated(self, training: Training, measurement: Measurement) -> None:
        """Append to the history, and keep the best weights."""
        append(self._run.history_path, (json.dumps(asdict(measurement)) + "\n").encode())
        if measurement.best:
            self.save_best(training)

    def checkpoint_due(self, training: Training) -> None:
        """Write the state to go on from."""
        if not self._run.best_path.exists():
            self.save_best(training)
        arrays, progress = training.state()
        history = self._run.history_path
        state = {
            "progress": progress,
            "history_bytes": history.stat().st_size if history.exists() else 0,
            "history_sha256": history_sha256(self._run),
            "environment": _conditions(training),
        }
        save_checkpoint(self._run.last_path, arrays, state)

    def save_best(self, training: Training) -> None:
        """Write the weights of the lowest dev loss, or the present ones before any evaluation."""
        measured = training.best_step > 0
        state = {
            "step": training.best_step if measured else training.step,
            "dev_loss": training.best_loss if measured else None,
        }
        save_checkpoint(self._run.best_path, training.best_arrays, state)


def stored_state(run: Run) -> tuple[Arrays, dict[str, Any]] | None:
    """The last checkpoint of a run; None before the first. Raises `CheckpointError` where it cannot be gone on from."""
    if not run.last_path.exists():
        step = _last_step(run)
        if run.training is not None and step > run.training.checkpoint_every:
            fact = f"is gone: the training has come to step {step:,}"
            raise CheckpointError(fact, where=str(run.last_path), remedy=RESTORE)
        return None
    arrays, state = load_checkpoint(run.last_path)
    if isinstance(state, dict):
        state = {"history_sha256": None} | state  # Which an older version did not write down.
    if not fits(state, StateJson):
        raise CheckpointError("not a training state", where=str(run.last_path))
    weights = {name.removeprefix("model/"): array for name, array in arrays.items() if name.startswith("model/")}
    # What is damaged is refused before a network of the settings' size is made.
    models.plain_model(run.model.family, weights, vocabulary_size=len(run.vocabulary()), **run.model.options())
    return arrays, state


def restore(run: Run, training: Training, stored: tuple[Arrays, dict[str, Any]] | None) -> None:
    """Go back to the last checkpoint, or to the beginning, with the best weights and the history of then."""
    history_bytes = 0
    if stored is not None:
        arrays, state = stored
        training.restore(arrays, state["progress"])
        if state["history_sha256"] in (None, history_sha256(run, state["history_bytes"])):
            history_bytes = state["history_bytes"]
        else:
            _set_aside(run)
        # Those of the folder may be of a later evaluation, which under other conditions need not come again.
        RunWriter(run).save_best(training)
        _warn_of_changes(state["environment"], _conditions(training))
    if run.history_path.exists():
        cut(run.history_path, history_bytes)


def _set_aside(run: Run) -> None:
    """A history that is not the checkpoint's ends no training: it is kept under another name, and a new one begun."""
    aside = run.history_path.with_name("history.damaged.jsonl")
    said = f"{run.history_path} is missing: a new one is begun"
    if run.history_path.exists():
        said = f"{run.history_path} is damaged: a new one is begun, and {aside.name} keeps it"
        if not aside.exists():
            run.history_path.rename(aside)
    warnings.warn(said, HistoryWarning, stacklevel=4)


def _last_step(run: Run) -> int:
    """The last step that the history has a measurement of, as far as it can be read; 0 without any."""
    try:
        return max((one.step for one in read_history(run.history_path, None)), default=0)
    except CheckpointError:
        return 0


def history_sha256(run: Run, size: int | None = None) -> str | None:
    """The checksum of a run's history, or of its first ``size`` bytes; of none where it is shorter."""
    if not run.history_path.exists():
        content = b""
    else:
        with open(run.history_path, "rb") as file:
            content = file.read() if size is None else file.read(size)
    return hashlib.sha256(content).hexdigest() if size is None or len(content) == size else None


def _conditions(training: Training) -> dict[str, Any]:
    from charloom.devices import instruction_set

    conditions = environment(training.config.threads, str(training.device))
    return conditions | {"engine": training.engine, "processor": instruction_set()}


def _warn_of_changes(before: dict[str, Any], now: dict[str, Any]) -> None:
    # What an older version did not write down is not known to differ.
    changed = [f"{name} {before[name]} -> {now[name]}" for name in now if name in before and before[name] != now[name]]
    if changed:
        warnings.warn(
            f"other conditions than before ({', '.join(changed)}): the same result to the bit is not promised",
            EnvironmentWarning,
            stacklevel=3,
        )
