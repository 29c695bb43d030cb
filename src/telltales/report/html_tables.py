"""The tables of a report: what was watched, how it went, and the last numbers of each layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from telltales.record import Record
from telltales.report.layer_table import OUTERMOST, exponent
from telltales.report.layers import LayerRow, layers, observed_at
from telltales.report.lines import thinned
from telltales.report.plain import duration, precise
from telltales.report.scales import range_of
from telltales.report.summary import FOR_VERDICTS, Overview, overview
from telltales.report.svg import Markup, element, polyline
from telltales.report.words import counted, number, share, shorten

SPARK_WIDTH, SPARK_HEIGHT = 84, 18
LONGEST_FACT = 420
LONGEST_LAYER = 260
"""In pixels."""


def headline(records: Mapping[str, Record]) -> str:
    """One line: how much was watched."""
    if len(records) > 1:
        return f"{len(records)} trainings side by side, on shared scales."
    (record,) = records.values()
    seen = overview(record)
    return (
        f"{counted(seen.modules, 'module')}, {counted(seen.parameters, 'parameter')} ({seen.values:,} values), "
        f"watched over {counted(seen.steps, 'step')}, {seen.observed:,} of them observed."
    )


def facts(records: Mapping[str, Record]) -> list[Markup]:
    """Key figures, then what was watched: as cards and a list for one record, as a table for several."""
    seen = {label: overview(record) for label, record in records.items()}
    figures = {label: _key_figures(each) for label, each in seen.items()}
    about = {label: _about(record) for label, record in records.items()}
    if len(records) == 1:
        (cards,), (known,) = figures.values(), about.values()
        boxes = [
            element("div", None, element("dt", None, name), element("dd", None, value, _said(detail)))
            for name, (value, detail) in cards.items()
        ]
        pairs = [
            element("div", None, element("dt", None, name), element("dd", None, value)) for name, value in known.items()
        ]
        watched = [element("dl", {"class": "card watched"}, *pairs)] if pairs else []
        return [element("dl", {"class": "figures"}, *boxes), *watched]
    numbers = {
        label: {name: f"{value} ({detail})" if detail else value for name, (value, detail) in each.items()}
        for label, each in figures.items()
    }
    return [*_table("Key figures", numbers), *_table("What was watched", about)]


def _key_figures(seen: Overview) -> dict[str, tuple[str, str]]:
    """Name → the figure, and what belongs to it."""
    last = seen.last_loss
    figures = {"Outcome": (shorten(seen.outcome or "not closed", 150, 19), f"after {counted(seen.steps, 'step')}")}
    if last is not None:
        spread = f"mean of the last {counted(last.steps, 'step')}"
        figures["Loss, first → last"] = (f"{_loss(seen.first_loss)} → {_loss(last.mean)}", spread)
    for split in seen.evaluations:
        figures[f"Lowest loss, {shorten(split.split, 90)}"] = (precise(split.lowest), f"at step {split.lowest_step:,}")
    if not np.isnan(seen.gradient_norm_median):
        highest = f"highest {number(seen.gradient_norm_highest)} at step {seen.gradient_norm_highest_step:,}"
        figures["Gradient norm, median"] = (number(seen.gradient_norm_median), highest)
    if seen.clipped > 0:
        figures["Clipped"] = (share(seen.clipped), "of the observed steps")
    if seen.nonfinite:
        first = seen.nonfinite[0]
        place = f" of {shorten(first.place, 150)}" if first.place not in ("", first.kind) else ""
        figures["Not finite"] = (f"step {first.step:,}", f"first: {first.kind.replace('_', ' ')}{place}")
    if not np.isnan(seen.seconds):
        figures["Time"] = (duration(seen.seconds), "to the last observed step")
    return figures


def _loss(value: float) -> str:
    """A loss was measured if it is there at all: what is not a number is said to be so."""
    return "NaN" if np.isnan(value) else precise(value)


def _about(record: Record) -> dict[str, str]:
    return {
        shorten(name, 150): shorten(_plain(value), LONGEST_FACT)
        for name, value in record.about.items()
        if name not in FOR_VERDICTS
    }


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return number(value) if isinstance(value, float) else str(value)


def _said(detail: str) -> Markup:
    return element("span", {"class": "said"}, detail)


def _table(caption: str, columns: Mapping[str, Mapping[str, str]]) -> list[Markup]:
    """A column for each record, and one row for each name that any of them has."""
    names = dict.fromkeys(name for column in columns.values() for name in column)
    if not names:
        return []
    heads = [element("th", {"scope": "col"}, label) for label in columns]
    head = element("thead", None, element("tr", None, element("td"), *heads))
    rows = [
        element(
            "tr",
            None,
            element("th", {"scope": "row"}, name),
            *(element("td", None, column.get(name, "–")) for column in columns.values()),
        )
        for name in names
    ]
    table = element("table", {"class": "facts"}, element("caption", None, caption), head, element("tbody", None, *rows))
    return [element("div", {"class": "card"}, element("div", {"class": "scroll"}, table))]


def never_ran(records: Mapping[str, Record]) -> list[Markup]:
    """The modules that were watched and never ran, and those where watching failed: nothing is known of them."""
    found = []
    for label, record in records.items():
        of = f" of {label}" if len(records) > 1 else ""
        unfired, failed = record.about.get("unfired"), record.about.get("switched_off")
        for names, kind, what, why in (
            (unfired if isinstance(unfired, list | tuple) else [], "module", "never ran", "They were watched"),
            (
                list(failed) if isinstance(failed, dict) else [],
                "part",
                "not watched to the end",
                "Watching them failed",
            ),
        ):
            if not names:
                continue
            heading = element("h3", None, f"{counted(len(names), kind)}{of} {what}")
            said = element("p", {"class": "said"}, f"{why}, and nothing is known of them.")
            entries = [element("li", {"class": "names"}, shorten(str(name), LONGEST_FACT)) for name in names]
            found.append(element("div", {"class": "card"}, heading, said, element("ul", {"class": "never"}, *entries)))
    return found


@dataclass(frozen=True)
class _Column:
    heading: str
    cell: Callable[[LayerRow], str]


_COLUMNS = (
    _Column("Output mean", lambda row: number(row.activation_mean)),
    _Column("Output std", lambda row: number(row.activation_std)),
    _Column("Saturated or inactive", lambda row: share(row.saturated)),
    _Column("Units saturated or dead", lambda row: share(row.saturated_units)),
    _Column("Gradient rms", lambda row: number(row.activation_gradient_rms)),
    _Column("Weight std", lambda row: number(row.weight_std)),
    _Column("Gradient ratio", lambda row: number(row.gradient_ratio)),
    _Column("Update ratio, log₁₀", lambda row: exponent(row.update_ratio)),
)


def layers_table(record: Record) -> Markup | None:
    """A row for each layer, with its last numbers and its output's std over time; None if nothing was measured."""
    rows = layers(record)
    shown = [column for column in _COLUMNS if any(column.cell(row) != "–" for row in rows)]
    if not shown:
        return None
    std = record.values("activation", "std").astype(np.float64)
    places = {name: place for place, name in enumerate(record.names("activation"))}
    heads = [element("th", {"scope": "col"}, heading) for heading in ("Layer", "Type")]
    heads += [element("th", {"scope": "col", "class": "n"}, column.heading) for column in shown]
    heads += [element("th", {"scope": "col", "class": "spark"}, "Output std over time")] if places else []
    body = []
    for row in rows:
        name = row.name or OUTERMOST
        cells = [element("th", {"scope": "row"}, *_shortened(name))]
        cells.append(element("td", {"class": "type"}, shorten(row.type, 120)))
        cells += [element("td", {"class": "n"}, column.cell(row)) for column in shown]
        if places:
            series = std[:, places[row.name]] if row.name in places else np.zeros(0)
            cells.append(element("td", {"class": "spark"}, *_spark(series)))
        body.append(element("tr", None, *cells))
    step = observed_at(record)
    when = "" if step is None else f", as last observed, at step {step:,}"
    caption = element("caption", None, f"Layers, in the order in which they ran first{when}")
    table = element(
        "table", None, caption, element("thead", None, element("tr", None, *heads)), element("tbody", None, *body)
    )
    return element("div", {"class": "scroll tall", "tabindex": "0", "role": "region", "aria-label": "Layers"}, table)


def _shortened(name: str) -> list[str]:
    shown = shorten(name, LONGEST_LAYER, 12.5)
    return [shown] if shown == name else [element("span", {"title": name}, shown)]


def _spark(series: np.ndarray[Any, np.dtype[np.float64]]) -> list[Markup]:
    """A line without axes, from its lowest to its highest."""
    finite = series[np.isfinite(series)]
    if len(finite) < 2:
        return []
    shown = range_of([finite])
    across = np.linspace(1, SPARK_WIDTH - 1, len(series))
    x, y = thinned(across, SPARK_HEIGHT - 2 - shown.position(series) * (SPARK_HEIGHT - 4), SPARK_WIDTH / 2)
    label = f"from {number(float(finite[0]))} to {number(float(finite[-1]))}"
    attributes = {"role": "img", "aria-label": label, "width": SPARK_WIDTH, "height": SPARK_HEIGHT}
    return [element("svg", attributes, element("path", {"class": "line s-c0", "d": polyline(x, y)}))]
