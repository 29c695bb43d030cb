"""Poisoned files and folders: nothing in them is unpickled, evaluated or imported."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torture.poisons import MODULES, poisoned_modules
from torture.processes import WAIT, environment
from torture.shown import Effort, Progress, Shown

ROOT = Path(__file__).parents[2]
BANNED = {
    "import pickle\n": "TID251",
    "from pickle import loads\n": "TID251",
    "import _pickle\n": "TID251",
    "import marshal\n": "TID251",
    "import shelve\n": "TID251",
    "import dill\n": "TID251",
    "import cloudpickle\n": "TID251",
    "import joblib\n": "TID251",
    "import jsonpickle\n": "TID251",
    "import yaml\n": "TID251",
    "import torch\n\ntorch.load('x')\n": "TID251",
    "import torch\n\ntorch.save(1, 'x')\n": "TID251",
    "from torch import load\n": "TID251",
    "import torch\n\ntorch.jit.load('x')\n": "TID251",
    "import torch\n\ntorch.hub.load('x', 'y')\n": "TID251",
    "import pandas\n\npandas.read_pickle('x')\n": "TID251",
    "import numpy as np\n\nnp.load('x', allow_pickle=True)\n": "TID251",
    "from numpy import load\n": "TID251",
    "import numpy as np\n\nnp.save('x', [])\n": "TID251",
    "eval('1')\n": "S307",
    "exec('1')\n": "S102",
    "import os\n\nos.system('true')\n": "TID251",
    "import torch.package\n": "TID251",
}
"""Code → the rule that finds it."""


def show(effort: Effort, progress: Progress) -> Iterator[Shown]:
    """Everything; the short form starts fewer commands in a poisoned folder."""
    few = effort.damages < Effort.damages
    progress("  whether the audit hook sees what it must")
    yield _control()
    progress("  poisoned files in the place of every file that is read, and as data")
    yield _files(each=6 if few else 1)
    progress("  commands in a folder of poisoned modules")
    yield _folders(few)
    yield _ban()


def hooked(what: str, folder: Path, canary: Path, each: int = 1) -> dict[str, Any]:
    """What `torture.hooked` says; of the poisons it reads each so many."""
    command = [sys.executable, "-P", "-m", "torture.hooked", str(folder), str(canary), what, str(each)]
    ended = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=10 * WAIT, check=False)
    if ended.returncode:
        raise RuntimeError(f"the hooked process ended with {ended.returncode}: {ended.stderr[-500:]}")
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def _control() -> Shown:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "poisoned"
        folder.mkdir()
        found = hooked("control", folder, Path(made) / "canary")
    failures = [f"{what} is not seen" for what, seen in found["seen"].items() if not seen]
    failures += [] if found["canary"] else ["the poison does nothing when it is unpickled"]
    return Shown(6, "ways to run code, done on purpose and seen", len(found["seen"]), tuple(failures))


def _files(each: int) -> Shown:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "poisoned"
        folder.mkdir()
        found = hooked("read", folder, Path(made) / "canary", each)
    answers = found["answers"]
    figures = ", ".join(f"{count:,} {answer}" for answer, count in sorted(answers.items()))
    return Shown(6, "poisoned files read under an audit hook", sum(answers.values()), tuple(found["failures"]), figures)


def _folders(few: bool) -> Shown:
    """The commands as they are installed, and as `./lab` starts them, where modules lie that would be imported."""
    scripts = Path(sys.executable).parent
    commands = [
        [str(scripts / "telltales"), "show", "."],
        [str(scripts / "charloom"), "runs"],
        [sys.executable, "-P", "-m", "charloom", "runs"],
        [str(scripts / "charloom"), "train", "--model", "bigram"],
        [str(scripts / "charloom"), "sample", "-n", "2"],
        [sys.executable, "-P", "-m", "charloom", "train", "--steps", "3", "--hidden", "4"],
    ]
    failures = []
    tried = commands[: 2 if few else None]
    with tempfile.TemporaryDirectory() as made:
        folder, canary = Path(made) / "here", Path(made) / "canary"
        folder.mkdir()
        poisoned_modules(folder, canary)
        aware = [sys.executable, "-c", "import typing, rich"]
        subprocess.run(aware, cwd=folder, env=environment(), capture_output=True, timeout=WAIT, check=False)
        if not canary.exists():
            failures.append("a Python that looks in its folder first does not import the poison")
        for command in tried:
            canary.unlink(missing_ok=True)
            if not Path(command[0]).exists():
                return Shown(6, "commands in a folder of poisoned modules", 0, skipped=f"there is no {command[0]}")
            ended = subprocess.run(
                command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=WAIT, check=False
            )
            if canary.exists():
                failures.append(f"{command}: the canary is there")
            if ended.returncode not in (0, 1) or "Traceback" in ended.stderr:
                failures.append(f"{command}: ended with {ended.returncode}: {ended.stderr[-300:]}")
    figures = f"{len(MODULES)} modules, a package and a library in the folder"
    return Shown(6, "commands in a folder of poisoned modules", len(tried), tuple(failures), figures)


def _ban() -> Shown:
    """The lint finds each way to unpickle or evaluate."""
    failures = []
    for code, rule in BANNED.items():
        name = ROOT / "src/charloom/x.py"
        command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format", "concise"]
        ended = subprocess.run(
            [*command, "--stdin-filename", str(name), "-"],
            input=code, cwd=ROOT, capture_output=True, text=True, timeout=WAIT, check=False,
        )  # fmt: skip
        if f" {rule} " not in ended.stdout:
            failures.append(f"the lint does not find {code!r}")
    return Shown(6, "ways to write it, found by the lint", len(BANNED), tuple(failures))
