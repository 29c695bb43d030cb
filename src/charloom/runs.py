"""Run folders: what was trained, on what, how it went, and the weights.

runs/NAME/
  config.json         data, model and training settings, the data's checksum, the versions used
  vocabulary.json     the characters
  history.jsonl       one line per evaluation
  best.safetensors    the weights (or counts) to use
  last.safetensors    weights, optimizer and random state to resume from (neural models)
  result.json         what came out: losses, parameters, seconds, checksum of the weights
  data.txt            the items, where they came from standard input
  .lock               held by the process that writes here; gone when the run is finished
  record.jsonl        what went on inside while it trained (`--watch`)
  report.html         the same, drawn
"""

from __future__ import annotations

import dataclasses
import os
import platform
import warnings
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from charloom import models
from charloom.checkpoint import RESTORE, digest_of_arrays, load_checkpoint, read_json, write_atomically, write_sealed
from charloom.config import DataConfig, ModelConfig, TrainingConfig
from charloom.dataset import Dataset
from charloom.errors import CharloomError, CheckpointError, ConfigError, RunError
from charloom.observer import Measurement
from charloom.run_folders import CONFIG, every_folder, find_folder, new_folder
from charloom.schemas import checked_result, fits, from_json, read_history
from charloom.text_model import Reference, TextModel
from charloom.vocabulary import Vocabulary

FORMAT = 1
RUNS = Path("runs")


