"""Trains a healthy and a sick net for each statistic, and draws docs/pictures/*.svg from what telltales saw.

    python docs/pictures.py

The trainings are real ones, of a few hundred steps, on the built-in names: eight characters predict the next. What
makes a net sick is a cause that one meets: weights drawn too large, a learning rate a hundred times too high, a model
left in evaluation mode. It prints the numbers that the pages of docs/statistics quote. About a minute.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from trainings import NOISE, STEPS, WIDTH, Recurrent, Transformer, adam, mlp, sgd, train

from telltales.record import Record
from telltales.report import figures_densities, figures_depth, figures_maps, figures_over_time, figures_training
from telltales.report.description import Axis, Figure, Line, LinePanel
from telltales.report.picture import picture
from telltales.report.scales import Range
from telltales.report.selection import matrices, shown_layers
from telltales.report.words import number

FOLDER = Path(__file__).parent / "pictures"

Records = Mapping[str, Record]

Column = tuple[str, str]
"""A table and one of its columns, or ``scalar`` and a number that a step has one of."""


def series(record: Record, column: Column) -> dict[str, NDArray[np.float64]]:
    """Row → its values over time, of the rows that a report draws and that have any."""
    kind, name = column
    if kind == "scalar":
        return {name.replace("_", " "): record.scalar(name)}
    values = {row: record.series(kind, row, name).astype(np.float64) for row in rows_of(record, kind, name)}
    return {row: values for row, values in values.items() if not np.isnan(values).all()}


def rows_of(record: Record, kind: str, name: str) -> list[str]:
    """Those of a table that the report draws; of entropies, all."""
    if kind in ("activation", "activation_gradient") and name != "entropy":
        return shown_layers(record, kind)
    return matrices(record, kind) if kind in ("gradient", "weight", "update") else record.names(kind)


def training_mode(records: Records) -> Figure:
    """What no builder of the report draws, being one and the same number as a rule."""
    x, y = figures_training.step_axis(records), Axis("share", Range(0, 1))
    panels = tuple(
        LinePanel(
            x,
            y,
            (Line(record.steps.astype(np.float64), record.scalar("training_mode"), "training mode"),),
            title=heading,
            height=120,
        )
        for heading, record in records.items()
    )
    return Figure(
        "training_mode", "Training mode", (panels,), "Share of the modules' calls that were in training mode."
    )


@dataclass(frozen=True)
class Shown:
    """A picture: its file's name, the figure, the records in it, and the columns that its page quotes."""

    name: str
    figure: Figure | None
    records: Records
    quoted: tuple[Column, ...]


TANH, RELU = 5 / 3, math.sqrt(2)


def drawn() -> Iterator[Shown]:
    """All pictures, each as soon as its nets are trained."""
    tanh, relu = train(partial(mlp, nn.Tanh, TANH)), train(partial(mlp, nn.ReLU, RELU), adam)
    small = train(partial(mlp, nn.Tanh, 0.3 * TANH))
    yield from activations({"Kaiming weights": tanh, "weights × 0.3": small})
    yield from flat_values(tanh, relu)
    yield from entropy()
    yield from gradients({"Kaiming weights": tanh, "weights × 0.3": small})
    yield from noise_scale()
    yield from weights()
    yield from updates()
    yield from conditions()


def activations(pair: Records) -> Iterator[Shown]:
    quoted = (("activation", "std"), ("activation", "mean"), ("activation", "rms"))
    yield Shown("activations-first", figures_densities.activation_histograms(pair, "first"), pair, quoted)
    yield Shown("activations-last", figures_densities.activation_histograms(pair), pair, ())
    yield Shown("activations-scale", figures_over_time.activation_scale(pair), pair, ())
    names = ["hidden.4.activation"]
    yield Shown("activations-over-time", figures_maps.activation_over_time(pair, names), pair, ())


def flat_values(tanh: Record, relu: Record) -> Iterator[Shown]:
    quoted = (("activation", "saturated"), ("activation", "saturated_units"))
    pair = {"Kaiming weights": tanh, "N(0, 1) weights": train(partial(mlp, nn.Tanh, math.sqrt(WIDTH)))}
    yield Shown("saturation", figures_over_time.saturation(pair), pair, quoted)
    yield Shown("saturation-maps", figures_maps.saturation_maps(pair), pair, ())
    pair = {"biases at 0": relu, "biases at −2": train(partial(mlp, nn.ReLU, RELU, bias=-2.0), adam)}
    yield Shown("dead-units-bias", figures_over_time.saturated_units(pair), pair, quoted)
    pair = {"Adam, rate 0.001": relu, "Adam, rate 0.1": train(partial(mlp, nn.ReLU, RELU), partial(adam, lr=0.1))}
    yield Shown("dead-units-rate", figures_over_time.saturated_units(pair), pair, quoted)


def entropy() -> Iterator[Shown]:
    trained = partial(train, optimizer=partial(adam, lr=3e-3))
    pair = {"PyTorch's weights": trained(Transformer), "queries and keys × 24": trained(partial(Transformer, 24.0))}
    yield Shown("entropy", figures_over_time.entropy(pair), pair, (("activation", "entropy"),))


