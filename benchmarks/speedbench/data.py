"""How cost grows with the data: the same names once, ten and a hundred times, shuffled anew each time."""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path
from typing import Any

from charloom.config import DataConfig, ModelConfig, TrainingConfig
from charloom.dataset import Dataset
from charloom.fitting import count, start_training

TIMES = (1, 10, 100)


def measure_data(data: str, times: tuple[int, ...] = TIMES) -> list[dict[str, Any]]:
    """Seconds to read, split and encode; to count order 5; and of a whole training with the defaults of context 3."""
    names = Path(data).read_text(encoding="utf-8").splitlines()
    order = random.Random(0)
    report = []
    with tempfile.TemporaryDirectory() as folder:
        for many in times:
            path = Path(folder) / "names.txt"
            with path.open("w", encoding="utf-8") as file:
                for _ in range(many):
                    order.shuffle(names)
                    file.write("\n".join(names) + "\n")
            started = time.perf_counter()
            dataset = Dataset.load(DataConfig(data=str(path), protocol="classic"))
            targets = len(dataset.encoded("train").ids) + len(dataset.encoded("dev").ids)
            read = time.perf_counter()
            count(ModelConfig(model="ngram:5"), dataset)
            counted = time.perf_counter()
            training = start_training(
                dataset,
                ModelConfig(model="mlp", context_length=3, embedding=10, hidden=200),
                TrainingConfig(device="cpu"),
            )
            training.run()
            trained = time.perf_counter()
            report.append(
                {
                    "times": many,
                    "targets": targets,
                    "read": read - started,
                    "count": counted - read,
                    "train": trained - counted,
                    "batches": training.config.batches,
                }
            )
    return report


def data_lines(report: list[dict[str, Any]]) -> list[str]:
    """The report as text."""
    made = [f"growth with data (seconds){'read':>14}{'count order 5':>16}{'train, context 3':>18}"]
    for one in report:
        label = f"  {one['times']}x, {one['targets']:,} targets"
        made.append(f"{label:26}{one['read']:14.2f}{one['count']:16.2f}{one['train']:18.2f}")
    return made
