"""Several models on one data set, each against the best of those before it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charloom.config import DataConfig, ModelConfig, TrainingConfig
from charloom.dataset import Dataset
from charloom.errors import ConfigError
from charloom.evaluation import finite
from charloom.fitting import create_run
from charloom.runs import RUNS, Run

Fit = Callable[[Run, Dataset], dict[str, Any]]


@dataclass(frozen=True)
class Rung:
    """One model's row; losses in nats per character."""

    model: str
    """With the settings it was given, such as ``mlp:hidden=300``."""
    run: str
    params: int
    train: float | None
    dev: float | None
    dev_seen: float | None
    """Dev items that also stand in train (``None``: there are none)."""
    dev_unseen: float | None
    test: float | None
    """``None`` unless the final figures were asked for."""
    bar: float | None
    """The lowest dev loss of the rows above; ``None`` in the first."""
    seconds: float
    protocol: str
    seed: int | None
    """Of the training; ``None`` for a counted model."""

    def to_json(self) -> dict[str, Any]:
        """The fields by name."""
        return dataclasses.asdict(self)


def climb(
    models: list[ModelConfig],
    data: DataConfig,
    training: TrainingConfig,
    fit: Fit,
    *,
    final: bool = False,
    root: Path = RUNS,
) -> Iterator[Rung]:
    """Fit the models one after the other, each in a run folder of its own, and yield a row for each.

    ``fit`` fits a run and returns its result, so that the caller can show progress. The test part is read only when
    the figures are ``final``.
    """
    dataset = Dataset.load(data)
    bar: float | None = None
    for model in models:
        run = create_run(dataset, model, None if model.counted else training, root=root)
        result = fit(run, dataset)
        dev = result["dev"]
        test = finite(run.text_model().evaluate(dataset, "test").loss.nats) if final else None
        yield Rung(
            model=model.label,
            run=str(run.folder),
            params=result["parameters"],
            train=result["train"]["nats"],
            dev=dev["loss"]["nats"],
            dev_seen=dev["seen"]["nats"] if dev["seen"] else None,
            dev_unseen=dev["unseen"]["nats"] if dev["unseen"] else None,
            test=test,
            bar=bar,
            seconds=result["seconds"],
            protocol=data.protocol,
            seed=None if model.counted else training.seed,
        )
        heights = [loss for loss in (bar, dev["loss"]["nats"]) if loss is not None]
        bar = min(heights, default=None)


def parse_models(text: str) -> list[ModelConfig]:
    """Models from a list such as ``unigram,ngram:5,mlp:hidden=300:context-length=8``.

    Raises `ConfigError` for an unknown model or setting.
    """
    return [_parse_model(part.strip()) for part in text.split(",")]


def _parse_model(text: str) -> ModelConfig:
    name, *settings = text.split(":")
    if settings and "=" not in settings[0]:
        name = f"{name}:{settings.pop(0)}"
    given: dict[str, Any] = {}
    for setting in settings:
        key, _, value = setting.partition("=")
        field = key.replace("-", "_")
        kinds = {f.name: f.type for f in dataclasses.fields(ModelConfig) if f.name != "model"}
        if field not in kinds:
            raise ConfigError(f"{text!r}: there is no setting {key!r}", remedy=f"Settings: {', '.join(kinds)}.")
        given[field] = _parse_value(text, value, str(kinds[field]))
    return ModelConfig(model=name, **given)


def _parse_value(text: str, value: str, kind: str) -> Any:
    try:
        return int(value) if kind.startswith("int") else float(value) if kind.startswith("float") else value
    except ValueError:
        raise ConfigError(f"{text!r}: {value!r} is not a number", remedy="Write mlp:hidden=300, for example.") from None
