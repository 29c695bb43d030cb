"""A model meets its data: counted or trained, in memory or in a run folder."""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from charloom import models
from charloom.checkpoint import (
    RESTORE,
    Arrays,
    append,
    cut,
    digest_of_arrays,
    load_checkpoint,
    save_checkpoint,
    write_sealed,
)
from charloom.config import ModelConfig, TrainingConfig
from charloom.contexts import Contexts, DistinctContexts
from charloom.dataset import Dataset
from charloom.errors import CheckpointError, ConfigError, RunError
from charloom.evaluation import mean_loss
from charloom.observer import Observer
from charloom.run_lock import NAME as LOCK
from charloom.run_lock import locked
from charloom.runs import RUNS, Run, environment
from charloom.schemas import StateJson, fits, read_history
from charloom.text_model import Reference, TextModel

if TYPE_CHECKING:
    from charloom.models import CountedModel
    from charloom.observer import Measurement
    from charloom.training import Training


class EnvironmentWarning(UserWarning):
    """A run goes on under other conditions than it began under, so that bit-exactness is not promised."""


class HistoryWarning(UserWarning):
    """A run goes on with a new history, as the old one is not that of its last checkpoint."""


def fit(
    dataset: Dataset,
    model: ModelConfig,
    training: TrainingConfig | None = None,
    observers: Sequence[Observer] = (),
) -> TextModel:
    """A model of the data, in memory: a counted one, or a neural one with the weights of its lowest dev loss."""
    if model.counted:
        return text_model(model, count(model, dataset), dataset)
    loop = start_training(dataset, model, training or TrainingConfig())
    _refuse_what_was_asked_for_in_vain(loop)
    loop.run(observers)
    loop.load_best()
    return text_model(model, loop.model, dataset)


def create_run(
    dataset: Dataset,
    model: ModelConfig,
    training: TrainingConfig | None,
    *,
    root: Path = RUNS,
    name: str | None = None,
) -> Run:
    """A run folder for a fit that can begin: what is refused leaves no folder behind.

    A neural model without ``training`` gets the default one. Raises `ConfigError` for training settings that do not
    apply to the model or to this machine, `DataError` for data that cannot be split, and what `Run.create` raises.
    """
    if model.counted and training:
        raise ConfigError(
            f"training flags do not apply to {model.model}", remedy="A counted model is counted in one pass."
        )
    dataset.encoded("dev")
    if not model.counted:
        prepared = start_training(dataset, model, training or TrainingConfig())
        _refuse_what_was_asked_for_in_vain(prepared)
        training = prepared.config
    return Run.create(dataset, model, training, root=root, name=name)


def fit_run(
    run: Run, dataset: Dataset, observers: Sequence[Observer] = (), *, resume: bool = False
) -> dict[str, Any] | None:
    """Fit a run's model, write everything down in its folder, and return its result.

    An interrupted training returns ``None``. With ``resume`` it goes on from its last checkpoint, bit-exactly for the
    same versions, thread count and device; an `EnvironmentWarning` says when these differ, a `HistoryWarning` when
    the history was damaged.

    Raises `RunError` for a run that is finished already, or that another process is writing to.
    """
    with locked(run.folder):
        try:
            return _fit_held(run, dataset, observers, resume=resume)
        finally:
            if run.finished:
                (run.folder / LOCK).unlink(missing_ok=True)


def _fit_held(run: Run, dataset: Dataset, observers: Sequence[Observer], *, resume: bool) -> dict[str, Any] | None:
    if run.finished:
        raise RunError("the run is finished", where=str(run.folder), remedy="Train a new one.")
    if run.model.counted:
        started = time.perf_counter()
        counted = count(run.model, dataset)
        seconds = time.perf_counter() - started
        save_checkpoint(run.best_path, counted.arrays(), {"step": None, "dev_loss": None})
        return _conclude(run, dataset, text_model(run.model, counted, dataset), counted.arrays(), seconds, "counted")
    assert run.training is not None
    stored = _stored_state(run) if resume else None
    training = start_training(dataset, run.model, run.training)
    training.choose_engine(observers)
    if resume:
        _restore(run, training, stored)
    outcome = training.run([_RunWriter(run), *observers])
    if outcome == "interrupted":
        return None
    training.load_best()
    fitted = text_model(run.model, training.model, dataset)
    return _conclude(run, dataset, fitted, training.best_arrays, training.seconds, outcome, training.step)


