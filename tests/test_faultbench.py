"""A small fixed part of the fault bench: it runs, it goes on where it stopped, and its table counts rightly."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

from faultbench import table
from faultbench.faults import FAULTS
from faultbench.programs import PROGRAMS
from faultbench.running import HEALTHY, Job, jobs, perform, read_results, run_all
from faultbench.training import run, state_hash

OURS = ["telltales"]
QUICK = ["names-tanh", "names-deep-norm", "text-lstm", "text-decoder", "digits-mlp", "diabetes-regression"]
"""Small programs; each fault applies to one of them at least."""
OF_PROGRAM = {"names-tanh": "tuning", "names-deep-norm": "reporting"}


def rules(result: dict[str, Any]) -> list[str]:
    assert result["heard"]["telltales"]["crashed"] is None
    return [rule for rule, _, _ in result["heard"]["telltales"]["named"]]


@pytest.mark.parametrize("program", OF_PROGRAM)
@pytest.mark.parametrize(
    "fault",
    [
        "no zero_grad",
        "layer left out of the optimizer",
        "optimizer of a copy",
        "graph cut",
        "softmax twice",
        "nll of logits",
        "loss of the wrong sign",
        "examples mixed",
        "weights from N(0, 1)",
        "weights of zero",
        "rate a hundred times",
        "one NaN",
        "labels shuffled",
    ],
)
def test_a_fault_is_named_first_and_the_healthy_twin_is_left_alone(program: str, fault: str) -> None:
    (known,) = (one for one in FAULTS if one.name == fault)
    named = rules(perform(Job(program, "plain", fault, 0), OURS))
    assert named
    assert named[0] in known.right


@pytest.mark.parametrize(
    ("program", "variant"),
    [
        ("names-tanh", "plain"),
        ("names-deep-norm", "plain"),
        ("text-gru", "plain"),
        ("names-tanh", "warm-up and cosine"),
        ("names-tanh", "accumulated"),
        ("names-deep-norm", "cyclic rate"),
        ("pole-reinforce", "plain"),
    ],
)
def test_healthy_trainings_are_left_alone(program: str, variant: str) -> None:
    assert rules(perform(Job(program, variant, HEALTHY, 1), OURS)) == []


@pytest.mark.parametrize("fault", [fault.name for fault in FAULTS if fault.name != "evaluates in training mode"])
def test_every_fault_changes_the_training(fault: str) -> None:
    (known,) = (one for one in FAULTS if one.name == fault)
    torch.manual_seed(0)
    program = next(name for name in QUICK if known.applies(_made(name)))
    results = []
    for one in (HEALTHY, fault):
        training = Job(program, "plain", one, 0).training()
        # Not all show in the first steps.
        training.steps = min(training.steps, 300 if "schedule" in fault or "one " in fault else 40)
        results.append(run(training, []))
    assert results[0].last_loss != results[1].last_loss or results[0].quality != results[1].quality


def _made(name: str) -> Any:
    (program,) = (one for one in PROGRAMS if one.name == name)
    return program.make(0)


def test_what_was_run_is_not_run_again(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    wanted = jobs(1, 1, ["names-tanh"], ["no zero_grad"])
    wanted = [job for job in wanted if job.variant == "plain"]
    run_all(wanted[:1], path, 1, [])
    content = path.read_text()
    path.write_text(content + '{"cut off')
    run_all(wanted, path, 1, [])
    assert path.read_text().startswith(content)
    found = read_results(path)
    assert [(result["program"], result["fault"]) for result in found] == [(job.program, job.fault) for job in wanted]


def test_a_tool_that_crashes_or_changes_the_model_does_not_change_the_training() -> None:
    class Bad:
        name = "bad"

        def begin(self, training: Any) -> None:
            with torch.no_grad():
                next(training.model.parameters()).add_(1.0)

        def after_backward(self, training: Any, step: int, loss: Any) -> None:
            torch.rand(3)
            raise ValueError("no")

        def after_step(self, *_: Any) -> None: ...
        def evaluated(self, *_: Any) -> None: ...
        def end(self) -> None: ...
        def named(self) -> list[Any]:
            return []

    def final(tools: list[Any]) -> tuple[str, Any]:
        training = Job("names-tanh", "plain", HEALTHY, 0).training()
        training.steps = 20
        return state_hash(training), run(training, tools)

    (_, plain), (_, watched) = final([]), final([Bad()])
    assert watched.last_loss == plain.last_loss
    assert watched.heard["bad"].changed
    assert watched.heard["bad"].crashed == "ValueError: no"


def result(fault: str, seed: int, named: list[list[Any]], quality: float = 1.0) -> dict[str, Any]:
    heard = {"tool": {"named": named, "crashed": None, "seconds": 0, "changed": False}}
    where = {"program": "p", "variant": "plain", "half": "tuning"}
    return where | {"fault": fault, "seed": seed, "quality": quality, "failed": None, "heard": heard}


def test_the_table_counts_only_what_was_not_said_of_the_healthy_twin() -> None:
    results = [
        result(HEALTHY, 0, []),
        result(HEALTHY, 1, [["missing-zero-grad", 3, ""]]),
        result("no zero_grad", 0, [["diverging", 9, ""], ["missing-zero-grad", 1, ""]], 2.0),
        result("no zero_grad", 1, [["missing-zero-grad", 1, ""]], 1.0),
    ]
    row = table.summary(results)["tool"]
    assert (row["flagged"].count, row["flagged"].of) == (1, 2)
    assert row["right first"].count == 0
    assert row["right at all"].count == 1
    assert (row["healthy flagged"].count, row["healthy flagged"].of) == (1, 2)
    assert row["structural at once"].count == 1
    assert table.hurt(results).count == 1
    low, high = table.Share(1, 2).interval
    assert (round(low, 3), round(high, 3)) == (0.095, 0.905)
    assert math.isnan(table.Share(0, 0).interval[0])
    assert "no zero_grad" in table.text(results, "tuning")
    json.dumps(table.as_json(results), allow_nan=False)
