"""telltales in the bench, as its guide says to use it: preflight on the first batch, then a watch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

import telltales
from faultbench.listening import Named, Training
from telltales.checks import preflight
from telltales.finding import BEFORE_TRAINING, Finding
from telltales.verdicts.grouping import grouped


class Telltales:
    """Its default preset and rules. Notes are not counted, and what follows from a finding is not named first."""

    name = "telltales"

    def __init__(self) -> None:
        self._watch: telltales.Watch | None = None
        self._before: list[Finding] = []
        self._live: list[Finding] = []

    def begin(self, training: Training) -> None:
        if training.loss_fn is not None:
            self._before = preflight(
                training.model,
                training.batch(0),
                training.loss_fn,
                training.optimizer,
                sequence=training.is_sequence or None,
            )
        several = len(training.models) > 1
        model = training.models if several else training.model
        self._watch = telltales.watch(model, training.optimizers if several else training.optimizer)

    def after_backward(self, training: Training, step: int, loss: torch.Tensor) -> None:
        """Its own hooks see the backward pass."""

    def after_step(self, training: Training, step: int, loss: torch.Tensor, inputs: Any, targets: Any) -> None:
        if self._watch is not None:
            self._watch.step(loss, inputs, targets)

    def evaluated(self, step: int, losses: Mapping[str, float]) -> None:
        if self._watch is not None:
            for split, loss in losses.items():
                self._watch.evaluation(loss, split)

    def end(self) -> None:
        if self._watch is not None:
            self._watch.close()
            self._live = self._watch.findings()

    def named(self) -> list[Named]:
        """The roots first, then what follows from them; of preflight and the watch together."""
        roots = grouped((*self._before, *self._live))
        ordered = [*roots, *(one for root in roots for one in root.symptoms)]
        return [
            Named(one.rule, BEFORE_TRAINING if one.step == BEFORE_TRAINING else one.found, one.evidence)
            for one in ordered
            if one.severity != "note"
        ]
