"""The workloads of `torture.memory`, each a process of its own: ``python -m torture.memory_workloads NAME SIZES``.

The peak is printed after the imports, and after each size.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from torture.memory import STATUS

ROWS = 30
"""Of each table of a record."""


def peak() -> None:
    """Print the most memory that this process ever held, in kB."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    print(line.split()[1], flush=True)


def text(path: Path, megabytes: int) -> Path:
    """Lines of words out of twenty thousand, new ones in each megabyte; of six letters, so that all n-grams recur."""
    rng = np.random.default_rng(0)
    letters = rng.integers(ord("a"), ord("a") + 6, (20_000, 8), np.uint8)
    letters[np.arange(8) >= rng.integers(3, 9, (20_000, 1))] = 0
    with path.open("wb") as file:
        for _ in range(megabytes):
            words = letters[rng.integers(0, len(letters), 1 << 18)]
            ends = np.where(rng.random((len(words), 1)) < 0.3, ord("\n"), ord(" ")).astype(np.uint8)
            drawn = np.hstack([words, ends])
            file.write(drawn[drawn > 0].tobytes()[: 1 << 20])
    return path


def counting(sizes: list[int], folder: Path, order: int, *how: str) -> None:
    import charloom.counting
    from charloom.config import DataConfig

    warnings.simplefilter("ignore")
    if how:
        charloom.counting._why_not_compiled = lambda: "it is not to be"
    small = DataConfig(data=str(text(folder / "small", 1)))
    config = [DataConfig(data=str(text(folder / f"{size}", size))) for size in sizes]
    # What is compiled, or read from a cache of compiled code, is part of the imports.
    charloom.counting.WORTH_COMPILED = 0
    charloom.counting.count_file(small, order, threads=1)
    peak()
    for one in config:
        charloom.counting.count_file(one, order, threads=2)
        peak()


def _observations(rows: int) -> Iterator[Any]:
    """Observed steps without end, as of a net with so many modules and parameters."""
    from telltales.observation import COLUMNS, Observation, Reading

    rng = np.random.default_rng(0)
    names = tuple(f"blocks.{row}" for row in range(rows))
    for step in itertools.count():
        tables = {
            kind: Reading(names, rng.random((rows, len(columns)), np.float32)) for kind, columns in COLUMNS.items()
        }
        losses = rng.random(1, np.float32)
        yield Observation(step, {"loss": float(losses[0]), "seconds": float(step)}, tables, losses=losses)


def _recorded(sizes: list[int], path: Path | None) -> None:
    from telltales.acting import Verdicts
    from telltales.recording import Recording
    from telltales.verdicts import RULES

    peak()
    taking, verdicts, observations = Recording(path, {}, None, None), Verdicts(RULES, ()), _observations(ROWS)
    done = 0
    for size in sizes:
        for observation in itertools.islice(observations, size * 100 - done):
            taking.observe(observation)
            if path is not None:
                verdicts.observed(taking.record)
        done = size * 100
        peak()


def recording(sizes: list[int], folder: Path) -> None:
    _recorded(sizes, None)


def writing(sizes: list[int], folder: Path) -> None:
    _recorded(sizes, folder / "record.jsonl")


def reporting(sizes: list[int], folder: Path) -> None:
    import synthetic

    from telltales.report.html import html_report

    peak()
    for size in sizes:
        html_report({"run": synthetic.record_of(synthetic.mlp_layers()[:4], size * 100, 1, 0)}, found={})
        peak()


def layers(sizes: list[int], folder: Path) -> None:
    import synthetic

    from telltales.report.html import html_report

    peak()
    for size in sizes:
        html_report({"run": synthetic.transformer(size, 20)}, found={})
        peak()


def sampling(sizes: list[int], folder: Path) -> None:
    import small
    from charloom.config import ModelConfig, SamplingConfig
    from charloom.fitting import fit

    model = fit(small.dataset(), ModelConfig(model="ngram:3"))
    for _ in model.sample_lines(20_000, SamplingConfig(), threads=1):
        pass
    peak()
    for size in sizes:
        for _ in model.sample_lines(size * 1000, SamplingConfig(), threads=1):
            pass
        peak()


def training(sizes: list[int], folder: Path) -> None:
    _trained(sizes)


def watching(sizes: list[int], folder: Path) -> None:
    _trained(sizes, folder / "record.jsonl")


def _trained(sizes: list[int], path: Path | None = None) -> None:
    import small
    import telltales
    from charloom.observer import Observer, Step
    from charloom.training import Training

    due = [size * 100 for size in sizes]

    class Peaks(Observer):
        def stepped(self, training: Training, step: Step) -> None:
            if watch is not None:
                watch.step(step.loss, step.contexts, step.targets, step.rows)
            if training.step in (10, *due):
                peak()

    loop = small.training(small.SMALL_MLP, steps=due[-1], evaluate_every=500, engine="torch")
    watch = telltales.watch(loop.model, loop.optimizer, path=path) if path is not None else None
    loop.run([Peaks()])


def loading(sizes: list[int], folder: Path) -> None:
    import charloom
    import small
    from charloom.config import ModelConfig, TrainingConfig
    from charloom.fitting import fit

    def fitted(size: int) -> None:
        data = charloom.load_data(str(text(folder / f"{size}", size)))
        fit(data, ModelConfig(**small.SMALL_MLP), TrainingConfig(steps=20, evaluate_every=20, engine="torch"))

    fit(small.dataset(), ModelConfig(**small.SMALL_MLP), TrainingConfig(steps=20, engine="torch"))
    peak()
    for size in sizes:
        fitted(size)
        peak()


if __name__ == "__main__":
    name, *given = sys.argv[1:]
    words = [word for word in given if not word.isdigit()]
    with tempfile.TemporaryDirectory() as place:
        numbers = [int(word) for word in given if word.isdigit()]
        if name == "counting":
            counting(numbers[1:], Path(place), numbers[0], *words)
        else:
            globals()[name](numbers, Path(place))
