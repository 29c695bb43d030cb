"""The findings as the first thing on a report's page: a card each, the roots open, what follows from them inside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from telltales.finding import Finding
from telltales.record import Record
from telltales.report.findings import heading, not_looked_at
from telltales.report.svg import Markup, element
from telltales.report.words import counted
from telltales.verdicts import judge

MOST_PLACES = 40
"""So many places of a finding are named; more are counted."""


def findings_section(records: Mapping[str, Record], found: Mapping[str, Sequence[Finding]] | None) -> Iterable[Markup]:
    """``found``: label → findings; left out, the records are judged by the rules of telltales."""
    cards = []
    for label, record in records.items():
        if not len(record):
            continue
        findings = judge(record) if found is None else found.get(label, ())
        of = f" of {label}" if len(records) > 1 else ""
        there = sum(finding.resolved is None for finding in findings)
        if not findings:
            said = f"Nothing found{of}, in {counted(len(record), 'observed step')}."
            cards.append(element("p", {"class": "said"}, said))
        else:
            more = f", {len(findings) - there} more that are gone" if there < len(findings) else ""
            cards.append(element("p", {"class": "said"}, f"{counted(there, 'finding')}{of}{more}."))
        if (gap := not_looked_at(record)) is not None:
            cards.append(element("p", {"class": "said"}, f"Not looked at: {gap}."))
        cards += [_card(finding) for finding in findings]
    if cards:
        yield element("section", {"class": "findings"}, element("h2", None, "Findings"), *cards)


def _card(finding: Finding) -> Markup:
    severity = "gone" if finding.resolved is not None else finding.severity
    parts = [
        element("h3", None, heading(finding)),
        element("p", None, finding.evidence),
        element("p", {"class": "said"}, finding.why),
        element("p", None, element("b", None, "Try: "), finding.remedy),
    ]
    if len(finding.places) > 1:
        left = len(finding.places) - MOST_PLACES
        named = ", ".join(finding.places[:MOST_PLACES]) + (f" and {left} more" if left > 0 else "")
        parts.append(element("p", {"class": "said names"}, f"Places: {named}"))
    if finding.symptoms:
        entries = [element("li", None, heading(symptom), ": ", symptom.evidence) for symptom in finding.symptoms]
        summary = element("summary", None, f"{counted(len(entries), 'finding')} that follow from it")
        parts.append(element("details", None, summary, element("ul", None, *entries)))
    return element("div", {"class": f"card finding {severity}"}, *parts)
