"""What `constraints.txt` pins, and what pip says of it."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ("3.11", "3.12", "3.13")
"""Those that the pins are for, on Linux on x86_64."""


class CouldNotAsk(Exception):
    """The package index gave no answer. The message is pip's own."""


def pins(file: Path = ROOT / "constraints.txt") -> dict[str, str]:
    """Versions by normalised name."""
    lines = file.read_text(encoding="utf-8").splitlines()
    found = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    return {str(canonicalize_name(name)): version for name, version in found.items()}


def hashed_pins() -> dict[str, str]:
    """All but torch, which comes from the index that the user chose, in more than one build of the same version."""
    return {name: version for name, version in pins().items() if name != "torch"}


def offered(pinned: Mapping[str, str], python: str) -> list[dict[str, Any]]:
    """What pip would install of these pins for that Python: an entry of its report each. Nothing is installed.

    Raises `CouldNotAsk`.
    """
    with tempfile.TemporaryDirectory() as work:
        report, wanted = Path(work, "report.json"), Path(work, "wanted.txt")
        wanted.write_text("".join(f"{name}=={version}\n" for name, version in pinned.items()), encoding="utf-8")
        # The highest patch version: a package may ask for a later one than a Python's first.
        target = ("--only-binary", ":all:", "--python-version", f"{python}.99", "--target", work)
        outcome = pip(
            *("install", "--dry-run", "--no-deps", "--ignore-installed", *target),
            *("--report", str(report), "--requirement", str(wanted)),
        )
        if outcome.returncode:
            raise CouldNotAsk(_last_line(outcome.stderr))
        entries: list[dict[str, Any]] = json.loads(report.read_text(encoding="utf-8"))["install"]
        return entries


def pip(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run pip quietly, as its configuration says."""
    command = (sys.executable, "-P", "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments)
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["pip said nothing"])[-1]
