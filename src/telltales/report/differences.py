"""Which numbers of two or more records differ markedly, and by how much."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from telltales.record import Record
from telltales.report.layer_table import OUTERMOST
from telltales.report.layers import LayerRow, Measure
from telltales.report.plain import precise
from telltales.report.summary import NonFinite, Overview, loss_at, loss_curve, loss_window
from telltales.report.words import counted, number, share
from telltales.visible import visible

# From where on a difference counts as marked. Its size is how many times as large as this it is.
LOSS = 0.02
"""As a share of the loss; and it is at least three standard errors."""
FIRST_LOSS = 0.05
"""As a share of the loss: a single batch says little."""
POINTS = 0.1
"""Between shares of values, units or steps."""
FACTOR = 1.5
"""Between numbers of steps, seconds a step, and norms."""
LAYER_FACTORS: Mapping[Measure, tuple[float, str]] = {
    "activation_std": (1.5, "activation std"),
    "activation_gradient_rms": (3.0, "activation gradient RMS"),
    "weight_std": (1.5, "weight std"),
    "gradient_ratio": (3.0, "gradient ratio"),
    "update_ratio": (2.0, "update ratio"),
}
"""Between the numbers of a layer, and what these are called."""
SETTING = 0.01
"""As a share of a learning rate or a weight decay."""

SMALLEST = 1e-6
"""What is below this share of the largest number counts as so much, or the factor to zero would have no end."""


@dataclass(frozen=True)
class Difference:
    """One number that differs markedly."""

    measure: str
    places: tuple[str, ...] | None
    """The layer's name in each record; None for what is about the training as a whole."""
    values: tuple[float | str | None, ...]
    """One for each record; NaN where it was not measured."""
    size: float
    """How many times the smallest difference that counts as marked."""
    words: str


@dataclass(frozen=True)
class Setting:
    """What the records say differently about how they were made; None where one says nothing."""

    name: str
    values: tuple[Any, ...]


def each(labels: Sequence[str], texts: Iterable[str]) -> str:
    """``2.31 in A, 2.08 in B``."""
    return ", ".join(f"{text} in {visible(label)}" for label, text in zip(labels, texts, strict=True))


def training_differences(
    labels: Sequence[str], records: Sequence[Record], seen: Sequence[Overview], last: int
) -> list[Difference]:
    """What differs in the trainings as a whole, up to step ``last``."""
    norms = [_until(record, "gradient_norm", last) for record in records]
    clipped = [one.clipped for one in seen]
    speeds = [one.seconds / one.steps if one.steps else math.nan for one in seen]
    medians = [float(np.median(norm)) if norm.size else math.nan for norm in norms]
    found = [
        _nonfinite(labels, [one.nonfinite for one in seen]),
        _loss(labels, records, last),
        _first_loss(labels, seen),
        _steps_to_reach(labels, records, last),
        *_evaluations(labels, seen),
        _factor("gradient_norm", None, medians, FACTOR, "gradient norm, median of the observed steps: ", labels),
        _points("clipped", None, clipped, "observed steps at which the gradient was clipped: ", "", labels),
        _factor("seconds_per_step", None, speeds, FACTOR, "seconds a step: ", labels),
    ]
    return [difference for difference in found if difference is not None]


def layer_differences(labels: Sequence[str], rows: Sequence[LayerRow]) -> Iterator[Difference]:
    """What differs in one layer: ``rows`` has its row of each record."""
    places = tuple(row.name for row in rows)
    types = [row.function or row.type for row in rows]
    name = f"{' / '.join(dict.fromkeys(map(_spoken, rows)))}: "
    if len(set(types)) > 1:
        yield Difference("type", places, tuple(types), 1.0, name + each(labels, map(visible, types)))
    else:
        # In the flat part means another thing for each activation function.
        saturated, units = ("inactive", "of units dead") if rows[0].rectifier else ("saturated", "of units saturated")
        for measure, word in (("saturated", saturated), ("saturated_units", units)):
            points = _points(measure, places, [getattr(row, measure) for row in rows], name, f" {word}", labels)
            if points is not None:
                yield points
    for measure, (factor, called) in LAYER_FACTORS.items():
        values = [getattr(row, measure) for row in rows]
        difference = _factor(measure, places, values, factor, f"{name}{called} ", labels)
        if difference is not None:
            yield difference


