"""Records with numbers that the tests choose."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from telltales.observation import COLUMNS, Observation, Reading
from telltales.record import Record
from telltales.record_file import RecordWriter

Numbers = Mapping[str, Mapping[str, float]]
"""Name → column → value; a column that is left out is NaN."""

TANH = {"type": "Tanh", "activation": "tanh", "of": "output", "low": -0.97, "high": 0.97, "rectifier": False}
RELU = {"type": "ReLU", "activation": "relu", "of": "output", "low": 0.0, "rectifier": True}


def reading(kind: str, rows: Numbers) -> Reading:
    values = [[float(row.get(column, math.nan)) for column in COLUMNS[kind]] for row in rows.values()]
    return Reading(tuple(rows), np.array(values, np.float32).reshape(len(rows), len(COLUMNS[kind])))


def observation(
    step: int,
    tables: Mapping[str, Numbers] | None = None,
    losses: Sequence[float] = (),
    **scalars: float,
) -> Observation:
    """``losses``: those of the steps up to this one; the last is the step's, if ``loss`` does not say another."""
    if len(losses):
        scalars.setdefault("loss", float(losses[-1]))
    readings = {kind: reading(kind, rows) for kind, rows in (tables or {}).items()}
    return Observation(step, scalars, readings, losses=np.array(losses, np.float32))


def linear(name: str, outputs: int = 8, inputs: int = 8, bias: bool = True) -> dict[str, dict[str, Any]]:
    """What a record says of the parameters of a linear layer."""
    shapes = {"weight": [outputs, inputs]} | ({"bias": [outputs]} if bias else {})
    return {
        f"{name}.{part}": {
            "shape": shape,
            "numel": math.prod(shape),
            "trainable": True,
            "module": name,
            "aliases": [],
        }
        for part, shape in shapes.items()
    }


def mlp(depth: int = 3, steps: int = 40, every: int = 1, **about: Any) -> Record:
    """A net of ``depth`` hidden layers, observed every so many steps, whose loss falls from 3 towards 1.

    The activation of hidden layer i has std 0.5 + i/10 and i tenths of saturated values; update ratios are 1e-3 times
    i + 1, gradient ratios a hundred times as large.
    """
    names = [f"hidden.{i}" for i in range(depth)]
    modules: dict[str, dict[str, Any]] = {}
    parameters: dict[str, dict[str, Any]] = {}
    activation: dict[str, dict[str, float]] = {}
    backward: dict[str, dict[str, float]] = {}
    weight: dict[str, dict[str, float]] = {}
    gradient: dict[str, dict[str, float]] = {}
    update: dict[str, dict[str, float]] = {}
    for i, name in enumerate([*names, "out"]):
        layer = f"{name}.linear" if name != "out" else name
        modules[layer] = {"type": "Linear"}
        activation[layer] = {"mean": 0.01 * i, "std": 1 + i / 10, "nonfinite": 0}
        backward[layer] = {"rms": 1e-3 * (i + 1), "nonfinite": 0}
        parameters |= linear(layer)
        for part in ("weight", "bias"):
            parameter = f"{layer}.{part}"
            weight[parameter] = {"std": 0.3, "nonfinite": 0}
            gradient[parameter] = {"ratio": 0.1 * (i + 1), "nonfinite": 0}
            update[parameter] = {"ratio": 1e-3 * (i + 1) if part == "weight" else 0.5}
        if name != "out":
            function = f"{name}.activation"
            modules[function] = dict(TANH)
            shares = {"saturated": i / 10, "saturated_units": i / 20, "nonfinite": 0}
            activation[function] = {"mean": 0.0, "std": 0.5 + i / 10, **shares}
            backward[function] = {"rms": 1e-3 * (i + 1), "nonfinite": 0}
    record = Record({"model": "MLP", **about}, modules, parameters)
    tables = {
        "activation": activation,
        "activation_gradient": backward,
        "weight": weight,
        "gradient": gradient,
        "update": update,
        "group": {"0": {"learning_rate": 0.1, "weight_decay": 0.0}},
    }
    for step in range(0, steps, every):
        losses = [1 + 2 * math.exp(-s / 10) for s in range(max(step - every + 1, 0), step + 1)]
        norms = {"gradient_norm": 2.0, "gradient_norm_used": 2.0}
        record.append(observation(step, tables, losses, seconds=step / 10, **norms))
    record.outcome = "finished"
    return record


def write(path: Path, record: Record) -> Path:
    """A record's file, from what the record holds."""
    writer = RecordWriter(path, record)
    losses = dict(zip(record.losses.steps.tolist(), record.losses.mean.tolist(), strict=True))
    before = -1
    for row, step in enumerate(record.steps.tolist()):
        tables = {
            kind: Reading(tuple(table.names), table.rows(len(record))[row])
            for kind, table in record.tables.items()
            if table.names
        }
        scalars = {name: float(record.scalar(name)[row]) for name in ("loss", "seconds", "gradient_norm")}
        scalars["gradient_norm_used"] = float(record.scalar("gradient_norm_used")[row])
        between = np.array([losses[s] for s in range(before + 1, step + 1) if s in losses], np.float32)
        writer.observe(Observation(step, scalars, tables, losses=between))
        before = step
    for split in record.evaluations.splits:
        for evaluation in record.evaluations.of(split):
            writer.evaluate(evaluation)
    if record.outcome is not None:
        writer.close(record.outcome)
    return path
