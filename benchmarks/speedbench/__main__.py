"""How fast charloom is, beside a loop as tutorials write it: both sides interleaved in one run.

    ./lab bench speed
    ./lab bench speed --only steps --rounds 20 --json
    ./lab bench speed --agreement          1,000 steps by either engine, in every configuration

What is printed: medians over the rounds, their ratio, and the share of this machine's matrix product (float32, 1,024 x
1,024, one thread, measured in the same run) that a step's products amount to. One thread, unless it says otherwise.
Figures of one run can be compared; those of two runs or two machines only as ratios.

The parts: steps (and whole trainings, and start-up), data (how cost grows with it), watching, sampling, and counting
(from a file of a gigabyte). All but the first need the parity names. All together take some ten minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from charloom.compiled import available
from charloom.config import DataConfig
from charloom.dataset import Dataset
from speedbench.agreement import agreement
from speedbench.counting import counting, counting_lines
from speedbench.data import data_lines, measure_data
from speedbench.samples import measure_sampling, sampling_lines
from speedbench.steps import measure_steps, step_lines
from speedbench.watched import measure_watching, watching_lines

PARTS = ("steps", "data", "watching", "sampling", "counting")


def parity_names() -> str | None:
    """Where the parity set lies, if it is here."""
    given = os.environ.get("PARITY_NAMES")
    path = Path(given) if given else Path(__file__).parents[3] / "shared/data/makemore-names.txt"
    return str(path) if path.exists() else None


def main() -> None:
    """Measure, and print tables or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS, action="append", help="one part; may be given more than once")
    parser.add_argument("--rounds", type=int, default=11, help="rounds of steps, each with every side (11)")
    parser.add_argument("--seeds", type=int, default=5, help="trainings to the goal (5)")
    parser.add_argument("--json", action="store_true", help="JSON for a program")
    parser.add_argument("--agreement", action="store_true", help="how far the two engines' losses are apart instead")
    arguments = parser.parse_args()
    if not available():
        parser.error("numba is not installed: there is nothing compiled to measure")
    torch.set_num_threads(1)
    if arguments.agreement:
        print("\n".join(agreement()))
        return
    data = parity_names()
    report = {}
    for part in arguments.only or PARTS:
        if data is None and part != "steps":
            print(f"{part}: left out, PARITY_NAMES names no file", file=sys.stderr)
            continue
        measure, lines = _part(part, data, arguments)
        report[part] = measure()
        if not arguments.json:
            print("\n".join([*lines(report[part]), ""]), flush=True)
    if arguments.json:
        print(json.dumps(report, indent=2))


def _part(part: str, data: Any, arguments: argparse.Namespace) -> tuple[Callable[[], Any], Callable[[Any], list[str]]]:
    """What measures a part, and what makes text of that."""

    def dataset() -> Dataset:
        return Dataset.load(DataConfig(data=data, protocol="classic"))

    parts: dict[str, tuple[Callable[[], Any], Callable[[Any], list[str]]]] = {
        "steps": (lambda: measure_steps(data, arguments.rounds, arguments.seeds), step_lines),
        "data": (lambda: measure_data(data), data_lines),
        "watching": (lambda: measure_watching(dataset()), watching_lines),
        "sampling": (lambda: measure_sampling(data), sampling_lines),
        "counting": (lambda: counting(dataset().corpus.items), counting_lines),
    }
    return parts[part]


if __name__ == "__main__":
    main()
