"""Mutants are applied to a copy of the project, one at a time, and their tests run there."""

from __future__ import annotations

import importlib
import os
import pkgutil
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from typing import TypeVar

import torture.mutants
from torture.mutants import Mutant

PROJECT = Path(__file__).parents[3]
NOT_COPIED = (".git", ".venv", "runs", "reports", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis")
TESTS_FAILED = 1
"""pytest's exit status where tests ran and some failed."""
SECONDS = 300
Result = TypeVar("Result")


@dataclass(frozen=True)
class Tried:
    """What came of a mutant."""

    mutant: Mutant
    caught: bool
    said: str
    """Why not, where it was not caught."""


def every_mutant() -> list[Mutant]:
    """Those of all modules of `torture.mutants`, by promise."""
    names = [module.name for module in pkgutil.iter_modules(torture.mutants.__path__) if module.name != "running"]
    modules = [importlib.import_module(f"torture.mutants.{name}") for name in names]
    return sorted((one for module in modules for one in module.MUTANTS), key=lambda one: one.promise)


def try_all(mutants: Sequence[Mutant], jobs: int = 1) -> Iterator[Tried]:
    """Each mutant and what came of it, in order.

    What is not caught: a mutant whose test passes, or whose test does not pass without it, or that cannot be applied.
    """
    with TemporaryDirectory(prefix="mutants-") as made, ThreadPoolExecutor(jobs) as pool:
        copies: SimpleQueue[Path] = SimpleQueue()
        for number in range(jobs):
            copies.put(_copied(Path(made) / str(number)))
        sound = pool.map(lambda test: _with_copy(copies, lambda copy: _status(copy, test)), _tests(mutants))
        passing = {test: status == 0 for test, status in zip(_tests(mutants), sound, strict=True)}
        yield from pool.map(
            lambda mutant: _with_copy(copies, lambda copy: try_one(mutant, copy, passing[mutant.test])), mutants
        )


def try_one(mutant: Mutant, copy: Path, passes: bool) -> Tried:
    """Apply a mutant to a copy of the project, run its test, and undo it."""
    path = copy / mutant.file
    before = path.read_text(encoding="utf-8")
    if before.count(mutant.old) != 1:
        return Tried(mutant, False, f"its text stands {before.count(mutant.old)} times in {mutant.file}")
    if not passes:
        return Tried(mutant, False, "its test does not pass without it")
    path.write_text(before.replace(mutant.old, mutant.new), encoding="utf-8")
    try:
        status = _status(copy, mutant.test)
    finally:
        path.write_text(before, encoding="utf-8")
    if status == TESTS_FAILED:
        return Tried(mutant, True, "")
    said = "its test passes" if status == 0 else f"its test could not run (exit status {status})"
    return Tried(mutant, False, said)


def _tests(mutants: Sequence[Mutant]) -> list[str]:
    return list(dict.fromkeys(mutant.test for mutant in mutants))


def _with_copy(copies: SimpleQueue[Path], work: Callable[[Path], Result]) -> Result:
    """What ``work`` gives with a copy that nobody else has in the meantime."""
    copy = copies.get()
    try:
        return work(copy)
    finally:
        copies.put(copy)


def _copied(place: Path) -> Path:
    """A copy of the project, with what is compiled of it."""
    shutil.copytree(PROJECT, place, ignore=shutil.ignore_patterns(*NOT_COPIED), symlinks=True)
    return place


def _status(copy: Path, test: str) -> int:
    """pytest's exit status for one test in a copy of the project."""
    environment = os.environ | {"PYTHONPATH": str(copy / "src"), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    parity = PROJECT.parent / "shared" / "data" / "makemore-names.txt"
    if "PARITY_NAMES" not in environment and parity.is_file():
        environment["PARITY_NAMES"] = str(parity)
    command = [sys.executable, "-P", "-m", "pytest", "-q", "-x", "-n", "0", "-p", "no:cacheprovider", test]
    with suppress(subprocess.TimeoutExpired):
        return subprocess.run(command, cwd=copy, env=environment, capture_output=True, timeout=SECONDS).returncode
    return TESTS_FAILED  # A test that comes to no end has noticed, too.
