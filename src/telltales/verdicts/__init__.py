"""From a record to findings: each rule is a small function of a `Run`. No torch here."""

from __future__ import annotations

from telltales.verdicts import (
    batches,
    evaluation,
    initial,
    loss_form,
    losses,
    numbers,
    signal,
    structure,
    updates,
    weights,
)
from telltales.verdicts.judging import Judge, judge
from telltales.verdicts.rule import Rule, Sign, rule
from telltales.verdicts.run import Run

RULES: tuple[Rule, ...] = (
    *structure.RULES,
    *loss_form.RULES,
    *numbers.RULES,
    *initial.RULES,
    *signal.RULES,
    *updates.RULES,
    *weights.RULES,
    *batches.RULES,
    *losses.RULES,
    *evaluation.RULES,
)
"""All rules that a record can show."""

__all__ = ["RULES", "Judge", "Rule", "Run", "Sign", "judge", "rule"]
