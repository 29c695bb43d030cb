"""Loops over plain arrays, compiled by numba on first use and kept on disk. None is needed: all have a plain twin.

Nothing here knows of models, files or configuration. Whoever imports a file of this package asks `available` first.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path


@cache
def available() -> bool:
    """Whether numba is installed."""
    return find_spec("numba") is not None


def source_digest() -> int:
    """A number that changes with any file of this package, and is not 0.

    Numba keeps code under its own file's date and does not see that a function which it calls has changed. So only
    what is called from Python is kept, under this number.
    """
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return int.from_bytes(digest.digest()[:7]) | 1
