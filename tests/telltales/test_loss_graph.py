"""What the graph of a loss tells of it, however the loss was written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional

from telltales.loss_graph import loss_facts

Write = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

CLASSES: dict[str, tuple[Write, dict[str, Any]]] = {
    "plain": (
        functional.cross_entropy,
        {"kind": "cross_entropy", "reduction": "mean", "sign": 1, "factor": 1.0, "classes": 5, "terms": 1, "dim": 1},
    ),
    "log-softmax and nll": (
        lambda x, y: functional.nll_loss(x.log_softmax(1), y),
        {"kind": "cross_entropy", "reduction": "mean", "classes": 5},
    ),
    "by hand": (
        lambda x, y: -x.log_softmax(1)[torch.arange(len(y)), y].mean(),
        {"kind": "cross_entropy", "reduction": "mean", "sign": 1, "classes": 5},
    ),
    "summed": (lambda x, y: functional.cross_entropy(x, y, reduction="sum"), {"reduction": "sum"}),
    "summed by hand": (lambda x, y: functional.cross_entropy(x, y, reduction="none").sum(), {"reduction": "sum"}),
    "a sum that is divided": (
        lambda x, y: functional.cross_entropy(x, y, reduction="sum") / len(y),
        {"reduction": "mean"},
    ),
    "a mean by hand": (lambda x, y: functional.cross_entropy(x, y, reduction="none").mean(), {"reduction": "mean"}),
    "wrong sign": (lambda x, y: -functional.cross_entropy(x, y), {"sign": -1}),
    "times a number": (lambda x, y: 0.25 * functional.cross_entropy(x, y), {"kind": "cross_entropy", "sign": 1}),
    "subtracted": (lambda x, y: 1 - functional.cross_entropy(x, y), {"sign": -1}),
    "weighted by example": (
        lambda x, y: (torch.rand(len(y)) * functional.cross_entropy(x, y, reduction="none")).mean(),
        {"weighted": True},
    ),
    "smoothed": (
        lambda x, y: functional.cross_entropy(x, y, label_smoothing=0.1),
        {"smoothing": pytest.approx(0.1), "others": False, "kind": "cross_entropy"},
    ),
    "micro-batches": (
        lambda x, y: functional.cross_entropy(x[:4], y[:4]) / 2 + functional.cross_entropy(x[4:], y[4:]) / 2,
        {"terms": 1, "others": False},
    ),
    "with a penalty": (lambda x, y: functional.cross_entropy(x, y) + x.square().mean(), {"terms": 1, "others": True}),
    "two kinds": (
        lambda x, y: functional.cross_entropy(x, y) + functional.mse_loss(x, torch.zeros_like(x)),
        {"terms": 2},
    ),
    "a softmax before": (lambda x, y: functional.cross_entropy(x.softmax(1), y), {"fed_by": "softmax"}),
    "over the batch": (lambda x, y: functional.nll_loss(x.log_softmax(0), y), {"dim": 0}),
    "no logarithm": (lambda x, y: functional.nll_loss(x * 1.0, y), {"kind": "nll", "fed_by": "Mul"}),
}

NUMBERS: dict[str, tuple[Write, dict[str, Any]]] = {
    "squared": (functional.mse_loss, {"kind": "mse", "reduction": "mean", "sign": 1}),
    "broadcast": (lambda x, y: functional.mse_loss(x[:, None], y), {"kind": "mse", "broadcast": [[8, 1], [8, 8]]}),
    "absolute": (functional.l1_loss, {"kind": "l1"}),
    "with logits": (
        lambda x, y: functional.binary_cross_entropy_with_logits(x, y.sigmoid()),
        {"kind": "binary_cross_entropy_with_logits", "reduction": "mean"},
    ),
    "a sigmoid before logits": (
        lambda x, y: functional.binary_cross_entropy_with_logits(x.sigmoid(), y.sigmoid()),
        {"fed_by": "sigmoid"},
    ),
}


def subset(facts: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
    return {name: facts.get(name) for name in expected}


@pytest.mark.parametrize("name", CLASSES)
def test_losses_of_classes(name: str) -> None:
    write, expected = CLASSES[name]
    scores = torch.randn(8, 5, requires_grad=True)
    assert subset(loss_facts(write(scores, torch.arange(8) % 5)), expected) == expected


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.filterwarnings("ignore:Using a target size")
def test_losses_of_numbers(name: str) -> None:
    write, expected = NUMBERS[name]
    numbers = torch.randn(8, requires_grad=True)
    assert subset(loss_facts(write(numbers, torch.randn(8))), expected) == expected


def test_of_what_is_no_known_loss_nothing_is_said() -> None:
    assert loss_facts(torch.randn(8, requires_grad=True).sum()) == {}
