"""Writes `docs/licences.md`: under which licence each pinned package is, and what needs it.

    .venv/bin/python supply/licences.py

It reads the metadata of what is installed, as `./lab test` leaves it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from importlib import metadata

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from closure import installed_closure
from pins import ROOT, pins

PAGE = ROOT / "docs/licences.md"
SHIPPED = ("", "charloom", "fast", "report")
"""The extras that users install; the first is the plain package."""
EXTRAS = (*SHIPPED, "dev", "bench", "bridges", "notebooks", "site")
PERMISSIVE = frozenset(
    {
        *(
            "Apache-2.0",
            "Apache-2.0 WITH LLVM-exception",
            "BSL-1.0",
            "CC0-1.0",
            "CNRI-Python",
            "HPND",
            "ISC",
            "PSF-2.0",
        ),
        *("0BSD", "BSD", "BSD-2-Clause", "BSD-3-Clause", "MIT", "MIT-0", "MIT-CMU", "Public domain", "Zlib"),
    }
)
UNSAID = "not said"

# From the most exact to the least: the field's first words, or a classifier's last.
WORDS = (
    (r"mit\b", "MIT"),
    (r"(the )?(new |3-clause |modified )?bsd[- ]3|3-clause bsd", "BSD-3-Clause"),
    (r"bsd[- ]2", "BSD-2-Clause"),
    (r"bsd\b", "BSD"),
    (r"apache\b", "Apache-2.0"),
    (r"isc\b", "ISC"),
    (r"mozilla public license 2\.0", "MPL-2.0"),
    (r"psfl?\b|python software foundation", "PSF-2.0"),
    (r"public domain", "Public domain"),
    (r"gnu general public license", "GPL"),
)
HEAD = """\
# Licences

Written by `supply/licences.py` from the metadata of the installed packages; a test holds it to `constraints.txt`.
*Needed by* is the plain package or its extras. Users install the first four (plain, charloom, fast, report), which
bring permissive licences only; the others are for those who work on the project. *BSD* is said where the metadata does
not say how many clauses.

A torch for CUDA brings NVIDIA's libraries besides, which are under NVIDIA's own terms; a torch for the CPU does not.
Torch pins them itself, so they are not in this table.

| package | version | licence | needed by |
|---|---|---|---|
"""


def main() -> int:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")
    return 0


def page() -> str:
    """The page as it is to be."""
    needed = {extra: set(installed_closure([f"telltales[{extra}]"])) for extra in EXTRAS}
    rows = []
    for name, version in pins().items():
        extras = [extra or "plain" for extra in EXTRAS if name in needed[extra]]
        by = "all" if "plain" in extras else ", ".join(extras)
        rows.append(f"| {name} | {version} | {licence(metadata.metadata(name))} | {by} |\n")
    return HEAD + "".join(rows)


def licence(facts: metadata.PackageMetadata) -> str:
    """An SPDX expression if the metadata has one or means one; otherwise what it says, in a word."""
    said = facts.get("License-Expression") or facts.get("License") or ""
    try:
        return str(canonicalize_license_expression(said))
    except InvalidLicenseExpression:
        classifiers = [text.split(" :: ")[-1] for text in facts.get_all("Classifier") or () if "License ::" in text]
        meant = {word for text in (classifiers or [said]) for word in _word(text)}
        exact = _word(said)
        return " AND ".join(sorted(exact if exact and meant <= {"BSD", *exact} else meant)) or UNSAID


def is_permissive(expression: str) -> bool:
    """Whether everything may be used under terms of `PERMISSIVE`. Nested expressions are not: a person reads those."""
    return any(all(part.strip() in PERMISSIVE for part in choice.split(" AND ")) for choice in expression.split(" OR "))


def shipped() -> Mapping[str, str]:
    """The licences of what users install, by package."""
    found = installed_closure([f"telltales[{extra}]" for extra in SHIPPED])
    return {name: licence(one.metadata) for name, one in found.items()}


def _word(text: str) -> list[str]:
    start = " ".join(text.split())[:80].casefold()
    return next(([word] for pattern, word in WORDS if re.match(pattern, start)), [])


if __name__ == "__main__":
    sys.exit(main())
