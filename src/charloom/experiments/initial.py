"""How weights begin: one net, the same batches, from N(0, 1), from Kaiming's scale, with batch norm, or as it comes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from charloom.config import ModelConfig, TrainingConfig
from charloom.dataset import Dataset
from charloom.experiments.insides import Insides, insides
from charloom.experiments.study import (
    LEAST_APART,
    Card,
    Inside,
    Plot,
    Section,
    Study,
    Table,
    banded,
    lowest,
    mean_and_spread,
)
from charloom.experiments.trials import Trial, Trials, Tried
from charloom.fitting import fit
from charloom.watching import record_path

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "N(0, 1)": {"init": "normal", "output_scale": 1.0, "norm": "none"},
    "Kaiming": {"init": "kaiming", "output_scale": 0.1, "norm": "none"},
    "batch norm": {"init": "kaiming", "output_scale": 0.1, "norm": "batch"},
    "none (PyTorch's own)": {"init": "default", "output_scale": 1.0, "norm": "none"},
}
"""Variant → settings of the model: all weights and biases N(0, 1); gain/√fan-in and a last layer a tenth of that; the
same with batch norm; nothing chosen, which is PyTorch's uniform ±1/√fan-in."""

FIGURES = (
    "activation_histograms_first",
    "activation_histograms_last",
    "saturation",
    "saturation_maps",
    "gradient_flow",
    "activation_gradient_histograms_first",
    "activation_gradient_histograms_last",
    "gradient_histograms_first",
    "update_ratios",
)


HIGHEST = 30
"""Losses that are more than so many guesses are drawn at the upper edge."""


@dataclass(frozen=True)
class Conditions:
    """What the four variants are compared under; several values of a setting give every combination."""

    activations: Sequence[str] = ("tanh",)
    layers: Sequence[int] = (3,)
    hidden: Sequence[int] = (200,)
    learning_rates: Sequence[float] = (0.1,)
    seeds: Sequence[int] = (0, 1, 2)
    steps: int = 3_000
    batch_size: int = 32
    context_length: int = 3
    embedding: int = 10
    reach: float | None = None
    """The dev loss whose first step is compared; left out, that of a table of pairs."""

    def each(self) -> list[tuple[str, dict[str, Any], float]]:
        """Name, settings of the model, and learning rate of every combination."""
        every = itertools.product(self.activations, self.layers, self.hidden, self.learning_rates)
        return [
            (
                f"{activation}, {layers} × {hidden}, learning rate {rate:g}",
                {"activation": activation, "layers": layers, "hidden": hidden},
                rate,
            )
            for activation, layers, hidden, rate in every
        ]


@dataclass(frozen=True)
class Outcome:
    """A variant under one combination, over the seeds."""

    condition: str
    variant: str
    tried: tuple[Tried, ...]
    inside: tuple[Insides | None, ...]
    """One for each seed."""

    @property
    def worst(self) -> dict[str, Any] | None:
        """The first finding of the first seed that is more than a note."""
        found = self.inside[0].findings if self.inside[0] is not None else ()
        there = (one for one in found if one["severity"] != "note" and one["resolved"] is None)
        return next(there, None)

    @property
    def devs(self) -> list[float]:
        """The lowest dev loss of every seed that trained to its end."""
        return [dev for one in self.tried if (dev := one.dev) is not None]


