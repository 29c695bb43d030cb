"""A record on a terminal: as plain text when the training is over, as a live table while it goes on.

Only this file imports rich, and only for a live table on a terminal.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self

from telltales.errors import UsageError
from telltales.finding import Finding
from telltales.record import Record
from telltales.report.layer_table import MEASURES, OUTERMOST, exponent, layer_table, short_names
from telltales.report.layers import LayerRow, layers, observed_at, telling
from telltales.report.plain import aligned, columns, cut, duration, loss_words, wrapped
from telltales.report.sparkline import for_encoding, sparkline
from telltales.report.summary import (
    FOR_VERDICTS,
    UPDATE_RATIO_GUIDE,
    NonFinite,
    Overview,
    last_measured,
    loss_at,
    loss_curve,
    overview,
)
from telltales.report.words import counted, number, share
from telltales.visible import visible

if TYPE_CHECKING:
    from rich.live import Live

MOST_LAYERS = 20
"""A longer table tells less."""
LONGEST_CURVE = 60
REDRAW_SECONDS, CHOOSE_SECONDS = 0.5, 10.0
"""How often a live table is drawn, and how often its layers are chosen anew: names that jump can't be read."""
LONGEST_WAIT = 600.0
"""The most seconds between two lines where there is no terminal."""


def summary_text(record: Record, width: int = 100) -> str:
    """What was watched, how it went, and the layers (of many the most telling): lines of about ``width`` columns."""
    rows = layers(record)
    shown = telling(rows, MOST_LAYERS, MEASURES)
    lines = [*_head(record, overview(record), width), ""]
    step = observed_at(record)
    lines += [f"Layers as last observed, at step {step:,}"] if shown and step is not None else []
    lines += [*layer_table(shown, width), "", *_notes(rows, shown, width)] if shown else ["No layer was observed."]
    return "\n".join(lines) + "\n"


