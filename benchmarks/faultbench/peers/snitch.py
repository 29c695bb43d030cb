"""gradsnitch: `watch(model, optimizer)`, `log` after each backward pass, its rules at the end."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from faultbench.listening import Training
from faultbench.peers.peer import Peer

RULES = {
    "GS001": "non-finite",
    "GS002": "exploding-gradient",
    "GS003": "gradient-spike",
    "GS004": "overfitting",
    "GS005": "loss-not-falling",
    "GS006": "diverging",
    "GS007": "vanishing-gradient",
    "GS009": "oscillating",
    "GS010": "schedule-ended-early",
}


class Snitch(Peer):
    name = "gradsnitch"

    def __init__(self) -> None:
        super().__init__()
        self._monitor: Any = None
        self._dev: float | None = None

    def begin(self, training: Training) -> None:
        import gradsnitch

        self._monitor = gradsnitch.watch(training.model, training.optimizer)

    def after_backward(self, training: Training, step: int, loss: torch.Tensor) -> None:
        self._monitor.log(step, float(loss.detach()), val_loss=self._dev)
        self._dev = None
        if step % 25 == 24:
            self._lint(step)

    def evaluated(self, step: int, losses: Mapping[str, float]) -> None:
        self._dev = losses.get("dev")

    def end(self) -> None:
        self._lint(len(self._monitor.rows) - 1)

    def _lint(self, step: int) -> None:
        import gradsnitch

        if not self._monitor.rows:
            return
        frame = self._monitor.df()
        for finding in gradsnitch.lint(frame):
            rule = RULES.get(finding.code, "")
            if finding.code == "GS008":
                is_large = math.log10(max(float(frame["update_ratio"].median()), 1e-30)) > -3
                rule = "update-too-large" if is_large else "update-too-small"
            self.say(rule, step, f"{finding.name}: {finding.evidence}")
