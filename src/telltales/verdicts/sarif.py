"""Findings as SARIF 2.1.0, the format in which code hosts take in what tools find."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from telltales.catalogue import CATALOGUE
from telltales.finding import Finding
from telltales.visible import visible

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
    location: dict[str, Any] = {"physicalLocation": {"artifactLocation": {"uri": _address(path)}}}
    if places:
        location["logicalLocations"] = [{"fullyQualifiedName": visible(one), "kind": "module"} for one in places]
    return {
        "ruleId": visible(finding.rule),
        "level": visible(finding.severity),
        "message": {"text": _plain(f"{finding.evidence}.{follows} {finding.why} {finding.remedy}")},
        "locations": [location],
        "properties": {"step": finding.step, "found": finding.found},
    }


def _address(path: str) -> str:
    """The path as a reference by the rules for addresses: nothing in it is taken for a scheme, a query or a place."""
    if Path(path).is_absolute():
        return Path(path).as_uri()
    return quote(Path(path).as_posix(), errors="surrogatepass")


def _plain(text: str) -> str:
    """Text as a reader sees it: SARIF takes ``[text](address)`` for a link."""
    return visible(text).replace("](", "] (")
