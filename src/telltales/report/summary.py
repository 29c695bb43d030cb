"""A record as the plain data that every surface shows: the training as a whole, and a row for each layer.

Numbers and one guide; no verdicts. Not measured is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from telltales.record import Record
from telltales.report.layers import layers, module_names, whole
from telltales.thresholds import CLIPPED_BELOW

UPDATE_RATIO_GUIDE = 1e-3
"""Where training goes well, an update often changes a weight by about a thousandth of its size: a guide, not a law."""

FOR_VERDICTS = (
    "changed_by_another",
    "unfired",
    "switched_off",
    "models",
    "groups",
    "strangers",
    "mode_dependent",
    "loss",
    "labels",
    "shapes",
    "baselines",
)
"""What a record says of itself for rules to read, and no table shows."""

LARGEST_WINDOW = 100
"""The most entries of the loss curve that `loss_at` takes the mean of."""


@dataclass(frozen=True)
class LossAt:
    """The mean loss of ``steps`` steps, the last of which is ``step``, and its standard error, NaN where unknown."""

    step: int
    steps: int
    mean: float
    error: float


@dataclass(frozen=True)
class Evaluated:
    """The losses on one split: the lowest and the last, each with the number of steps done by then."""

    split: str
    count: int
    lowest: float
    lowest_step: int
    last: float
    last_step: int


@dataclass(frozen=True)
class NonFinite:
    """The first of the observed steps at which a kind of reading was not finite, and where."""

    kind: str
    step: int
    place: str
    """The module or parameter that comes first: in the forward pass, for gradients in the backward pass."""
    places: int
    """How many were not finite at that step."""
    within: int = 1
    """It came in one of so many steps from ``step`` on: the loss curve of a long training is coarse."""


@dataclass(frozen=True)
class Overview:
    """The training as a whole."""

    about: Mapping[str, Any]
    modules: int
    parameters: int
    values: int
    """How many numbers the parameters hold together."""
    trained_values: int
    first_step: int | None
    last_step: int | None
    observed: int
    seconds: float
    """From the start to the last observed step."""
    outcome: str | None
    first_loss: float
    """At ``first_step``."""
    last_loss: LossAt | None
    evaluations: tuple[Evaluated, ...]
    gradient_norm_median: float
    gradient_norm_highest: float
    gradient_norm_highest_step: int | None
    clipped: float
    """The share of the observed steps at which the optimizer saw a smaller gradient than there was."""
    nonfinite: tuple[NonFinite, ...]
    """What was not finite, the first to come first."""

    @property
    def steps(self) -> int:
        """How many steps were done while it was watched."""
        if self.first_step is None or self.last_step is None:
            return 0
        return self.last_step - self.first_step + 1


def overview(record: Record) -> Overview:
    """What was watched, how long, and how its loss and its gradients went."""
    steps, losses = loss_curve(record)
    norms, used = record.scalar("gradient_norm"), record.scalar("gradient_norm_used")
    both = np.isfinite(norms) & np.isfinite(used)
    finite = norms[np.isfinite(norms)]
    highest = None if np.isnan(norms).all() else int(np.nanargmax(norms))
    sizes = {name: whole(facts.get("numel")) for name, facts in record.parameters.items()}
    firsts = [int(found[0]) for found in (steps, record.steps) if found.size]
    return Overview(
        about=record.about,
        modules=len(module_names(record)),
        parameters=len(sizes),
        values=sum(sizes.values()),
        trained_values=sum(size for name, size in sizes.items() if record.parameters[name].get("trainable", True)),
        first_step=min(firsts, default=None),
        last_step=int(max(record.steps[-1], record.losses.last_step)) if len(record) else None,
        observed=record.observed,
        seconds=last_measured(record.scalar("seconds")),
        outcome=record.outcome,
        first_loss=_first_loss(record, steps, losses),
        last_loss=loss_at(record),
        evaluations=tuple(_evaluated(record, split) for split in record.evaluations.splits),
        gradient_norm_median=float(np.median(finite)) if finite.size else math.nan,
        gradient_norm_highest=math.nan if highest is None else float(norms[highest]),
        gradient_norm_highest_step=None if highest is None else int(record.steps[highest]),
        clipped=float((used[both] < norms[both] * CLIPPED_BELOW).mean()) if both.any() else math.nan,
        nonfinite=_nonfinite(record),
    )


def loss_curve(record: Record) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Steps and their losses: all of them, or the means of spans that begin there; else those of the observed steps."""
    if record.losses.steps.size:
        return record.losses.steps, record.losses.mean
    measured = ~np.isnan(record.scalar("loss"))
    return record.steps[measured], record.scalar("loss")[measured]