def study_initialization(dataset: Dataset, trials: Trials, conditions: Conditions | None = None) -> Study:
    """Train every variant under every combination and seed, watched, and compare them."""
    conditions = conditions or Conditions()
    base = TrainingConfig(
        optimizer="sgd",
        schedule="constant",
        weight_decay=0.0,
        batch_size=conditions.batch_size,
        steps=conditions.steps,
        evaluate_every=max(LEAST_APART, conditions.steps // 20),
    )
    plan: list[tuple[str, str, Trial]] = []
    for condition, settings, rate in conditions.each():
        for variant, chosen in VARIANTS.items():
            for seed in conditions.seeds:
                model = ModelConfig(
                    model="deep-mlp",
                    context_length=conditions.context_length,
                    embedding=conditions.embedding,
                    **settings,
                    **chosen,
                )
                training = replace(base, learning_rate=rate, seed=seed)
                plan.append((condition, variant, Trial(f"{variant} seed {seed}", model, training, "standard")))
    every = trials.fit([trial for _, _, trial in plan])
    outcomes = []
    for (condition, variant), group in itertools.groupby(zip(plan, every, strict=True), key=lambda pair: pair[0][:2]):
        tried = tuple(one for _, one in group)
        outcomes.append(Outcome(condition, variant, tried, tuple(insides(one.run) for one in tried)))
    return _study(dataset, conditions, outcomes)


def _study(dataset: Dataset, conditions: Conditions, outcomes: Sequence[Outcome]) -> Study:
    uniform = math.log(len(dataset.vocabulary))
    reach = conditions.reach
    if reach is None:
        reach = fit(dataset, ModelConfig(model="bigram")).evaluate(dataset).loss.nats
    sections = []
    for condition, group in itertools.groupby(outcomes, key=lambda one: one.condition):
        shown = list(group)
        sections += _sections(condition if len(conditions.each()) > 1 else "", shown, uniform, reach)
    seeds = ", ".join(map(str, conditions.seeds))
    said = (
        f"{dataset.corpus.name}, {dataset.config.protocol} protocol; context {conditions.context_length}, embedding"
        f" {conditions.embedding}; SGD, batches of {conditions.batch_size}, {conditions.steps:,} steps;"
        f" seeds {seeds}. All variants see the same batches. Losses are in nats per character;"
        f" a model that knows nothing has ln {len(dataset.vocabulary)} = {uniform:.4f}."
    )
    results = {
        "uniform": uniform,
        "reach": reach,
        "outcomes": [_outcome_json(one, reach) for one in outcomes],
    }
    return Study("init", "How weights begin", said, results, sections)


def _sections(condition: str, outcomes: Sequence[Outcome], uniform: float, reach: float) -> list[Section]:
    of = f": {condition}" if condition else ""
    records = {one.variant: record_path(one.tried[0].run) for one in outcomes}
    return [
        Section(
            f"Which net is sick{of}",
            "What telltales finds in the first seed's training; where, on which evidence, and what to try.",
            [[_card(one, uniform) for one in outcomes], _table(outcomes, uniform, reach)],
        ),
        Section(
            f"Loss{of}",
            "Before anything else, look at the loss before the first update.",
            [_first_steps(outcomes, uniform), _dev_losses(outcomes, reach)],
        ),
        Section(
            f"Inside{of}",
            "Activations, their flat parts, gradients and updates, layer by layer, of the first seed.",
            [Inside(records, FIGURES)],
            folded=bool(condition),
        ),
    ]


def _card(outcome: Outcome, uniform: float) -> Card:
    first, failure = outcome.inside[0], outcome.tried[0].failure
    ends = [f"Ended: {failure}."] if failure else []
    if first is None:
        return Card(f"{outcome.variant}: the first loss is not finite", "error", ends)
    begins = f"Begins at {first.first_loss:.4g}, where a guess has {uniform:.2f}."
    worst = outcome.worst
    if worst is None:
        return Card(f"{outcome.variant}: nothing wrong", "error" if failure else "well", [begins, *ends])
    follows = ", ".join(one["rule"] for one in worst["symptoms"])
    lines = [
        begins,
        worst["evidence"],
        f"Try: {worst['remedy']}",
        *([f"From it: {follows}."] if follows else []),
        *ends,
    ]
    place = f" at {worst['where']}" if worst["where"] else ""
    return Card(f"{outcome.variant}: {worst['rule']}{place}", worst["severity"], lines)


def _table(outcomes: Sequence[Outcome], uniform: float, reach: float) -> Table:
    rows = []
    for one in outcomes:
        first = [inside.first_loss for inside in one.inside if inside is not None]
        reached = [steps for tried in one.tried if (steps := tried.reached(reach)) is not None]
        never, failed = len(one.tried) - len(reached), len(one.tried) - len(one.devs)
        layers = one.inside[0].layers if one.inside[0] is not None else ()
        rows.append(
            [
                one.variant,
                mean_and_spread(first, 2),
                " ".join(f"{layer.flat[0]:.0%}" for layer in layers),
                " ".join(f"{layer.flat_units[0]:.0%}" for layer in layers),
                _ratio(layers[0].gradient_std[0], layers[-1].gradient_std[0]) if layers else "–",
                mean_and_spread(one.devs) + (f" ({failed} diverged)" if failed else ""),
                (mean_and_spread(reached, 0) if reached else "") + (f" ({never} never)" if never else ""),
            ]
        )
    return Table(
        "Before the first update, and what came of it",
        {
            "weights": "left",
            f"first loss (guess {uniform:.2f})": "right",
            "flat values by layer": "right",
            "flat units by layer": "right",
            "gradient, first/last layer": "right",
            "dev loss": "right",
            f"steps to dev {reach:.3f}": "right",
        },
        rows,
        "Mean and standard deviation over the seeds; the columns by layer are of the first seed's first step. Flat:"
        " |tanh| above 0.97, or ReLU at zero; a unit is flat if it is so on every example of the batch.",
    )


def _ratio(first: float, last: float) -> str:
    return f"{first / last:.2g}" if last else "–"


def _first_steps(outcomes: Sequence[Outcome], uniform: float) -> Plot:
    series = [
        banded(one.variant, [inside.loss_curve for inside in one.inside if inside is not None]) for one in outcomes
    ]
    return Plot(
        "Training loss, from the first step on",
        "Mean over the seeds, and a band from the lowest to the highest. The dashed line is a guess.",
        "step",
        "nats per character",
        series,
        [uniform],
        log_x=True,
        log_y=True,
        highest=HIGHEST * uniform,
    )


def _dev_losses(outcomes: Sequence[Outcome], reach: float) -> Plot:
    series = [banded(one.variant, [tried.dev_curve for tried in one.tried]) for one in outcomes]
    best = lowest(series)
    return Plot(
        "Dev loss",
        f"The same, on what the net has not seen. The dashed line is the loss whose step is compared, {reach:.3f}.",
        "step",
        "nats per character",
        series,
        [reach],
        highest=None if best is None else max(1.3 * best, reach),
        note="What is higher is drawn at the upper edge.",
    )


def _outcome_json(outcome: Outcome, reach: float) -> dict[str, Any]:
    return {
        "condition": outcome.condition,
        "variant": outcome.variant,
        "settings": dict(VARIANTS[outcome.variant]),
        "seeds": [
            {
                "run": str(tried.run.folder),
                "seed": tried.trial.training.seed if tried.trial.training else None,
                "dev": tried.dev,
                "steps_to_reach": tried.reached(reach),
                "failure": tried.failure,
                "dev_curve": tried.dev_curve,
                **(inside.to_json() if inside is not None else {}),
            }
            for tried, inside in zip(outcome.tried, outcome.inside, strict=True)
        ],
    }
