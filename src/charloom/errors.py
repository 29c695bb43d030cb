"""The errors a user can meet. Each says what happened, where, and what to do about it."""

from __future__ import annotations


class CharloomError(Exception):
    """Something the user can act on.

    ``fact`` says what is wrong, ``where`` names the place (``names.txt, line 3, character 7``) and ``remedy`` says what
    to do. The command line prints all three and exits with ``exit_status``: 2 for misuse, 1 for failure.
    """

    exit_status = 1

    def __init__(self, fact: str, *, where: str | None = None, remedy: str | None = None) -> None:
        self.fact = fact
        self.where = where
        self.remedy = remedy
        super().__init__(fact)

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        advice = f"\n{self.remedy}" if self.remedy else ""
        return f"{place}{self.fact}{advice}"


class ConfigError(CharloomError):
    """A setting that is out of range, or that does not apply to the chosen model."""

    exit_status = 2


class DataError(CharloomError):
    """Input text that cannot be read under the stated decoding policy, or is too little to work with."""


class UnknownCharacterError(DataError):
    """A character that the vocabulary does not hold."""


class CheckpointError(CharloomError):
    """A stored model or training state that is damaged, foreign, or of another version."""


class RunError(CharloomError):
    """A run folder that is missing, unfinished, or not one of ours."""


class TrainingError(CharloomError):
    """A training that cannot go on, such as one whose loss is no longer finite."""


class SamplingError(CharloomError):
    """A request for samples that cannot be met, such as more distinct items than the model was found to produce."""