def setting_differences(records: Sequence[Record], last: int | None) -> list[Setting]:
    """What `Record.about` says differently, and the learning rates and weight decays that do."""
    about = [dict(_flat(record.about)) for record in records]
    names = dict.fromkeys(itertools.chain.from_iterable(about))
    settings = [Setting(name, tuple(facts.get(name) for facts in about)) for name in names]
    found = [setting for setting in settings if any(value != setting.values[0] for value in setting.values)]
    for column in ("learning_rate", "weight_decay"):
        groups = [record.names("group") for record in records]
        for group in (name for name in groups[0] if all(name in others for others in groups)):
            ends = [_ends(record, group, column, last) for record in records]
            if any(not np.allclose(ends[0], other, rtol=SETTING, atol=0, equal_nan=True) for other in ends):
                name = column if len(groups[0]) == 1 else f"{column} of {group}"
                found.append(Setting(name, tuple(_course(*one) for one in ends)))
    return found


def _spoken(row: LayerRow) -> str:
    """The layer's name, with its type where that is a number only, as in `torch.nn.Sequential`."""
    name = visible(row.name or OUTERMOST)
    return f"{name} ({visible(row.type)})" if name.rpartition(".")[2].isdecimal() else name


def _nonfinite(labels: Sequence[str], seen: Sequence[Sequence[NonFinite]]) -> Difference | None:
    """The values are the steps, NaN where all was finite."""
    firsts = [found[0] if found else None for found in seen]
    steps = [math.nan if first is None else float(first.step) for first in firsts]
    if np.array_equal(steps, [steps[0]] * len(steps), equal_nan=True):
        return None
    texts = ["none" if first is None else f"{_where(first)}, step {first.step:,}," for first in firsts]
    return Difference("nonfinite", None, tuple(steps), math.inf, f"first value not finite: {each(labels, texts)}")


def _where(first: NonFinite) -> str:
    kind = first.kind.replace("_", " ")
    return kind if kind == first.place else f"{kind} of {visible(first.place)}"


def _loss(labels: Sequence[str], records: Sequence[Record], last: int) -> Difference | None:
    found = [loss_at(record, last) for record in records]
    values = [math.nan if loss is None else loss.mean for loss in found]
    # A float is known to about seven digits: no error is smaller than that.
    errors = [max(loss.error, 1e-7 * abs(loss.mean)) for loss in found if loss is not None and loss.error >= 0]
    steps = max((loss.steps for loss in found if loss is not None), default=1)
    over = f" (mean of {counted(steps, 'step')})" if steps > 1 else ""
    difference = _relative("loss", values, LOSS, f"loss at step {last:,}{over}: ", labels)
    if difference is None or len(errors) < 2:
        return difference
    sure = _spread(values) / (3 * math.hypot(*sorted(errors)[-2:]))
    return difference if sure >= 1 else None


def _first_loss(labels: Sequence[str], seen: Sequence[Overview]) -> Difference | None:
    steps = {one.first_step for one in seen}
    where = f"step {next(iter(steps)):,}" if len(steps) == 1 else "the first step"
    return _relative("first_loss", [one.first_loss for one in seen], FIRST_LOSS, f"loss at {where}: ", labels)


def _steps_to_reach(labels: Sequence[str], records: Sequence[Record], last: int) -> Difference | None:
    """The steps until the loss was first what all of them reached: the highest of the last losses, rounded up."""
    lasts = [found.mean for record in records if (found := loss_at(record, last)) is not None]
    if len(lasts) < len(records) or not np.isfinite(lasts).all():
        return None
    target = _rounded_up(max(lasts))
    counts = [_steps_until(record, target, last) for record in records]
    # Where the first window is low enough already, or where a single step is, there is nothing to compare.
    if any(count is None for count in counts):
        return None
    values = [float(count) for count in counts if count is not None]
    texts = [f"{count:,.0f}" for count in values]
    return _marked(
        "steps_to_reach", None, values, FACTOR, f"steps until the loss is {precise(target)}: {each(labels, texts)}"
    )


