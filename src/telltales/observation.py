"""What one observed step says: the numbers on their way from the device to the record. No torch here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from telltales.bins import BINS, PER_OCTAVE, PER_SIGN, ZERO_BIN

SCALARS = (
    "loss",
    "seconds",
    "batch_size",
    "gradient_norm",
    "gradient_norm_used",
    "optimizer_steps",
    "training_mode",
    "loss_scale",
    "noise_scale",
    "input_mean",
    "input_std",
    "target_mean",
    "target_std",
    "target_entropy",
    "input_row_mean",
    "input_row_std",
    "target_row_mean",
    "target_row_std",
    "stale_gradients",
)
"""The numbers that a step has one of. Not measured is NaN."""

COLUMNS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "activation": (
            "mean",
            "std",
            "rms",
            "min",
            "max",
            "zeros",
            "nonfinite",
            "saturated",
            "saturated_units",
            "entropy",
        ),
        "activation_gradient": ("mean", "std", "rms", "min", "max", "zeros", "nonfinite"),
        "gradient": ("mean", "std", "rms", "norm", "min", "max", "zeros", "nonfinite", "ratio", "norm_used"),
        "weight": ("mean", "std", "rms", "norm", "min", "max", "nonfinite", "spectral_norm"),
        "update": ("std", "rms", "norm", "ratio"),
        "group": ("learning_rate", "weight_decay"),
    }
)
"""The tables of a record and their columns. A row is a module (the first two), a parameter (the next three) or a
parameter group of an optimizer. Not measured is NaN; the shares `zeros`, `nonfinite`, `saturated` and
`saturated_units` lie between 0 and 1."""

HISTOGRAMS = ("activation", "activation_gradient", "gradient", "weight")
"""The tables whose rows can have a histogram."""

VARIED = "varied"
"""What a record has in place of the shape of a batch's examples where they are of several."""

MAP_EXAMPLES, MAP_UNITS = 32, 128
"""The most examples and units that a map of saturated values shows."""


@dataclass(frozen=True)
class Reading:
    """One table at one step: a row of numbers for each name."""

    names: tuple[str, ...]
    values: NDArray[np.float32]  # (names, columns)


@dataclass(frozen=True)
class Picture:
    """What is kept at some steps only, being larger than a row of numbers."""

    step: int
    histograms: Mapping[str, Mapping[str, Histogram]] = field(default_factory=dict)
    """Table → name → histogram."""
    maps: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    """Module → (examples, units): which values lie in the flat part of the activation function."""


@dataclass(frozen=True)
class Histogram:
    """Counts in the shared bins of `telltales.bins`, from the first bin that holds anything to the last."""

    first: int
    counts: NDArray[np.uint32]

    @classmethod
    def of(cls, counts: NDArray[Any]) -> Histogram:
        """From the counts of all bins."""
        filled = np.flatnonzero(counts)
        if filled.size == 0:
            return cls(0, np.zeros(0, np.uint32))
        first, last = int(filled[0]), int(filled[-1])
        return cls(first, counts[first : last + 1].astype(np.uint32))

    def divided(self, scale: float) -> Histogram:
        """Of the same values divided by ``scale``, which counts as the nearest whole number of bins."""
        shift = round(PER_OCTAVE * math.log2(scale))
        counts = np.zeros(BINS, np.int64)
        places = np.arange(self.first, self.first + len(self.counts))
        distance = np.abs(places - ZERO_BIN)
        moved = np.where(distance > 0, np.clip(distance - shift, 1, PER_SIGN), 0)
        np.add.at(counts, ZERO_BIN + np.sign(places - ZERO_BIN) * moved, self.counts)
        return Histogram.of(counts)


@dataclass(frozen=True)
class Observation:
    """All that is recorded of one observed step."""

    step: int
    scalars: Mapping[str, float]
    tables: Mapping[str, Reading]
    picture: Picture | None = None
    losses: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    """The loss of every step since the observed one before, this step's last."""
    indices: Sequence[int] | None = None
    """Which examples the batch held, where the caller said so."""


@dataclass(frozen=True)
class Evaluation:
    """A loss on held-out data, measured when ``step`` steps were done."""

    step: int
    split: str
    loss: float
    training: bool | None = None
    """Whether the model was in training mode then; None where that is not known or makes no difference."""
    classes: Mapping[str, tuple[int, int]] | None = None
    """Class → how many examples it has, and how many of them were predicted wrongly; None where that was not given."""
