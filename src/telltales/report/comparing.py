"""Two or more records side by side: what differs markedly between them, the most first. Numbers, no verdicts."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from telltales.errors import UsageError
from telltales.record import Record
from telltales.report.differences import (
    Difference,
    Setting,
    layer_differences,
    setting_differences,
    training_differences,
)
from telltales.report.layer_table import OUTERMOST
from telltales.report.layers import LayerRow, layers, observed_at
from telltales.report.plain import aligned, cut, loss_words
from telltales.report.summary import Overview, overview, plain_json
from telltales.report.words import counted, number
from telltales.visible import visible

LINES_PER_MEASURE = 4
"""So many layers are named for each measure; how many more differ is said."""


@dataclass(frozen=True)
class Comparison:
    """What differs, as data; everything has one value for each label."""

    labels: tuple[str, ...]
    overviews: tuple[Overview, ...]
    last_common_step: int | None
    """The numbers are those of this step, or of the last observed one before it."""
    layers_observed_at: tuple[int | None, ...]
    """The last observed step of each record up to that one, which the layers' numbers are from."""
    settings: tuple[Setting, ...]
    training: tuple[Difference, ...]
    """What is about the training as a whole, the most different first."""
    layers: tuple[Difference, ...]
    """What is about one layer, the most different first."""
    matched: int
    """How many layers were compared: those of the same name, and the others by type in the order of depth."""
    unmatched: tuple[tuple[str, ...], ...]
    """The layers of each record that have no counterpart in all the others."""

    def as_json(self) -> dict[str, Any]:
        """As `telltales.report.summary.plain_json` makes it."""
        plain: dict[str, Any] = plain_json(asdict(self))
        return plain


def compare(records: Mapping[str, Record]) -> Comparison:
    """What differs between records, which go by their labels. Raises `UsageError` for fewer than two."""
    if len(records) < 2:
        raise UsageError(f"a comparison needs two records and was given {len(records)}", remedy="Give another one.")
    labels, of = tuple(records), list(records.values())
    seen = tuple(map(overview, of))
    lasts = [one.last_step for one in seen if one.last_step is not None]
    last = min(lasts) if len(lasts) == len(of) else None
    rows = [layers(record, last) for record in of]
    groups = _matched(rows)
    compared = [{group[place].name for group in groups} for place in range(len(of))]
    return Comparison(
        labels=labels,
        overviews=seen,
        last_common_step=last,
        layers_observed_at=tuple(observed_at(record, last) for record in of),
        settings=tuple(setting_differences(of, last)),
        training=_most_first([] if last is None else training_differences(labels, of, seen, last)),
        layers=_most_first(itertools.chain.from_iterable(layer_differences(labels, group) for group in groups)),
        matched=len(groups),
        unmatched=tuple(
            tuple(row.name for row in found if row.name not in names)
            for found, names in zip(rows, compared, strict=True)
        ),
    )


def comparison_text(comparison: Comparison, width: int = 100) -> str:
    """The comparison as lines of about ``width`` columns, ready to print."""
    labels = comparison.labels
    lines = _heads(comparison, width)
    if comparison.settings:
        lines += ["", "Settings that differ"]
        lines += [f"  {line}" for line in _settings(comparison, width - 2)]
    lines += ["", "Training: what differs markedly, the most first"]
    lines += _items([difference.words for difference in comparison.training], width)
    when = _observed(comparison)
    layers_heading = f"{counted(comparison.matched, 'layer')}{when}: what differs markedly, the most first"
    lines += ["", *textwrap.wrap(layers_heading, width)]
    lines += _items(_by_measure(comparison.layers), width)
    for label, names in zip(labels, comparison.unmatched, strict=True):
        if names:
            some = ", ".join(visible(name or OUTERMOST) for name in names[:6]) + (", …" if len(names) > 6 else "")
            lines += _items(
                [f"without counterpart: {counted(len(names), 'layer')} of {visible(label)} ({some})"], width
            )
    return "\n".join(lines) + "\n"


