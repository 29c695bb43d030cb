"""What went on inside a watched trial: the numbers of its record that a study compares, and its findings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import telltales
from charloom.runs import Run
from charloom.watching import diagnose, record_path
from telltales import Record


@dataclass(frozen=True)
class Layer:
    """An activation function at the first and at the last observed step; shares from 0 to 1."""

    name: str
    std: tuple[float, float]
    flat: tuple[float, float]
    """Share of the values in the flat part: of tanh beyond ±0.97, of ReLU below zero."""
    flat_units: tuple[float, float]
    """Share of the units that are there on every example of the batch: saturated, or dead."""
    gradient_std: tuple[float, float]
    """Of the loss by its output."""


@dataclass(frozen=True)
class Insides:
    first_loss: float
    """Before the first update, in nats per character."""
    layers: tuple[Layer, ...]
    loss_curve: tuple[tuple[float, float], ...]
    """Steps, from 1 and evenly spaced on a logarithmic axis, and the mean training loss up to each."""
    update_ratios: dict[str, float]
    """Weight matrix → std of its change over its std, the median over the observed steps after the first ten."""
    findings: tuple[dict[str, Any], ...]
    """As plain data, the worst first; those that follow from another are its ``symptoms``."""

    def to_json(self) -> dict[str, Any]:
        """The fields by name; a share's two numbers are those of the first and the last observed step."""
        return {
            "first_loss": self.first_loss,
            "loss_curve": self.loss_curve,
            "layers": [vars(layer) for layer in self.layers],
            "update_ratios": self.update_ratios,
            "findings": list(self.findings),
        }


def insides(run: Run) -> Insides | None:
    """Of a watched run; None where its first loss was not finite already. Raises `RunError` if it was not watched."""
    findings = diagnose(run).findings
    record = telltales.read_record(record_path(run))
    if not len(record):
        return None
    return Insides(
        first_loss=float(record.scalar("loss")[0]),
        layers=tuple(_layer(record, name) for name, facts in record.modules.items() if facts.get("activation")),
        loss_curve=_loss_curve(record),
        update_ratios=_update_ratios(record),
        findings=tuple(findings),
    )


def _loss_curve(record: Record, places: int = 48) -> tuple[tuple[float, float], ...]:
    steps, losses = record.losses.steps + record.losses.span, record.losses.mean
    edges = np.unique(np.geomspace(steps[0], steps[-1], places).astype(np.int64))
    places_of = np.searchsorted(edges, steps)
    means = [losses[places_of == place].mean() for place in range(len(edges)) if (places_of == place).any()]
    there = [float(edge) for place, edge in enumerate(edges) if (places_of == place).any()]
    return tuple(zip(there, map(float, means), strict=True))


def _layer(record: Record, name: str) -> Layer:
    def ends(kind: str, column: str) -> tuple[float, float]:
        series = record.series(kind, name, column)
        return float(series[0]), float(series[-1])

    return Layer(
        name,
        ends("activation", "std"),
        ends("activation", "saturated"),
        ends("activation", "saturated_units"),
        ends("activation_gradient", "std"),
    )


def _update_ratios(record: Record) -> dict[str, float]:
    shapes = {name: facts["shape"] for name, facts in record.parameters.items()}
    late = record.steps >= 10
    ratios = {}
    for name in record.names("update"):
        series = record.series("update", name, "ratio")[late]
        if len(shapes[name]) == 2 and np.isfinite(series).any():
            ratios[name] = float(np.nanmedian(series))
    return ratios
