"""Batch norm, with and without: at several learning rates and batch sizes, in training and in evaluation."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from charloom.config import ModelConfig, TrainingConfig
from charloom.contexts import Contexts, RowOrder
from charloom.dataset import Dataset
from charloom.errors import ConfigError
from charloom.evaluation import mean_loss
from charloom.experiments.study import LEAST_APART, Plot, Section, Study, Table, banded, lowest, mean_and_spread
from charloom.experiments.trials import Trial, Trials, Tried
from charloom.fitting import fit, start_training
from charloom.loss import cross_entropy
from charloom.models.neural import NeuralModel
from charloom.recalibration import Recalibration

NORMS = {"without": "none", "with": "batch"}
MEASURED_ROWS = 1 << 14
"""So many training rows the loss under a batch's own statistics is measured on."""


@dataclass(frozen=True)
class Conditions:
    learning_rates: Sequence[float] = (0.01, 0.1, 1.0, 3.0)
    batch_sizes: Sequence[int] = (2, 4, 8, 32, 128)
    learning_rate: float = 0.1
    """Where batch sizes are compared."""
    batch_size: int = 32
    """Where learning rates are compared."""
    layers: int = 3
    hidden: int = 200
    seeds: Sequence[int] = (0, 1)
    steps: int = 2_000
    reach: float | None = None
    """The dev loss whose first step is compared; left out, that of a table of pairs."""


@dataclass(frozen=True)
class Cell:
    """One learning rate and batch size, with or without batch norm, over the seeds."""

    norm: str
    learning_rate: float
    batch_size: int
    tried: tuple[Tried, ...]

    @property
    def devs(self) -> list[float]:
        return [dev for one in self.tried if (dev := one.dev) is not None]

    def words(self, reach: float) -> str:
        """The dev loss and the steps that ``reach`` takes."""
        failed = len(self.tried) - len(self.devs)
        reached = [steps for one in self.tried if (steps := one.reached(reach)) is not None]
        parts = [mean_and_spread(self.devs, 3)] if self.devs else []
        parts += [f"in {sum(reached) / len(reached):,.0f}"] if reached else []
        return "; ".join([*parts, *([f"{failed} of {len(self.tried)} diverged"] if failed else [])])


@dataclass(frozen=True)
class Gap:
    """One net's loss on training rows, in nats per character, by the statistics that batch norm uses."""

    batch_size: int
    of_batches: float
    """Those of each batch, as in training."""
    running: float
    """The running averages that training has left, as in evaluation."""
    recalibrated: float
    """Those of the training rows, measured at once."""


def study_batch_norm(dataset: Dataset, trials: Trials, conditions: Conditions | None = None) -> Study:
    """Train with and without batch norm under every condition, and compare."""
    conditions = conditions or Conditions()
    reach = conditions.reach
    if reach is None:
        reach = fit(dataset, ModelConfig(model="bigram")).evaluate(dataset).loss.nats
    points = [(rate, conditions.batch_size) for rate in conditions.learning_rates]
    points += [
        (conditions.learning_rate, size)
        for size in conditions.batch_sizes
        if (conditions.learning_rate, size) not in points
    ]
    plan = [
        (norm, rate, size, _trial(conditions, norm, rate, size, seed))
        for (rate, size), norm, seed in itertools.product(points, NORMS, conditions.seeds)
    ]
    every = trials.fit([trial for *_, trial in plan])
    cells = []
    for (norm, rate, size), group in itertools.groupby(zip(plan, every, strict=True), key=lambda pair: pair[0][:3]):
        cells.append(Cell(norm, rate, size, tuple(one for _, one in group)))
    gaps = [
        _gap(dataset, next(tried for tried in one.tried if tried.failure is None), one.batch_size)
        for one in sorted(cells, key=lambda one: one.batch_size)
        if one.norm == "with" and one.learning_rate == conditions.learning_rate and one.devs
    ]
    return _study(dataset, conditions, reach, cells, gaps)


