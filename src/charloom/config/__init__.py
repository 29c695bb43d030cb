"""Every setting there is, as frozen dataclasses that are checked when they are made.

The command line is generated from these classes, and a run folder stores them as ``config.json``. A model's own
settings are ``None`` until `ModelConfig.resolved` fills in that model's defaults, so that a setting given to a model
it does not apply to can be refused instead of being ignored.
"""

from __future__ import annotations

from charloom.config.data import BUILTIN_DATA, DataConfig, Protocol, Unit
from charloom.config.model import MODEL_DEFAULTS, ModelConfig
from charloom.config.sampling import SamplingConfig
from charloom.config.training import Precision, TrainingConfig

__all__ = [
    "BUILTIN_DATA",
    "MODEL_DEFAULTS",
    "DataConfig",
    "ModelConfig",
    "Precision",
    "Protocol",
    "SamplingConfig",
    "TrainingConfig",
    "Unit",
]
