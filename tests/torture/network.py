"""Nothing asks the network for anything: every command, every module and the notebooks' code, run without one.

Two ways to be without: a hook that refuses and notes each of Python's calls (`guard/sitecustomize.py`), and a namespace
of the kernel's that has no network at all, for what compiled libraries would do. What is asked of the network and then
done without would pass in a namespace; the hook notes it.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from torture.shown import SHORT, Effort, Progress, Shown

ROOT = Path(__file__).parents[2]
GUARD = Path(__file__).parent / "guard"
PROMISE = 14
BRIDGES = "tests/telltales/bridges"


@dataclass(frozen=True)
class Outcome:
    """How something went that was run without a network."""

    name: str
    status: int
    said: str


def show(effort: Effort, progress: Progress) -> Iterator[Shown]:
    """Both ways at once in the short form; one after the other in the long one, with the notebooks and the bridges."""
    yield from controls()
    if effort == SHORT:
        yield _shown("commands and imports without a network", *offline([], namespace=bool(_namespace())))
        return
    everything = _names()
    for separate in (False, True):
        where = "in a namespace without a network" if separate else "under a hook that refuses the network"
        what = f"commands, notebooks and imports {where}"
        if separate and not _namespace():
            yield Shown(PROMISE, what, 0, skipped=_NO_NAMESPACE)
            continue
        progress(what)
        yield _shown(what, *offline(everything, namespace=separate, hook=not separate))
    progress("the bridges to other libraries")
    yield bridges()


def controls() -> Iterator[Shown]:
    """That the hook refuses, and notes; and that the namespace has no network."""
    outcomes, attempts = offline(["network"])
    wrong = _failures(outcomes)
    if outcomes and outcomes[0].said != " ".join(["PermissionError"] * 4):
        wrong.append(f"the hook refused otherwise than it should: {outcomes[0].said}")
    if len(attempts) < 4:
        wrong.append(f"the hook noted {attempts} only")
    yield Shown(PROMISE, "ways to the network that the hook refuses", 4, tuple(wrong))
    if not _namespace():
        yield Shown(PROMISE, "ways to the network that a namespace has not", 0, skipped=_NO_NAMESPACE)
        return
    outcomes, _ = offline(["network"], namespace=True, hook=False)
    yield Shown(PROMISE, "ways to the network that a namespace has not", 4, tuple(_failures(outcomes)))


def offline(names: Sequence[str], *, namespace: bool = False, hook: bool = True) -> tuple[list[Outcome], list[str]]:
    """Run these, or all commands and imports, without a network: how each went, and what was tried of the network."""
    with tempfile.TemporaryDirectory() as made:
        work, outcomes, log = Path(made, "work"), Path(made, "outcomes.jsonl"), Path(made, "attempts.txt")
        work.mkdir()
        (work / "names.txt").write_text(_names_file(), encoding="utf-8")
        command = [sys.executable, "-P", "-m", "torture.offline", str(outcomes), *names]
        ended = run(command, work, log, namespace=namespace, hook=hook)
        lines = outcomes.read_text(encoding="utf-8").splitlines() if outcomes.exists() else []
        found = [Outcome(**{"said": ended.stderr, **json.loads(line)}) for line in lines]
        if ended.returncode:
            found.append(Outcome("the process itself", ended.returncode, ended.stderr))
        return found, log.read_text(encoding="utf-8").splitlines() if log.exists() else []


def bridges() -> Shown:
    """The bridges' own tests, with the real libraries. They may talk to servers that they start on this machine."""
    with tempfile.TemporaryDirectory() as made:
        log = Path(made, "attempts.txt")
        command = [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", BRIDGES]
        ended = run(command, ROOT, log, GUARD_LOOPBACK="1")
        attempts = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    wrong = [] if ended.returncode == 0 else [ended.stdout[-2000:]]
    figures = ended.stdout.strip().splitlines()[-1] if ended.stdout.strip() else ""
    return Shown(PROMISE, "libraries that are bridged to, used offline", 5, (*wrong, *attempts), figures)


@cache
def _namespace() -> tuple[str, ...]:
    """The command that starts another in a namespace without a network; empty where none can be made."""
    for command in (("unshare", "-rn"), ("unshare", "-n")):
        if (
            shutil.which("unshare")
            and subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0
        ):
            return command
    return ()


_NO_NAMESPACE = "no network namespace can be made here"


def run(
    command: Sequence[str], folder: Path, log: Path, *, namespace: bool = False, hook: bool = True, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a command in that folder under the hook, or in a namespace, or both; ``log`` is where the hook notes."""
    path = [str(GUARD)] * hook + [str(ROOT / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment: Mapping[str, str] = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path),
        "GUARD_LOG": str(log),
        "MPLBACKEND": "Agg",
        "OMP_NUM_THREADS": "1",
        **variables,
    }
    before = _namespace() if namespace else ()
    return subprocess.run([*before, *command], cwd=folder, env=environment, capture_output=True, text=True, check=False)


def _names() -> list[str]:
    """All that can be run, asked of the commands themselves, in a process that was denied the network as well."""
    with tempfile.TemporaryDirectory() as made:
        command = [sys.executable, "-P", "-c", "import torture.offline as o; print(*o.names(), sep='\\n')"]
        listed = run(command, Path(made), Path(made, "attempts.txt")).stdout.splitlines()
    return [*listed, *(str(path) for path in sorted((ROOT / "notebooks").glob("[0-9]*.py")))]


def _names_file() -> str:
    """Data of our own, so that this process need not import what it is to try."""
    draw = random.Random(0)
    return "".join(f"{''.join(draw.choices('aeioulnrst', k=draw.randint(3, 7)))}\n" for _ in range(300))


def _shown(what: str, outcomes: Sequence[Outcome], attempts: Sequence[str]) -> Shown:
    asked = (f"asked the network: {attempt}" for attempt in attempts)
    return Shown(PROMISE, what, len(outcomes), (*_failures(outcomes), *asked))


def _failures(outcomes: Sequence[Outcome]) -> list[str]:
    if not outcomes:
        return ["nothing was run"]
    return [f"{one.name}: status {one.status} {one.said[-500:]}" for one in outcomes if one.status]
