"""The errors a user can meet. Each says what happened, where, and what to do about it."""

from __future__ import annotations

from typing import Any


class TelltalesError(Exception):
    """Something the user can act on.

    ``fact`` says what is wrong, ``where`` names the place (a module, a parameter, a file and its line) and ``remedy``
    says what to do. The command line prints all three and exits with ``exit_status``: 2 for misuse, 1 for failure.
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


class UsageError(TelltalesError):
    """A setting or an argument that makes no sense."""

    exit_status = 2


class ProbeError(TelltalesError):
    """A probe that cannot see what it was put there to see."""


class RecordError(TelltalesError):
    """A record that cannot be read, written or drawn."""


class FindingError(TelltalesError):
    """A finding that the caller wanted to end the training: see `Watch.raise_on`."""

    def __init__(self, finding: Any) -> None:
        """``finding``: a `telltales.Finding`, kept as ``finding``."""
        self.finding = finding
        place = finding.where or None
        super().__init__(f"{finding.rule}: {finding.evidence}", where=place, remedy=finding.remedy)


class TelltalesWarning(UserWarning):
    """Less is watched than was asked for; the training itself is untouched."""
