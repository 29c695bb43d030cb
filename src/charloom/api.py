"""The whole path in two calls, for a script or a notebook: `load_data` and `train`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from charloom.config import BUILTIN_DATA, DataConfig, ModelConfig, TrainingConfig
from charloom.corpus import Corpus
from charloom.dataset import Dataset
from charloom.errors import ConfigError
from charloom.fitting import fit
from charloom.text_model import TextModel
from charloom.vocabulary import Vocabulary

_MODEL_SETTINGS = {field.name for field in dataclasses.fields(ModelConfig)} - {"model"}
_TRAINING_SETTINGS = {field.name for field in dataclasses.fields(TrainingConfig)}


def load_data(data: str | Iterable[str] = BUILTIN_DATA, **settings: Any) -> Dataset:
    """A data set from a file name, the built-in names, or any iterable of items.

    ``settings`` are those of `DataConfig`. Raises `DataError` for text that cannot be read. A run made on an iterable
    keeps a copy of the items, as it does of standard input.
    """
    if isinstance(data, str):
        return Dataset.load(DataConfig(data=data, **settings))
    config = DataConfig(data="-", **settings)
    corpus = Corpus.from_items(data, config=config)
    return Dataset(config, corpus, Vocabulary.from_items(corpus.items))


def train(data: Dataset, model: str = "mlp", **settings: Any) -> TextModel:
    """A model of the data, in memory; a neural one with the weights of its lowest dev loss.

    ``settings`` are those of `ModelConfig` and `TrainingConfig` together, such as ``hidden=300, steps=5_000``. To keep
    what is trained in a folder, and to resume it, use `charloom.create_run` and `charloom.fit_run`.

    Raises `ConfigError` for a setting that does not exist or does not apply to the model.
    """
    unknown = set(settings) - _MODEL_SETTINGS - _TRAINING_SETTINGS
    if unknown:
        raise ConfigError(f"there is no setting {', '.join(sorted(unknown))}")
    config = ModelConfig(model=model, **{name: settings[name] for name in settings.keys() & _MODEL_SETTINGS})
    training = {name: settings[name] for name in settings.keys() & _TRAINING_SETTINGS}
    if config.counted and training:
        raise ConfigError(f"{', '.join(sorted(training))} does not apply to {model}, which is counted in one pass")
    return fit(data, config, TrainingConfig(**training))
