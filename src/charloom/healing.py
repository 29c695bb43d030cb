"""From what went wrong in a watched training to the settings that mend it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from charloom.config import MODEL_DEFAULTS, ModelConfig, TrainingConfig
from charloom.watching import Prescription


@dataclass(frozen=True)
class Change:
    """One setting that a finding calls for another value of."""

    setting: str
    before: Any
    after: Any
    rule: str
    """The finding's id."""


def healed(
    model: ModelConfig, training: TrainingConfig, prescriptions: Sequence[Prescription]
) -> tuple[ModelConfig, TrainingConfig, list[Change]]:
    """The settings with every prescription applied that is one of settings, and what has changed; maybe nothing has.

    First weights of the wrong scale become Kaiming's, with the gain of the activation that follows.
    """
    changes: list[Change] = []
    takes = MODEL_DEFAULTS[model.family]
    for one in prescriptions:
        current = model.resolved()
        if one.kind == "initial-weights" and "init" in takes:
            wanted = {"init": "kaiming", "init_scale": 1.0}
            model, made = _changed(model, current, {key: v for key, v in wanted.items() if key in takes}, one.rule)
            changes += made
        elif one.kind == "output-scale" and "output_scale" in takes:
            # Under N(0, 1) the output's scale depends on its width; Kaiming's does not.
            scale = min(float(current.output_scale or 1.0) * one.values["factor"], 0.1)
            model, made = _changed(model, current, {"output_scale": scale, "init": "kaiming"}, one.rule)
            changes += made
        elif one.kind in ("learning-rate", "weight-decay"):
            setting = one.kind.replace("-", "_")
            training, made = _changed(training, training, {setting: one.values["value"]}, one.rule)
            changes += made
    return model, training, changes


Config = TypeVar("Config", ModelConfig, TrainingConfig)


def _changed(config: Config, current: Config, wanted: dict[str, Any], rule: str) -> tuple[Config, list[Change]]:
    """``current``: the configuration with its defaults filled in."""
    new = {key: value for key, value in wanted.items() if getattr(current, key) != value}
    return replace(config, **new), [Change(key, getattr(current, key), value, rule) for key, value in new.items()]
