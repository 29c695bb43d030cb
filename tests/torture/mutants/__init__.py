"""Breaks of the code that named tests must notice. Each module here has its `MUTANTS`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """One break."""

    what: str
    """What is broken, in a few words: ``the temporary file is not renamed``."""
    promise: int
    """Which promise it breaks: a row of the table in `SECURITY.md`."""
    file: str
    """Where, from the project's root."""
    old: str
    """The text that is replaced, standing there exactly once."""
    new: str
    """What stands there instead."""
    test: str
    """The test that must fail, as pytest names it: ``tests/test_checkpoint.py::test_name``."""
