"""Full disks, failing ones and such as can only be read: what stood stands, and nobody claims success.

Two ways. Any file operation of a command can be made to fail, one after the other, and all that follow (`Fate`). And a
real file system of a few kilobytes is mounted where no other process sees it, with one more page free each time.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from charloom.checkpoint import load_checkpoint
from charloom.errors import CharloomError
from torture.crash_points import NAME, RUN, WATCHED, Trial
from torture.operations import Fate, read_journal
from torture.processes import Ended, ForkServer
from torture.shown import Effort, Progress, Shown
from torture.small_disk import PAGE, SmallDisk, why_none

CLAIMS = ("weights sha256", "Wrote ", "The whole of it")
"""What is said of what was written."""
OPTIONAL = ("record.jsonl", "report.html", ".lock")
"""What a training goes on without, with a warning: a full disk ends the record, not the run."""


@dataclass(frozen=True)
class Command:
    """A command that writes."""

    name: str
    arguments: tuple[str, ...]
    target: str
    """What it writes, below the folder that it runs in."""
    program: str = "charloom"
    typed: str = ""

    def __str__(self) -> str:
        return self.name


_NET = ("--hidden", "8", "--embedding", "4", "--context-length", "3", "--batch-size", "16", "--engine", "torch")
_FIND = ("find-lr", "--data", "../names.txt", "--model", "mlp", *_NET, "--trial-steps", "60")
_STUDY = ("experiment", "sampling", NAME, "--samples", "20", "--folder", "study", "--temperatures", "1")
COMMANDS = (
    Command("train", ("train", "new", "--data", "../names.txt", "--model", "bigram"), "runs/new/result.json"),
    Command("count --out", ("count", "../names.txt", "--out", "grams.tsv", "--threads", "1"), "grams.tsv"),
    Command("find-lr --svg", (*_FIND, "--svg", "plot.svg"), "plot.svg"),
    Command("experiment", _STUDY, "study/report.html"),
    Command("recall", ("recall", "--state", "recall.json", "-n", "1"), "recall.json", typed="\n" * 9),
    Command("telltales report", ("report", RUN, "--html", "drawn.html"), "drawn.html", "telltales"),
    Command("telltales judge", ("judge", RUN, "--sarif", "found.sarif"), "found.sarif", "telltales"),
)


class Disks:
    """Commands on disks that fail. All of them find one finished, watched run."""

    def __init__(self, server: ForkServer, folder: Path) -> None:
        self._server = server
        self.folder = folder
        """Where all of this lies."""
        self.trial = Trial(server, folder, WATCHED)
        self._number = 0

    def failures_of(self, command: Command, every: int = 1) -> tuple[int, list[str]]:
        """Let each file operation of a command fail, or ``every`` n-th: how many did, and what was wrong with that."""
        place = self._place()
        journal = place.with_suffix(".journal")
        whole = self._run(command, place, Fate(str(place), journal=str(journal)))
        if whole.status not in (0, 3, 4):
            return 0, [f"{command}: status {whole.status}: {whole.messages[-300:]}"]
        operations = read_journal(journal)
        said = []
        for number in range(1, len(operations) + 1, every):
            place = self._place()
            before = _content(place / command.target)
            end = self._run(command, place, Fate(str(place), number, "fail"))
            replaced = [one.to for one in operations[: number - 1]]
            kept = any(to.endswith(command.target) for to in replaced) or _content(place / command.target) == before
            wrong = [*_misbehaviour(end, errno.ENOSPC), *_left_over(place)]
            wrong += [] if kept else [f"{command.target} has changed"]
            said += [f"{command}, {operations[number - 1]} ({number}) fails: {one}" for one in wrong]
        return (len(operations) + every - 1) // every, said

    def failures_of_training(self, every: int = 1) -> tuple[int, list[str]]:
        """The same for a training that goes on from a checkpoint; afterwards it goes on to the same bits."""
        journal = self.folder / "going-on"
        place = self._interrupted("going-on.whole")
        self._go_on(place, Fate(str(place), journal=str(journal)))
        operations = read_journal(journal)
        said = []
        for number in range(1, len(operations) + 1, every):
            place = self._interrupted(f"going-on-{number}")
            end = self._go_on(place, Fate(str(place), number, "fail"))
            wrong = self.wrong_with_training(place, end, operations[number - 1].path)
            said += [f"a training, {operations[number - 1]} ({number}) fails: {one}" for one in wrong]
        return (len(operations) + every - 1) // every, said

    def wrong_with_training(
        self, place: Path, end: Ended, path: str, error: int = errno.ENOSPC, disk: SmallDisk | None = None
    ) -> list[str]:
        """What is wrong with a training whose disk was full, and with what comes of it when there is room again."""
        optional = any(name in Path(path).name for name in OPTIONAL)
        if end.status == 0 and optional:
            return [] if "Traceback" not in end.messages else [f"it has a traceback: {end.messages[-300:]}"]
        wrong = [*_misbehaviour(end, error), *_left_over(place)]
        try:
            load_checkpoint(place / RUN / "last.safetensors")
            load_checkpoint(place / RUN / "best.safetensors")
        except CharloomError as damage:
            wrong.append(f"the checkpoint does not stand: {damage}")
        return wrong + (self.trial.end_of(place, disk.server, disk.path) if disk else self.trial.end_of(place))

    def full(self, disk: SmallDisk, every: int = 1) -> tuple[int, list[str]]:
        """A training that goes on where there is no room, then room for a page, for two, …, until it gets through."""
        interrupted = self._interrupted("full")
        said = []
        for number in count():
            disk.begin(interrupted)
            disk.leave(number * every)
            end = disk.server.run("train", "--resume", NAME, cwd=disk.path)
            if os.strerror(errno.ENOSPC) not in end.messages:
                return number, said + [f"status {end.status}: {end.messages[-300:]}"] * bool(end.status)
            disk.open()
            wrong = self.wrong_with_training(disk.seen, end, "record.jsonl" if end.status == 0 else "", disk=disk)
            said += [f"a training, with {number * every} pages left: {one}" for one in wrong]
        raise AssertionError("unreachable")

    def read_only(self, disk: SmallDisk) -> tuple[int, list[str]]:
        """Every command, and a training that goes on, where nothing can be written."""
        disk.begin(self._place())
        disk.lock()
        before = _tree(disk.seen)
        said = []
        for command in COMMANDS:
            end = disk.server.run(*command.arguments, cwd=disk.path, program=command.program, typed=command.typed)
            said += [f"{command}, read-only: {one}" for one in _misbehaviour(end, errno.EROFS)]
        if _tree(disk.seen) != before:
            said.append("what can only be read has changed")
        disk.begin(self._interrupted("read-only"))
        disk.lock()
        end = disk.server.run("train", "--resume", NAME, cwd=disk.path)
        disk.open()
        wrong = self.wrong_with_training(disk.seen, end, "", errno.EROFS, disk)
        return len(COMMANDS) + 1, said + [f"a training, read-only: {one}" for one in wrong]

    def elsewhere(self) -> list[str]:
        """What lies in the folder for temporary files that commands were told of."""
        return [path.name for path in (self.folder / "elsewhere").iterdir()]

    def _interrupted(self, name: str) -> Path:
        """A run with one checkpoint, which was killed then."""
        place = self.folder / name
        place.mkdir()
        at = next(n for n, one in enumerate(self.trial.operations, 1) if one.to.endswith("last.safetensors")) + 2
        self.trial.train(place, Fate(str(place), at))
        return place

    def _go_on(self, place: Path, fate: Fate | None) -> Ended:
        return self._server.run("train", "--resume", NAME, cwd=place, fate=fate)

    def _run(self, command: Command, place: Path, fate: Fate) -> Ended:
        elsewhere = self.folder / "elsewhere"
        elsewhere.mkdir(exist_ok=True)
        end = self._server.run(
            *command.arguments,
            cwd=place,
            program=command.program,
            fate=fate,
            typed=command.typed,
            environment={"TMPDIR": str(elsewhere)},
        )
        return end

    def _place(self) -> Path:
        """A folder with the finished run, and older files where commands will write."""
        self._number += 1
        place = self.folder / f"place-{self._number}"
        shutil.copytree(self.folder / "whole", place)
        for command in COMMANDS:
            if "/" not in command.target and command.name != "recall":
                (place / command.target).write_text("old")
        return place


def show(effort: Effort, progress: Progress) -> Iterator[Shown]:
    """Each operation of each command fails; and disks that are full or read-only for real. In the short form, some."""
    if not hasattr(os, "fork"):
        yield Shown(7, "failing disks", 0, skipped="this system has no fork")
        return
    every = 1 if effort.kills >= Effort.kills else 5
    with ForkServer() as server, tempfile.TemporaryDirectory() as folder:
        disks = Disks(server, Path(folder))
        for command in COMMANDS:
            progress(f"disks: {command}")
            many, said = disks.failures_of(command, every)
            yield Shown(7, f"failing file operations of {command}", many, tuple(said))
        progress("disks: a training that goes on")
        many, said = disks.failures_of_training(every)
        yield Shown(7, "failing file operations of a training", many, tuple(said))
        yield Shown(7, "folder for temporary files, left alone", 1, tuple(disks.elsewhere()))
        what = ("sizes of a full disk", "commands on a disk that can only be read")
        if reason := why_none():
            yield from (Shown(7, one, 0, skipped=reason) for one in what)
            return
        with SmallDisk(Path(folder) / "disk") as disk:
            progress("disks: full ones")
            many, said = disks.full(disk, every)
            yield Shown(7, what[0], many, tuple(said), f"one page of {PAGE:,} bytes more each time" * (every == 1))
            many, said = disks.read_only(disk)
            yield Shown(7, what[1], many, tuple(said))


def _tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def _misbehaviour(end: Ended, error: int) -> Iterator[str]:
    """What is wrong with how a command ends whose disk fails."""
    lines = [line for line in end.messages.splitlines() if line.startswith(("Error: ", "telltales: error: "))]
    if end.status == 0:
        yield "it succeeds"
    if "Traceback" in end.messages:
        yield f"it has a traceback: {end.messages[-400:]}"
    elif len(lines) != 1 or os.strerror(error) not in lines[0]:
        yield f"it does not say in one line what has happened: {end.messages[-300:]!r}"
    if any(claim in end.output + end.messages for claim in CLAIMS):
        yield f"it claims success: {end.output[-300:]}"


def _left_over(place: Path) -> list[str]:
    return [f"{path.name} is left over" for path in place.rglob(".*.tmp")]
