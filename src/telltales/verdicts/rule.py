"""A rule: a function that looks at a run and gives signs of one fault."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from telltales.catalogue import CATALOGUE, Entry
from telltales.errors import UsageError
from telltales.finding import Finding, Severity
from telltales.verdicts.run import Run


@dataclass(frozen=True)
class Sign:
    """What a rule saw: the evidence, where, and since which step."""

    evidence: str
    where: str = ""
    step: int = 0
    numbers: Mapping[str, Any] = field(default_factory=dict)
    places: tuple[str, ...] = ()
    severity: Severity | None = None
    """Left out, the rule's own; so are the next two."""
    why: str | None = None
    remedy: str | None = None


Look = Callable[[Run], Iterable[Sign]]


@dataclass(frozen=True)
class Rule:
    """A rule's entry in the catalogue, and how to look for it."""

    entry: Entry
    look: Look

    def findings(self, run: Run) -> list[Finding]:
        """What it finds in ``run``."""
        return [self._finding(sign) for sign in self.look(run)]

    def _finding(self, sign: Sign) -> Finding:
        entry = self.entry
        severity, why, remedy = sign.severity or entry.severity, sign.why or entry.why, sign.remedy or entry.remedy
        where = sign.where, sign.step
        return Finding(entry.rule, severity, *where, sign.evidence, why, remedy, sign.numbers, sign.places)


def rule(name: str, severity: Severity = "warning", *, why: str = "", remedy: str = "") -> Callable[[Look], Rule]:
    """Make a rule of a function; those of the catalogue need their id only.

        @telltales.rule("slow-data", why="The GPU waits for the loader.", remedy="Use more workers.")
        def slow_data(run):
            seconds = run.scalar("seconds")
            if run.rows > 5 and seconds[-1] - seconds[-2] > 60:
                yield telltales.Sign(f"a step took {seconds[-1] - seconds[-2]:.0f} s", step=run.step)

    Raises `UsageError` for a new id that does not say why it matters.
    """
    entry = CATALOGUE.get(name)
    if entry is None and not why:
        raise UsageError(f"the rule {name!r} does not say why it matters", remedy="Give why= and remedy=.")
    return lambda look: Rule(entry or Entry(name, name, severity, why, remedy), look)
