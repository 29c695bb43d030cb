"""All runs of the bench, each once: what is in the results file already is not run again."""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from faultbench.faults import FAULTS
from faultbench.listening import Listening, Training
from faultbench.programs import PROGRAMS
from faultbench.training import run
from faultbench.variants import VARIANTS

HEALTHY = "healthy"
Key = tuple[str, str, str, int]
"""Program, variant, fault and seed."""
_PROGRAMS = {program.name: program for program in PROGRAMS}
_FAULTS = {fault.name: fault for fault in FAULTS}
_VARIANTS = {variant.name: variant for variant in VARIANTS}


@dataclass(frozen=True)
class Job:
    """One training: a program with a seed, and either a variant of it or a fault."""

    program: str
    variant: str
    fault: str
    seed: int

    @property
    def half(self) -> str:
        return _PROGRAMS[self.program].half

    def training(self) -> Training:
        torch.manual_seed(1000 + self.seed)
        training = _PROGRAMS[self.program].make(self.seed)
        _VARIANTS[self.variant].change(training)
        if self.fault != HEALTHY:
            _FAULTS[self.fault].inject(training)
        torch.manual_seed(2000 + self.seed)
        return training


Asked = tuple[Job, Sequence[str]]
"""A training, and the tools that are to hear it."""


def jobs(seeds: int, more_seeds: int, programs: Iterable[str], faults: Iterable[str]) -> list[Job]:
    """Every fault that applies times ``seeds``; healthy: every variant times ``seeds``, the plain one more often."""
    found = []
    for name in programs:
        torch.manual_seed(0)
        for variant in VARIANTS:
            if variant.applies(_PROGRAMS[name].make(0)):
                count = more_seeds if variant.name == "plain" else seeds
                found += [Job(name, variant.name, HEALTHY, seed) for seed in range(count)]
        for fault in faults:
            if _FAULTS[fault].applies(_PROGRAMS[name].make(0)):
                found += [Job(name, "plain", fault, seed) for seed in range(seeds)]
    return found


def tools(names: Sequence[str] | None = None) -> list[Listening]:
    """Ours and its peers, those of them that are installed."""
    from faultbench.ours import Telltales
    from faultbench.peers import PEERS

    made = {Telltales.name: Telltales, **PEERS}
    return [make() for name, make in made.items() if names is None or name in names]


def perform(job: Job, names: Sequence[str] | None = None) -> dict[str, Any]:
    """One training with all tools listening, as what the results file holds of it."""
    torch.set_num_threads(1)
    result = run(job.training(), tools(names))
    return {
        **asdict(job),
        "half": job.half,
        "quality": result.quality,
        "first_loss": result.first_loss,
        "last_loss": result.last_loss,
        "failed": result.failed,
        "seconds": round(result.seconds, 3),
        "heard": {
            name: {
                "named": [[named.rule, named.step, named.said[:240]] for named in heard.named],
                "crashed": heard.crashed,
                "seconds": round(heard.seconds, 3),
                "changed": heard.changed,
            }
            for name, heard in result.heard.items()
        },
    }


def read_results(path: Path) -> list[dict[str, Any]]:
    """What was written so far; a last line that was cut off is left out.

    Of a training that stands there several times, each tool's last words count.
    """
    if not path.exists():
        return []
    found: dict[Key, dict[str, Any]] = {}
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        if line.endswith("\n"):
            result = json.loads(line)
            known = found.setdefault(key_of(result), result)
            known["heard"] |= result["heard"]
    return list(found.values())


def key_of(result: Mapping[str, Any]) -> Key:
    return result["program"], result["variant"], result["fault"], result["seed"]


def run_all(
    wanted: Sequence[Job], path: Path, processes: int, names: Sequence[str] | None, again: Sequence[str] = ()
) -> None:
    """Run what is missing, and append each result to the file as it arrives.

    ``again``: tools whose words in the file do not count, having changed since.
    """
    asked = [tool.name for tool in tools(names)]
    heard = {key_of(result): set(result["heard"]) - set(again) for result in read_results(path)}
    left = []
    for job in wanted:
        known = heard.get((job.program, job.variant, job.fault, job.seed))
        missing = [name for name in asked if known is None or name not in known]
        if known is None or missing:
            left.append((job, missing))
    _cut(path)
    began = time.monotonic()
    with path.open("a", encoding="utf-8") as file:
        for number, result in enumerate(_results(left, processes), start=1):
            file.write(json.dumps(result) + "\n")
            file.flush()
            passed = time.monotonic() - began
            rest = passed / number * (len(left) - number)
            print(f"\r{number:,} of {len(left):,} runs, {rest / 60:.0f} minutes left ", end="", file=sys.stderr)
    if left:
        print(file=sys.stderr)


def _results(left: Sequence[Asked], processes: int) -> Iterator[dict[str, Any]]:
    if processes == 1:
        yield from map(_perform, left)
        return
    with multiprocessing.get_context("fork").Pool(processes) as pool:
        yield from pool.imap_unordered(_perform, left)


def _perform(call: Asked) -> dict[str, Any]:
    return perform(*call)


def _cut(path: Path) -> None:
    """Take a line that was cut off out of the file, so that the next one is whole."""
    if path.exists() and not (content := path.read_bytes()).endswith(b"\n"):
        path.write_bytes(content[: content.rfind(b"\n") + 1])
