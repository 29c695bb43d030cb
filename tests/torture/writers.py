"""Several writers to one folder, runs that are moved and copied, and clocks that jump."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import small
from torture.processes import Ended, ended, start
from torture.shown import Effort, Progress, Shown

TRAIN = (
    *("--model", "mlp", "--hidden", "24", "--batch-size", "16", "--engine", "torch", "--seed", "1"),
    *("--steps", "600", "--evaluate-every", "100", "--checkpoint-every", "50"),
)
REFUSED = "another process is writing to this run"
JUMPING_CLOCK = """
import time
_time, _jumps = time.time, [0.0]
def jumping():
    _jumps[0] = -3e8 if _jumps[0] > 0 else 9e8
    return max(0.0, _time() + _jumps[0])
time.time = jumping
time.time_ns = lambda: int(jumping() * 1e9)
"""
"""As `sitecustomize.py` on Python's path: each look at the clock is decades away from the last."""
YEARS = {"1970": 0, "2001": 1e9, "2106": 4.3e9}


def show(effort: Effort, progress: Progress) -> Iterator[Shown]:
    """Everything; in the short form with fewer processes at once."""
    few = effort.kills < Effort.kills
    with tempfile.TemporaryDirectory() as made:
        place = Path(made)
        (place / "names.txt").write_text("\n".join(small.names()), encoding="utf-8")
        progress("  a training that nobody disturbs")
        whole = _train(place, "whole")
        assert whole.status == 0, whole.messages
        expected = json.loads(whole.output)["weights_sha256"]
        yield _disturbed(place, expected, 1 if few else 6, progress)
        yield _same_name(place, 2 if few else 8, progress)
        if not few:
            yield _no_name(place, 8, progress)
            yield _moved(place, expected, progress)
        yield _clocks(place, expected, list(YEARS)[: 1 if few else None], progress)


def _train(place: Path, name: str, **surroundings: str) -> Ended:
    return ended(start("train", name, "--data", "names.txt", "--json", *TRAIN, cwd=place, **surroundings))


def _resume(place: Path, name: str, **surroundings: str) -> Ended:
    return ended(start("train", "--resume", name, "--json", cwd=place, **surroundings))


def _killed(place: Path, name: str) -> None:
    """A training that was killed some time after its first checkpoint."""
    process = start("train", name, "--data", "names.txt", *TRAIN, cwd=place)
    while not (place / "runs" / name / "last.safetensors").exists() and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    assert ended(process).status < 0


def _disturbed(place: Path, expected: str, times: int, progress: Progress) -> Shown:
    """A second process that would go on with a training that is still under way, and everyone's lock file after it."""
    failures = []
    for number in range(times):
        progress(f"  a second writer, {number + 1} of {times}")
        name = f"disturbed-{number}"
        first = start("train", name, "--data", "names.txt", "--json", *TRAIN, "--watch", cwd=place)
        while not (place / "runs" / name / "last.safetensors").exists() and first.poll() is None:
            time.sleep(0.01)
        os.kill(first.pid, 19)  # SIGSTOP: it holds the run as long as the others take.
        second = _resume(place, name)
        os.kill(first.pid, 18)
        end = ended(first)
        if second.status != 1 or REFUSED not in second.messages or str(first.pid) not in second.messages:
            failures.append(f"the second writer ended with {second.status}: {second.messages[-300:]}")
        if end.status or json.loads(end.output)["weights_sha256"] != expected:
            failures.append(f"the first writer was disturbed: {end.status} {end.messages[-300:]}")
        if (place / "runs" / name / ".lock").exists():
            failures.append("a finished run has a lock file")
    _killed(place, "stale")
    if not (place / "runs/stale/.lock").exists():
        failures.append("a killed writer has left no lock file, so that there was nothing to recognise as stale")
    after = _resume(place, "stale")
    if after.status or json.loads(after.output)["weights_sha256"] != expected:
        failures.append(f"a stale lock file was not recognised: {after.messages[-300:]}")
    return Shown(1, "second writers refused, and a stale lock recognised", times + 1, tuple(failures))


def _at_once(count: int, begin: Callable[[], tuple[str, ...]], place: Path) -> list[Ended]:
    processes = [start(*begin(), cwd=place) for _ in range(count)]
    return [ended(process) for process in processes]


