"""Which text is read, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from charloom.config.checks import at_least, one_of, require

Unit = Literal["line", "text"]
Protocol = Literal["unique", "classic"]
Case = Literal["keep", "lower", "fold"]
Normalization = Literal["nfc", "none"]

BUILTIN_DATA = "ssa-2018"


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which text to read, how to decode it, and how to split it."""

    data: str = BUILTIN_DATA
    """A file (.gz and .xz are unpacked), `-` for standard input, or `ssa-2018`, the built-in names."""
    unit: Unit = "line"
    """`line`: one item per line. `text`: one contiguous text."""
    protocol: Protocol = "unique"
    """`unique` drops repeated items before splitting; `classic` keeps them. Both shuffle, then split 80/10/10."""
    case: Case = "keep"
    """`lower` or `fold` (full Unicode case folding) the letters, or `keep` them."""
    normalize: Normalization = "nfc"
    """Unicode normalisation form."""
    strip: bool = True
    """Drop white space around each item (unit `line` only)."""
    max_line: int = 10_000
    """Longest line accepted, in characters (unit `line` only)."""
    split_seed: int = 42
    """Seed of the shuffle before the split."""

    def __post_init__(self) -> None:
        require(self.data != "", "--data is empty", "Name a file, or `-` for standard input.")
        one_of("unit", self.unit, Unit)
        one_of("protocol", self.protocol, Protocol)
        one_of("case", self.case, Case)
        one_of("normalize", self.normalize, Normalization)
        at_least("max-line", self.max_line, 1)
