"""Steps, their growth with the network, whole trainings, and start-up."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

import torch

from charloom.config import DataConfig, ModelConfig, TrainingConfig
from charloom.dataset import Dataset
from charloom.fitting import start_training
from charloom.models.mlp import MLP
from speedbench.sides import build, flops, module, ours, random_batches, tutorial
from speedbench.timing import timed

STEPS = 200
"""Steps of each side in one round."""
KINDS: dict[str, dict[str, Any]] = {
    "A: one layer of 200": {"hidden": 200, "layers": 1},
    "A with batch norm": {"hidden": 200, "layers": 1, "norm": "batch"},
    "B: five layers of 100, batch norm": {"hidden": 100, "layers": 5, "norm": "batch"},
}
GROWTH: dict[str, list[dict[str, Any]]] = {
    "width": [{"hidden": hidden} for hidden in (50, 200, 800)],
    "depth": [{"hidden": 100, "layers": layers} for layers in (1, 4, 16)],
    "vocabulary": [{"vocabulary_size": size} for size in (27, 270, 2700)],
}
TUTORIAL_STEPS = 200_000
TARGET = 2.105


def matrix_product() -> float:
    """FLOP/s of the machine's own product, one thread."""
    x = torch.randn(1024, 1024)
    x @ x
    return 2 * 1024**3 / min(timed(lambda: x @ x) for _ in range(5))


def step_times(model: MLP, sides: dict[str, Any], rounds: int, steps: int = STEPS) -> dict[str, float]:
    """Median µs a step of every side, in turn within each round."""
    batches = random_batches(model, steps)
    runs = {name: side(model, batches, 0.01) for name, side in sides.items()}
    for run in runs.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            seconds[name].append(timed(run) / steps)
    return {name: 1e6 * statistics.median(times) for name, times in seconds.items()}


def to_the_goal(data: str, seeds: int) -> list[dict[str, float]]:
    """Whole trainings with the defaults of context 3, embedding 10, hidden 200: the dev loss and all their seconds."""
    dataset = Dataset.load(DataConfig(data=data, protocol="classic"))
    for part in ("train", "dev"):
        dataset.encoded(part)
    model = ModelConfig(model="mlp", context_length=3, embedding=10, hidden=200)
    results = []
    for seed in range(seeds):
        started = time.perf_counter()
        training = start_training(dataset, model, TrainingConfig(seed=seed, device="cpu"))
        training.run()
        results.append({"dev": training.best_loss, "seconds": time.perf_counter() - started, "steps": training.steps})
    return results


def start_up() -> dict[str, float]:
    """Seconds until `charloom --help`, and until the first output of `charloom sample`; best of three."""
    python = [sys.executable, "-m", "charloom"]
    with tempfile.TemporaryDirectory() as folder:

        def seconds(*arguments: str) -> float:
            command = [*python, *arguments]
            return min(
                timed(lambda: subprocess.run(command, cwd=folder, capture_output=True, check=True)) for _ in range(3)
            )

        for name, *model in (("counted", "ngram:5"), ("neural", "mlp", "--steps", "20")):
            command = [*python, "train", name, "--model", *model]
            subprocess.run(command, cwd=folder, capture_output=True, check=True)
        return {
            "charloom --help": seconds("--help"),
            "charloom sample, counted": seconds("sample", "counted"),
            "charloom sample, neural": seconds("sample", "neural"),
        }


def measure_steps(data: str | None, rounds: int, seeds: int) -> dict[str, Any]:
    """All of it, as plain data; whole trainings only where there is ``data``."""
    sides = {"tutorial": tutorial, "module": module, "compiled": ours}
    machine = matrix_product()
    steps = {}
    for name, options in KINDS.items():
        model = build(**options)
        times = step_times(model, sides, rounds)
        steps[name] = times | {
            "ratio": times["tutorial"] / times["compiled"],
            "share": flops(model) / (1e-6 * times["compiled"]) / machine,
        }
    growth = {
        what: [
            options
            | {"us": (us := step_times(build(**options), {"ours": ours}, 3)["ours"])}
            | {"share": flops(build(**options)) / (1e-6 * us) / machine}
            for options in every
        ]
        for what, every in GROWTH.items()
    }
    goal = to_the_goal(data, seeds) if data else None
    return {"gflops": machine / 1e9, "steps": steps, "growth": growth, "to_the_goal": goal, "start_up": start_up()}


def step_lines(report: dict[str, Any]) -> list[str]:
    """The report as text."""
    made = [f"matrix product of this machine, one thread: {report['gflops']:.0f} GFLOP/s", ""]
    made.append(
        f"{'µs a step, batch 32, SGD':36}{'tutorial':>10}{'module':>10}{'compiled':>10}{'ratio':>8}{'share':>8}"
    )
    for name, times in report["steps"].items():
        made.append(
            f"{name:36}{times['tutorial']:10.0f}{times['module']:10.0f}{times['compiled']:10.1f}"
            f"{times['ratio']:7.1f}x{times['share']:8.0%}"
        )
    for what, every in report["growth"].items():
        made += ["", f"growth with {what}"]
        for one in every:
            options = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in one.items() if k not in ("us", "share"))
            made.append(f"  {options:34}{one['us']:10.1f} µs{one['share']:8.0%}")
    if report["to_the_goal"]:
        trainings = report["to_the_goal"]
        devs, seconds = ([one[key] for one in trainings] for key in ("dev", "seconds"))
        tutorial_seconds = 1e-6 * report["steps"]["A: one layer of 200"]["tutorial"] * TUTORIAL_STEPS
        made += [
            "",
            f"parity names, classic, defaults of context 3, embedding 10, hidden 200; {len(trainings)} seeds:",
            f"  dev {statistics.mean(devs):.4f}, worst {max(devs):.4f} (goal {TARGET})",
            f"  {statistics.median(seconds):.2f} s (the first, with what it loads, {seconds[0]:.2f} s)",
            f"  the tutorial's {TUTORIAL_STEPS:,} steps at the time above: {tutorial_seconds:.0f} s,"
            f" {tutorial_seconds / statistics.median(seconds):.0f}x",
        ]
    made += ["", *(f"{name:36}{seconds:10.2f} s" for name, seconds in report["start_up"].items())]
    return made
