"""Every crash point: the process dies before, halfway through and after each file operation, or the power goes there.

The operations of one whole run are written down. From them follows what each death and each loss of power leaves, and
from each such state a run is gone on with: it must come to the same bits. Real deaths show that the states are right.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
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
_STEPS = ("--steps", "12", "--evaluate-every", "4", "--checkpoint-every", "5")


@dataclass(frozen=True)
class Case:
    """What is trained, or counted."""

    name: str
    flags: tuple[str, ...]


MLP = Case("mlp", ("--model", "mlp", "--engine", "torch", *_NET, *_STEPS))
WATCHED = Case("mlp, watched", (*MLP.flags, "--watch", "economy"))
NGRAM = Case("ngram:3", ("--model", "ngram:3"))
CASES = (MLP, WATCHED, NGRAM)


@dataclass(frozen=True)
class Point:
    """What a crash leaves."""

    when: str
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
        self._tried: dict[Any, list[str]] = {}
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
        flags = ("train", NAME, "--data", str(self.data), *self.case.flags)
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
                yield Point(f"killed {when}", disk.left_by_death(), promised, ended)
                for state in disk.left_by_power_loss():
                    yield Point(f"power lost {when}", state, promised, ended)

    def faults(self, point: Point) -> list[str]:
        """What is wrong with what a crash leaves, or comes of it."""
        said = []
        if point.promised >= 0:
            content = point.state.get(f"{RUN}/last.safetensors")
            step = -1 if content is None else _step(content)
            if step < point.promised:
                said.append(f"the checkpoint of step {point.promised} was reported, and there is that of {step}")
        if point.finished and point.state.get(f"{RUN}/result.json") is None:
            said.append("the run was reported as finished, and has no result")
        key = tuple(_essence(point.state))
        if key not in self._tried:
            place = self._new(f"state-{len(self._tried)}")
            _lay_out(point.state, place)
            self._tried[key] = self.end_of(place)
        said += self._tried[key]
        return [f"{self.case.name}, {point.when}: {fault}" for fault in said]

    @property
    def states(self) -> int:
        """How many different states have been gone on from."""
        return len(self._tried)

    def death(self, number: int, how: Any) -> tuple[bool, list[str]]:
        """Kill a real run at an operation, and go on with it: whether it got that far, and what is wrong."""
        place = self._new(f"{how}-{number}".replace(" ", "-"))
        ended = self.train(place, Fate(str(place), number, how))
        if ended.status != KILLED:
            wrong = [] if ended.status == 0 else [f"ended with status {ended.status}: {ended.messages[-300:]}"]
            return False, wrong
        return True, [f"{self.case.name}, {how} at operation {number}: {fault}" for fault in self.end_of(place)]

    def end_of(self, place: Path) -> list[str]:
        """Go on with what was left, as a user would, and say what is wrong with that."""
        listed = self._server.run("runs", cwd=place)
        said = [] if listed.status == 0 and listed.sound else [f"`charloom runs` fails: {listed.messages[-300:]}"]
        if not (place / RUN / "result.json").exists():
            begun = (place / RUN / "config.json").exists()
            ended = self._server.run("train", "--resume", NAME, cwd=place) if begun else self.train(place)
            if ended.status or not ended.sound:
                return [*said, f"it does not go on: status {ended.status}, {ended.messages[-300:]}"]
        try:
            found = outcome(place / RUN)
        except (OSError, ValueError, CheckpointError, TelltalesError) as error:
            return [*said, f"what comes out cannot be read: {error}"]
        # A lock that nobody holds, of a run that was killed when it had its result.
        found["files"] = [name for name in found["files"] if name != ".lock"]
        return said + differences(found, self.expected)

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
            progress(f"crash points of {case.name}: what {len(trial.operations)} file operations leave")
            yield states(trial)
            progress(f"crash points of {case.name}: real deaths")
            yield deaths(trial, None if effort.kills >= len(trial.operations) / 2 else effort.kills)


def states(trial: Trial) -> Shown:
    """Go on from every state that a death or a loss of power may leave."""
    points = list(trial.points())
    failures = list(dict.fromkeys(fault for point in points for fault in trial.faults(point)))
    figures = f"{len(trial.operations)} file operations leave {trial.states} different states"
    what = f"{trial.case.name}: the process dead, or the power lost, at every file operation"
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
    return Shown(3, f"{trial.case.name}: killed at a file operation", died, tuple(failures))


def _step(content: bytes | None) -> int:
    """How far the training has come of which this is a checkpoint; -1 where it is none."""
    try:
        assert content is not None
        size = int.from_bytes(content[:8], "little")
        header = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["charloom"])
        return int(header["state"]["progress"]["step"])
    except (AssertionError, ValueError, KeyError):
        return -1


def _essence(state: State) -> Iterator[tuple[str, bytes | None]]:
    """What a state is known by: what a temporary file is called and holds makes no difference."""
    for name, content in state.items():
        stem = Path(name).name
        if stem == ".lock" or stem.endswith(".tmp"):
            yield f"{Path(name).parent}/*{Path(name).suffix}", b""
        else:
            yield name, content


def _lay_out(state: State, place: Path) -> None:
    for name, content in state.items():
        if content is None:
            (place / name).mkdir()
        else:
            (place / name).write_bytes(content)
