"""Promises that tests of the suite hold by themselves: those are run, and counted."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree

from torture.shown import Effort, Progress, Shown

PROJECT = Path(__file__).parents[2]
SUITES = (
    (
        10,
        "tests of gradients, extreme logits, NumPy twins, golden losses and chi-square of samplers",
        (
            "tests/models",
            "tests/test_drawing.py",
            "tests/test_engine.py",
            "tests/test_initialization.py",
            "tests/test_loss.py",
            "tests/test_sampling.py",
            "tests/test_sampling_filters.py",
            "tests/test_tables.py",
            "tests/test_training.py",
            "tests/telltales/test_statistics.py",
        ),
    ),
    (
        11,
        "tests that a watch changes nothing and leaves nothing",
        (
            "tests/telltales/test_watching.py",
            "tests/telltales/test_odd_loops.py",
            "tests/telltales/test_passing.py",
            "tests/test_watching.py",
        ),
    ),
    (13, "tests of stopping and going on", ("tests/test_fitting.py",)),
)


def show(effort: Effort, progress: Progress) -> Iterator[Shown]:
    """Run each of the suites."""
    for promise, what, paths in SUITES:
        progress(f"  {', '.join(paths)}")
        yield run(promise, what, paths)


def run(promise: int, what: str, paths: tuple[str, ...]) -> Shown:
    """How many of the tests there are, and which of them fail."""
    with TemporaryDirectory() as place:
        report = Path(place) / "report.xml"
        command = [sys.executable, "-P", "-m", "pytest", "-q", f"--junit-xml={report}", "-p", "no:cacheprovider"]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run([*command, *paths], cwd=PROJECT, env=environment, capture_output=True, text=True)
        if not report.exists():
            return Shown(promise, what, 0, (f"pytest ended with status {done.returncode}: {done.stdout[-300:]}",))
        cases = list(ElementTree.parse(report).iter("testcase"))
    ran = [case for case in cases if case.find("skipped") is None]
    failed = [case for case in ran if case.find("failure") is not None or case.find("error") is not None]
    names = tuple(f"{case.get('classname')}.{case.get('name')}" for case in failed)
    return Shown(promise, what, len(ran), names or (() if ran else ("no test ran",)))
