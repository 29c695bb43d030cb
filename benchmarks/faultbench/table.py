"""From the results to the figures: what was flagged, what was named rightly and first, which alarms were false."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from faultbench.faults import FAULTS
from faultbench.running import HEALTHY

Result = Mapping[str, Any]
HURTS = 0.05
"""A fault hurts where the result is worse than its twin's by this share of what training gained there."""
_RIGHT = {fault.name: fault.right for fault in FAULTS}
_STRUCTURAL = {fault.name: fault.since for fault in FAULTS if fault.structural}


@dataclass(frozen=True)
class Share:
    """A count out of a number, with its 95% interval (Wilson 1927)."""

    count: int
    of: int

    @property
    def interval(self) -> tuple[float, float]:
        if not self.of:
            return math.nan, math.nan
        z, p, n = 1.96, self.count / self.of, self.of
        middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return max((middle - half) / (1 + z * z / n), 0.0), min((middle + half) / (1 + z * z / n), 1.0)

    def __str__(self) -> str:
        if not self.of:
            return "–"
        low, high = self.interval
        return f"{self.count / self.of:6.1%} ({low:.1%}–{high:.1%})"

    @property
    def short(self) -> str:
        return f"{self.count / self.of:.0%}" if self.of else "–"


@dataclass(frozen=True)
class Judged:
    """One faulty run, as one tool judged it."""

    result: Result
    flagged: bool
    first: bool
    """The first thing it named, of what it did not say of the healthy twin, was the cause."""
    named: bool
    step: int | None
    """When it first named the cause, or else anything."""

    @property
    def is_at_once(self) -> bool:
        """Whether that was in the first step with the fault in it, before it, or in the next."""
        return self.step is not None and self.step <= _STRUCTURAL.get(self.result["fault"], 0) + 1


def judged(results: Sequence[Result], tool: str) -> list[Judged]:
    """Every faulty run that has a healthy twin, without what the tool said of that, too."""
    twins = {(r["program"], r["seed"]): r for r in results if r["fault"] == HEALTHY and r["variant"] == "plain"}
    found = []
    for result in results:
        twin = twins.get((result["program"], result["seed"]))
        if result["fault"] == HEALTHY or twin is None or tool not in result["heard"]:
            continue
        of_twin = {rule for rule, _, _ in twin["heard"][tool]["named"]}
        said = [(rule, step) for rule, step, _ in result["heard"][tool]["named"] if rule not in of_twin]
        right = [step for rule, step in said if rule in _RIGHT[result["fault"]]]
        steps = right or [step for _, step in said]
        first = bool(said) and said[0][0] in _RIGHT[result["fault"]]
        found.append(Judged(result, bool(said), first, bool(right), min(steps, default=None)))
    return found


def alarms(results: Sequence[Result], tool: str) -> Share:
    """Healthy runs of which the tool said anything."""
    healthy = [r for r in results if r["fault"] == HEALTHY and tool in r["heard"]]
    return Share(sum(bool(r["heard"][tool]["named"]) for r in healthy), len(healthy))


def hurt(results: Sequence[Result], fault: str | None = None) -> Share:
    """Faulty runs whose result is worse than the healthy twin's."""
    twins = {(r["program"], r["seed"]): r for r in results if r["fault"] == HEALTHY and r["variant"] == "plain"}
    faulty = [r for r in results if r["fault"] != HEALTHY and fault in (None, r["fault"])]
    pairs = [(r, twins[r["program"], r["seed"]]) for r in faulty if (r["program"], r["seed"]) in twins]
    return Share(sum(_is_worse(result, twin) for result, twin in pairs), len(pairs))


def _is_worse(result: Result, twin: Result) -> bool:
    now, before = result["quality"], twin["quality"]
    if not math.isfinite(now) or result["failed"]:
        return True
    return bool(now - before > HURTS * max(abs(before), 1e-9))


def tool_names(results: Iterable[Result]) -> list[str]:
    return list(dict.fromkeys(name for result in results for name in result["heard"]))


def summary(results: Sequence[Result]) -> dict[str, dict[str, Any]]:
    """Tool → its shares over all of ``results``."""
    found = {}
    for tool in tool_names(results):
        runs = judged(results, tool)
        structural = [run for run in runs if run.result["fault"] in _STRUCTURAL]
        at_once = sum(run.named and run.is_at_once for run in structural)
        steps = [run.step for run in runs if run.step is not None]
        crashed = [r for r in results if r["heard"].get(tool, {}).get("crashed")]
        found[tool] = {
            "flagged": Share(sum(run.flagged for run in runs), len(runs)),
            "right first": Share(sum(run.first for run in runs), len(runs)),
            "right at all": Share(sum(run.named for run in runs), len(runs)),
            "healthy flagged": alarms(results, tool),
            "structural at once": Share(at_once, len(structural)),
            "median step": median(steps) if steps else math.nan,
            "crashed": len(crashed),
        }
    return found


