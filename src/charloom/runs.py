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
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from charloom import models
from charloom.checkpoint import load_checkpoint, read_json, write_atomically, write_json
from charloom.config import DataConfig, ModelConfig, TrainingConfig
from charloom.dataset import Dataset
from charloom.errors import CheckpointError, ConfigError, RunError
from charloom.run_folders import CONFIG, every_folder, find_folder, new_folder
from charloom.text_model import Reference, TextModel
from charloom.vocabulary import Vocabulary

FORMAT = 1
RUNS = Path("runs")
LATER_FIELDS: dict[type, dict[str, Any]] = {TrainingConfig: {"precision": "float32"}}
"""Fields that older runs do not name, and what they had instead."""
Config = TypeVar("Config", DataConfig, ModelConfig, TrainingConfig)


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
        write_json(folder / "vocabulary.json", dataset.vocabulary.to_json())
        write_json(
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
            return cls(
                folder,
                from_json(DataConfig, config["data"]),
                from_json(ModelConfig, config["model"]),
                None if config["training"] is None else from_json(TrainingConfig, config["training"]),
                str(config["data_sha256"]),
                dict(config["environment"]),
            )
        except (ConfigError, TypeError, ValueError) as error:
            raise CheckpointError(str(error), where=str(folder / CONFIG)) from None

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
        if path.is_absolute() and not path.exists():
            if not (self.folder / path.name).exists():
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
        result: dict[str, Any] = read_json(self.folder / "result.json")
        return result

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
            raise RunError(
                "the run has no weights yet", where=str(self.folder), remedy="Train it to a checkpoint first."
            )
        arrays, _ = load_checkpoint(self.best_path)
        vocabulary = self.vocabulary()
        if self.model.counted:
            family = models.counted_family(self.model.family)
            model: Any = family.from_arrays(arrays, len(vocabulary), **self.model.options())
        elif plain:
            options = self.model.options()
            model = models.plain_model(self.model.family, arrays, vocabulary_size=len(vocabulary), **options)
        else:
            from charloom.weights import load_arrays

            model = models.build_neural(
                self.model.family, vocabulary_size=len(vocabulary), seed=0, **self.model.options()
            )
            load_arrays(model, arrays)
            model.eval()
        reference = self.result()["reference"] if self.finished else None
        return TextModel(self.model, model, vocabulary, self.data, Reference(**reference) if reference else None)


def all_runs(root: Path = RUNS) -> list[Run]:
    """Every run below ``root``, the one written to last first."""
    return [Run.open(str(folder), root) for folder in every_folder(root)]


def from_json(kind: type[Config], content: Any) -> Config:
    """A configuration from its JSON object. Raises `TypeError` or `ConfigError` for a foreign or mistyped one."""
    hints = get_type_hints(kind)
    if isinstance(content, dict):
        content = LATER_FIELDS.get(kind, {}) | content
    if not isinstance(content, dict) or set(content) != set(hints):
        raise TypeError(f"the fields of {kind.__name__} are {', '.join(hints)}")
    for name, value in content.items():
        if not _is_of_type(value, hints[name]):
            raise TypeError(f"{name} is {value!r}")
    return kind(**content)


def _is_of_type(value: Any, hint: Any) -> bool:
    """Whether a JSON value fits the hint of a field: str, int, float, bool, None, a literal or a union of these."""
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if get_origin(hint) in (Union, UnionType):
        return any(_is_of_type(value, member) for member in get_args(hint))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is hint


def environment(threads: int | None = None, device: str | None = None) -> dict[str, Any]:
    """The versions and conditions under which bit-exactness holds."""
    versions = {name: version(name) for name in ("telltales", "torch", "numpy")}
    return {"python": platform.python_version(), **versions, "threads": threads, "device": device}
