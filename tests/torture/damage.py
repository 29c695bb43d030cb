"""Damaged files: each is refused in the project's own words, or means what it meant; and nothing else is touched."""

from __future__ import annotations

import contextlib
import json
import random
import resource
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from charloom.errors import CharloomError
from charloom.resuming import EnvironmentWarning, HistoryWarning
from telltales.errors import TelltalesError
from torture.processes import ForkServer
from torture.shown import Effort, Progress, Shown
from torture.victims import Victim, victims

HEADROOM = 1 << 30
"""So many bytes more than before may be asked for while a damaged file is read."""
SECONDS = 20.0
"""Of computing, for one file."""
OWN = (CharloomError, TelltalesError)


def show(effort: Effort, progress: Progress) -> Iterator[Shown]:
    """Damages of each file in turn; a third of them forgeries, whose checksums are right."""
    with tempfile.TemporaryDirectory() as folder, _quiet():
        root = Path(folder)
        every = list(victims(root))
        for victim in every:
            victim.uses()
        expected = {victim.what: victim.means() for victim in every}
        tallies = {False: Tally(), True: Tally()}
        share = -(-effort.damages // len(every))
        with _bounded_memory():
            for victim in every:
                progress(f"  {share} damages of {victim.what}")
                draw = random.Random(f"{effort.seed} {victim.what}")
                for number in range(share):
                    forged = number % 3 == 2
                    try_one(victim, expected[victim.what], draw, tallies[forged], forged=forged)
        yield tallies[False].shown("damaged files, refused or as before")
        yield tallies[True].shown("files that were changed and sealed again, refused or sound")
        if effort.damages >= Effort.damages:
            with ForkServer() as server:
                yield commands(server, every, root, effort.damages // 1000, effort.seed, progress)


def commands(
    server: ForkServer, every: Sequence[Victim], root: Path, times: int, seed: int, progress: Progress
) -> Shown:
    """The real commands on damaged files: an exit status and a sentence, and what is sound is still listed."""
    failures: list[str] = []
    ends: Counter[int] = Counter()
    for victim in every:
        progress(f"  commands on a damaged {victim.what}")
        draw = random.Random(f"{seed} {victim.what}")
        for _ in range(times):
            with tempfile.TemporaryDirectory() as made:
                here = Path(made) / "runs"
                shutil.copytree(root, here)
                path = here / victim.path.relative_to(root)
                damaged = draw.choice(victim.damages)(path.read_bytes(), draw)
                path.write_bytes(damaged)
                for program, *arguments in _commands_on(path):
                    end = server.run(*arguments, program=program, cwd=Path(made))
                    ends[end.status] += 1
                    if not end.sound or end.status not in range(5) or (end.status in (1, 2) and not end.messages):
                        said = f"{end.status}: {end.messages[-300:]}"
                        failures.append(f"{victim.what}: {program} {' '.join(arguments)} ended with {said}")
                    if arguments[0] == "runs":
                        listed = {one["run"] for one in json.loads(end.output or "[]")}
                        if not {"counted", "trained", "begun"} - {path.parent.name} <= listed:
                            failures.append(f"{victim.what}: of the sound runs only {sorted(listed)} are listed")
    figures = ", ".join(f"{count:,} with status {status}" for status, count in sorted(ends.items()))
    return Shown(5, "commands on damaged files", sum(ends.values()), tuple(failures[:20]), figures)


def _commands_on(path: Path) -> Iterator[tuple[str, ...]]:
    """Those that read the file, in the folder that holds ``runs``."""
    name = path.parent.name
    if path.name == "record.jsonl":
        yield from (("telltales", what, str(path)) for what in ("show", "judge"))
        yield "telltales", "report", str(path), "--html", "out.html"
    elif path.name == "recall.json":
        yield "charloom", "recall", "--list", "--state", str(path)
    elif name == "begun":
        yield "charloom", "train", "--resume", name
    elif name in ("counted", "trained"):
        yield "charloom", "sample", name, "-n", "2"
        yield "charloom", "score", name, "emma"
        yield "charloom", "evaluate", name, "--samples", "5"
    yield "charloom", "runs", "--json"


@dataclass
class Tally:
    """How damages have ended."""

    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def shown(self, what: str) -> Shown:
        """The row of the table."""
        figures = ", ".join(f"{count:,} {end}" for end, count in sorted(self.counts.items()))
        return Shown(5, what, sum(self.counts.values()), tuple(self.failures[:20]), figures)


def try_one(victim: Victim, expected: Any, draw: random.Random, tally: Tally, *, forged: bool) -> None:
    """Damage a file that means ``expected`` in one way, read it, and put it back."""
    whole = victim.path.read_bytes()
    damage = draw.choice(victim.forgeries if forged else victim.damages)
    while (damaged := damage(whole, draw)) == whole:
        pass
    victim.path.write_bytes(damaged)
    before = _files(victim.path.parent)
    try:
        end, said = _ending(victim.uses if forged else victim.means)
        if end != "read" and _files(victim.path.parent) != before:
            end = "FILES TOUCHED"
        if end == "read" and not forged:
            end = "as before" if said == expected or _is_cut(victim, whole, damaged, said) else "CHANGED"
    finally:
        victim.path.write_bytes(whole)
    tally.counts[end] += 1
    if end not in ("refused", "as before", "read"):
        tally.failures.append(f"{victim.what}, {damage.__name__}: {end}: {str(said)[:300]}")


def _ending(read: Callable[[], Any]) -> tuple[str, Any]:
    """``refused``, ``read`` or what must not be; and what was read or said."""
    try:
        with _bounded_time():
            return "read", read()
    except OWN as error:
        return "refused", error
    except (Exception, _TooLong) as error:  # noqa: BLE001 -- that is what is looked for
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}", f"{error} ({place.filename}, line {place.lineno})"


def _is_cut(victim: Victim, whole: bytes, damaged: bytes, meaning: Any) -> bool:
    """Whether the damage came to what a crash leaves: the lines before it, and none after."""
    if not victim.by_lines:
        return False
    same = next(
        (place for place, pair in enumerate(zip(whole, damaged, strict=False)) if pair[0] != pair[1]), len(damaged)
    )
    victim.path.write_bytes(whole[: whole[:same].rfind(b"\n") + 1])
    return _ending(victim.means) == ("read", meaning)


def _files(folder: Path) -> dict[str, tuple[int, int]]:
    """What lies in a folder; the lock is a file that comes and goes."""
    found = {path.name: path.stat() for path in folder.iterdir() if path.name != ".lock"}
    return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in found.items()}


class _TooLong(BaseException):
    pass


@contextlib.contextmanager
def _bounded_time() -> Iterator[None]:
    """Raise in what computes for longer than `SECONDS`. Waiting does not count, nor does a slow machine."""

    def stop(*_: object) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


@contextlib.contextmanager
def _bounded_memory() -> Iterator[None]:
    """Let no more than `HEADROOM` be asked for, where the system can say how much there is."""
    if not sys.platform.startswith("linux"):
        yield
        return
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + HEADROOM, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        for expected in (EnvironmentWarning, HistoryWarning):
            warnings.simplefilter("ignore", expected)
        yield
