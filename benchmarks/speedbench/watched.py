"""What watching adds to a training by the compiled loop."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from charloom.config import ModelConfig, TrainingConfig
from charloom.dataset import Dataset
from charloom.fitting import fit_run
from charloom.runs import Run
from charloom.watching import Watching

STEPS = 10_000
SHAPES: dict[str, dict[str, Any]] = {
    "A: one layer of 200": {"hidden": 200, "layers": 1},
    "B: five layers of 100, batch norm": {"hidden": 100, "layers": 5, "norm": "batch"},
}


def measure_watching(dataset: Dataset, rounds: int = 3) -> dict[str, dict[str, float]]:
    """Median seconds of whole runs of 10,000 steps of 32 rows, watched by the default preset and not, in turn."""
    training = TrainingConfig(
        steps=STEPS, batch_size=32, learning_rate=0.003, engine="compiled", batches="rows", recalibrate=False
    )
    report = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, options in SHAPES.items():
            model = ModelConfig(model="deep-mlp", context_length=3, embedding=10, **options)
            seconds: dict[str, list[float]] = {"plain": [], "watched": []}
            for number in range(rounds):
                for kind, every in seconds.items():
                    run = Run.create(dataset, model, training, root=Path(folder), name=f"{len(report)} {number} {kind}")
                    started = time.perf_counter()
                    fit_run(run, dataset, [Watching(run, "standard")] if kind == "watched" else [])
                    every.append(time.perf_counter() - started)
            report[name] = {kind: statistics.median(every) for kind, every in seconds.items()}
    return report


def watching_lines(report: dict[str, dict[str, float]]) -> list[str]:
    """The report as text."""
    made = [f"whole runs of {STEPS:,} steps, compiled; watched by the default preset"]
    for name, seconds in report.items():
        plain, watched = seconds["plain"], seconds["watched"]
        made.append(f"  {name:34}{plain:8.2f} s{watched:8.2f} s  {watched / plain - 1:+.1%}, {watched - plain:.2f} s")
    return made
