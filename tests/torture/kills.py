"""Trainings that are killed, some several times, and gone on with: they come to the same bits as if nothing had been.

Every family of models, on both engines, with both kinds of batches and all optimizers. The short form kills each of
them at five file operations, the long one at random times as well, and some as processes of their own.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import small
from charloom.compiled import available
from torture.operations import Fate, read_journal
from torture.outcomes import Outcome, differences, outcome
from torture.processes import KILLED, ForkServer, ended, start
from torture.shown import Effort, Progress, Shown

_RUN = ("--steps", "60", "--batch-size", "16", "--evaluate-every", "12", "--checkpoint-every", "9")
_NET = ("--hidden", "10", "--embedding", "4", "--context-length", "3")
_ADAM = ("--optimizer", "adam", "--weight-decay", "0.01", "--schedule", "step", "--clip", "1")
_SGD = ("--optimizer", "sgd", "--momentum", "0.9", "--learning-rate", "0.1", "--warmup", "20")
_STOPPED = ("--steps", "60", "--batch-size", "16", "--evaluate-every", "4", "--checkpoint-every", "9")
_STOPPED += ("--patience", "3", "--learning-rate", "0.2", "--schedule", "constant", "--dropout", "0.3")
_DISTINCT = ("--batches", "distinct")
_TORCH, _COMPILED = ("--engine", "torch"), ("--engine", "compiled")


@dataclass(frozen=True)
class Case:
    """What is trained, or counted."""

    name: str
    flags: tuple[str, ...]
    watch: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name

    @property
    def compiled(self) -> bool:
        """Whether it needs numba."""
        return "compiled" in self.flags


def _deep(name: str, *flags: str, watch: tuple[str, ...] = ()) -> Case:
    return Case(f"deep-mlp, {name}", ("--model", "deep-mlp", "--layers", "2", *_NET, *_RUN, *flags), watch)


def _mlp(name: str, *flags: str, watch: tuple[str, ...] = ()) -> Case:
    return Case(f"mlp, {name}", ("--model", "mlp", *_NET, *_RUN, *flags), watch)


_WATCH = ("--watch", "economy")
CASES = (
    *(Case(model, ("--model", model)) for model in ("unigram", "bigram", "ngram:4")),
    Case("bigram-net, rows", ("--model", "bigram-net", *_RUN, *_SGD)),
    Case("bigram-net, distinct", ("--model", "bigram-net", *_RUN, *_ADAM, *_DISTINCT), _WATCH),
    _mlp("torch, rows", *_TORCH),
    _mlp("torch, distinct", *_TORCH, *_ADAM, *_DISTINCT),
    _mlp("torch, dropout", *_TORCH, *_SGD, "--dropout", "0.3", watch=_WATCH),
    _mlp("compiled, rows", *_COMPILED, *_SGD),
    _mlp("compiled, distinct", *_COMPILED, *_ADAM, *_DISTINCT, watch=_WATCH),
    _deep("torch, batch norm", *_TORCH, *_ADAM),
    Case(
        "deep-mlp, torch, dropout, stopped early", ("--model", "deep-mlp", "--layers", "2", *_NET, *_STOPPED, *_TORCH)
    ),
    _deep("compiled, batch norm", *_COMPILED),
    _deep("compiled, layer norm", *_COMPILED, *_SGD, "--norm", "layer", "--clip", "0.5"),
)
"""The networks have checkpoints more often than evaluations, or less often, and never only at the same steps."""
KILLS = 5
"""Enumerated ones, of each case."""


class Victim:
    """A case, its uninterrupted run, and how to kill others."""

    def __init__(self, server: ForkServer, folder: Path, case: Case) -> None:
        self.case = case
        self._server = server
        self._folder = folder
        self._data = folder / "names.txt"
        self._data.write_text("\n".join(small.names(150)))
        journal = folder / "journal"
        began = time.perf_counter()
        whole = server.run(*self.begun("whole"), cwd=folder, fate=Fate(str(folder / "runs"), journal=str(journal)))
        self.seconds = time.perf_counter() - began
        if whole.status:
            raise RuntimeError(whole.messages)
        self.operations = len(read_journal(journal))
        self.expected: Outcome = outcome(folder / "runs/whole")

    def begun(self, name: str) -> tuple[str, ...]:
        """The command that begins a run."""
        return ("train", name, "--data", str(self._data), *self.case.flags, *self.case.watch)

    def going_on(self, name: str) -> tuple[str, ...]:
        """The command that goes on with it, or begins it if there is no run yet."""
        run = self._folder / "runs" / name
        if not (run / "config.json").exists():
            return self.begun(name)
        return ("train", "--resume", name, *(() if (run / "record.jsonl").exists() else self.case.watch))

    def killed_at_operations(self, name: str, many: int) -> tuple[int, list[str]]:
        """A training that is killed so often as it goes on, each time at another operation after a checkpoint.

        What is counted begins anew each time, and would never be far: of that as many runs, each killed further on.
        """
        trained = "--steps" in self.case.flags
        kills, said = 0, []
        for number in range(many):
            run = name if trained else f"{name}-{number}"
            at = 1 + 3 * (many - 1 - number) if trained else self.operations // (many + 1) * (number + 1)
            how: Literal["die", "die halfway"] = "die halfway" if number % 2 else "die"
            fate = Fate(str(self._folder / "runs"), at, how, after="last.safetensors" if trained else "")
            end = self._server.run(*self.going_on(run), cwd=self._folder, fate=fate)
            kills += end.status == KILLED
            if not trained or number == many - 1:
                end = self._server.run(*self.going_on(run), cwd=self._folder)
                said += self._compared(run, end.status, end.messages)
        return kills, said

    def killed_at_random(self, name: str, draw: random.Random, most: int) -> tuple[int, list[str]]:
        """A run that is killed at random times, at most so often, until it gets through."""
        kills = 0
        while True:
            after = draw.uniform(0, self.seconds) if kills < most else None
            end = self._server.run(*self.going_on(name), cwd=self._folder, kill_after=after)
            if end.status != KILLED:
                return kills, self._compared(name, end.status, end.messages)
            kills += 1
            if unfit := self._looks_finished(name):
                return kills, unfit

    def killed_as_a_user_would(self, name: str, draw: random.Random) -> tuple[int, list[str]]:
        """A process of its own, killed at a random time after the run has begun, and another one that goes on."""
        process = start(*self.begun(name), cwd=self._folder)
        config = self._folder / "runs" / name / "config.json"
        while not config.exists() and process.poll() is None:
            time.sleep(0.005)
        time.sleep(draw.uniform(0, 2 * self.seconds))
        process.kill()
        kills = int(ended(process).status == KILLED)
        if kills:
            end = ended(start(*self.going_on(name), cwd=self._folder))
            if end.status and (self._folder / "runs" / name / "result.json").exists():
                end = ended(start("runs", cwd=self._folder))
            return kills, self._compared(name, end.status, end.messages)
        return kills, self._compared(name, 0, "")

    def compared_with(self, other: Victim) -> list[str]:
        """In what two uninterrupted runs differ."""
        return differences(self.expected, other.expected)

    def _looks_finished(self, name: str) -> list[str]:
        """What is wrong with a run that was killed and has a result, if anything is."""
        run = self._folder / "runs" / name
        return self._compared(name, 0, "") if (run / "result.json").exists() else []

    def _compared(self, name: str, status: int, messages: str) -> list[str]:
        run = self._folder / "runs" / name
        if status and not ("the run is finished" in messages and (run / "result.json").exists()):
            return [f"{self.case}: it ends with status {status}: {messages[-300:]}"]
        found = outcome(run)
        found["files"] = [one for one in found["files"] if one != ".lock"]
        return [f"{self.case}: {difference}" for difference in differences(found, self.expected)]


def cases() -> tuple[Case, ...]:
    """Those that can be tried here."""
    return CASES if available() else tuple(case for case in CASES if not case.compiled)


def show(effort: Effort, progress: Progress) -> Iterator[Shown]:
    """Enumerated kills of every case, random ones of all of them in turn, and some of processes of their own."""
    if not hasattr(os, "fork"):
        yield Shown(1, "kills", 0, skipped="this system has no fork")
        return
    if not available():
        yield Shown(1, "kills of the compiled engine", 0, skipped="numba is not installed")
    with ForkServer(compiled=available()) as server, tempfile.TemporaryDirectory() as folder:
        victims = []
        for number, case in enumerate(cases()):
            progress(f"kills: {case}")
            place = Path(folder) / str(number)
            place.mkdir()
            victims.append(Victim(server, place, case))
        yield enumerated(victims)
        yield at_random(victims, effort, progress)
        yield own_processes(victims, effort)


def enumerated(victims: Sequence[Victim]) -> Shown:
    """Kills at file operations, five of each case."""
    tried = [victim.killed_at_operations("enumerated", KILLS) for victim in victims]
    failures = [failure for _, failed in tried for failure in failed]
    failures += [
        f"{victim.case}: {kills} kills instead of {KILLS}"
        for victim, (kills, _) in zip(victims, tried, strict=True)
        if kills < KILLS
    ]
    what = f"kills at enumerated file operations, {KILLS} of each of {len(victims)} trainings"
    return Shown(1, what, sum(kills for kills, _ in tried), tuple(failures))


def at_random(victims: Sequence[Victim], effort: Effort, progress: Progress) -> Shown:
    """Kills at random times, up to four of one run, of all cases in turn."""
    draw = random.Random(effort.seed)
    order = draw.sample(range(len(victims)), len(victims))
    kills, runs, failures = 0, 0, []
    while kills < effort.kills:
        name = f"random-{runs}"
        done, failed = victims[order[runs % len(victims)]].killed_at_random(name, draw, draw.randint(1, 4))
        kills, runs = kills + done, runs + 1
        failures += failed
        if runs % 20 == 0:
            progress(f"kills: {kills} of {effort.kills} at random")
    return Shown(1, "kills at random times", kills, tuple(failures), f"{runs} runs")


def own_processes(victims: Sequence[Victim], effort: Effort) -> Shown:
    """Kills of processes that were started afresh, one for ten at random, at least one."""
    draw = random.Random(effort.seed)
    kills, failures = 0, []
    trained = [victim for victim in victims if "--steps" in victim.case.flags]
    for number in range(max(1, effort.kills // 10)):
        done, failed = trained[number % len(trained)].killed_as_a_user_would(f"own-{number}", draw)
        kills += done
        failures += failed
    return Shown(1, "kills of processes that a user would start, at random times", kills, tuple(failures))
