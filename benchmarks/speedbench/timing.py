"""How long a call takes, and how fast memory is read."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np


def timed(call: Callable[[], Any]) -> float:
    """Wall-clock seconds of one call."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def memory_read() -> float:
    """Bytes a second that one thread reads from memory: the sum of half a gigabyte, best of five."""
    numbers = np.ones(1 << 26)
    return numbers.nbytes / min(timed(numbers.sum) for _ in range(5))
