"""Small character-level language models: train them on a text file, generate more like it, score what is unusual.

    import charloom

    data = charloom.load_data("names.txt")
    model = charloom.train(data, "mlp", hidden=100, steps=5_000)
    print(model.evaluate(data).loss.nats)
    for sample in model.sample(10, temperature=0.8, unique=True):
        print(sample.text, sample.log_probability)
    print(model.score("emma").nats_per_character)

Names are imported when they are first used, so that `import charloom` is quick and a counted model needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from charloom.api import load_data, train
    from charloom.config import DataConfig, ModelConfig, SamplingConfig, TrainingConfig
    from charloom.corpus import Corpus
    from charloom.counting import NGramCounts, count_file
    from charloom.dataset import Dataset
    from charloom.errors import CharloomError
    from charloom.fitting import create_run, fit, fit_run
    from charloom.runs import Run
    from charloom.text_model import TextModel
    from charloom.vocabulary import Vocabulary

__all__ = [
    "CharloomError",
    "Corpus",
    "DataConfig",
    "Dataset",
    "ModelConfig",
    "NGramCounts",
    "Run",
    "SamplingConfig",
    "TextModel",
    "TrainingConfig",
    "Vocabulary",
    "count_file",
    "create_run",
    "fit",
    "fit_run",
    "load_data",
    "train",
]

_HOME = {
    "CharloomError": "errors",
    "Corpus": "corpus",
    "DataConfig": "config",
    "Dataset": "dataset",
    "ModelConfig": "config",
    "NGramCounts": "counting",
    "Run": "runs",
    "SamplingConfig": "config",
    "TextModel": "text_model",
    "TrainingConfig": "config",
    "Vocabulary": "vocabulary",
    "count_file": "counting",
    "create_run": "fitting",
    "fit": "fitting",
    "fit_run": "fitting",
    "load_data": "api",
    "train": "api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
