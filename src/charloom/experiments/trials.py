"""The trainings of a study, each a run folder that is made once and found again."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from charloom.config import ModelConfig, TrainingConfig
from charloom.dataset import Dataset
from charloom.errors import TrainingError
from charloom.fitting import create_run, fit_run
from charloom.observer import Measurement
from charloom.runs import Run
from charloom.watching import Watching


@dataclass(frozen=True)
class Trial:
    """What is to be trained, or counted (then ``training`` is None)."""

    name: str
    model: ModelConfig
    training: TrainingConfig | None = None
    watch: str | None = None
    """A preset of telltales, or None."""


@dataclass(frozen=True)
class Tried:
    """A trial that has come to its end: a run with a result, or the reason why there is none."""

    trial: Trial
    run: Run
    history: tuple[Measurement, ...]
    failure: str | None = None

    @property
    def result(self) -> dict[str, Any]:
        """As of `charloom.fitting.fit_run`."""
        return self.run.result()

    @property
    def dev(self) -> float | None:
        """The lowest dev loss in nats per character; None where the training failed."""
        return None if self.failure else float(self.result["dev"]["loss"]["nats"])

    @property
    def dev_curve(self) -> list[tuple[float, float]]:
        """Step and dev loss of every evaluation."""
        return [(one.step, one.dev_loss) for one in self.history]

    def reached(self, loss: float) -> int | None:
        """After how many steps the dev loss was first no higher than ``loss``, as far as it was measured."""
        return next((one.step for one in self.history if one.dev_loss <= loss), None)


Fit = Callable[[Run, Dataset, bool, str | None, str], None]
"""Fits a run: whether it goes on with one that was begun, the preset to watch with, ``3 of 12`` for the progress."""


def fit_silently(run: Run, dataset: Dataset, resume: bool, watch: str | None, place: str) -> None:
    """Without a word."""
    fit_run(run, dataset, [Watching(run, watch)] if watch else [], resume=resume)


class Trials:
    """Trials on one data set, below one folder."""

    def __init__(self, folder: Path, dataset: Dataset, fit: Fit = fit_silently) -> None:
        self.folder = folder
        self.dataset = dataset
        self._fit = fit

    def fit(self, trials: Sequence[Trial]) -> list[Tried]:
        """Every trial's end, in order. What is finished is not trained again, what was begun goes on.

        A loss that is not finite ends a trial, not the study. Raises what `create_run` and ``fit`` raise.
        """
        return [self._tried(trial, f"{place} of {len(trials)}") for place, trial in enumerate(trials, 1)]

    def _tried(self, trial: Trial, place: str) -> Tried:
        name = self._name(trial)
        begun = (self.folder / name / "config.json").exists()
        run = (
            Run.open(name, self.folder)
            if begun
            else create_run(self.dataset, trial.model, trial.training, root=self.folder, name=name)
        )
        failure = None
        if not run.finished:
            try:
                self._fit(run, self.dataset, begun, trial.watch, place)
            except TrainingError as error:
                failure = f"{error.where}: {error.fact}" if error.where else error.fact
        return Tried(trial, run, run.history(), failure)

    def _name(self, trial: Trial) -> str:
        """Readable, and different for whatever would come out differently."""
        training = None if trial.training is None else asdict(trial.training)
        data = {
            "sha256": self.dataset.corpus.sha256,
            "protocol": self.dataset.config.protocol,
            "split_seed": self.dataset.config.split_seed,
        }
        settings = [data, asdict(trial.model.resolved()), training, trial.watch]
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
        return f"{re.sub(r'[^a-z0-9.]+', '-', trial.name.lower()).strip('-')}-{digest[:8]}"
