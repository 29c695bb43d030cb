"""How fast charloom trains on a GPU, and whether it comes to the same by each way: all sides interleaved in one run.

    ./lab bench gpu
    ./lab bench gpu --device cpu --rounds 1 --steps 5              a trial of this program itself
    PYTHONPATH=src:benchmarks python -m speedbench.cuda            where charloom is not installed

What is printed: how far the losses of the captured step come from PyTorch's step by step; whether a training that is
stopped goes on to the same bits; the dev loss by each way; µs a step, medians over the rounds, every side waited for at
its end. It needs torch, NumPy and safetensors.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from charloom.api import load_data
from charloom.checkpoint import digest_of_arrays
from charloom.config import ModelConfig, TrainingConfig
from charloom.dataset import Dataset
from charloom.devices import products_in
from charloom.fitting import start_training
from charloom.graphs import StepGraph, by_graph
from charloom.observer import Observer, Step
from charloom.stepping import by_steps
from charloom.training import Training
from speedbench.sides import random_batches, tutorial

SIZES: dict[str, tuple[ModelConfig, int, int]] = {
    "A: 3 x 10, one layer of 200": (
        ModelConfig(model="mlp", context_length=3, embedding=10, hidden=200),
        32,
        1000,
    ),
    "B: 3 x 10, five of 100, batch norm": (
        ModelConfig(model="mlp", context_length=3, embedding=10, hidden=100, layers=5, norm="batch"),
        32,
        500,
    ),
    "large: 8 x 64, four of 1,024": (
        ModelConfig(model="mlp", context_length=8, embedding=64, hidden=1024, layers=4),
        4096,
        100,
    ),
}
"""Model, batch size and steps of each side in a round."""
FOREVER = 10**6
WAYS: dict[str, dict[str, Any]] = {
    "plain": {"engine": "torch"},
    "plain tf32": {"engine": "torch", "precision": "tf32"},
    "plain bf16": {"engine": "torch", "precision": "bf16"},
    "graph": {},
    "graph tf32": {"precision": "tf32"},
    "graph bf16": {"precision": "bf16"},
}


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="rounds, each with every side (7)")
    parser.add_argument("--steps", type=int, help="steps of each side in a round, whatever the size")
    parser.add_argument("--device", default="cuda", help="cuda, or cpu for a trial without graphs and tf32")
    parser.add_argument("--json", action="store_true", help="JSON for a program")
    arguments = parser.parse_args()
    device = arguments.device
    if device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no GPU; --device cpu tries this program itself")
    dataset = load_data()
    report: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
    }
    print(f"{report['device']}, torch {report['torch']}, CUDA {report['cuda']}", flush=True)
    parts: dict[str, Callable[[], Any]] = {
        "agreement over 300 steps": partial(agreement, dataset, device),
        "resumed": partial(resumed, dataset, device),
        "dev loss after 3,000 steps": partial(dev_losses, dataset, device, 3_000),
    }
    for name, (model, batch, steps) in SIZES.items():
        parts[f"µs a step, SGD, {name}, batch {batch:,}"] = partial(
            step_times, dataset, model, batch, arguments.steps or steps, arguments.rounds, device
        )
    for name, part in parts.items():
        report[name] = part()
        if not arguments.json:
            print(f"\n{name}")
            for key, value in report[name].items():
                print(f"  {key:28}{value}", flush=True)
    if arguments.json:
        print(json.dumps(report, indent=2))


def ways(device: str) -> dict[str, dict[str, Any]]:
    """What can be measured there."""
    if device == "cuda":
        return WAYS
    return {name: settings for name, settings in WAYS.items() if name in ("plain", "plain bf16")}


def step_times(
    dataset: Dataset, model: ModelConfig, batch: int, steps: int, rounds: int, device: str
) -> dict[str, str | float]:
    """Median µs a step of the tutorial's loop and of every way, in turn within each round."""
    runs: dict[str, Callable[[], int]] = {}
    settings = TrainingConfig(
        steps=FOREVER,
        evaluate_every=FOREVER,
        checkpoint_every=FOREVER,
        batch_size=batch,
        batches="rows",
        optimizer="sgd",
        learning_rate=0.01,
        weight_decay=0.0,
        schedule="constant",
        device=device,  # type: ignore[arg-type]
    )
    fresh = start_training(dataset, model, settings).model
    loop = tutorial(fresh, random_batches(fresh, steps, batch), 0.01)  # type: ignore[arg-type]

    def by_tutorial() -> int:
        loop()
        return steps

    runs["tutorial"] = by_tutorial
    for name, way in ways(device).items():
        runs[name] = _way(start_training(dataset, model, replace(settings, **way)), steps)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for round_number in range(rounds + 1):
        for name, run in runs.items():
            _wait(device)
            started = time.perf_counter()
            made = run()
            _wait(device)
            if round_number:  # The first one warms up.
                seconds[name].append((time.perf_counter() - started) / made)
    medians = {name: 1e6 * statistics.median(times) for name, times in seconds.items()}
    return {name: f"{us:10.1f}  {medians['tutorial'] / us:6.1f} x the tutorial" for name, us in medians.items()}


