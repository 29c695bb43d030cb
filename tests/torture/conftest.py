"""What the tests of the torture share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from torture.processes import ForkServer


@pytest.fixture(scope="session")
def server() -> Iterator[ForkServer]:
    """One process for all tests that has everything imported."""
    if not hasattr(os, "fork"):
        pytest.skip("this system has no fork")
    with ForkServer() as running:
        yield running