@dataclass(frozen=True)
class Run:
    """One run folder."""

    folder: Path
    data: DataConfig
    model: ModelConfig
    training: TrainingConfig | None
    data_sha256: str
    environment: dict[str, Any]

    @classmethod
    def create(
        cls,
        dataset: Dataset,
        model: ModelConfig,
        training: TrainingConfig | None,
        *,
        root: Path = RUNS,
        name: str | None = None,
    ) -> Run:
        """A new folder below ``root``, named ``name`` or after the data and the model.

        The folder becomes a run with its last file, `config.json`: one that a killed process has left without it is
        taken over. Raises `RunError` when ``name`` is taken, and `ConfigError` when it is no file name.
        """
        stem = f"{dataset.corpus.name}-{model.model.replace(':', '')}"
        with new_folder(root, name, stem) as folder:
            return cls._written(folder, dataset, model, training)

    @classmethod
    def _written(cls, folder: Path, dataset: Dataset, model: ModelConfig, training: TrainingConfig | None) -> Run:
        """A new run in an empty folder."""
        data = dataset.config
        if data.data == "-":
            copy = folder / "data.txt"
            write_atomically(copy, "\n".join(dataset.corpus.items).encode("utf-8-sig"))
            data = dataclasses.replace(data, data=str(copy.resolve()))
        elif Path(data.data).exists():
            data = dataclasses.replace(data, data=str(Path(data.data).resolve()))
        conditions = environment()
        run = cls(folder, data, model.resolved(), training, dataset.corpus.sha256, conditions)
        write_sealed(folder / "vocabulary.json", dataset.vocabulary.to_json())
        write_sealed(
            folder / CONFIG,
            {
                "format": FORMAT,
                "data": dataclasses.asdict(run.data),
                "model": dataclasses.asdict(run.model),
                "training": dataclasses.asdict(training) if training else None,
                "data_sha256": run.data_sha256,
                "environment": conditions,
            },
        )
        return run

    @classmethod
    def open(cls, name: str | None = None, root: Path = RUNS, *, with_weights: bool = False) -> Run:
        """The run called ``name`` (below ``root``, or a path), or the latest one (that has weights, if so asked).

        Raises `RunError` when there is none, and `CheckpointError` when its files are damaged.
        """
        folder = find_folder(name, root, with_weights=with_weights)
        config = read_json(folder / CONFIG)
        keys = {"format", "data", "model", "training", "data_sha256", "environment"}
        if not isinstance(config, dict) or set(config) != keys:
            raise CheckpointError("not the configuration of a run", where=str(folder / CONFIG))
        if config["format"] != FORMAT:
            raise CheckpointError(f"run format {config['format']!r} instead of {FORMAT}", where=str(folder))
        try:
            training = None if config["training"] is None else from_json(TrainingConfig, config["training"])
            data, model = from_json(DataConfig, config["data"]), from_json(ModelConfig, config["model"])
        except (ConfigError, TypeError) as error:
            raise CheckpointError(str(error), where=str(folder / CONFIG)) from None
        data_sha256, conditions = config["data_sha256"], config["environment"]
        if not (fits(data_sha256, str) and fits(conditions, dict[str, str | int | None])):
            raise CheckpointError("the data's checksum or the environment is garbled", where=str(folder / CONFIG))
        if (training is None) != model.counted:
            raise CheckpointError(f"{model.model} with such training settings", where=str(folder / CONFIG))
        return cls(folder, data, model, training, data_sha256, conditions)

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def best_path(self) -> Path:
        """The weights to use."""
        return self.folder / "best.safetensors"

    @property
    def last_path(self) -> Path:
        """The state to resume from."""
        return self.folder / "last.safetensors"

    @property
    def history_path(self) -> Path:
        """One JSON line per evaluation."""
        return self.folder / "history.jsonl"

    @property
    def finished(self) -> bool:
        """Whether the run has a result."""
        return (self.folder / "result.json").exists()

    def dataset(self) -> Dataset:
        """The data that the run was made on: where it was, or else by its name in the run's folder.

        Raises `RunError` when it has changed or is gone.
        """
        data, path = self.data, Path(self.data.data)
        if path.is_absolute() and os.path.exists(path) and not path.is_file():
            raise RunError(f"its data, {path}, is no file", where=str(self.folder), remedy="Put the file back.")
        if path.is_absolute() and not os.path.exists(path):
            if not os.path.exists(self.folder / path.name):
                raise RunError(
                    f"its data, {path}, is not there",
                    where=str(self.folder),
                    remedy="Put the file back, or a copy of it into the run's folder.",
                )
            data = dataclasses.replace(data, data=str((self.folder / path.name).resolve()))
        dataset = Dataset.load(data, self.vocabulary())
        if dataset.corpus.sha256 != self.data_sha256:
            raise RunError(
                f"its data, {self.data.data}, has changed since the run was made",
                where=str(self.folder),
                remedy="Put the old file back, or train anew.",
            )
        return dataset

    def vocabulary(self) -> Vocabulary:
        """The run's vocabulary."""
        return Vocabulary.from_json(read_json(self.folder / "vocabulary.json"))

    def result(self) -> dict[str, Any]:
        """What came out. Raises `RunError` while the run is unfinished."""
        if not self.finished:
            raise RunError(
                "the run is unfinished", where=str(self.folder), remedy="Go on with: charloom train --resume"
            )
        path = self.folder / "result.json"
        return checked_result(read_json(path), path)

    def history(self) -> tuple[Measurement, ...]:
        """What was measured at every evaluation. Raises `CheckpointError` for a history that is damaged."""
        return read_history(self.history_path, self.result()["history_sha256"] if self.finished else None)

    def to_json(self) -> dict[str, Any]:
        """``run``, ``model``, ``data``, ``protocol``, ``finished``, and, once finished, ``dev`` and ``parameters``."""
        result = self.result() if self.finished else None
        return {
            "run": self.name,
            "model": self.model.model,
            "data": self.data.data,
            "protocol": self.data.protocol,
            "finished": self.finished,
            "dev": result["dev"]["loss"]["nats"] if result else None,
            "parameters": result["parameters"] if result else None,
        }

    def text_model(self, *, plain: bool = False) -> TextModel:
        """The run's best weights, ready to sample and score; ``plain``: without torch, as NumPy arrays."""
        if not self.best_path.exists():
            if self.finished or self.last_path.exists():
                remedy = "Restore it, or train anew." if self.finished else "Go on with: charloom train --resume"
                raise RunError("the weights are gone", where=str(self.best_path), remedy=remedy)
            raise RunError(
                "the run has no weights yet", where=str(self.folder), remedy="Train it to a checkpoint first."
            )
        try:
            return self._stored_model(plain)
        except CheckpointError as error:
            if error.where is None:
                raise CheckpointError(error.fact, where=str(self.best_path), remedy=RESTORE) from None
            raise

    def _stored_model(self, plain: bool) -> TextModel:
        arrays, _ = load_checkpoint(self.best_path)
        result = self.result() if self.finished else None
        if result is not None and digest_of_arrays(arrays) != result["weights_sha256"]:
            raise CheckpointError("these are not the weights of the run's result", where=str(self.best_path))
        vocabulary = self.vocabulary()
        if self.model.counted:
            family = models.counted_family(self.model.family)
            model: Any = family.from_arrays(arrays, len(vocabulary), **self.model.options())
        elif plain:
            options = self.model.options()
            model = models.plain_model(self.model.family, arrays, vocabulary_size=len(vocabulary), **options)
        else:
            from charloom.weights import load_arrays

            # What is damaged is refused before a network of the settings' size is made.
            models.plain_model(self.model.family, arrays, vocabulary_size=len(vocabulary), **self.model.options())
            model = models.build_neural(
                self.model.family, vocabulary_size=len(vocabulary), seed=0, **self.model.options()
            )
            load_arrays(model, arrays)
            model.eval()
        reference = None if result is None else Reference(**result["reference"])
        return TextModel(self.model, model, vocabulary, self.data, reference)


class DamagedRunWarning(UserWarning):
    """A run is left out, as its files are damaged."""


def all_runs(root: Path = RUNS) -> list[Run]:
    """Every run below ``root``, the one written to last first. A `DamagedRunWarning` says which cannot be read."""
    runs = []
    for folder in every_folder(root):
        try:
            run = Run.open(str(folder), root)
            if run.finished:
                run.result()
            runs.append(run)
        except CharloomError as error:
            warnings.warn(f"a run is left out: {error.where}: {error.fact}", DamagedRunWarning, stacklevel=2)
    return runs


def environment(threads: int | None = None, device: str | None = None) -> dict[str, Any]:
    """The versions and conditions under which bit-exactness holds."""
    versions = {name: version(name) for name in ("telltales", "torch", "numpy")}
    return {"python": platform.python_version(), **versions, "threads": threads, "device": device}