def gradients(scaled: Records) -> Iterator[Shown]:
    deep = partial(mlp, nn.Sigmoid, 1.0, depth=10)
    pair = {"with batch norm": train(partial(deep, norm=True)), "without": train(deep)}
    yield Shown("gradient-flow", figures_depth.gradient_flow(pair), pair, (("activation_gradient", "rms"),))
    figure = figures_densities.activation_gradient_histograms(pair, "first")
    yield Shown("activation-gradients", figure, pair, ())
    clipped = partial(train, Recurrent, partial(sgd, lr=0.3, momentum=0.9))
    pair = {"clipped at 1": clipped(clip=1.0), "clipped at 0.01": clipped(clip=0.01)}
    quoted = (("scalar", "gradient_norm"), ("scalar", "gradient_norm_used"))
    yield Shown("gradient-norm", figures_training.gradient_norm(pair), pair, quoted)
    figure = figures_densities.weight_gradient_histograms(scaled, "first")
    yield Shown("gradient-histograms", figure, scaled, (("gradient", "ratio"),))


def noise_scale() -> Iterator[Shown]:
    noisy = partial(train, partial(mlp, nn.Tanh, TANH), partial(sgd, lr=0.005), preset=NOISE)
    trio = {"batches of 64": noisy(), "batches of 512": noisy(batch=512), "random targets": noisy(random_targets=True)}
    yield Shown("noise-scale", figures_training.noise_scale(trio), trio, (("scalar", "noise_scale"),))


def weights() -> Iterator[Shown]:
    trained = partial(train, partial(mlp, nn.Tanh, 1.0, norm=True))
    pair = {
        "weight decay 0.3": trained(partial(adam, lr=0.03, decay=0.3)),
        "no weight decay": trained(partial(adam, lr=0.03)),
    }
    yield Shown("weights", figures_over_time.weight_scale(pair), pair, (("weight", "std"), ("update", "ratio")))
    quoted = (("weight", "spectral_norm"),)
    yield Shown("spectral-norms", figures_over_time.spectral_norms(pair), pair, quoted)


def updates() -> Iterator[Shown]:
    at = {rate: train(partial(mlp, nn.Tanh, TANH), partial(adam, lr=rate)) for rate in (1e-3, 1e-1, 1e-6)}
    quoted = (("update", "ratio"),)
    pair = {"Adam, rate 0.001": at[1e-3], "Adam, rate 0.1": at[1e-1]}
    yield Shown("updates-too-large", figures_over_time.update_ratios(pair), pair, quoted)
    pair = {"Adam, rate 0.001": at[1e-3], "Adam, rate 0.000001": at[1e-6]}
    yield Shown("updates-too-small", figures_over_time.update_ratios(pair), pair, quoted)


def conditions() -> Iterator[Shown]:
    def cosine(last: int, step: int) -> float:
        return min((step + 1) / 40, 0.5 * (1 + math.cos(math.pi * min(step / last, 1))))

    scheduled = partial(train, partial(mlp, nn.Tanh, TANH), partial(adam, lr=5e-3), evaluate_every=50)
    pair = {
        "cosine over 400 steps": scheduled(rate=partial(cosine, STEPS)),
        "cosine over 100 steps": scheduled(rate=partial(cosine, STEPS // 4)),
    }
    yield Shown("loss-and-learning-rate", figures_training.loss(pair), pair, (("group", "learning_rate"),))
    dropped = partial(train, partial(mlp, nn.Tanh, TANH, drop=0.3, norm=True), adam, evaluate_every=100)
    pair = {"back to training": dropped(), "left in evaluation mode": dropped(back_to_training=False)}
    yield Shown("training-mode", training_mode(pair), pair, (("scalar", "training_mode"),))
    yield Shown("training-mode-loss", figures_training.loss(pair), pair, ())


def quotations(shown: Shown) -> Iterator[str]:
    """The losses and the columns that a page quotes, at the first and the last step that the record holds."""
    for heading, record in shown.records.items():
        last, held_out = record.losses.mean[-50:].mean(), record.evaluations.of("dev")
        dev = f", dev {held_out[-1].loss:.3f}" if held_out else ""
        yield f"  {heading}: loss {last:.3f} (mean of the last 50 steps){dev}"
        for column in shown.quoted:
            for row, values in series(record, column).items():
                measured = values[~np.isnan(values)]
                yield f"    {'.'.join(column)} {row}: {number(measured[0])} to {number(measured[-1])}"


def main() -> None:
    torch.set_num_threads(1)
    FOLDER.mkdir(exist_ok=True)
    for shown in drawn():
        assert shown.figure is not None, shown.name
        (FOLDER / f"{shown.name}.svg").write_text(picture(shown.figure), encoding="utf-8")
        print("\n".join([shown.name, *quotations(shown)]), flush=True)


if __name__ == "__main__":
    main()
