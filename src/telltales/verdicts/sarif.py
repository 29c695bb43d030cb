"""Findings as SARIF 2.1.0, the format in which code hosts take in what tools find."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from telltales.catalogue import CATALOGUE
from telltales.finding import Finding

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def sarif(findings: Mapping[str, Iterable[Finding]], version: str) -> dict[str, Any]:
    """A SARIF log of the findings of several records, by the records' paths; those that are gone are left out.

    ``version``: of telltales. What follows from another finding is a result of its own that says so.
    """
    results = [
        _result(one, path, None if one is root else root)
        for path, roots in findings.items()
        for root in roots
        for one in root.every()
        if one.resolved is None
    ]
    used = sorted({result["ruleId"] for result in results})
    driver = {"name": "telltales", "version": version, "rules": [_rule(rule) for rule in used]}
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": results}]}


def _rule(name: str) -> dict[str, Any]:
    entry = CATALOGUE.get(name)
    if entry is None:
        return {"id": name}
    return {
        "id": name,
        "shortDescription": {"text": entry.title},
        "fullDescription": {"text": entry.why},
        "help": {"text": entry.remedy},
        "defaultConfiguration": {"level": entry.severity},
    }


def _result(finding: Finding, path: str, root: Finding | None) -> dict[str, Any]:
    follows = f" It follows from {root.rule}." if root else ""
    places = finding.places or ((finding.where,) if finding.where else ())
    location: dict[str, Any] = {"physicalLocation": {"artifactLocation": {"uri": path}}}
    if places:
        location["logicalLocations"] = [{"fullyQualifiedName": place, "kind": "module"} for place in places]
    return {
        "ruleId": finding.rule,
        "level": finding.severity,
        "message": {"text": f"{finding.evidence}.{follows} {finding.why} {finding.remedy}"},
        "locations": [location],
        "properties": {"step": finding.step, "found": finding.found},
    }
