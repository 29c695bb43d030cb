"""Loops over plain arrays, compiled by numba on first use and kept on disk. None is needed: all have a plain twin.

Nothing here knows of models, files or configuration. Whoever imports a file of this package asks `available` first.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path


@cache
def available() -> bool:
    """Whether numba is installed."""
    return find_spec("numba") is not None


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_to_tell: list[Callable[[], None]] = []


def tell_when_compiling(tell: Callable[[], None]) -> None:
    """Call ``tell``, once, when something is compiled later on: not where it is loaded from the disk."""
    _to_tell.append(tell)


def listen_to_the_compiler() -> None:
    """Let those be told who want to be; numba is imported by now."""
    from numba.core import event

    class Listener(event.Listener):
        def on_start(self, event: object) -> None:
            while _to_tell:
                _to_tell.pop()()

        def on_end(self, event: object) -> None:
            """Nothing to tell."""

    if _to_tell:
        event.register("numba:compile", Listener())


def source_digest() -> int:
    """A number that changes with any file of this package, and is not 0.

    Numba keeps code under its own file's date and does not see that a function which it calls has changed. So only
    what is called from Python is kept, under this number.
    """
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return int.from_bytes(digest.digest()[:7]) | 1
