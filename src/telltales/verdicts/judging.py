"""From a record to findings: rules are asked again as the record grows; a finding stays itself while it is updated."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from telltales.catalogue import CATALOGUE
from telltales.errors import UsageError
from telltales.failures import warn_of
from telltales.finding import Finding
from telltales.record import Record
from telltales.verdicts.grouping import grouped
from telltales.verdicts.rule import Rule
from telltales.verdicts.run import Run

FIRST_ROWS = 16
"""So many observed steps are each judged, and later at least one in every so many."""


class Judge:
    """Holds the findings of one training from step to step."""

    def __init__(self, rules: Sequence[Rule], mute: Iterable[str] = ()) -> None:
        """``mute``: what to leave out: an id, or an id, ``@`` and a pattern of places, as ``dead-relu@encoder.*``."""
        mute = known_mutes(mute, [rule.entry.rule for rule in rules])
        self._rules = [rule for rule in rules if rule.entry.rule not in set(mute)]
        self._mute = [entry.partition("@")[::2] for entry in mute if "@" in entry]
        self._found: dict[tuple[str, str], Finding] = {}
        self._seen = 0

    def update(self, record: Record) -> list[Finding]:
        """Judge what the record has got; gives the findings that are new, or back again."""
        self._seen = record.observed
        return self._look(Run(record))

    def replay(self, record: Record) -> None:
        """Judge a record that is complete as it would have been while it grew."""
        for rows in range(1, len(record)):
            if is_judged(rows):
                self._look(Run(record, rows))
        self.update(record)

    def findings(self) -> list[Finding]:
        """All so far, roots first, with what follows from them; see `grouped`."""
        return grouped(self._found.values())

    def _look(self, run: Run) -> list[Finding]:
        if not run.rows:
            return []
        now: dict[tuple[str, str], Finding] = {}
        # Numbers that are missing, or infinite, fail a rule's comparisons without a word.
        with np.errstate(all="ignore"):
            for rule in tuple(self._rules):
                heard = [finding for finding in self._asked(rule, run) if not self._is_muted(finding)]
                known = [key for key in self._found if key[0] == rule.entry.rule]
                for finding in heard:
                    # One finding stays itself when another place has become the worst.
                    key = known[0] if len(heard) == len(known) == 1 else finding.key
                    now.setdefault(key, finding)
        fresh = []
        for key, finding in now.items():
            before = self._found.get(key)
            is_new = before is None or before.resolved is not None
            found = run.step if before is None else before.found
            self._found[key] = replace(
                finding, found=found, step=min(finding.step, before.step if before else run.step)
            )
            if is_new:
                fresh.append(self._found[key])
        for key, before in self._found.items():
            if key not in now and before.resolved is None:
                self._found[key] = replace(before, resolved=run.step)
        return fresh

    def _asked(self, rule: Rule, run: Run) -> list[Finding]:
        """What a rule finds; one that fails is asked no more."""
        try:
            return rule.findings(run)
        except Exception as error:  # noqa: BLE001 - a rule must not end a training
            self._rules.remove(rule)
            warn_of(f"the rule {rule.entry.rule} failed and is left out", error)
            return []

    def _is_muted(self, finding: Finding) -> bool:
        places = finding.places or (finding.where,)
        return any(
            rule == finding.rule and all(fnmatch.fnmatchcase(place, pattern) for place in places)
            for rule, pattern in self._mute
        )


def judge(record: Record, rules: Sequence[Rule] | None = None, mute: Iterable[str] = ()) -> list[Finding]:
    """What a record shows: its findings, roots first, those that were there and are gone last."""
    from telltales.verdicts import RULES

    judging = Judge(RULES if rules is None else rules, tuple(mute))
    judging.replay(record)
    return judging.findings()


def known_mutes(mute: Iterable[str], rules: Iterable[str]) -> tuple[str, ...]:
    """What is to be left out. Raises `UsageError` for what is none of these rules, and none of the catalogue's."""
    known, entries = {*rules, *CATALOGUE}, (mute,) if isinstance(mute, str) else tuple(mute)
    for entry in entries:
        if (rule := entry.partition("@")[0]) not in known:
            near = difflib.get_close_matches(rule, known, 1)
            meant = f"Did you mean {near[0]}? " if near else ""
            raise UsageError(f"no rule is called {rule!r}", remedy=f"{meant}docs/rules lists them.")
    return entries


def is_judged(rows: int) -> bool:
    """Whether a record of so many observed steps is judged: each of the first, then ever fewer of them."""
    return rows <= FIRST_ROWS or rows % max(rows.bit_length() - FIRST_ROWS.bit_length() + 1, 1) == 0
