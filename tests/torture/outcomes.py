"""What came out of a run, so that two can be compared to the bit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from charloom.checkpoint import digest_of_arrays, load_checkpoint, read_json
from telltales import read_record
from telltales.observation import SCALARS

Outcome = dict[str, Any]
TIMED = {"seconds", "history_bytes", "history_sha256"}
"""What depends on how long the training took: its history says so, in more digits or fewer."""

STEP = "step "
UNCOMPARED = {"seconds", "stale_gradients"}
"""Of a record: the time, and what is seen in comparison with the step before, which after a resumption is not known."""


def outcome(folder: Path) -> Outcome:
    """All that a finished run holds, but for its name and the time that it took."""
    readers: dict[str, Callable[[Path], Any]] = {
        "result.json": _result,
        "config.json": read_json,
        "vocabulary.json": read_json,
        "best.safetensors": _checkpoint,
        "last.safetensors": _checkpoint,
        "history.jsonl": _history,
        "record.jsonl": _record,
    }
    names = {path.name for path in folder.iterdir()}
    read = {name: reader(folder / name) for name, reader in readers.items() if name in names}
    return read | {"files": sorted(names)}


def differences(found: Outcome, expected: Outcome) -> list[str]:
    """In which files two outcomes differ, and how: nothing where they are the same to the bit."""
    said = []
    for name in sorted(expected.keys() | found.keys()):
        here, there = found.get(name), expected.get(name)
        if here != there:
            if isinstance(here, dict) and isinstance(there, dict):
                # The first step after a resumption is observed, whether it was its turn or not.
                more = {key for key in here if key not in there and key.startswith(STEP)}
                keys = sorted(key for key in (here.keys() | there.keys()) - more if here.get(key) != there.get(key))
                said += [f"{name} differs in {', '.join(keys)}"] * bool(keys)
            else:
                said.append(f"{name} is {here!r:.200} instead of {there!r:.200}")
    return said


def _result(path: Path) -> Any:
    return _untimed(read_json(path)) | {"run": None}


def _untimed(content: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in content.items() if name not in TIMED}


def _checkpoint(path: Path) -> Any:
    arrays, state = load_checkpoint(path)
    if "progress" in state:
        state |= {"progress": _untimed(state["progress"])}
    digests = {name: digest_of_arrays({name: array}) for name, array in arrays.items()}
    return digests | {"state": _untimed(state)}


def _history(path: Path) -> Any:
    return [_untimed(json.loads(line)) for line in path.read_bytes().splitlines()]


def _record(path: Path) -> Any:
    """What was seen at each observed step, and at the evaluations."""
    record = read_record(path)
    columns = {name: record.scalar(name) for name in SCALARS if name not in UNCOMPARED}
    for kind, table in record.tables.items():
        columns |= {f"{kind} {column}": record.values(kind, column) for column in table.columns}
    seen: dict[str, Any] = {}
    for row, step in enumerate(record.steps):
        digest = hashlib.sha256()
        for name, values in columns.items():
            digest.update(f"{name}\0".encode() + np.ascontiguousarray(values[row]).tobytes())
        seen[f"{STEP}{step}"] = digest.hexdigest()
    evaluations = {split: record.evaluations.of(split) for split in record.evaluations.splits}
    return seen | {"outcome": record.outcome, "evaluations": evaluations, "preset": record.about.get("preset")}
