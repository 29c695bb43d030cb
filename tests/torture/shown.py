"""What a part of the torture gives, and how much of it there is to be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

Progress = Callable[[str], None]
"""Told what is being done, a line each."""


@dataclass(frozen=True)
class Effort:
    """How much is tried. The defaults are the long form."""

    kills: int = 50
    """Kills at random times, of all families and engines together."""
    damages: int = 20_000
    """Damaged files."""
    texts: int = 10_000
    """Texts made at random."""
    fuzz_seconds: int = 60
    """Coverage-guided fuzzing of each target."""
    megabytes: int = 1_000
    """The largest input whose memory is measured."""
    seed: int = 0
    """Of all that is drawn at random."""


SHORT = Effort(kills=6, damages=600, texts=300, fuzz_seconds=2, megabytes=32)
"""What the tests try."""


@dataclass(frozen=True)
class Shown:
    """One thing that was tried."""

    promise: int
    """Which promise it is about: a row of the table in `SECURITY.md`."""
    what: str
    """What was tried, as a noun phrase: ``kills at random times``."""
    count: int
    """How often."""
    failures: tuple[str, ...] = ()
    """What went wrong, a line each; empty where the promise held."""
    figures: str = ""
    """What was measured, for the table: ``peak 212 MB, +0.001 MB a MB``."""
    skipped: str = ""
    """Why it could not be tried here; ``count`` is 0 then."""


class Part(Protocol):
    """A part of the torture: a module of this package with this function."""

    def show(self, effort: Effort, progress: Progress) -> Iterator[Shown]: ...
