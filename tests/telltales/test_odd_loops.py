"""Loops that are right, though a rule might take what they do for a fault."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
import torch
from nets import CLASSES, batches, deep_mlp, loss_of
from torch import nn
from torch.nn import functional

import telltales
from telltales.finding import Finding
from telltales.loss_graph import loss_facts


def rules(watch: telltales.Watch) -> set[str]:
    return {one.rule for root in watch.findings() for one in root.every()}


def clear_data(parameter: nn.Parameter) -> None:
    if parameter.grad is not None:
        parameter.grad.data.zero_()


def clear_nothing(parameter: nn.Parameter) -> None:
    pass


@pytest.mark.parametrize(("clear", "expected"), [(clear_data, False), (clear_nothing, True)])
def test_gradients_that_are_cleared_through_data_do_not_pile_up(
    clear: Callable[[nn.Parameter], None], expected: bool
) -> None:
    torch.manual_seed(0)
    model = deep_mlp()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    with telltales.watch(model, optimizer, schedule=lambda step: True) as watch:
        for x, y in batches(12):
            for parameter in model.parameters():
                clear(parameter)
            loss = loss_of(model(x), y)
            loss.backward()
            optimizer.step()
            watch.step(loss, x, y)
    assert ("missing-zero-grad" in rules(watch)) == expected


@pytest.mark.parametrize("is_given", [True, False])
@pytest.mark.parametrize("fused", [True, False])
def test_an_update_that_a_loss_scaler_leaves_out_is_no_fault(fused: bool, is_given: bool) -> None:
    torch.manual_seed(0)
    model = deep_mlp()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    options = {"scaler": scaler} if is_given else {}
    with telltales.watch(model, optimizer, schedule=lambda step: True, **options) as watch:
        watch.raise_on("error")
        for step, (x, y) in enumerate(batches(12)):
            loss = loss_of(model(x), y)
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            if step == 3:
                model[-1].weight.grad[0, 0] = torch.inf
            scaler.step(optimizer)
            scaler.update()
            watch.step(loss, x, y)
    assert "non-finite" not in rules(watch)


def first_finding(write: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], scale: float = 1.0) -> list[Finding]:
    torch.manual_seed(0)
    model = deep_mlp()
    with torch.no_grad():
        model[-1].weight *= scale
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    x, y = batches(1)[0]
    with telltales.watch(model, optimizer) as watch:
        loss = write(model(x), y)
        loss.backward()
        optimizer.step()
        watch.step(loss, x, y)
    return [one for root in watch.findings() for one in root.every() if one.rule == "initial-loss"]


LOSSES: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "ten times": lambda logits, y: 10 * functional.cross_entropy(logits, y),
    "an auxiliary head": lambda logits, y: (
        functional.cross_entropy(logits, y) + 0.9 * functional.cross_entropy(0.5 * logits, y)
    ),
    "a temperature": lambda logits, y: functional.cross_entropy(logits / 0.05, y),
    "more weight on yes": lambda logits, y: functional.binary_cross_entropy_with_logits(
        logits, functional.one_hot(y, CLASSES).float(), pos_weight=torch.tensor(80.0)
    ),
    "a sum of two for each example": lambda logits, y: (
        functional.cross_entropy(logits.repeat(2, 1), y.repeat(2), reduction="sum") / len(y)
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_what_is_no_mean_of_one_loss_has_another_start(name: str) -> None:
    assert first_finding(LOSSES[name]) == []


def test_a_mean_is_judged_and_so_is_one_of_micro_batches() -> None:
    assert first_finding(functional.cross_entropy, scale=20)
    assert first_finding(
        lambda logits, y: (
            functional.cross_entropy(logits[:8], y[:8]) / 2 + functional.cross_entropy(logits[8:], y[8:]) / 2
        ),
        scale=20,
    )


def test_weights_of_classes_are_seen() -> None:
    logits, y = torch.randn(8, CLASSES, requires_grad=True), torch.arange(8) % CLASSES
    weighted = functional.cross_entropy(logits, y, weight=torch.rand(CLASSES))
    assert loss_facts(weighted)["class_weights"]
    weighted.backward()
    assert loss_facts(weighted)["class_weights"]
    assert not loss_facts(functional.cross_entropy(logits, y))["class_weights"]
    assert functional_facts(pos_weight=torch.tensor(3.0))["class_weights"]
    assert not functional_facts()["class_weights"]


def functional_facts(**options: torch.Tensor) -> dict[str, Any]:
    loss = functional.binary_cross_entropy_with_logits(torch.randn(8, requires_grad=True), torch.ones(8), **options)
    loss.backward()
    return loss_facts(loss)


Batch = tuple[Any, torch.Tensor]


def trained_on(stream: Iterable[Batch], shape: tuple[int, ...], classes: int) -> telltales.Watch:
    """A model of pixels or ids, trained on these batches, each step observed."""
    torch.manual_seed(0)
    body = nn.Embedding(40, 8) if len(shape) == 1 else nn.Linear(shape[1], 8)
    head = nn.Linear(8, classes)
    model = nn.ModuleDict({"body": body, "head": head})
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    with telltales.watch(model, optimizer, schedule=lambda step: True) as watch:
        for x, y in stream:
            ids = x["input_ids"] if isinstance(x, dict) else x
            hidden = body(ids)
            logits = head(hidden if y.dim() > 1 else hidden.mean(1))
            loss = functional.cross_entropy(logits.flatten(0, -2), y.flatten(), ignore_index=0 if y.dim() > 1 else -100)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            watch.step(loss, x, y)
    return watch


def test_a_label_that_does_not_count_is_not_counted() -> None:
    rows = torch.randint(1, 40, (20, 8, 12))
    rows[:, :, 4:] = 0
    watch = trained_on([(batch, batch) for batch in rows], (12,), 40)
    assert "0" not in watch.record.about["labels"]
    assert watch.record.scalar("target_entropy").min() > 2


@pytest.mark.parametrize("same", [False, True])
def test_permutations_are_not_all_the_same(same: bool) -> None:
    order = torch.stack([torch.randperm(12) for _ in range(8)])
    rows = order[:1].repeat(8, 1) if same else order
    watch = trained_on([(rows, torch.arange(8) % 4)] * 6, (12,), 4)
    assert ("constant-input" in rules(watch)) == same


def test_a_mask_is_not_what_a_model_is_given() -> None:
    batch = {"attention_mask": torch.ones(8, 12, dtype=torch.long), "input_ids": torch.randint(40, (8, 12))}
    watch = trained_on([(batch, torch.arange(8) % 4)] * 6, (12,), 4)
    assert "constant-input" not in rules(watch)


def of_one_length() -> Iterator[Batch]:
    for step in range(40):
        length = 4 + step % 9
        rows = torch.randint(1, 40, (16, length))
        rows[:, : length // 2] = 1
        yield rows, torch.randint(4, (16,))


def four_of_each() -> Iterator[Batch]:
    for _ in range(40):
        labels = torch.randperm(20)[:4].repeat_interleave(4)
        yield torch.randn(16, 1, 6) + labels[:, None, None], labels


def sorted_by_class() -> Iterator[Batch]:
    for step in range(40):
        labels = (torch.arange(16) + 16 * step) // 32
        yield torch.randn(16, 1, 6) + labels[:, None, None], labels


@pytest.mark.parametrize(
    ("stream", "shape", "classes", "expected"),
    [(of_one_length, (6,), 4, False), (four_of_each, (1, 6), 20, False), (sorted_by_class, (1, 6), 20, True)],
)
def test_batches_that_were_put_together_on_purpose(
    stream: Callable[[], Iterator[Batch]], shape: tuple[int, ...], classes: int, expected: bool
) -> None:
    torch.manual_seed(1)
    assert ("unshuffled-data" in rules(trained_on(list(stream()), shape, classes))) == expected


@pytest.mark.parametrize("put_in", [False, True])
def test_pairs_that_are_compared_on_purpose(put_in: bool) -> None:
    predicted, given = torch.randn(6, 1, requires_grad=True), torch.randn(6)
    if put_in:
        quantiles = predicted.expand(-1, 4)
        loss = functional.smooth_l1_loss(
            quantiles[:, :, None].expand(-1, 4, 4), given[:, None, None].expand(-1, 4, 4), reduction="none"
        ).mean()
    else:
        loss = (predicted - given).square().mean()
    assert ("broadcast" in loss_facts(loss)) != put_in


@pytest.mark.parametrize("both", [False, True])
def test_dropout_in_a_function_makes_the_training_loss_the_higher_one(both: bool) -> None:
    torch.manual_seed(0)
    x = torch.randn(512, 8)
    y = (x @ torch.randn(8, 5)).argmax(1)
    first, last = nn.Linear(8, 64), nn.Linear(64, 5)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = first, last

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(functional.dropout(torch.relu(self.first(x)), 0.8, self.training))

    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    with telltales.watch(model, optimizer) as watch:
        for step in range(600):
            rows = torch.randint(len(x), (64,))
            loss = functional.cross_entropy(model(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            watch.step(loss, x[rows], y[rows])
            if step % 60 == 59:
                model.eval()
                with torch.no_grad():
                    watch.evaluation(functional.cross_entropy(model(x[:256]), y[:256]), "dev")
                    if both:
                        watch.evaluation(functional.cross_entropy(model(x[256:]), y[256:]), "train")
                model.train()
    said = [one for root in watch.findings() for one in root.every() if one.rule == "dev-too-good"]
    assert [one.severity for one in said] == ([] if both else ["note"])


@pytest.mark.parametrize("loss", ["a number", "none that is known", "known"])
def test_what_was_not_looked_at_is_said(loss: str) -> None:
    torch.manual_seed(0)
    model = deep_mlp()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    with telltales.watch(model, optimizer) as watch:
        for x, y in batches(4):
            logits = model(x)
            value = logits.logsumexp(1).mean() if loss == "none that is known" else loss_of(logits, y)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            watch.step(value.item() if loss == "a number" else value, x, y)
    text = str(watch)
    assert ("look_at_loss" in text) == (loss == "a number")
    assert ("none that the rules know" in text) == (loss == "none that is known")


class Graph(nn.Module):
    """Each node's output is that of its neighbours' mean."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
        summed = torch.zeros_like(x).index_add(0, edges[1], x[edges[0]])
        return self.linear(summed)


class Pairs(nn.Module):
    """How much each text is like each image."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(6, 4), nn.Linear(6, 4)

    def forward(self, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        return self.one(x) @ self.other(z).T


def test_examples_that_meet_on_purpose_do_not_mix() -> None:
    torch.manual_seed(0)
    x, edges = torch.randn(16, 6), torch.randint(16, (2, 40))
    looked = telltales.preflight(Graph(), ((x, edges), torch.arange(16) % 3), nn.CrossEntropyLoss())
    assert "batch-mixing" not in [finding.rule for finding in looked]
    looked = telltales.preflight(Pairs(), ((x, torch.randn(16, 6)), torch.arange(16)), nn.CrossEntropyLoss())
    assert "batch-mixing" not in [finding.rule for finding in looked]
    looked = telltales.preflight(Pairs(), ((x, torch.randn(16, 6)), torch.arange(16) % 3), nn.CrossEntropyLoss())
    assert "batch-mixing" in [finding.rule for finding in looked]
