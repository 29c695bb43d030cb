"""The same command gives the same weights in every process; where it need not, a warning says so."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from charloom.checkpoint import load_checkpoint, save_checkpoint
from charloom.compiled import available
from torture.processes import Ended, ended, start
from torture.shown import Effort, Progress, Shown

STEPS = ("--steps", "60", "--evaluate-every", "20", "--seed", "3")
TINY = ("--model", "mlp", "--hidden", "24", "--batch-size", "16")
SMALL = (*TINY, *STEPS)
WIDE = ("--model", "deep-mlp", "--hidden", "256", "--batch-size", "512", "--engine", "torch", *STEPS)
LONG = (*TINY, "--engine", "torch", "--steps", "1000000", "--evaluate-every", "20", "--checkpoint-every", "20")
MODELS: dict[str, tuple[str, ...]] = {
    "ngram:4": ("--model", "ngram:4"),
    "mlp by PyTorch": (*SMALL, "--engine", "torch"),
    "mlp with dropout": (*SMALL, "--engine", "torch", "--dropout", "0.2"),
    "mlp on distinct contexts": (*SMALL, "--engine", "torch", "--batches", "distinct"),
    "deep-mlp": WIDE,
} | ({"mlp, compiled": (*SMALL, "--engine", "compiled")} if available() else {})
SURROUNDINGS = (
    {"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8", "TZ": "UTC", "OMP_NUM_THREADS": "1"},
    {"PYTHONHASHSEED": "4711", "LC_ALL": "C", "TZ": "Pacific/Auckland", "OMP_NUM_THREADS": "2"},
    {"PYTHONHASHSEED": "random", "PYTHONOPTIMIZE": "1", "NO_COLOR": "1", "MKL_NUM_THREADS": "2"},
)
CONDITIONS = ("python", "telltales", "torch", "numpy", "threads", "device", "engine", "processor")


def show(effort: Effort, progress: Progress) -> Iterator[Shown]:
    """Processes that differ in what should not matter; threads, which do; conditions that have changed."""
    few = effort.kills < Effort.kills
    with tempfile.TemporaryDirectory() as made:
        place = Path(made)
        (place / "names.txt").write_text("\n".join(_names()), encoding="utf-8")
        chosen = dict(list(MODELS.items())[-1:]) if few else MODELS
        yield _processes(place, chosen, SURROUNDINGS[: 2 if few else None], progress)
        if not few:
            yield _threads(place, progress)
        yield _changed_conditions(place, CONDITIONS[-2:] if few else CONDITIONS, progress)


def _names() -> list[str]:
    import small

    return list(small.names())


def _train(place: Path, name: str, *arguments: str, **surroundings: str) -> dict[str, Any]:
    command = ("train", name, "--data", "names.txt", "--json", *arguments)
    end = ended(start(*command, cwd=place, **surroundings))
    if end.status:
        return {"weights_sha256": f"{name} ended with status {end.status}: {end.messages[-300:]}"}
    result: dict[str, Any] = json.loads(end.output)
    shutil.rmtree(place / "runs" / name)
    return result


def _processes(
    place: Path, models: dict[str, tuple[str, ...]], surroundings: tuple[dict[str, str], ...], progress: Progress
) -> Shown:
    failures, count = [], 0
    for name, arguments in models.items():
        progress(f"  {name}: {len(surroundings)} processes")
        found = {_train(place, "one", *arguments, **around)["weights_sha256"] for around in surroundings}
        count += len(surroundings)
        if len(found) > 1:
            failures.append(f"{name}: {', '.join(sorted(one[:300] for one in found))}")
    what = "processes with other hash seeds, locales, time zones and thread variables"
    return Shown(4, what, count, tuple(failures), figures=f"{len(models)} models, one SHA-256 each")


def _threads(place: Path, progress: Progress) -> Shown:
    """With other threads sums are made in another order. That is stated, not held against it."""
    found = []
    for threads in ("1", "2", "4"):
        progress(f"  {threads} threads")
        found.append(_train(place, "one", *WIDE, "--threads", threads)["weights_sha256"])
        again = _train(place, "one", *WIDE, "--threads", threads)["weights_sha256"]
        if again != found[-1]:
            return Shown(4, "trainings with 1, 2 and 4 threads", 6, (f"{threads} threads: {found[-1]}, {again}",))
    figures = f"{len(set(found))} different SHA-256 of 3 thread counts, each the same again"
    return Shown(4, "trainings with 1, 2 and 4 threads, twice each", 6, figures=figures)


def _changed_conditions(place: Path, conditions: tuple[str, ...], progress: Progress) -> Shown:
    """A checkpoint that says it was written under another condition."""
    process = start("train", "stopped", "--data", "names.txt", *LONG, cwd=place)
    last = place / "runs/stopped/last.safetensors"
    while not last.exists() and process.poll() is None:
        time.sleep(0.02)
    process.terminate()
    ended(process)
    arrays, state = load_checkpoint(last)
    failures = []
    for name in conditions:
        progress(f"  resumed with another {name}")
        changed = {**state["environment"], name: 4711 if name == "threads" else "another"}
        save_checkpoint(last, arrays, state | {"environment": changed})
        end = _resumed_for_a_moment(place)
        if f"{name} {changed[name]} -> {state['environment'][name]}" not in " ".join(end.messages.split()):
            failures.append(f"no warning of another {name}: {end.messages[-300:]}")
    return Shown(4, "checkpoints of other conditions, each warned of", len(conditions), tuple(failures))


def _resumed_for_a_moment(place: Path) -> Ended:
    with start("train", "--resume", "stopped", cwd=place) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        said = ""
        for line in process.stderr:
            said += line
            if "step" in line and " of " in line:
                process.terminate()
        return Ended(process.wait(), process.stdout.read(), said)
