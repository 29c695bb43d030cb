"""Every crash point: the process dies before, halfway through and after each file operation, or the power goes there.

The operations of one whole run are written down. From them follows what each death and each loss of power leaves, and
from each such state a run is gone on with: it must come to the same bits. Real deaths show that the states are right.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import small
from charloom.errors import CheckpointError
from telltales.errors import TelltalesError
from torture.operations import Fate, read_journal
from torture.outcomes import Outcome, differences, outcome
from torture.power_loss import Disk, State
from torture.processes import KILLED, Ended, ForkServer
from torture.shown import Effort, Progress, Shown

NAME = "kept"
"""Of every run."""
RUN = f"runs/{NAME}"
_NET = ("--hidden", "8", "--embedding", "4", "--context-length", "3", "--batch-size", "16")
_STEPS = ("--steps", "8", "--evaluate-every", "4", "--checkpoint-every", "5")


@dataclass(frozen=True)
class Case:
    """What is trained, or counted."""

    name: str
    flags: tuple[str, ...]
    watch: tuple[str, ...] = ()
    """How it is watched."""

    def __str__(self) -> str:
        return self.name


MLP = Case("mlp", ("--model", "mlp", "--engine", "torch", *_NET, *_STEPS))
WATCHED = Case("mlp, watched", MLP.flags, ("--watch", "economy"))
NGRAM = Case("ngram:3", ("--model", "ngram:3"))
CASES = (MLP, WATCHED, NGRAM)


@dataclass(frozen=True)
class Point:
    """What a crash leaves."""

    number: int
    """Of the file operation."""
    when: str
    power_lost: bool
    state: State
    promised: int
    """The step of the last checkpoint that was reported as written, or -1."""
    finished: bool
    """Whether the run was reported as finished."""


class Trial:
    """A case, tried in a folder of its own."""

    def __init__(self, server: ForkServer, folder: Path, case: Case) -> None:
        self._server = server
        self._folder = folder
        self.case = case
        self.states, self.tried = 0, 0
        """How many different states the crashes leave, and how many of them have been gone on from."""
        self.data = folder / "names.txt"
        self.data.write_text("\n".join(small.names(150)))
        whole = self._new("whole")
        journal = folder / "journal"
        ended = self.train(whole, Fate(str(whole), journal=str(journal)))
        if ended.status:
            raise RuntimeError(ended.messages)
        self.operations = read_journal(journal)
        self.expected: Outcome = outcome(whole / RUN)
        self._root = whole

    def train(self, place: Path, fate: Fate | None = None) -> Ended:
        """Train the case in a folder, as a new run."""
        flags = ("train", NAME, "--data", str(self.data), *self.case.flags, *self.case.watch)
        return self._server.run(*flags, cwd=place, fate=fate)

    def points(self) -> Iterator[Point]:
        """All crash points, one after the other; each loss of power with all that it may leave."""
        disk = Disk(self._root)
        promised, written = -1, -1
        for number, operation in enumerate(self.operations, 1):
            if operation.kind != "fsync":
                promised = written
            parts = [operation]
            if operation.kind == "write":
                parts.insert(0, replace(operation, data=operation.data[: len(operation.data) // 2]))
            for part in parts:
                disk.do(part)
                if part.to.endswith("last.safetensors"):
                    written = _step(disk.left_by_death()[f"{RUN}/last.safetensors"])
                ended = part is operation and number == len(self.operations)
                half = "" if part is operation else "half of "
                when = f"after {half}operation {number} ({operation})"
                yield Point(number, f"killed {when}", False, disk.left_by_death(), promised, ended)
                for state in disk.left_by_power_loss():
                    yield Point(number, f"power lost {when}", True, state, promised, ended)

    def faults(self, points: Sequence[Point], every: int = 1) -> list[str]:
        """What is wrong with what the crashes leave, or comes of it, tried with ``every`` n-th state."""
        known = list(dict.fromkeys(_essence(point.state) for point in points))
        states = {_essence(point.state): point.state for point in points}
        places = {key: self._new(f"state-{number}") for number, key in enumerate(known[::every])}
        for key, place in places.items():
            _lay_out(states[key], place)
        self.states, self.tried = len(states), len(places)
        said = self._listing(places.values())
        ends = {key: self.end_of(place) for key, place in places.items()}
        for point in points:
            for fault in [*_broken_promises(point), *ends.get(_essence(point.state), ())]:
                # What is recorded on the way is handed to the system, not flushed: a loss of power may leave a gap.
                if not (point.power_lost and fault.startswith("record.jsonl differs")):
                    said.append(f"{self.case.name}, {point.when}: {fault}")
        return list(dict.fromkeys(said))

    def death(self, number: int, how: Any) -> tuple[bool, list[str]]:
        """Kill a real run at an operation, and go on with it: whether it got that far, and what is wrong."""
        place = self._new(f"{how}-{number}".replace(" ", "-"))
        ended = self.train(place, Fate(str(place), number, how))
        if ended.status != KILLED:
            wrong = [] if ended.status == 0 else [f"ended with status {ended.status}: {ended.messages[-300:]}"]
            return False, wrong
        return True, [f"{self.case.name}, {how} at operation {number}: {fault}" for fault in self.end_of(place)]

    def _listing(self, places: Iterable[Path]) -> list[str]:
        """What is wrong with `charloom runs` where these are all the runs."""
        together = self._new("together")
        for place in places:
            if (place / RUN).is_dir():
                (together / place.name).symlink_to(place / RUN)
        listed = self._server.run("runs", "--runs", str(together), "--json", cwd=self._folder)
        if listed.status or not listed.sound:
            return [f"{self.case.name}: `charloom runs` ends with status {listed.status}: {listed.messages[-300:]}"]
        begun = sorted(path.parent.name for path in together.glob("*/config.json"))
        if sorted(one["run"] for one in json.loads(listed.output)) != begun:
            return [
                f"{self.case.name}: `charloom runs` does not list all of {len(begun)} runs: {listed.messages[-300:]}"
            ]
        return []

    def end_of(self, place: Path, server: ForkServer | None = None, cwd: Path | None = None) -> list[str]:
        """Go on with what was left, as a user would, and say what is wrong with that.

        ``server`` and ``cwd``: what goes on, and where it sees the place, if that is not as here.
        """
        if not (place / RUN / "result.json").exists():
            watch = self.case.watch if not (place / RUN / "record.jsonl").exists() else ()
            begun = (place / RUN / "config.json").exists()
            resume = ("train", "--resume", NAME, *watch)
            ended = (server or self._server).run(*resume, cwd=cwd or place) if begun else self.train(place)
            if ended.status or not ended.sound:
                return [f"it does not go on: status {ended.status}, {ended.messages[-300:]}"]
        try:
            found = outcome(place / RUN)
        except (OSError, ValueError, CheckpointError, TelltalesError) as error:
            return [f"what comes out cannot be read: {error}"]
        # A lock that nobody holds, of a run that was killed when it had its result.
        found["files"] = [name for name in found["files"] if name != ".lock"]
        return differences(found, self.expected)

    def _new(self, name: str) -> Path:
        place = self._folder / name
        place.mkdir()
        return place


def show(effort: Effort, progress: Progress) -> Iterator[Shown]:
    """All states of all cases, and real deaths: all there are in the long form, else as many as kills are asked for."""
    if not hasattr(os, "fork"):
        yield Shown(3, "crash points", 0, skipped="this system has no fork")
        return
    with ForkServer() as server, tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            place = Path(folder) / case.name.replace(":", "-")
            place.mkdir()
            trial = Trial(server, place, case)
            whole = effort.kills >= len(trial.operations) / 2
            progress(f"crash points of {case.name}: what {len(trial.operations)} file operations leave")
            yield states(trial, 1 if whole or not case.watch else 9)
            progress(f"crash points of {case.name}: real deaths")
            yield deaths(trial, None if whole else effort.kills // 2)


def states(trial: Trial, every: int = 1) -> Shown:
    """Go on from every state that a death or a loss of power may leave, or from ``every`` n-th of them."""
    points = list(trial.points())
    failures = trial.faults(points, every)
    figures = f"{len(trial.operations)} file operations; {trial.tried} of {trial.states} states gone on from"
    what = f"crash points of {trial.case}: dead or without power before, in and after every file operation"
    return Shown(3, what, len(points), tuple(failures), figures)


def deaths(trial: Trial, most: int | None) -> Shown:
    """Let a run die before its first operation, its second, …, and halfway through each write, until none is left."""
    died, failures = 0, []
    last = len(trial.operations)
    numbers = range(1, last + 2) if most is None else sorted({1 + last * i // most for i in range(most)})
    for number in numbers:
        halves = number <= last and trial.operations[number - 1].kind == "write"
        for how in ("die", "die halfway") if halves else ("die",):
            dead, wrong = trial.death(number, how)
            died += dead
            failures += wrong
            if dead != (number <= last):
                failures.append(f"{trial.case.name}: at operation {number} of {last} it is {dead} that it has died")
    return Shown(3, f"real deaths of {trial.case} at file operations", died, tuple(failures))


def _broken_promises(point: Point) -> Iterator[str]:
    content = point.state.get(f"{RUN}/last.safetensors")
    if (found := _step(content)) < point.promised:
        yield f"the checkpoint of step {point.promised} was reported, and there is that of step {found}"
    if point.finished and point.state.get(f"{RUN}/result.json") is None:
        yield "the run was reported as finished, and has no result"


def _step(content: bytes | None) -> int:
    """How far the training has come of which this is a checkpoint; -1 where it is none."""
    try:
        assert content is not None
        size = int.from_bytes(content[:8], "little")
        header = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["charloom"])
        return int(header["state"]["progress"]["step"])
    except (AssertionError, ValueError, KeyError):
        return -1


def _essence(state: State) -> tuple[tuple[str, bytes | None], ...]:
    """What a state is known by: what a temporary file is called and holds makes no difference."""

    def essence(name: str) -> tuple[str, bytes | None]:
        path = Path(name)
        passing = path.name == ".lock" or path.suffix == ".tmp"
        return (f"{path.parent}/*{path.suffix}", b"") if passing else (name, state[name])

    return tuple(essence(name) for name in state)


def _lay_out(state: State, place: Path) -> None:
    for name, content in state.items():
        if content is None:
            (place / name).mkdir()
        else:
            (place / name).write_bytes(content)
