"""What settings are held to: each raises `ConfigError` with the flag, the value and what to give instead."""

from __future__ import annotations

import math
from typing import Any

from charloom.errors import ConfigError


def flag(name: str) -> str:
    """How the command line spells a setting."""
    return "--" + name.replace("_", "-")


def require(holds: bool, fact: str, remedy: str) -> None:
    """``fact`` says what is wrong where the condition does not hold, ``remedy`` what to do."""
    if not holds:
        raise ConfigError(fact, remedy=remedy)


def at_least(name: str, value: float, least: float) -> None:
    """A finite number that is not below ``least``."""
    require(
        math.isfinite(value) and value >= least,
        f"{flag(name)} {value} is below {least}",
        f"Give a value of at least {least}.",
    )


def seed_in_range(value: int) -> None:
    """A seed of 64 bits."""
    require(0 <= value < 1 << 64, f"--seed {value} is not in [0, 2^64)", "Try 0.")


def one_of(name: str, value: object, choices: Any) -> None:
    """One of a `Literal`'s values."""
    allowed = choices.__args__
    require(value in allowed, f"{flag(name)} {value!r} is not one of its choices", f"Choices: {', '.join(allowed)}.")
