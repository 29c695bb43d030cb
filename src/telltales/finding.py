"""What a rule or a check tells the user. No torch here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from telltales.visible import visible

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""From the worst on: it will not train; it trains badly; it is worth knowing."""

BEFORE_TRAINING = -1
"""The step of a finding that preflight made."""


@dataclass(frozen=True)
class Finding:
    """A fault or a symptom: what, how bad, where, since when, on which evidence, why it matters, what to try."""

    rule: str
    """The id, as in ``docs/rules``: stable."""
    severity: Severity
    where: str
    """A module, a parameter, a parameter group or a split by name; empty for the training as a whole."""
    step: int
    """Since which step, from 0; `BEFORE_TRAINING` where no step was taken."""
    evidence: str
    """What was measured, with numbers and the threshold that they passed."""
    why: str
    remedy: str
    numbers: Mapping[str, Any] = field(default_factory=dict)
    """The numbers of the evidence by name, and what a prescription needs to know."""
    places: tuple[str, ...] = ()
    """All places, where there is more than one; `where` is the first."""
    symptoms: tuple[Finding, ...] = ()
    """Findings that follow from this one."""
    found: int = BEFORE_TRAINING
    """The step at which it was first told, which is later than `step` where the evidence had to gather."""
    resolved: int | None = None
    """The step at which it was gone, if it is."""

    @property
    def page(self) -> str:
        """The id's page in the documents."""
        return f"docs/rules/{self.rule}.md"

    @property
    def key(self) -> tuple[str, str]:
        """What tells a finding from another: one stays itself while its numbers change."""
        return self.rule, self.where

    def every(self) -> Iterable[Finding]:
        """This finding and, after it, all that are grouped under it."""
        yield self
        for symptom in self.symptoms:
            yield from symptom.every()

    def as_json(self) -> dict[str, Any]:
        """As plain data, with the page and the symptoms."""
        return {
            "rule": self.rule,
            "severity": self.severity,
            "where": self.where,
            "places": list(self.places),
            "step": self.step,
            "found": self.found,
            "resolved": self.resolved,
            "evidence": self.evidence,
            "why": self.why,
            "remedy": self.remedy,
            "numbers": {name: _plain(value) for name, value in self.numbers.items()},
            "page": self.page,
            "symptoms": [symptom.as_json() for symptom in self.symptoms],
        }

    def __str__(self) -> str:
        # Names come from models and from files of anyone's: none of them is to move the cursor of a terminal.
        return "\n".join(map(visible, self._lines("")))

    def _lines(self, indent: str) -> Iterable[str]:
        when = "before training" if self.step == BEFORE_TRAINING else f"since step {self.step:,}"
        gone = "" if self.resolved is None else f", gone at step {self.resolved:,}"
        more = f" and {len(self.places) - 1} more" if len(self.places) > 1 else ""
        place = f" at {self.where}{more}" if self.where else ""
        yield f"{indent}{self.severity}: {self.rule}{place} ({when}{gone})"
        yield f"{indent}  {self.evidence}"
        yield f"{indent}  why: {self.why}"
        yield f"{indent}  try: {self.remedy}"
        for symptom in self.symptoms:
            yield from symptom._lines(indent + "    ")


def listed(names: Sequence[str], most: int = 4) -> str:
    """The first few of many names, as text."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def worst(findings: Iterable[Finding]) -> Severity | None:
    """The severity of the worst that has not resolved, of those that follow from others, too; None for none."""
    found = {one.severity for finding in findings for one in finding.every() if one.resolved is None}
    return next((severity for severity in SEVERITIES if severity in found), None)


def _plain(value: Any) -> Any:
    """JSON knows neither NaN nor an infinity: they become text."""
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value
