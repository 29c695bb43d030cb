"""A model meets its data: counted or trained, in memory or in a run folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from charloom import models
from charloom.checkpoint import Arrays, digest_of_arrays, save_checkpoint, write_sealed
from charloom.config import ModelConfig, TrainingConfig
from charloom.contexts import Contexts, DistinctContexts
from charloom.dataset import Dataset
from charloom.errors import ConfigError, RunError
from charloom.evaluation import mean_loss
from charloom.observer import Observer
from charloom.resuming import RunWriter, history_sha256, restore, stored_state
from charloom.run_lock import NAME as LOCK
from charloom.run_lock import locked
from charloom.runs import RUNS, Run
from charloom.text_model import Reference, TextModel

if TYPE_CHECKING:
    from charloom.models import CountedModel
    from charloom.training import Training


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
    stored = stored_state(run) if resume else None
    training = start_training(dataset, run.model, run.training)
    training.choose_engine(observers)
    if resume:
        restore(run, training, stored)
    outcome = training.run([RunWriter(run), *observers])
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
        "history_sha256": history_sha256(run),
        "reference": asdict(fitted.reference),
    }
    write_sealed(run.folder / "result.json", result)
    return result
