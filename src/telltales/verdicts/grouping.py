"""Root causes before symptoms: findings that follow from another are listed under it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from telltales.catalogue import CATALOGUE
from telltales.causes import CAUSES
from telltales.finding import SEVERITIES, Finding

_ORDER = {rule: place for place, rule in enumerate(CATALOGUE)}


def grouped(findings: Iterable[Finding]) -> list[Finding]:
    """The roots, the most important first, each with what follows from it.

    What is gone explains only what is gone, too; a note explains nothing worse than a note. Findings that are grouped
    already are grouped anew, and of the same one, as before training and in it, the first stays.
    """
    flat = sorted((one for finding in findings for one in finding.every()), key=_importance)
    first: dict[tuple[str, str], Finding] = {}
    for finding in flat:
        first.setdefault(finding.key, replace(finding, symptoms=()))
    every = list(first.values())
    roots: list[Finding] = []
    under: dict[tuple[str, str], list[Finding]] = {}
    for finding in every:
        root = _root(finding, every)
        if root is finding:
            roots.append(finding)
        else:
            under.setdefault(root.key, []).append(finding)
    return [replace(root, symptoms=(*root.symptoms, *under.get(root.key, ()))) for root in roots]


def _root(finding: Finding, every: list[Finding]) -> Finding:
    for cause in CAUSES.get(finding.rule, ()):
        for other in every:
            if other.rule == cause and _may_explain(other, finding):
                return _root(other, every)
    return finding


def _may_explain(cause: Finding, finding: Finding) -> bool:
    is_there = cause.resolved is None or finding.resolved is not None
    return is_there and (cause.severity != "note" or finding.severity == "note")


def _importance(finding: Finding) -> tuple[bool, int, int, int]:
    is_gone = finding.resolved is not None
    return is_gone, SEVERITIES.index(finding.severity), finding.step, _ORDER.get(finding.rule, len(_ORDER))
