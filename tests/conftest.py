"""What all tests share."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import settings

PARITY_MD5 = "401b3c4cac9e28a586ed15e81256680d"

# Small batches are faster on one thread, here and in the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# No test asserts a time, so no property test has a deadline. `pytest --hypothesis-profile=long` is the long run.
settings.register_profile("short", deadline=None)
settings.register_profile("long", deadline=None, max_examples=10_000)
settings.load_profile("short")


@pytest.fixture(scope="session")
def parity_names() -> Path:
    """The list that the published figures were made on. It is not part of the project."""
    default = Path(__file__).parents[2] / "shared" / "data" / "makemore-names.txt"
    path = Path(os.environ.get("PARITY_NAMES", default))
    if not path.is_file():
        pytest.skip(f"the list of the published figures is not at {path}; PARITY_NAMES names another place")
    if hashlib.md5(path.read_bytes()).hexdigest() != PARITY_MD5:
        pytest.fail(f"{path} is not the list of the published figures: its MD5 is not {PARITY_MD5}")
    return path