def by(results: Sequence[Result], tool: str, key: Callable[[Result], str]) -> dict[str, dict[str, Any]]:
    """The same for one tool by fault or program, the weakest first."""
    groups: dict[str, list[Judged]] = {}
    for run in judged(results, tool):
        groups.setdefault(key(run.result), []).append(run)
    rows = {}
    for name, runs in groups.items():
        steps = [run.step for run in runs if run.step is not None]
        rows[name] = {
            "runs": len(runs),
            "flagged": Share(sum(run.flagged for run in runs), len(runs)),
            "right first": Share(sum(run.first for run in runs), len(runs)),
            "right at all": Share(sum(run.named for run in runs), len(runs)),
            "median step": median(steps) if steps else math.nan,
        }
    order = sorted(rows, key=lambda name: (rows[name]["right first"].count / rows[name]["runs"], name))
    return {name: rows[name] for name in order}


def text(results: Sequence[Result], half: str) -> str:
    """The report on one half of the programs."""
    results = [r for r in results if r["half"] == half]
    programs = sorted({r["program"] for r in results})
    faulty = sum(r["fault"] != HEALTHY for r in results)
    lines = [
        f"{half} half: {faulty:,} faulty and {len(results) - faulty:,} healthy runs of {len(programs)} programs",
        f"({', '.join(programs)})",
        f"faults that hurt the result: {hurt(results)}",
        "",
        f"{'':16}{'flagged':>24}{'right cause first':>24}{'healthy flagged':>24}{'structural at once':>24}{'step':>6}",
    ]
    for tool, row in summary(results).items():
        cells = (row[key] for key in ("flagged", "right first", "healthy flagged", "structural at once"))
        crashed = f"  crashed in {row['crashed']}" if row["crashed"] else ""
        lines.append(f"{tool:16}" + "".join(f"{cell!s:>24}" for cell in cells) + f"{row['median step']:>6g}{crashed}")
    tools = tool_names(results)
    if tools:
        lines += ["", *_rows("fault", by(results, tools[0], lambda r: r["fault"]), results, tools)]
        lines += ["", *_rows("program", by(results, tools[0], lambda r: r["program"]), results, tools)]
    return "\n".join(lines) + "\n"


def _rows(
    what: str, rows: Mapping[str, Mapping[str, Any]], results: Sequence[Result], tools: Sequence[str]
) -> list[str]:
    others = {tool: by(results, tool, lambda r: r[what]) for tool in tools[1:]}
    heading = f"{what:34}{'runs':>5}{'flagged':>9}{'first':>7}{'named':>7}{'step':>6}"
    heading += f"{'hurts':>7}" if what == "fault" else f"{'alarms':>8}"
    lines = [heading + "".join(f"{tool[:15]:>17}" for tool in others)]
    for name, row in rows.items():
        step = "–" if math.isnan(row["median step"]) else f"{row['median step']:g}"
        line = f"{name:34}{row['runs']:>5}{row['flagged'].short:>9}{row['right first'].short:>7}"
        line += f"{row['right at all'].short:>7}{step:>6}"
        if what == "fault":
            line += f"{hurt(results, name).short:>7}"
        else:
            line += f"{alarms([r for r in results if r['program'] == name], tools[0]).short:>8}"
        line += "".join(
            f"{cells[name]['right first'].short if name in cells else '–':>17}" for cells in others.values()
        )
        lines.append(line)
    return lines


def as_json(results: Sequence[Result]) -> dict[str, Any]:
    """The figures as plain data: half → tool → shares, each with its count, number and interval."""

    def plain(value: Any) -> Any:
        if isinstance(value, Share):
            low, high = value.interval
            return {"count": value.count, "of": value.of, "low": _finite(low), "high": _finite(high)}
        return _finite(value) if isinstance(value, float) else value

    halves = sorted({r["half"] for r in results})
    return {
        half: {
            tool: {key: plain(value) for key, value in row.items()}
            for tool, row in summary([r for r in results if r["half"] == half]).items()
        }
        for half in halves
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
