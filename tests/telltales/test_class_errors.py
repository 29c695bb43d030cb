"""Errors of each class, counted at an evaluation, and what is told of rare ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import telltales
from telltales.class_errors import class_errors
from telltales.errors import UsageError


def test_scores_and_classes_are_counted_alike() -> None:
    targets = torch.tensor([0, 0, 2, 2, 2, -100])
    predicted = torch.tensor([0, 1, 2, 0, 2, 0])
    scores = torch.nn.functional.one_hot(predicted, 3).float()
    assert class_errors(predicted, targets) == {"0": (2, 1), "2": (3, 1)}
    assert class_errors(scores, targets) == class_errors(predicted, targets)
    assert class_errors(scores.view(2, 3, 3), targets.view(2, 3)) == class_errors(predicted, targets)
    assert class_errors(None, None) is None


@pytest.mark.parametrize(
    ("predicted", "targets"),
    [
        (torch.zeros(3), None),
        (None, torch.zeros(3)),
        (torch.zeros(3, 2), torch.zeros(2)),
        (torch.zeros(2), torch.zeros(3)),
    ],
)
def test_what_does_not_fit_is_refused(predicted: torch.Tensor | None, targets: torch.Tensor | None) -> None:
    with pytest.raises(UsageError, match="predicted and targets"):
        class_errors(predicted, targets)


def evaluated(path: Path, wrong: int, rare: int = 20, times: int = 2) -> telltales.Record:
    """A training of one step, evaluated on 1,000 examples of one class and a few of another."""
    model = torch.nn.Linear(2, 2)
    targets = torch.cat([torch.zeros(1000, dtype=torch.long), torch.ones(rare, dtype=torch.long)])
    predicted = torch.cat([torch.zeros(1000, dtype=torch.long), torch.arange(rare) >= wrong]).long()
    with telltales.watch(model, torch.optim.SGD(model.parameters(), lr=0.1), path=path) as watch:
        loss = torch.nn.functional.cross_entropy(model(torch.randn(4, 2)), torch.tensor([0, 1, 0, 1]))
        loss.backward()
        watch.step(loss)
        for _ in range(times):
            watch.evaluation(0.1, "dev", predicted=predicted, targets=targets)
    return telltales.read_record(path)


@pytest.mark.parametrize(
    ("options", "is_told"),
    [
        ({"wrong": 15}, True),
        ({"wrong": 13}, False),
        ({"wrong": 15, "times": 1}, False),
        ({"wrong": 4, "rare": 4}, False),
        ({"wrong": 120, "rare": 120}, False),
    ],
)
def test_a_rare_class_that_is_never_right_is_named(tmp_path: Path, options: dict[str, int], is_told: bool) -> None:
    record = evaluated(tmp_path / "record.jsonl", **options)
    found = [one for one in telltales.judge(record) if one.rule == "class-imbalance"]
    assert bool(found) == is_told
    if is_told:
        assert found[0].where == "class 1"
        assert "of the 20 dev examples of class 1 75% are predicted wrongly" in found[0].evidence
        assert record.evaluations.of("dev")[0].classes == {"0": (1000, 0), "1": (20, 15)}
