"""Findings as text for a terminal: the roots with their evidence, what follows from them in a line each."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from telltales.finding import SEVERITIES, Finding
from telltales.record import Record
from telltales.visible import visible


def findings_text(findings: Sequence[Finding], record: Record, label: str | None = None, width: int = 100) -> str:
    """All findings, or that there are none and what was looked at; ends with a newline."""
    lines = [] if label is None else [f"{visible(label)}:"]
    there = [finding for finding in findings if finding.resolved is None]
    steps = f"{len(record)} observed of {record.losses.last_step + 1:,} steps"
    if there:
        counts = ((severity, sum(finding.severity == severity for finding in there)) for severity in SEVERITIES)
        said = ", ".join(f"{count} {severity}{'s' * (count > 1)}" for severity, count in counts if count)
        lines.append(f"{said} in {steps}")
    else:
        lines.append(f"nothing found in {steps}")
    if (gap := not_looked_at(record)) is not None:
        lines += textwrap.wrap(f"not looked at: {gap}", width)
    for finding in findings:
        lines += ["", *_lines(finding, width)]
    return visible_lines(lines) + "\n"


def not_looked_at(record: Record) -> str | None:
    """What the rules could not look at, and why; None where that is nothing."""
    loss = record.about.get("loss")
    if loss or not len(record):
        return None
    if loss is None:
        return (
            "how the loss is computed, and its course, as only its value was given: give step the tensor, or call "
            "look_at_loss before backward"
        )
    return (
        "where the loss begins and how it falls, as it is none that the rules know (cross-entropy, binary "
        "cross-entropy, squared or absolute errors)"
    )


def visible_lines(lines: Sequence[str]) -> str:
    """The lines with what would move a cursor made visible."""
    return "\n".join(visible(line) for line in lines)


def heading(finding: Finding) -> str:
    """``error: no-gradient at 0.weight and 2 more, since step 0``."""
    more = f" and {len(finding.places) - 1} more" if len(finding.places) > 1 else ""
    place = f" at {finding.where}{more}" if finding.where else ""
    when = "before training" if finding.step < 0 else f"since step {finding.step:,}"
    gone = "" if finding.resolved is None else f", gone at step {finding.resolved:,}"
    return f"{finding.severity}: {finding.rule}{place}, {when}{gone}"


def _lines(finding: Finding, width: int) -> Iterator[str]:
    yield heading(finding)
    for lead, text in (("", finding.evidence), ("why: ", finding.why), ("try: ", finding.remedy)):
        yield from textwrap.wrap(
            lead + text, max(width, 40), initial_indent="  ", subsequent_indent="  " + " " * len(lead)
        )
    for symptom in finding.symptoms:
        yield f"  from it: {heading(symptom)}"
        yield from textwrap.wrap(symptom.evidence, max(width, 40), initial_indent=" " * 11, subsequent_indent=" " * 11)
    yield f"  more: {finding.page}"
