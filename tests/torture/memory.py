"""Bounded memory: peaks of fresh processes at growing sizes, and how steeply they rise.

A workload is one process, which grows and tells its peak (``VmHWM``) after each size; what the imports took is
subtracted. A peak never falls, so a slope is what the larger sizes add.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from telltales.schedule import PRESETS
from torture.shown import Effort, Progress, Shown

PROMISE = 9
LONG = 100
"""Megabytes from which everything is measured, and at sizes at which small slopes show."""
STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Workload:
    """What is measured, and what is promised of it."""

    name: str
    """A function of `torture.memory_workloads`, with its arguments behind it."""
    what: str
    sizes: tuple[int, ...]
    unit: str
    most: float
    """MB above the imports, at the largest size."""
    steepest: float
    """MB for each ``unit`` more."""


@dataclass(frozen=True)
class Peaks:
    """Sizes, and the peak at each in MB above the imports."""

    sizes: tuple[int, ...]
    peaks: tuple[float, ...]

    @property
    def slope(self) -> float:
        """Least squares of peak against size; the smallest size, which pays for what is made once, is left out."""
        return float(np.polyfit(self.sizes[1:], self.peaks[1:], 1)[0])


def workloads(effort: Effort) -> tuple[Workload, ...]:
    """Sizes grow with ``effort.megabytes``."""
    mb = effort.megabytes
    counted = tuple(mb >> halvings for halvings in range(5, -1, -1) if mb >> halvings >= 4)
    # The least that can be told from the noise of an allocator: a few MB over all sizes.
    steps, steepest = ((20, 100, 500, 2000), 0.003) if mb >= LONG else ((6, 12, 18), 0.2)
    counting = 300, 0.03 if mb >= LONG else 0.5
    every = (
        *(Workload(f"counting {order}", f"n-grams of order {order}", counted, "MB", *counting) for order in (2, 5)),
        Workload("writing", "observed steps, recorded in a file and judged", steps, "100 steps", 40, steepest),
        Workload("reporting", "reports on observed steps", steps[:3], "100 steps", 60, 0.2),
        Workload("layers", "reports on blocks of twelve modules", (4, 8, 16), "block", 100, 2.5),
        Workload("sampling", "items sampled", (10, 50, max(mb, 100)), "1,000 items", 40, 1 / mb),
        Workload("watching", "watched training steps", steps, "100 steps", 40, steepest),
    )
    if mb < LONG:
        return every
    return (
        *every,
        Workload("counting 3", "n-grams of order 3", counted, "MB", *counting),
        Workload("counting 3 plain", "n-grams of order 3, without numba", (16, 32, 64, 128), "MB", 300, 0.3),
        Workload("recording", "observed steps, recorded in memory", (100, 1000, 10_000), "100 steps", 40, 0.001),
        Workload("training", "training steps", steps, "100 steps", 40, steepest),
        Workload("loading", "text that is loaded and trained on", (1, 2, 4, 8, 16), "MB", 1000, 50),
    )


def measured(name: str, sizes: Sequence[int]) -> Peaks:
    """Run a workload in a process of its own. Raises `RuntimeError` with what it said if it fails."""
    tests = Path(__file__).parents[1]
    paths = os.pathsep.join([str(tests), str(tests / "telltales"), *sys.path])
    done = subprocess.run(
        [sys.executable, "-P", "-m", "torture.memory_workloads", *name.split(), *map(str, sizes)],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr[-2000:]}")
    first, *peaks = (json.loads(line) / 1024 for line in done.stdout.splitlines())
    return Peaks(tuple(sizes), tuple(peak - first for peak in peaks))


def tried(workload: Workload) -> Shown:
    """Measure one workload, and hold it to its bounds."""
    got = measured(workload.name, workload.sizes)
    peak, slope = got.peaks[-1], got.slope
    figures = f"{got.sizes[-1]:,} x {workload.unit}: {peak:.0f} MB, {slope:+.4f} MB a {workload.unit}"
    failures = []
    if peak > workload.most:
        failures.append(f"{workload.what}: a peak of {peak:.0f} MB is above {workload.most}")
    if slope > workload.steepest:
        failures.append(f"{workload.what}: {slope:.4f} MB a {workload.unit} is above {workload.steepest}")
    return Shown(PROMISE, f"memory: {workload.what}", len(got.sizes), tuple(failures), figures)


def scheduled(steps: int = 1_000_000) -> Shown:
    """How many of so many steps are observed: what bounds a record's file, and the cost of a disk that is slow."""
    observed = {name: sum(map(preset.schedule, range(steps))) for name, preset in PRESETS.items()}
    figures = ", ".join(f"{name} {count:,}" for name, count in observed.items())
    failures = [
        f"{name} observes {observed[name]:,} of {steps:,} steps, more than {most:,}"
        for name, most in (("economy", 150), ("standard", 1_100))
        if observed[name] > most
    ]
    return Shown(PROMISE, f"observed of {steps:,} steps", len(observed), tuple(failures), figures)


def show(effort: Effort, progress: Progress) -> Iterator[Shown]:
    yield scheduled()
    for workload in workloads(effort):
        progress(f"memory: {workload.what}")
        if STATUS.exists():
            yield tried(workload)
        else:
            yield Shown(PROMISE, f"memory: {workload.what}", 0, skipped="peaks are read from /proc")
