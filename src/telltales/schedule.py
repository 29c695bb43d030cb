"""When to look, and at what: a step → whether to observe it, and the presets.

A schedule is a plain function of the step, so that every process of a distributed training observes the same steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from telltales.errors import UsageError


def _check(every: int) -> None:
    if every < 1:
        raise UsageError(f"a schedule can't observe every {every} steps", remedy="Give 1 or more.")


@dataclass(frozen=True)
class Schedule:
    """Dense at the start, thinner later: steps 0 to 9, 10, 20, … 90, 100, 200, … with at most ``every`` between two."""

    every: int = 1000

    def __post_init__(self) -> None:
        _check(self.every)

    def __call__(self, step: int) -> bool:
        magnitude: int = 10 ** (len(str(step)) - 1)
        return step % min(self.every, magnitude) == 0


@dataclass(frozen=True)
class Milestones:
    """Rare: steps 0, 1, 10, 100 and so on, and every multiple of ``every``."""

    every: int = 5000

    def __post_init__(self) -> None:
        _check(self.every)

    def __call__(self, step: int) -> bool:
        return step % self.every == 0 or str(step).rstrip("0") == "1"


class Rhythm:
    """Which steps have an update, where a training says `step` at every micro-batch: each so many, as seen at first.

    A step that is due waits for the next such, as one without an update would say little.
    """

    MOST = 64
    """So many steps without an update are looked at in a row; then one is no longer waited for."""

    def __init__(self) -> None:
        self._period = self._idle = 0
        self._last = -1

    def has_its_turn(self, step: int) -> bool:
        return self._period == 0 or (step - self._last) % self._period == 0

    def saw(self, step: int, updated: bool) -> bool:
        """Take in an observed step; gives whether the next is due at once, as it is not known yet when updates come."""
        if not updated:
            self._idle += 1
            return self._period == 0 and self._idle <= self.MOST
        if self._last >= 0 and step - self._last == self._idle + 1:
            self._period = step - self._last
        self._last, self._idle = step, 0
        return False


@dataclass(frozen=True)
class Preset:
    """What is measured, and when."""

    name: str
    schedule: Callable[[int], bool]
    """Which steps are observed."""
    activation_gradients: bool = True
    pictures: Callable[[int], bool] | None = None
    """At which of the observed steps histograms and maps of saturated values are taken."""
    spectral_norms: bool = False
    """The largest singular value of each weight matrix."""
    noise_scale: bool = False
    """How noisy the gradient is, where two observed steps follow one another and the batch size is known."""


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "economy": Preset("economy", Schedule(every=10_000), activation_gradients=False),
        "standard": Preset("standard", Schedule(), pictures=Milestones()),
        "full": Preset(
            "full", Schedule(every=1), pictures=Milestones(every=100), spectral_norms=True, noise_scale=True
        ),
    }
)


def choose_preset(preset: str | Preset) -> Preset:
    """The preset by name, or as it is. Raises `UsageError` for a name that is none."""
    if isinstance(preset, Preset):
        return preset
    if preset not in PRESETS:
        raise UsageError(f"no preset is called {preset!r}", remedy=f"There are {', '.join(PRESETS)}.")
    return PRESETS[preset]
