"""The learning-rate range test: raise the rate from step to step and watch the loss (Smith 2017, section 3.3)."""

from __future__ import annotations

import dataclasses
import math
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from charloom.config import ModelConfig, TrainingConfig
from charloom.dataset import Dataset
from charloom.errors import ConfigError, TrainingError
from charloom.fitting import start_training
from charloom.observer import Observer, Step

if TYPE_CHECKING:
    from charloom.training import Training

SMOOTHING = 0.9
EXPLODED = 1.3
"""The test ends once the smoothed loss is this many times its lowest value."""


@dataclass(frozen=True)
class LearningRates:
    """The smoothed loss (nats per character) at each learning rate tried."""

    learning_rates: list[float]
    losses: list[float]

    @property
    def lowest(self) -> float:
        """The rate at which the smoothed loss was lowest, just before it turned up."""
        return self.learning_rates[min(range(len(self.losses)), key=self.losses.__getitem__)]

    @property
    def suggestion(self) -> float:
        """Half of `lowest`, where the loss still fell: the smoothed curve turns up a little late."""
        return self.lowest / 2

    def to_json(self) -> dict[str, Any]:
        """``suggestion``, ``lowest``, ``learning_rates`` and ``losses``."""
        return {
            "suggestion": self.suggestion,
            "lowest": self.lowest,
            "learning_rates": self.learning_rates,
            "losses": self.losses,
        }


def find_learning_rate(
    dataset: Dataset, model: ModelConfig, config: TrainingConfig, *, lowest: float, highest: float, steps: int
) -> LearningRates:
    """Train a fresh model for at most ``steps`` steps while the rate rises geometrically, and throw it away.

    Raises `ConfigError` for bounds that are not 0 < lowest < highest < infinity, or fewer than 20 steps, and
    `TrainingError` when the loss explodes before there is a curve to read.
    """
    if not 0 < lowest < highest < math.inf:
        raise ConfigError(f"{lowest} to {highest} is no range of learning rates", remedy="Try 1e-5 to 10.")
    if steps < 20:
        raise ConfigError(f"{steps} steps are too few to see a curve", remedy="Use at least 20.")
    config = dataclasses.replace(
        config, steps=steps, warmup=0, schedule="constant", evaluate_every=steps, checkpoint_every=steps, patience=None
    )
    watcher = _LossCurve()
    ratio = highest / lowest
    training = start_training(dataset, model, config, schedule=lambda step: lowest * ratio ** (step / (steps - 1)))
    with suppress(TrainingError):  # A loss that is no longer finite ends the test like one that has exploded.
        training.run([watcher])
    if len(watcher.losses) < 20:
        raise TrainingError(
            f"the loss exploded within {len(watcher.losses)} steps", remedy="Start from a lower rate with --lowest."
        )
    return LearningRates(watcher.learning_rates, watcher.losses)


class _LossCurve(Observer):
    """Keeps the loss's running mean (bias-corrected) and stops the training once it has exploded."""

    def __init__(self) -> None:
        self.learning_rates: list[float] = []
        self.losses: list[float] = []
        self._mean = 0.0

    def stepped(self, training: Training, step: Step) -> None:
        loss = step.loss.item()
        if not math.isfinite(loss):  # On a GPU, where the training itself looks at evaluations only.
            training.request_stop()
            return
        self._mean = SMOOTHING * self._mean + (1 - SMOOTHING) * loss
        self.learning_rates.append(step.learning_rate)
        self.losses.append(self._mean / (1 - SMOOTHING**step.number))
        if self.losses[-1] > EXPLODED * min(self.losses):
            training.request_stop()