def _same_name(place: Path, count: int, progress: Progress) -> Shown:
    """Of many that make, and many that go on with, the same run one does it, and the others say why not."""
    failures = []
    progress(f"  {count} processes make one run")
    made = _at_once(count, lambda: ("train", "same", "--data", "names.txt", "--model", "bigram"), place)
    if sorted(end.status for end in made) != [0] + [1] * (count - 1):
        failures.append(f"making one run: {[end.status for end in made]}")
    failures += [f"making one run: {end.messages[-300:]}" for end in made if not end.sound]
    _killed(place, "raced")
    progress(f"  {count} processes go on with one run")
    resumed = _at_once(count, lambda: ("train", "--resume", "raced", "--json"), place)
    won = [end for end in resumed if end.status == 0]
    lost = [end for end in resumed if end.status == 1 and (REFUSED in end.messages or "is finished" in end.messages)]
    if len(won) != 1 or len(won) + len(lost) != count:
        failures.append(f"going on with one run: {[(end.status, end.messages[-200:]) for end in resumed]}")
    return Shown(1, "processes racing for one run, one of which gets it", 2 * count, tuple(failures))


def _no_name(place: Path, count: int, progress: Progress) -> Shown:
    """Runs without a name that begin at the same time get folders of their own."""
    progress(f"  {count} processes make runs without a name")
    ends = _at_once(count, lambda: ("train", "--data", "names.txt", "--model", "ngram:3", "--json"), place)
    results = [json.loads(end.output) for end in ends if end.status == 0]
    failures = [f"ended with {end.status}: {end.messages[-300:]}" for end in ends if end.status]
    if len({one["run"] for one in results}) != count or len({one["weights_sha256"] for one in results}) != 1:
        failures.append(f"{[(one['run'], one['weights_sha256'][:8]) for one in results]}")
    return Shown(1, "runs begun at once, each in a folder of its own", count, tuple(failures))


def _moved(place: Path, expected: str, progress: Progress) -> Shown:
    """A killed run goes on from a copy, from another place, and from a copy that has its data with it."""
    progress("  moved and copied runs")
    _killed(place, "first")
    first, elsewhere = place / "runs/first", place / "elsewhere"
    (elsewhere / "runs").mkdir(parents=True)
    shutil.copytree(first, elsewhere / "runs/copy")
    shutil.copytree(first, elsewhere / "runs/with data")
    first.rename(elsewhere / "runs/moved")
    failures = []
    for name in ("copy", "moved", "with data"):
        if name == "with data":
            shutil.copy(place / "names.txt", elsewhere / "runs/with data")
            (place / "names.txt").rename(place / "away.txt")
        end = _resume(elsewhere, name)
        if end.status or json.loads(end.output)["weights_sha256"] != expected:
            failures.append(f"{name}: {end.status} {end.messages[-300:]}")
    (place / "away.txt").rename(place / "names.txt")
    return Shown(1, "runs moved and copied after a kill, one of them together with its data", 3, tuple(failures))


def _clocks(place: Path, expected: str, years: list[str], progress: Progress) -> Shown:
    """A clock that jumps at every look, and files dated far off."""
    jumping = place / "jumping"
    jumping.mkdir()
    (jumping / "sitecustomize.py").write_text(JUMPING_CLOCK)
    failures = []
    for year in years:
        progress(f"  clocks: a run of {year}, gone on with while the clock jumps")
        name = f"clock-{year}"
        _killed(place, name)
        folder = place / "runs" / name
        for path in (*folder.iterdir(), folder):
            os.utime(path, (YEARS[year], YEARS[year]))
        path = os.pathsep.join(filter(None, (str(jumping), os.environ.get("PYTHONPATH", ""))))
        end = _resume(place, name, PYTHONPATH=path)
        result = json.loads(end.output) if end.status == 0 else {}
        if result.get("weights_sha256") != expected or not 0 <= result["seconds"] < 1e4:
            failures.append(f"{year}: {end.status} {result} {end.messages[-300:]}")
        listed = ended(start("runs", cwd=place, PYTHONPATH=path))
        if listed.status or name not in listed.output:
            failures.append(f"{year}: the list of runs ended with {listed.status}: {listed.messages[-300:]}")
    return Shown(1, "runs dated far off, gone on with while the clock jumps", len(years), tuple(failures))
