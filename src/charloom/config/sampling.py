"""How the next character is drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass

from charloom.config.checks import at_least, require, seed_in_range


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """How the next character is drawn: temperature, then top-k, then top-p, then min-p (see `charloom.sampling`)."""

    temperature: float = 1.0
    """Below 1 safer, above 1 wilder; 0 always takes the most probable character."""
    top_k: int | None = None
    """Keep the k most probable characters."""
    top_p: float | None = None
    """Keep the fewest characters whose probabilities sum to at least p."""
    min_p: float | None = None
    """Keep characters at least this share as probable as the most probable one."""
    max_length: int | None = None
    """Longest item, in characters, the prefix included. [default: 100; 500 for contiguous text]"""
    prefix: str = ""
    """Text that every item starts with."""
    seed: int = 0
    """Seed of the random numbers."""

    def __post_init__(self) -> None:
        require(
            math.isfinite(self.temperature) and self.temperature >= 0,
            f"--temperature {self.temperature} is not a finite number of at least 0",
            "Use 0 for the most probable character, or a value such as 0.8.",
        )
        if self.top_k is not None:
            at_least("top_k", self.top_k, 1)
        if self.top_p is not None:
            require(0 < self.top_p <= 1, f"--top-p {self.top_p} is not in (0, 1]", "Try 0.9.")
        if self.min_p is not None:
            require(0 <= self.min_p <= 1, f"--min-p {self.min_p} is not in [0, 1]", "Try 0.05.")
        if self.max_length is not None:
            at_least("max_length", self.max_length, 1)
        seed_in_range(self.seed)