def _trial(conditions: Conditions, norm: str, rate: float, size: int, seed: int) -> Trial:
    model = ModelConfig(
        model="deep-mlp",
        context_length=3,
        embedding=10,
        layers=conditions.layers,
        hidden=conditions.hidden,
        norm=NORMS[norm],  # type: ignore[arg-type]
    )
    training = TrainingConfig(
        optimizer="sgd",
        schedule="constant",
        weight_decay=0.0,
        learning_rate=rate,
        batch_size=size,
        seed=seed,
        steps=conditions.steps,
        evaluate_every=max(LEAST_APART, conditions.steps // 20),
        recalibrate=False,
    )
    return Trial(f"{norm} lr {rate:g} batch {size} seed {seed}", model, training)


def _gap(dataset: Dataset, tried: Tried, batch_size: int) -> Gap:
    model = tried.run.text_model().model
    assert isinstance(model, NeuralModel)
    train = dataset.encoded("train")
    contexts = Contexts(train, model.context_length)
    measured = copy.deepcopy(model)
    Recalibration(contexts, model.vocabulary_size).apply(measured)
    return Gap(
        batch_size,
        _loss_by_batches(copy.deepcopy(model), contexts, batch_size),
        mean_loss(model, train).nats,
        mean_loss(measured, train).nats,
    )


@torch.no_grad()
def _loss_by_batches(model: NeuralModel, contexts: Contexts, batch_size: int) -> float:
    """In training mode, over shuffled batches; the model's running statistics are spoilt by it."""
    model.train()
    steps = max(1, MEASURED_ROWS // batch_size)
    total = 0.0
    for rows in RowOrder(len(contexts), batch_size, seed=0).indices(0, steps):
        inputs, targets = (torch.from_numpy(part) for part in contexts.rows(rows))
        total += float(cross_entropy(model(inputs), targets))
    return total / steps


def refusals(dataset: Dataset, conditions: Conditions) -> dict[str, str]:
    """What is said to a batch of one row: by charloom, before a training begins, and by PyTorch's layer."""
    said = {}
    trial = _trial(conditions, "with", conditions.learning_rate, 1, 0)
    assert trial.training is not None
    try:
        start_training(dataset, trial.model, trial.training)
    except ConfigError as error:
        said["charloom"] = f"{error.fact}. {error.remedy}"
    try:
        nn.BatchNorm1d(conditions.hidden)(torch.zeros(1, conditions.hidden))
    except ValueError as error:
        said["torch.nn.BatchNorm1d"] = str(error)
    return said


def _study(dataset: Dataset, conditions: Conditions, reach: float, cells: Sequence[Cell], gaps: Sequence[Gap]) -> Study:
    by_rate = [one for one in cells if one.batch_size == conditions.batch_size]
    by_size = sorted(
        (one for one in cells if one.learning_rate == conditions.learning_rate), key=lambda one: one.batch_size
    )
    refused = refusals(dataset, conditions)
    said = (
        f"{dataset.corpus.name}, {dataset.config.protocol} protocol; context 3, embedding 10, {conditions.layers}"
        f" hidden layers of {conditions.hidden}, tanh, Kaiming's weights, the last layer a tenth of that; SGD,"
        f" {conditions.steps:,} steps; seeds {', '.join(map(str, conditions.seeds))}. Losses are in nats per character;"
        f" ln {len(dataset.vocabulary)} = {math.log(len(dataset.vocabulary)):.4f}."
    )
    rate_curves = [one for one in by_rate if any(tried.history for tried in one.tried)]
    sections = [
        Section(
            "Learning rates",
            "Batch norm makes the loss insensitive to the weights' scale, so that a larger range of rates works.",
            [
                _table(f"Lowest dev loss, and steps to {reach:.3f}", "learning rate", by_rate, reach),
                _curves(f"Dev loss at batch size {conditions.batch_size}", rate_curves, reach, "rate"),
            ],
        ),
        Section(
            "Batch sizes",
            "The mean and the variance of two or four examples are noise, and the net learns with it.",
            [
                _table(f"Lowest dev loss, and steps to {reach:.3f}", "batch size", by_size, reach),
                _curves(
                    f"Dev loss at learning rate {conditions.learning_rate:g}",
                    [one for one in by_size if any(tried.history for tried in one.tried)],
                    reach,
                    "size",
                ),
            ],
        ),
        Section(
            "Training and evaluation are different functions",
            "In training a batch is normalised by its own statistics, in evaluation by averages over past batches.",
            [
                Table(
                    "Loss on training rows, of the first seed",
                    {
                        "batch size": "right",
                        "each batch's own": "right",
                        "running averages": "right",
                        "measured at once": "right",
                    },
                    [
                        [
                            str(one.batch_size),
                            *(f"{loss:.4f}" for loss in (one.of_batches, one.running, one.recalibrated)),
                        ]
                        for one in gaps
                    ],
                    f"The weights of the lowest dev loss. Each batch's own: over {MEASURED_ROWS:,} rows in batches of"
                    " that size. The smaller the batch, the less the two functions have to do with one another.",
                )
            ],
        ),
        Section(
            "A batch of one is refused",
            "Of one example every mean is the example and every variance is zero: all that comes out is the bias.",
            [f"{who}: {words}" for who, words in refused.items()],
        ),
    ]
    results = {
        "reach": reach,
        "cells": [_cell_json(one, reach) for one in cells],
        "train_eval": [vars(one) for one in gaps],
        "refused": refused,
    }
    return Study("batchnorm", "Batch norm, with and without", said, results, sections)


def _table(title: str, what: str, cells: Sequence[Cell], reach: float) -> Table:
    value = {"learning rate": lambda one: f"{one.learning_rate:g}", "batch size": lambda one: str(one.batch_size)}[what]
    rows = [
        [setting, *(one.words(reach) for norm in NORMS for one in group if one.norm == norm)]
        for setting, group in ((setting, list(group)) for setting, group in itertools.groupby(cells, key=value))
    ]
    return Table(title, {what: "right", "without batch norm": "right", "with batch norm": "right"}, rows)


def _curves(title: str, cells: Sequence[Cell], reach: float, by: str) -> Plot:
    settings = list(dict.fromkeys(one.learning_rate if by == "rate" else one.batch_size for one in cells))
    series = []
    for one in cells:
        setting = one.learning_rate if by == "rate" else one.batch_size
        curves = [tried.dev_curve for tried in one.tried]
        dashed, colour = one.norm == "without", settings.index(setting)
        series.append(banded(f"{setting:g}, {one.norm}", curves, dashed=dashed, colour=colour))
    best = lowest(series)
    highest = None if best is None else 1.5 * best
    said = "Mean over the seeds. Solid: with batch norm; dashed: without. The thin dashed line is a table of pairs."
    return Plot(title, said, "step", "nats per character", series, [reach], highest=highest)


def _cell_json(cell: Cell, reach: float) -> dict[str, Any]:
    return {
        "norm": NORMS[cell.norm],
        "learning_rate": cell.learning_rate,
        "batch_size": cell.batch_size,
        "seeds": [
            {
                "run": str(one.run.folder),
                "dev": one.dev,
                "steps_to_reach": one.reached(reach),
                "failure": one.failure,
                "dev_curve": one.dev_curve,
            }
            for one in cell.tried
        ],
    }
