"""How far back to look: the loss by context length, of a network and of counted n-grams."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from charloom.config import ModelConfig, TrainingConfig
from charloom.dataset import Dataset
from charloom.experiments.study import Plot, Section, Series, Study, Table, mean_and_spread
from charloom.experiments.trials import Trial, Trials, Tried


@dataclass(frozen=True)
class Conditions:
    lengths: Sequence[int] = (1, 2, 3, 4, 5, 6, 8)
    hidden: int = 200
    embedding: int = 16
    seeds: Sequence[int] = (0,)
    steps: int | None = None
    """Left out, what `TrainingConfig` says of the data."""


@dataclass(frozen=True)
class Column:
    """One context length."""

    length: int
    counted: Tried
    trained: tuple[Tried, ...]


def study_context(dataset: Dataset, trials: Trials, conditions: Conditions | None = None) -> Study:
    """An MLP and a Kneser-Ney model for each context length."""
    conditions = conditions or Conditions()
    plan: list[Trial] = []
    for length in conditions.lengths:
        plan.append(Trial(f"ngram {length + 1}", ModelConfig(model=f"ngram:{length + 1}")))
        for seed in conditions.seeds:
            model = ModelConfig(
                model="mlp", context_length=length, hidden=conditions.hidden, embedding=conditions.embedding
            )
            training = TrainingConfig(seed=seed, steps=conditions.steps)
            plan.append(Trial(f"mlp context {length} seed {seed}", model, training))
    every = trials.fit(plan)
    width = 1 + len(conditions.seeds)
    columns = [
        Column(length, every[place * width], tuple(every[place * width + 1 : (place + 1) * width]))
        for place, length in enumerate(conditions.lengths)
    ]
    return _study(dataset, conditions, columns)


def _study(dataset: Dataset, conditions: Conditions, columns: Sequence[Column]) -> Study:
    steps = columns[0].trained[0].result["steps"]
    said = (
        f"{dataset.corpus.name}, {dataset.config.protocol} protocol; MLP with embedding {conditions.embedding} and"
        f" {conditions.hidden} hidden units, AdamW, {steps:,} steps, seeds {', '.join(map(str, conditions.seeds))};"
        " modified Kneser-Ney of order context + 1. Losses are in nats per character;"
        f" ln {len(dataset.vocabulary)} = {math.log(len(dataset.vocabulary)):.4f}."
    )
    rows = [
        [
            str(one.length),
            f"{_loss(one.counted, 'train'):.4f}",
            f"{_loss(one.counted, 'dev'):.4f}",
            f"{one.counted.result['parameters']:,}",
            mean_and_spread([_loss(tried, "train") for tried in one.trained]),
            mean_and_spread([_loss(tried, "dev") for tried in one.trained]),
            f"{one.trained[0].result['parameters']:,}",
        ]
        for one in columns
    ]
    table = Table(
        "Loss by context length",
        {
            "context": "right",
            "n-gram, train": "right",
            "n-gram, dev": "right",
            "counts": "right",
            "MLP, train": "right",
            "MLP, dev": "right",
            "parameters": "right",
        },
        rows,
        "The network keeps the weights of its lowest dev loss.",
    )
    sections = [
        Section(
            "What a longer context is worth",
            "A table needs counts for every context it has not seen; a network shares what it knows between contexts.",
            [table, _plot(columns)],
        )
    ]
    results = {"columns": [_column_json(one) for one in columns]}
    return Study("context", "How far back to look", said, results, sections)


def _plot(columns: Sequence[Column]) -> Plot:
    lengths = [one.length for one in columns]

    def mean(part: str) -> list[float]:
        return [sum(_loss(tried, part) for tried in one.trained) / len(one.trained) for one in columns]

    counted = {part: [_loss(one.counted, part) for one in columns] for part in ("train", "dev")}
    series = [
        Series("n-gram, dev", lengths, counted["dev"], colour=1),
        Series("n-gram, train", lengths, counted["train"], colour=1, dashed=True),
        Series("MLP, dev", lengths, mean("dev"), colour=0),
        Series("MLP, train", lengths, mean("train"), colour=0, dashed=True),
    ]
    said = "Solid: dev; dashed: train. Where the two part, the model learns its data by heart."
    return Plot("Loss by context length", said, "characters of context", "nats per character", series)


def _loss(tried: Tried, part: str) -> float:
    result = tried.result
    return float(result["train"]["nats"] if part == "train" else result["dev"]["loss"]["nats"])


def _column_json(column: Column) -> dict[str, Any]:
    def losses(tried: Tried) -> dict[str, Any]:
        result = tried.result
        return {
            "run": str(tried.run.folder),
            "train": _loss(tried, "train"),
            "dev": _loss(tried, "dev"),
            "parameters": result["parameters"],
        }

    return {
        "context_length": column.length,
        "ngram": losses(column.counted),
        "mlp": [losses(tried) for tried in column.trained],
    }
