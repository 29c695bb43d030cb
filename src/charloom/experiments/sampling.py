"""Temperature and top-k: twenty samples at each, and how probable, new and different a few thousand are."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from charloom.dataset import Dataset
from charloom.evaluation import SampleQuality, finite, sample_quality
from charloom.experiments.study import Justified, Plot, Section, Series, Study, Table
from charloom.text_model import TextModel


@dataclass(frozen=True)
class Conditions:
    temperatures: Sequence[float] = (0.5, 1.0, 2.0)
    """Of which samples are shown."""
    measured: Sequence[float] = (0.2, 0.35, 0.5, 0.7, 0.85, 1.0, 1.25, 1.5, 2.0, 3.0)
    """Of which more samples are measured."""
    top_k: int = 5
    shown: int = 20
    samples: int = 2_000
    seed: int = 0


@dataclass(frozen=True)
class Point:
    """Samples at one temperature, with or without top-k."""

    temperature: float
    top_k: int | None
    quality: SampleQuality
    probability: float
    """The geometric mean of the probability that the unchanged model gives a sample's characters."""
    distinct_characters: float
    """e to the entropy of the characters in all samples: how many equally frequent ones they are worth."""


def study_sampling(dataset: Dataset, model: TextModel, conditions: Conditions | None = None) -> Study:
    """Sample one model at every temperature, with and without top-k."""
    conditions = conditions or Conditions()
    choices = (None, conditions.top_k)
    known = frozenset(dataset.part("train").items)
    shown = {
        (temperature, top_k): [
            one.text
            for one in model.sample(conditions.shown, temperature=temperature, top_k=top_k, seed=conditions.seed)
        ]
        for top_k in choices
        for temperature in conditions.temperatures
    }
    temperatures = sorted({*conditions.measured, *conditions.temperatures})
    points = {
        top_k: [_point(dataset, model, temperature, top_k, conditions) for temperature in temperatures]
        for top_k in choices
    }
    return _study(dataset, model, conditions, known, shown, points)


def _point(dataset: Dataset, model: TextModel, temperature: float, top_k: int | None, conditions: Conditions) -> Point:
    samples = model.sample(conditions.samples, temperature=temperature, top_k=top_k, seed=conditions.seed)
    texts = [one.text for one in samples]
    # The end marker is drawn, too, where an item ends by itself.
    drawn = sum(len(one.text) + one.complete for one in samples)
    counts = Counter("".join(texts))
    total = counts.total()
    entropy = -sum(count / total * math.log(count / total) for count in counts.values())
    return Point(
        temperature,
        top_k,
        sample_quality(texts, dataset.part("train").items),
        math.exp(math.fsum(one.log_probability for one in samples) / max(1, drawn)),
        math.exp(entropy),
    )


def _study(
    dataset: Dataset,
    model: TextModel,
    conditions: Conditions,
    known: frozenset[str],
    shown: dict[tuple[float, int | None], list[str]],
    points: dict[int | None, list[Point]],
) -> Study:
    names = {None: "all", conditions.top_k: f"top {conditions.top_k}"}
    headings = [f"T = {temperature:g}, {names[top_k]}" for temperature, top_k in shown]
    columns = list(shown.values())
    rows = [
        [f"{text or '(empty)'}{' *' if text in known else ''}" for text in row] for row in zip(*columns, strict=True)
    ]
    said = (
        f"{model.config.model}, trained on {dataset.corpus.name}, {dataset.config.protocol} protocol; seed"
        f" {conditions.seed}. Temperature divides the logits; top-k then keeps the {conditions.top_k} most probable"
        " characters at each step."
    )
    sections = [
        Section(
            f"{conditions.shown} samples at each temperature",
            "Low temperatures repeat what is common; high ones leave the language.",
            [Table("Samples; * stands in the training data", dict.fromkeys(headings, "left"), rows)],
        ),
        Section(
            f"{conditions.samples:,} samples at each temperature",
            "Novelty rises and plausibility falls with temperature; top-k limits both.",
            [
                _table(points, names, conditions),
                _plot("Not in the training data", "share of samples", points, names, lambda one: one.quality.novel),
                _plot(
                    "Different from one another",
                    "distinct samples, share",
                    points,
                    names,
                    lambda one: one.quality.unique,
                ),
                _plot(
                    "How probable the unchanged model finds them",
                    "probability of a character",
                    points,
                    names,
                    lambda one: one.probability,
                ),
                _plot("Mean length", "characters", points, names, lambda one: one.quality.mean_length),
            ],
        ),
    ]
    results = {
        "model": model.config.label,
        "samples": [
            {"temperature": temperature, "top_k": top_k, "texts": texts}
            for (temperature, top_k), texts in shown.items()
        ],
        "measured": [_point_json(one) for top_k in points for one in points[top_k]],
    }
    return Study("sampling", "Temperature and top-k", said, results, sections)


def _table(points: dict[int | None, list[Point]], names: dict[int | None, str], conditions: Conditions) -> Table:
    columns: dict[str, Justified] = {
        "temperature": "right",
        "from": "left",
        "new": "right",
        "distinct": "right",
        "probability": "right",
        "characters": "right",
        "length": "right",
    }
    rows = [
        [
            f"{one.temperature:g}",
            names[one.top_k],
            f"{one.quality.novel:.1%}",
            f"{one.quality.unique:.1%}",
            f"{one.probability:.3f}",
            f"{one.distinct_characters:.1f}",
            f"{one.quality.mean_length:.2f}",
        ]
        for each in points.values()
        for one in each
        if one.temperature in conditions.temperatures
    ]
    quality = points[None][0].quality
    return Table(
        f"Of {conditions.samples:,} samples",
        columns,
        rows,
        "New: not in the training data. Probability: of a character or an end by the model at temperature 1, the"
        " geometric mean. Characters: e to the entropy of those in the samples, so many equally frequent ones. Length:"
        f" mean; the training data have {quality.data_mean_length:.2f}.",
    )


def _plot(title: str, y: str, points: dict[int | None, list[Point]], names: dict[int | None, str], of: Any) -> Plot:
    series = [
        Series(names[top_k], [one.temperature for one in each], [of(one) for one in each])
        for top_k, each in points.items()
    ]
    return Plot(title, "By temperature, with and without top-k.", "temperature", y, series, log_x=True)


def _point_json(point: Point) -> dict[str, Any]:
    return {
        "temperature": point.temperature,
        "top_k": point.top_k,
        **point.quality.to_json(),
        "probability": finite(point.probability),
        "distinct_characters": point.distinct_characters,
    }