def loss_at(record: Record, step: int | None = None) -> LossAt | None:
    """The loss at a step (the last, if left out): the mean over the twentieth of the training that ends there.

    One batch says little, so some are taken together; at most `LARGEST_WINDOW` entries of the curve.
    """
    steps, losses = loss_curve(record)
    if step is None:
        step = int(max(record.steps[-1], record.losses.last_step)) if len(record) else 0
    known = steps <= step
    steps, losses = steps[known], losses[known]
    if not steps.size:
        return None
    taken = loss_window(steps.size)
    window = losses[-taken:]
    with np.errstate(invalid="ignore"):
        error = float(window.std(ddof=1)) / math.sqrt(taken) if taken > 1 else math.nan
        return LossAt(step, step - int(steps[-taken]) + 1, float(window.mean()), error)


def loss_window(entries: int) -> int:
    """How many entries of the loss curve, of so many, are taken together."""
    return min(max(1, entries // 20), LARGEST_WINDOW)


def last_measured(values: NDArray[np.floating]) -> float:
    """The last that is not NaN; NaN if there is none."""
    measured = values[~np.isnan(values)]
    return float(measured[-1]) if measured.size else math.nan


def summary_json(record: Record) -> dict[str, Any]:
    """Overview and layers for JSON: null for what was not measured or is not a number, ``"inf"`` and ``"-inf"``."""
    seen = overview(record)
    rows = [asdict(row) | {"log10_update_ratio": row.log10_update_ratio} for row in layers(record)]
    found = {
        "overview": asdict(seen) | {"steps": seen.steps},
        "layers": rows,
        "guide": {"update_ratio": UPDATE_RATIO_GUIDE},
    }
    plain: dict[str, Any] = plain_json(found)
    return plain


def plain_json(value: Any) -> Any:
    """``value`` with only what JSON knows: a number that is none becomes null, an infinite one a string."""
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "inf" if value > 0 else "-inf"
    if isinstance(value, Mapping):
        return {str(key): plain_json(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain_json(inner) for inner in value]
    return value


def _first_loss(record: Record, steps: NDArray[np.int64], losses: NDArray[np.float64]) -> float:
    """That of the first step alone where it is known, though the curve's first entry may be the mean of several."""
    if not steps.size:
        return math.nan
    if len(record) and record.steps[0] == steps[0] and not math.isnan(record.scalar("loss")[0]):
        return float(record.scalar("loss")[0])
    return float(losses[0])


def _evaluated(record: Record, split: str) -> Evaluated:
    found = record.evaluations.of(split)
    best = min(found, key=lambda evaluation: math.inf if math.isnan(evaluation.loss) else evaluation.loss)
    last = found[-1]
    return Evaluated(split, len(found), best.loss, best.step, last.loss, last.step)


def _nonfinite(record: Record) -> tuple[NonFinite, ...]:
    """One for each kind of reading. Those of one step come as a step does: weights, forward, loss, backward."""
    found: list[NonFinite] = []
    for kind in ("weight", "activation"):
        found += _nonfinite_readings(record, kind, backward=False)
    steps, losses = loss_curve(record)
    broken = np.flatnonzero(~np.isfinite(losses))
    if broken.size:
        span = record.losses.span if record.losses.steps.size else 1
        found.append(NonFinite("loss", int(steps[broken[0]]), "loss", 1, span))
    for kind in ("activation_gradient", "gradient"):
        found += _nonfinite_readings(record, kind, backward=True)
    return tuple(sorted(found, key=lambda reading: reading.step))


def _nonfinite_readings(record: Record, kind: str, *, backward: bool) -> list[NonFinite]:
    names = record.names(kind)
    with np.errstate(invalid="ignore"):
        broken = record.values(kind, "nonfinite") > 0
    firsts: dict[str, int] = {}
    for place, name in enumerate(names):
        # The row itself may have been thinned out; the step of the largest share is known all the same.
        highest_step, highest = record.extremes(kind, name, "nonfinite")[1]
        if highest > 0:
            rows = np.flatnonzero(broken[:, place])
            firsts[name] = min([highest_step, *record.steps[rows[:1]].tolist()])
    if not firsts:
        return []
    step = min(firsts.values())
    places = [name for name, first in firsts.items() if first == step]
    return [NonFinite(kind, step, places[-1] if backward else places[0], len(places))]