def _way(training: Training, steps: int) -> Callable[[], int]:
    """Makes at least so many steps of the training at each call, and says how many."""
    course, precision, device = training._course, training.config.precision, training.device
    training.model.train()
    with products_in(precision, device):
        if training.config.engine == "torch":
            advances = by_steps(course, looked_at=False)
        else:
            advances = by_graph(course, StepGraph(course), lambda most: most, losses_wanted=False)

    def run() -> int:
        before = course.step
        with products_in(precision, device):
            while course.step < before + steps:
                next(advances)
        return course.step - before

    return run


class Losses(Observer):
    """Keeps every loss, and states at checkpoints."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.saved: dict[int, Any] = {}

    def free_steps(self, most: int) -> int:
        """Losses are enough."""
        return most

    def passed(self, training: Training, losses: Any) -> None:
        """Keep them."""
        self.losses += losses.tolist()

    def stepped(self, training: Training, step: Step) -> None:
        """Keep the loss."""
        self.losses.append(step.loss.item())

    def checkpoint_due(self, training: Training) -> None:
        """Keep the state."""
        self.saved[training.step] = training.state()


KINDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "SGD": ({}, {"optimizer": "sgd", "learning_rate": 0.1}),
    "SGD, momentum, clip 1": ({}, {"optimizer": "sgd", "learning_rate": 0.05, "momentum": 0.9, "clip": 1.0}),
    "AdamW": ({}, {}),
    "Adam, batch norm": ({"layers": 3, "norm": "batch"}, {"optimizer": "adam", "weight_decay": 0.0}),
    "distinct contexts": ({}, {"batches": "distinct", "batch_size": 512}),
    "dropout 0.2": ({"dropout": 0.2}, {}),
    "bf16": ({}, {"precision": "bf16"}),
    "tf32": ({}, {"precision": "tf32"}),
}


def _small(dataset: Dataset, kind: str, device: str, **settings: Any) -> Training:
    model, rule = KINDS[kind]
    shape: dict[str, Any] = {"model": "mlp", "context_length": 3, "embedding": 10, "hidden": 200}
    usual = {"steps": 300, "batch_size": 32, "evaluate_every": 100, "checkpoint_every": 130, "batches": "rows"}
    config = TrainingConfig(**(usual | rule | {"device": device} | settings))
    return start_training(dataset, ModelConfig(**(shape | model)), config)


def agreement(dataset: Dataset, device: str) -> dict[str, str]:
    """How far the captured step's losses come from PyTorch's own, and PyTorch's from its own a second time."""
    made = {}
    for kind in KINDS:
        if kind == "tf32" and device == "cpu":
            continue
        runs = []
        for engine in ("torch", "torch", "auto"):
            training, kept = _small(dataset, kind, device, engine=engine), Losses()
            training.run([kept])
            runs.append((kept.losses, training.engine, training.engine_reason, training.best_loss))
        (first, *_, dev), (second, *_), (graph, engine, reason, graph_dev) = runs
        apart = max(abs(a - b) for a, b in zip(first, graph, strict=True))
        at_first = max(abs(a - b) for a, b in zip(first[:10], graph[:10], strict=True))
        again = max(abs(a - b) for a, b in zip(first, second, strict=True))
        made[kind] = (
            f"{at_first:.1e} in 10, {apart:.1e} in 300; the same way again {again:.1e};"
            f" dev {dev:.5f} {graph_dev:.5f} ({engine}: {reason})"
        )
    return made


def resumed(dataset: Dataset, device: str) -> dict[str, str]:
    """Whether a training that goes on from a checkpoint comes to the bits of one that was never stopped."""
    made = {}
    for kind in KINDS:
        if kind == "tf32" and device == "cpu":
            continue
        whole, kept = _small(dataset, kind, device), Losses()
        whole.run([kept])
        again, rest = _small(dataset, kind, device), Losses()
        again.restore(*kept.saved[130])
        again.run([rest])
        same = digest_of_arrays(again.model_arrays()) == digest_of_arrays(whole.model_arrays())
        losses = kept.losses[130:] == rest.losses
        made[kind] = (
            f"weights {'equal' if same else 'DIFFER'}, losses {'equal' if losses else 'DIFFER'} ({again.engine})"
        )
    return made


def dev_losses(dataset: Dataset, device: str, steps: int) -> dict[str, str]:
    """What whole trainings of A by each way come to, with all their seconds."""
    made = {}
    for name, way in ways(device).items():
        training = _small(dataset, "AdamW", device, steps=steps, evaluate_every=steps // 4, **way)
        training.run()
        made[name] = (
            f"{training.best_loss:.4f} in {training.seconds:.2f} s ({training.engine}: {training.engine_reason})"
        )
    return made


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