def count(config: ModelConfig, dataset: Dataset) -> CountedModel:
    """A counted model of the training part."""
    size = len(dataset.vocabulary)
    distinct = DistinctContexts(Contexts(dataset.encoded("train"), config.reach), size)
    contexts = np.repeat(distinct.contexts, np.diff(distinct.starts), axis=0)
    family = models.counted_family(config.family)
    return family.fit(contexts, distinct.targets, size, weights=distinct.target_counts, **config.options())


def start_training(
    dataset: Dataset, model: ModelConfig, config: TrainingConfig, schedule: Callable[[int], float] | None = None
) -> Training:
    """A training of a fresh model, at step 0; ``schedule`` as in `Training`."""
    from charloom.training import Training

    fresh = models.build_neural(
        model.family, vocabulary_size=len(dataset.vocabulary), seed=config.seed, **model.options()
    )
    return Training(fresh, dataset.encoded("train"), dataset.encoded("dev"), config, schedule)


def text_model(config: ModelConfig, model: models.LanguageModel, dataset: Dataset) -> TextModel:
    """A fitted model with the vocabulary and the dev part of its data set as reference."""
    return TextModel(config.resolved(), model, dataset.vocabulary, dataset.config, Reference.measure(model, dataset))


def _refuse_what_was_asked_for_in_vain(training: Training) -> None:
    """Raise `ConfigError` where the compiled engine is asked for by name and cannot train the model."""
    training.choose_engine(())
    if training.config.engine == "compiled" and training.engine != "compiled":
        remedy = "Leave --engine out: what can train it does."
        raise ConfigError(f"--engine compiled cannot train this: {training.engine_reason}", remedy=remedy)


def _conclude(
    run: Run,
    dataset: Dataset,
    fitted: TextModel,
    arrays: Arrays,
    seconds: float,
    outcome: str,
    steps: int | None = None,
) -> dict[str, Any]:
    """Measure the model that came out and write ``result.json``: the last file of a finished run."""
    assert fitted.reference is not None
    result = {
        "run": run.name,
        "model": run.model.model,
        "protocol": run.data.protocol,
        "outcome": outcome,
        "steps": steps,
        "parameters": fitted.model.parameter_count(),
        "seconds": seconds,
        "train": mean_loss(fitted.model, dataset.encoded("train")).to_json(),
        "dev": fitted.evaluate(dataset, "dev").to_json(),
        "weights_sha256": digest_of_arrays(arrays),
        "history_sha256": _history_sha256(run),
        "reference": asdict(fitted.reference),
    }
    write_sealed(run.folder / "result.json", result)
    return result


def _stored_state(run: Run) -> tuple[Arrays, dict[str, Any]] | None:
    """The last checkpoint of a run; None before the first. Raises `CheckpointError` where it cannot be gone on from."""
    if not run.last_path.exists():
        if _last_step(run) > (run.training.checkpoint_every if run.training else 0):
            fact = f"is gone: the training has come to step {_last_step(run):,}"
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


def _restore(run: Run, training: Training, stored: tuple[Arrays, dict[str, Any]] | None) -> None:
    """Go back to the last checkpoint, or to the beginning, with the best weights and the history of then."""
    history_bytes = 0
    if stored is not None:
        arrays, state = stored
        training.restore(arrays, state["progress"])
        if state["history_sha256"] in (None, _history_sha256(run, state["history_bytes"])):
            history_bytes = state["history_bytes"]
        else:
            _set_aside(run)
        # Those of the folder may be of a later evaluation, which under other conditions need not come again.
        _RunWriter(run).save_best(training)
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


def _history_sha256(run: Run, size: int | None = None) -> str | None:
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


class _RunWriter(Observer):
    """Writes a run's files as its training goes on."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def evaluated(self, training: Training, measurement: Measurement) -> None:
        append(self._run.history_path, (json.dumps(asdict(measurement)) + "\n").encode())
        if measurement.best:
            self.save_best(training)

    def checkpoint_due(self, training: Training) -> None:
        if not self._run.best_path.exists():
            self.save_best(training)
        arrays, progress = training.state()
        history = self._run.history_path
        state = {
            "progress": progress,
            "history_bytes": history.stat().st_size if history.exists() else 0,
            "history_sha256": _history_sha256(self._run),
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