def _steps_until(record: Record, target: float, last: int) -> int | None:
    steps, losses = loss_curve(record)
    steps, losses = steps[steps <= last], losses[steps <= last]
    window = loss_window(steps.size)
    with np.errstate(invalid="ignore", over="ignore"):
        means = np.convolve(losses, np.full(window, 1 / window), "valid")
        reached = np.flatnonzero(means <= target)
    if not reached.size or reached[0] == 0:
        return None
    return int(steps[reached[0] + window - 1] - steps[0]) + 1


def _rounded_up(value: float) -> float:
    """To two digits."""
    if value == 0:
        return 0.0
    digit = 10.0 ** (math.floor(math.log10(abs(value))) - 1)
    return math.ceil(value / digit) * digit


def _evaluations(labels: Sequence[str], seen: Sequence[Overview]) -> Iterator[Difference | None]:
    for split in dict.fromkeys(found.split for one in seen for found in one.evaluations):
        by_record = [next((found for found in one.evaluations if found.split == split), None) for one in seen]
        values = [math.nan if found is None else found.lowest for found in by_record]
        yield _relative(f"lowest_{split}_loss", values, LOSS, f"lowest {visible(split)} loss: ", labels)


def _relative(
    measure: str, values: Sequence[float], least: float, before: str, labels: Sequence[str]
) -> Difference | None:
    """Losses that differ by a share of the largest."""
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    size = _spread(values) / (least * largest) if largest else 0.0
    if size < 1:
        return None
    change = f" ({_signed(values[1] - values[0])})" if len(values) == 2 else ""
    return Difference(measure, None, tuple(values), size, before + each(labels, map(precise, values)) + change)


def _points(
    measure: str,
    places: tuple[str, ...] | None,
    values: Sequence[float],
    before: str,
    what: str,
    labels: Sequence[str],
) -> Difference | None:
    """Shares that differ by so many points; ``what`` stands behind the first."""
    size = _spread(values) / POINTS
    # Float32 shares of 0.4 and 0.3 are a little less than 0.1 apart.
    if size < 1 - 1e-6:
        return None
    texts = [share(value) + (what if place == 0 else "") for place, value in enumerate(values)]
    return Difference(measure, places, tuple(values), size, before + each(labels, texts))


def _factor(
    measure: str,
    places: tuple[str, ...] | None,
    values: Sequence[float],
    least: float,
    before: str,
    labels: Sequence[str],
) -> Difference | None:
    return _marked(measure, places, values, least, before + each(labels, map(number, values)))


def _marked(
    measure: str, places: tuple[str, ...] | None, values: Sequence[float], least: float, words: str
) -> Difference | None:
    """Numbers, none below zero, that differ by a factor."""
    finite = [value for value in values if math.isfinite(value)]
    if len(finite) < 2 or max(finite) <= 0:
        return None
    lowest, highest = min(finite), max(finite)
    size = math.log(highest / max(lowest, SMALLEST * highest)) / math.log(least)
    if size < 1:
        return None
    factor = f" ({number(highest / lowest)}×)" if lowest > 0 else ""
    return Difference(measure, places, tuple(values), size, words + factor)


def _spread(values: Sequence[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return max(finite) - min(finite) if finite else 0.0


def _signed(change: float) -> str:
    return f"+{precise(change)}" if change > 0 else precise(change)


def _until(record: Record, name: str, last: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    values = record.scalar(name)[record.steps <= last]
    return values[np.isfinite(values)]


def _flat(facts: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in facts.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def _ends(record: Record, group: str, column: str, last: int | None) -> tuple[float, float]:
    """The first and the last value up to a step, NaN if there is none."""
    values = record.series("group", group, column)
    values = values[record.steps <= (math.inf if last is None else last)]
    values = values[~np.isnan(values)]
    return (float(values[0]), float(values[-1])) if values.size else (math.nan, math.nan)


def _course(first: float, last: float) -> float | str | None:
    if math.isnan(first):
        return None
    same = math.isclose(first, last, rel_tol=SETTING)
    # Float32: six digits are what was set.
    return float(f"{first:.6g}") if same else f"{number(first)} → {number(last)}"
