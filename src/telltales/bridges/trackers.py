"""The numbers of a watch in a tracker, as they are observed, and its findings when they appear."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from telltales.bridges.optional import needed
from telltales.finding import Finding
from telltales.watching import Watch

SHOWN = (
    ("activation", "std"),
    ("activation", "saturated"),
    ("activation_gradient", "rms"),
    ("gradient", "ratio"),
    ("update", "ratio"),
)
"""The tables and columns that are sent, besides the scalars of a step."""


class Tracker(Protocol):
    """What takes in numbers by name at a step, and findings."""

    def log(self, step: int, numbers: Mapping[str, float]) -> None: ...
    def finding(self, finding: Finding) -> None: ...
    def close(self) -> None: ...


def track(watch: Watch, tracker: Tracker) -> None:
    """Send each step that is observed from now on, and each new finding. When training is over, close the tracker."""
    watch.on_observed(lambda seen: tracker.log(int(seen.record.steps[-1]), numbers(seen)))
    watch.on_finding(tracker.finding)


def numbers(watch: Watch) -> dict[str, float]:
    """The finite numbers of the last observed step: ``telltales/loss``, ``telltales/update_ratio/blocks.0.weight``."""
    record = watch.record
    found = {f"telltales/{name}": float(record.scalar(name)[-1]) for name in ("loss", "gradient_norm", "noise_scale")}
    for kind, column in SHOWN:
        for name, value in zip(record.names(kind), record.values(kind, column)[-1], strict=True):
            found[f"telltales/{kind}_{column}/{name}"] = float(value)
    return {name: value for name, value in found.items() if math.isfinite(value)}


class Jsonl:
    """One JSON object a line: ``step`` and the numbers, or ``finding``."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._file = Path(path).open("w", encoding="utf-8")  # noqa: SIM115 - closed by close

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        self._write({"step": step, **numbers})

    def finding(self, finding: Finding) -> None:
        self._write({"finding": finding.as_json()})

    def close(self) -> None:
        self._file.close()

    def _write(self, line: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(line, allow_nan=False) + "\n")
        self._file.flush()


class TensorBoard:
    """Scalars and, for findings, text, in a folder of event files."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._writer = needed("torch.utils.tensorboard", "tensorboard").SummaryWriter(str(folder))

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)

    def finding(self, finding: Finding) -> None:
        self._writer.add_text(f"telltales/{finding.rule}", str(finding), max(finding.found, 0))

    def close(self) -> None:
        self._writer.close()
