"""What is installed is what was pinned: pins, hashes, licences, advisories."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from torture.shown import SHORT, Effort, Progress, Shown

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "supply"))

import audit  # noqa: E402 -- it lies there
import licences  # noqa: E402
from closure import installed_closure  # noqa: E402

PROMISE = 14


def show(effort: Effort, progress: Progress) -> Iterator[Shown]:
    """The audit. Its short form asks nobody, and reads the files of what users install, but not torch's gigabyte."""
    if effort == SHORT:
        everything = installed_closure([f"telltales[{extra}]" for extra in licences.EXTRAS])
        small = [one for name, one in installed_closure(_shipped()).items() if name != "torch"]
        checks = iter([audit.versions(everything.values()), audit.hashes_of_pins(), audit.files(small)])
    else:
        checks = (check for every in (audit.installed_checks, audit.index_checks) for check in every())
    for check in checks:
        progress(check.what)
        yield Shown(PROMISE, check.what, check.count, check.wrong, skipped=check.unasked)
    yield permissive()


def permissive() -> Shown:
    """The licences of what users install."""
    found = licences.shipped()
    wrong = tuple(f"{name}: {said}" for name, said in found.items() if not licences.is_permissive(said))
    return Shown(PROMISE, "permissive licences of what users install", len(found), wrong)


def _shipped() -> list[str]:
    return [f"telltales[{extra}]" for extra in licences.SHIPPED]