class LiveTable:
    """A training while it goes on, on standard error: a table on a terminal, else a line at ever longer intervals.

    A context manager; ``update`` may be called at every step. Raises `UsageError` where a terminal needs rich and it is
    missing. A stream that can't be written to any more ends the display, never the training.
    """

    def __init__(self, stream: IO[str] | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """``stream``: where to write, in place of standard error. ``clock``: seconds that rise."""
        self._stream = stream if stream is not None else sys.stderr
        self._clock = clock
        self._next, self._wait = -math.inf, 1.0
        self._shown = 0
        self._record: Record | None = None
        self._chosen: tuple[float, int, list[str]] = -math.inf, 0, []
        is_terminal = self._stream is not None and self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._live = _rich_live(self._stream) if is_terminal else None

    def update(self, record: Record) -> None:
        """Show what is new in the record, at most a few times a second."""
        self._record = record
        now = self._clock()
        if now >= self._next and record.observed != self._shown:
            self._next = now + (REDRAW_SECONDS if self._live else self._wait)
            self._wait = min(2 * self._wait, LONGEST_WAIT)
            self._show(record)

    def tell(self, finding: Finding) -> None:
        """Write an error or a warning, in two lines, so that it stays above the table."""
        if finding.severity == "note":
            return
        said = "\n".join(str(finding).splitlines()[:2])
        self._attempt(lambda: self._say(said))

    def __enter__(self) -> Self:
        if self._live is not None:
            self._attempt(self._live.start)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._record is not None and self._record.observed != self._shown:
            self._show(self._record)
        if self._live is not None:
            self._attempt(self._live.stop)

    def _show(self, record: Record) -> None:
        self._shown = record.observed
        if self._live is not None:
            self._attempt(lambda: self._draw(record))
        elif self._stream is not None:
            self._attempt(lambda: self._write(record))

    def _attempt(self, action: Callable[[], None]) -> None:
        try:
            action()
        except (OSError, ValueError):
            # The stream is closed, or nobody reads it any more.
            self._next = math.inf

    def _say(self, text: str) -> None:
        text = "\n".join(visible(line) for line in text.splitlines())
        if self._live is not None:
            from rich.text import Text

            self._live.console.print(Text(for_encoding(text, self._live.console.encoding)))
        elif self._stream is not None:
            self._stream.write(for_encoding(f"{text}\n", getattr(self._stream, "encoding", None)))
            self._stream.flush()

    def _write(self, record: Record) -> None:
        self._say(_now(record))

    def _draw(self, record: Record) -> None:
        from rich.text import Text

        live = self._live
        assert live is not None

        width, height = live.console.size
        head = wrapped([_now(record), sparkline(loss_curve(record)[1], 30)], width, "  ")
        rows = self._choose(layers(record), max(height - len(head) - 4, 1))
        lines = [*head, "", *_live_rows(record, rows, width)]
        text = "\n".join(for_encoding(line, live.console.encoding) for line in lines)
        # As Text, so that no name is taken for markup.
        live.update(Text(text, no_wrap=True, overflow="crop"), refresh=True)

    def _choose(self, rows: list[LayerRow], fit: int) -> list[LayerRow]:
        chosen_at, fitted, names = self._chosen
        by_name = {row.name: row for row in rows}
        if self._clock() - chosen_at >= CHOOSE_SECONDS or fitted != fit or not by_name.keys() >= set(names):
            found = telling(rows, fit, ("update_ratio", "saturated", "activation_std"))
            self._chosen = self._clock(), fit, [row.name for row in found]
            return found
        return [by_name[name] for name in names]


def _rich_live(stream: IO[str]) -> Live:
    try:
        from rich.console import Console
        from rich.live import Live
    except ImportError:
        raise UsageError(
            "a live table needs rich, which is not installed", remedy='pip install "telltales[report]"'
        ) from None
    # What the program prints to a file or a pipe must go on to arrive there.
    redirect = sys.stdout is not None and sys.stdout.isatty()
    console = Console(file=stream, highlight=False, soft_wrap=False)
    return Live(console=console, auto_refresh=False, redirect_stdout=redirect)


def _now(record: Record) -> str:
    """Where the training is, in one line."""
    if not len(record):
        return "no step observed yet"
    loss = loss_at(record)
    parts = [f"step {record.steps[-1]:,}", f"loss {'–' if loss is None else loss_words(loss.mean)}"]
    rates = {number(last_measured(rates)) for rates in record.values("group", "learning_rate").T}
    if rates:
        parts.append(
            f"learning rate {' and '.join(sorted(rates))}" if len(rates) < 3 else f"{len(rates)} learning rates"
        )
    parts.append(f"gradient norm {number(last_measured(record.scalar('gradient_norm')))}")
    return "  ".join(parts)


def _live_rows(record: Record, rows: Sequence[LayerRow], width: int) -> list[str]:
    heading = ["layer", "act. std", "satur.", "update", "update ratio so far"]
    trend = max(min(width - 60, 40), 19)
    parameters = set(record.names("update"))
    room = max(width - trend - 31, 12)
    heading[0], *names = (
        cut(name, room) for name in short_names([visible(row.name or OUTERMOST) for row in rows], room)
    )
    cells = []
    for name, row in zip(names, rows, strict=True):
        ratios = record.series("update", row.parameter, "ratio") if row.parameter in parameters else ()
        numbers = [number(row.activation_std), share(row.saturated), exponent(row.update_ratio)]
        cells.append([name, *numbers, sparkline(ratios, trend, log=True)])
    return aligned([heading, *cells], "lrrrl")


def first_nonfinite(found: NonFinite) -> str:
    """``activation of hidden.2 and 3 more at step 60``."""
    kind = found.kind.replace("_", " ")
    place = "" if kind == found.place else f" of {visible(found.place)}"
    more = f" and {found.places - 1:,} more" if found.places > 1 else ""
    step = f"step {found.step:,}" if found.within == 1 else f"steps {found.step:,} to {found.step + found.within - 1:,}"
    return f"{kind}{place}{more} at {step}"


def _head(record: Record, seen: Overview, width: int) -> list[str]:
    trained = "" if seen.trained_values == seen.values else f", {seen.trained_values:,} trained"
    parts = [
        counted(seen.modules, "module"),
        counted(seen.parameters, "parameter") + f" of {seen.values:,} values{trained}",
    ]
    rows = [("steps", _steps(seen)), *_losses(record, seen, width), *_gradient_norm(seen)]
    unfired = seen.about.get("unfired")
    if isinstance(unfired, list) and unfired:
        rows.append(("never ran", _some(unfired)))
    failed = seen.about.get("switched_off")
    if isinstance(failed, dict) and failed:
        rows.append(("not watched", f"{_some(list(failed))}: watching failed there"))
    if seen.nonfinite:
        rows.append(("not finite", f"first {'; '.join(map(first_nonfinite, seen.nonfinite))}"))
    indent = max(columns(label) for label, _ in rows) + 2
    lines = wrapped([f"{cut(seen.about.get('model', 'a model'), width // 2)}: {parts[0]}", *parts[1:]], width)
    lines += wrapped([f"{visible(name)} {visible(value)}" for name, value in _described(seen)], width)
    for label, text in rows:
        # A sparkline has spaces where it has gaps; it fits as it is.
        folded = wrapped(text.split(" "), max(width - indent, 20), " ") if label else [text]
        lines += [f"{label if place == 0 else '':{indent}}{part}" for place, part in enumerate(folded)]
    return lines


def _described(seen: Overview) -> list[tuple[str, Any]]:
    """What the record says of itself, but for what stands elsewhere."""
    elsewhere = ("model", "parameters", "first_step", "window", *FOR_VERDICTS)
    plain = {k: ", ".join(map(str, v)) if isinstance(v, list) else v for k, v in seen.about.items()}
    return [(k, v) for k, v in plain.items() if k not in elsewhere and v not in (None, "") and not isinstance(v, dict)]


def _some(names: Sequence[object]) -> str:
    return ", ".join(map(visible, names[:5])) + (f" and {len(names) - 5:,} more" if len(names) > 5 else "")


def _steps(seen: Overview) -> str:
    ended = "no end recorded" if seen.outcome is None else visible(seen.outcome)
    if seen.first_step is None or seen.last_step is None:
        return f"none observed; {ended}"
    took = f" in {duration(seen.seconds)}" if math.isfinite(seen.seconds) else ""
    return f"{seen.steps:,} ({seen.first_step:,} to {seen.last_step:,}){took}, {seen.observed:,} observed; {ended}"


def _losses(record: Record, seen: Overview, width: int) -> list[tuple[str, str]]:
    rows = []
    if (last := seen.last_loss) is not None:
        over = f" (mean of {last.steps:,} steps)" if last.steps > 1 else ""
        first = f"{loss_words(seen.first_loss)} at step {seen.first_step or 0:,}"
        rows.append(("loss", f"{first}, {loss_words(last.mean)} at step {last.step:,}{over}"))
        rows.append(("", sparkline(loss_curve(record)[1], max(min(width - 16, LONGEST_CURVE), 10))))
    for found in seen.evaluations:
        lowest = f"lowest {loss_words(found.lowest)} after {counted(found.lowest_step, 'step')}"
        evaluations = counted(found.count, "evaluation")
        rows.append((f"{cut(found.split, 12)} loss", f"{lowest}, last {loss_words(found.last)} ({evaluations})"))
    return rows


def _gradient_norm(seen: Overview) -> list[tuple[str, str]]:
    if seen.gradient_norm_highest_step is None:
        return []
    highest = f"highest {number(seen.gradient_norm_highest)} at step {seen.gradient_norm_highest_step:,}"
    clipped = "" if math.isnan(seen.clipped) else f"; clipped at {share(seen.clipped)} of the observed steps"
    return [("gradient norm", f"median {number(seen.gradient_norm_median)}, {highest}{clipped}")]


def _notes(rows: Sequence[LayerRow], shown: Sequence[LayerRow], width: int) -> list[str]:
    """What the numbers in the table mean, as far as it needs saying."""
    notes = []
    if len(shown) < len(rows):
        left = len(rows) - len(shown)
        notes.append(
            f"{left:,} of {len(rows):,} layers are left out; shown are the first, the last and each column's extremes."
        )
    broken = [row.name or OUTERMOST for row in rows if row.nonfinite > 0]
    if broken:
        notes.append(f"Not finite in {counted(len(broken), 'layer')}: {_some(broken)}.")
    if any(not math.isnan(row.saturated) for row in shown):
        notes.append(
            "satur.: share of values in the flat part of the activation function (ReLU: inactive); units: share of"
            " units there on all of the last examples (ReLU: dead)."
        )
    if any(row.update_ratio > 0 for row in shown):
        guide = f"{math.log10(UPDATE_RATIO_GUIDE):.0f}".replace("-", "−")
        notes.append(
            f"update: log10 of the update ratio, std of the change / std of the weight; about {guide} as a guide."
        )
    return [line for note in notes for line in wrapped(note.split(" "), width, " ")]
