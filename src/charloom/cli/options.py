"""The options that several commands share, made from the configuration classes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Group, Parameter

from charloom.config import DataConfig, ModelConfig, SamplingConfig, TrainingConfig

_DATA = Group("Data", sort_key=1)
_MODEL = Group("Model", sort_key=2)
_TRAINING = Group("Training", sort_key=3)
_SAMPLING = Group("Sampling", sort_key=1)

# A configuration is None where none of its flags was given, so that a command can tell.
# `--data -` is standard input, so a value may start with a hyphen.
DataFlags = Annotated[DataConfig | None, Parameter(name="*", group=_DATA, allow_leading_hyphen=True)]
ModelFlags = Annotated[ModelConfig | None, Parameter(name="*", group=_MODEL)]
TrainingFlags = Annotated[TrainingConfig | None, Parameter(name="*", group=_TRAINING)]
SamplingFlags = Annotated[SamplingConfig | None, Parameter(name="*", group=_SAMPLING)]

Json = Annotated[bool, Parameter(negative="", help="Print JSON for a program instead of a table for a person.")]
RunName = Annotated[str | None, Parameter(help="A run's name or folder. [default: the latest]")]
RunsFolder = Annotated[Path, Parameter(name="--runs", help="The folder that runs lie in.")]
Watch = Annotated[
    Literal["off", "economy", "standard", "full"],
    Parameter(help="Record and draw what goes on inside the network; --watch alone is `standard`.", group=_TRAINING),
]
Switch = Parameter(negative="")


def with_values(tokens: list[str]) -> list[str]:
    """The command line with `--watch` alone, or before another option, as `--watch=standard`."""
    spelled = []
    for token, following in zip(tokens, [*tokens[1:], ""], strict=True):
        has_value = following in ("off", "economy", "standard", "full")
        spelled.append("--watch=standard" if token == "--watch" and not has_value else token)
    return spelled
