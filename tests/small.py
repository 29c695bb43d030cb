"""Small data and quick settings that several tests share."""

from __future__ import annotations

from functools import cache
from typing import Any

import charloom
from charloom.config import DataConfig, ModelConfig, TrainingConfig
from charloom.corpus import load
from charloom.dataset import Dataset
from charloom.fitting import start_training
from charloom.training import Training

QUICK: dict[str, Any] = {"steps": 40, "batch_size": 16, "evaluate_every": 10, "checkpoint_every": 15}
SMALL_MLP: dict[str, Any] = {"model": "mlp", "context_length": 3, "embedding": 4, "hidden": 12}


@cache
def names(n: int = 400) -> tuple[str, ...]:
    """The first distinct built-in names."""
    return tuple(dict.fromkeys(load(DataConfig()).items))[:n]


@cache
def dataset(n: int = 400) -> Dataset:
    """A data set of them."""
    return charloom.load_data(names(n))


def training(model: dict[str, Any], **settings: Any) -> Training:
    """A fresh training on the small data."""
    return start_training(dataset(), ModelConfig(**model), TrainingConfig(**(QUICK | settings)))