def _observed(comparison: Comparison) -> str:
    """When the layers' numbers were observed, which may be some time before the last common step."""
    steps = comparison.layers_observed_at
    if None in steps:
        return ""
    if len(set(steps)) == 1:
        return f" as last observed, at step {steps[0]:,}"
    places = (f"step {step:,} of {visible(label)}" for step, label in zip(steps, comparison.labels, strict=True))
    return f" as last observed, at {', '.join(places)}"


def _matched(rows: Sequence[Sequence[LayerRow]]) -> list[tuple[LayerRow, ...]]:
    """Rows that belong together, in the first record's order: by name, and what is left by type in order of depth."""
    by_name = [{row.name: row for row in found} for found in rows]
    common = {name for name in by_name[0] if all(name in others for others in by_name)}
    left: list[dict[tuple[str, int], LayerRow]] = []
    for found in rows:
        counts: dict[str, int] = {}
        left.append({})
        for row in found:
            if row.name not in common:
                # An activation function plays the same part whichever it is.
                kind = "activation function" if row.function else row.type
                left[-1][kind, counts.get(kind, 0)] = row
                counts[kind] = counts.get(kind, 0) + 1
    groups = {name: tuple(others[name] for others in by_name) for name in common}
    for key, row in left[0].items():
        if all(key in others for others in left):
            groups[row.name] = tuple(others[key] for others in left)
    return [groups[row.name] for row in rows[0] if row.name in groups]


def _most_first(differences: Iterable[Difference]) -> tuple[Difference, ...]:
    return tuple(sorted(differences, key=lambda difference: -difference.size))


def _heads(comparison: Comparison, width: int) -> list[str]:
    """A table with a line for each record."""
    rows = [["", "steps", "outcome", "first loss", "last loss", "lowest evaluation"]]
    for label, seen in zip(comparison.labels, comparison.overviews, strict=True):
        best = min(seen.evaluations, key=lambda found: found.lowest, default=None)
        rows.append(
            [
                cut(label, max(width - 70, 16)),
                f"{seen.steps:,}",
                cut(seen.outcome or "no end", 18),
                "–" if seen.last_loss is None else loss_words(seen.first_loss),
                "–" if seen.last_loss is None else loss_words(seen.last_loss.mean),
                "–" if best is None else f"{loss_words(best.lowest)} ({cut(best.split, 8)}, step {best.lowest_step:,})",
            ]
        )
    return aligned(rows, "lrlrrl")


def _settings(comparison: Comparison, width: int) -> list[str]:
    """A table with a line for each setting and a column for each record."""
    room = max((width - 20) // len(comparison.labels) - 2, 8)
    rows = [["", *(cut(label, room) for label in comparison.labels)]]
    for setting in comparison.settings:
        cells = ["–" if v is None else number(v) if isinstance(v, float) else cut(v, room) for v in setting.values]
        rows.append([cut(setting.name, 24), *cells])
    return aligned(rows, "l" + "l" * len(comparison.labels))


def _by_measure(differences: Sequence[Difference]) -> list[str]:
    """The lines of each measure together, those of the most different measure first."""
    by_measure: dict[str, list[Difference]] = {}
    for difference in differences:
        by_measure.setdefault(difference.measure, []).append(difference)
    lines = []
    for found in by_measure.values():
        lines += [difference.words for difference in found[:LINES_PER_MEASURE]]
        if len(found) > LINES_PER_MEASURE:
            lines[-1] += f"; {counted(len(found) - LINES_PER_MEASURE, 'more layer', 'more layers')} likewise"
    return lines


def _items(texts: Sequence[str], width: int) -> list[str]:
    return [
        line
        for text in texts or ["nothing"]
        for line in textwrap.wrap(
            text, width, initial_indent="  ", subsequent_indent="      ", break_long_words=False, break_on_hyphens=False
        )
    ]
