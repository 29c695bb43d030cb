"""A row of numbers for each layer, and which rows tell most where there is no room for all. Not measured is NaN."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from telltales.observation import COLUMNS
from telltales.record import Record

Measure = Literal[
    "activation_mean",
    "activation_std",
    "saturated",
    "saturated_units",
    "activation_gradient_rms",
    "weight_std",
    "gradient_ratio",
    "update_ratio",
]
SHARES = ("saturated", "saturated_units")

_OF_MODULE: Mapping[Measure, tuple[str, str]] = {
    "activation_mean": ("activation", "mean"),
    "activation_std": ("activation", "std"),
    "saturated": ("activation", "saturated"),
    "saturated_units": ("activation", "saturated_units"),
    "activation_gradient_rms": ("activation_gradient", "rms"),
}
_OF_PARAMETER: Mapping[Measure, tuple[str, str]] = {
    "weight_std": ("weight", "std"),
    "gradient_ratio": ("gradient", "ratio"),
    "update_ratio": ("update", "ratio"),
}
_MODULE_KINDS, _PARAMETER_KINDS = ("activation", "activation_gradient"), ("gradient", "weight", "update")


@dataclass(frozen=True)
class LayerRow:
    """A module, or what holds parameters without being a module that ran: the numbers last observed."""

    name: str
    type: str
    function: str | None
    """The activation function, where the module is one."""
    rectifier: bool
    """Whether `saturated` means inactive and `saturated_units` dead, as with ReLU."""
    parameter: str | None
    """The largest parameter of the module: the one that the weight, the gradient and the update are of."""
    activation_mean: float
    activation_std: float
    saturated: float
    """The share of values in the flat part of the activation function."""
    saturated_units: float
    """The share of units that are there on all of the last examples."""
    activation_gradient_rms: float
    weight_std: float
    gradient_ratio: float
    update_ratio: float
    nonfinite: float
    """The largest share of values, of whatever was measured here, that are not finite."""

    @property
    def log10_update_ratio(self) -> float:
        return math.log10(self.update_ratio) if self.update_ratio > 0 else math.nan


def layers(record: Record, until: int | None = None) -> list[LayerRow]:
    """A row for each module, in the order in which they ran, and for each holder of other parameters.

    With ``until`` the numbers are those of that step, or of the last observed one before it.
    """
    rows = len(record) if until is None else int(np.searchsorted(record.steps, until, side="right"))
    latest = {kind: _latest(record, kind, rows) for kind in (*_MODULE_KINDS, *_PARAMETER_KINDS)}
    main = _main_parameters(record)
    return [_layer(record, name, main.get(name), latest) for name in _in_depth_order(record, main)]


def observed_at(record: Record, until: int | None = None) -> int | None:
    """The step that `layers` takes its numbers from; None if none was observed by then."""
    rows = len(record) if until is None else int(np.searchsorted(record.steps, until, side="right"))
    return int(record.steps[rows - 1]) if rows else None


def telling(rows: Sequence[LayerRow], count: int, measures: Iterable[Measure]) -> list[LayerRow]:
    """At most ``count`` of the rows, in their order: some that are not finite, the first, the last, the extremes.

    The lowest and the highest of each measure come first, then the second lowest and highest, and so on.
    """
    if len(rows) <= count:
        return list(rows)
    ranked: list[list[int]] = []
    for measure in measures:
        values = np.array([getattr(row, measure) for row in rows])
        places = [int(place) for place in np.argsort(values, kind="stable") if np.isfinite(values[place])]
        if measure in SHARES:
            # That nothing is saturated is the usual case; no row stands out by it.
            ranked.append([place for place in reversed(places) if values[place] > 0])
        else:
            ranked += [places[::-1], places]
    broken = [place for place, row in enumerate(rows) if row.nonfinite > 0][: count // 2]
    extremes = [places[rank] for rank in range(count) for places in ranked if rank < len(places)]
    chosen = list(dict.fromkeys([*broken, 0, len(rows) - 1, *extremes]))[:count]
    return [rows[place] for place in sorted(chosen)]


def module_names(record: Record) -> list[str]:
    """The modules that were seen to run, in that order."""
    return list(dict.fromkeys([*record.modules, *record.names("activation")]))


def _layer(
    record: Record, name: str, parameter: str | None, latest: Mapping[str, Mapping[str, NDArray[np.float32]]]
) -> LayerRow:
    facts = record.modules.get(name, {})
    function = facts.get("activation")
    found: dict[str, Any] = {}
    for measure, (kind, column) in _OF_MODULE.items():
        found[measure] = _number(latest[kind].get(name), kind, column)
    for measure, (kind, column) in _OF_PARAMETER.items():
        found[measure] = _number(latest[kind].get(parameter or ""), kind, column)
    broken = [_number(latest[kind].get(name), kind, "nonfinite") for kind in _MODULE_KINDS]
    broken += [_number(latest[kind].get(parameter or ""), kind, "nonfinite") for kind in ("gradient", "weight")]
    return LayerRow(
        name=name,
        type=str(facts.get("type", "parameters")),
        function=None if function is None else str(function),
        rectifier=bool(facts.get("rectifier", False)),
        parameter=parameter,
        nonfinite=max((share for share in broken if not math.isnan(share)), default=math.nan),
        **found,
    )


def _number(row: NDArray[np.float32] | None, kind: str, column: str) -> float:
    return math.nan if row is None else float(row[COLUMNS[kind].index(column)])


def _latest(record: Record, kind: str, rows: int) -> dict[str, NDArray[np.float32]]:
    """Name → its numbers at the last of the first ``rows`` rows that has any for it."""
    table = record.tables[kind]
    values = table.rows(rows)
    latest = np.full(values.shape[1:], np.nan, np.float32)
    missing = np.ones(len(latest), bool)
    for row in range(rows - 1, -1, -1):
        found = missing & ~np.isnan(values[row]).all(1)
        latest[found] = values[row, found]
        missing &= ~found
        if not missing.any():
            break
    return dict(zip(table.names, latest, strict=True))


def _main_parameters(record: Record) -> dict[str, str]:
    """Module → its largest parameter that was measured; holders of parameters that never ran count as modules."""
    measured = dict.fromkeys(name for kind in _PARAMETER_KINDS for name in record.names(kind))
    known = record.modules
    largest: dict[str, tuple[int, str]] = {}
    for name in [*record.parameters, *(name for name in measured if name not in record.parameters)]:
        if name not in measured:
            continue
        facts = record.parameters.get(name, {})
        stated = facts.get("module")
        owner = stated if isinstance(stated, str) else name.rpartition(".")[0]
        # The outermost module goes by its type, or by its prefix where several models are watched.
        outermost = (f"{owner}.", str(record.about.get("model"))) if owner else (str(record.about.get("model")),)
        owner = owner if owner in known else next((other for other in outermost if other in known), owner)
        size = whole(facts.get("numel"))
        if owner not in largest or size > largest[owner][0]:
            largest[owner] = size, name
    return {owner: name for owner, (_, name) in largest.items()}


def _in_depth_order(record: Record, main: Mapping[str, str]) -> list[str]:
    """The modules as they ran; a holder of parameters that is none comes after the owner of those before its own."""
    names = module_names(record)
    ran = set(names)
    after: dict[str | None, list[str]] = {}
    previous: str | None = None
    for owner in main:
        if owner in ran:
            previous = owner
        else:
            after.setdefault(previous, []).append(owner)
    return after.get(None, []) + [layer for name in names for layer in (name, *after.get(name, []))]


def whole(value: Any) -> int:
    """A count from a record that may be damaged: 0 for what is none."""
    return value if isinstance(value, int) and value >= 0 else 0
