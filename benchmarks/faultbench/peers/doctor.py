"""training-doctor: `Doctor().log(step, loss=…, lr=…)` after each step, with the gradient's norm, too."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from faultbench.listening import Training
from faultbench.peers.peer import Peer

RULES = {
    "lr_too_high": "learning-rate-too-high",
    "lr_too_low": "learning-rate-too-low",
    "plateau": "plateau",
    "early_plateau": "loss-not-falling",
    "overfitting": "overfitting",
    "train_eval_mismatch": "dev-too-good",
    "gradient_instability": "exploding-gradient",
}


class Doctor(Peer):
    name = "training-doctor"

    def __init__(self) -> None:
        super().__init__()
        self._doctor: Any = None
        self._norm = math.nan

    def begin(self, training: Training) -> None:
        from training_doctor import Doctor as TheirDoctor

        self._doctor = TheirDoctor()

    def after_backward(self, training: Training, step: int, loss: torch.Tensor) -> None:
        squares = [float(p.grad.square().sum()) for p in training.model.parameters() if p.grad is not None]
        self._norm = math.sqrt(sum(squares))

    def after_step(self, training: Training, step: int, loss: torch.Tensor, inputs: Any, targets: Any) -> None:
        rate = float(training.optimizer.param_groups[0]["lr"])
        self._hear(self._doctor.log(step=step, loss=float(loss.detach()), lr=rate, grad_norm=self._norm), step)

    def evaluated(self, step: int, losses: Mapping[str, float]) -> None:
        if "dev" in losses:
            self._hear(self._doctor.log(step=step - 1, eval_loss=losses["dev"]), step - 1)

    def _hear(self, diagnoses: Any, step: int) -> None:
        for diagnosis in diagnoses:
            if diagnosis.severity.value != "info":
                text = f"{diagnosis.problem}: {'; '.join(map(str, diagnosis.evidence))}"
                rule = RULES.get(diagnosis.detector_name, "")
                if diagnosis.detector_name == "gradient_instability":
                    lower = text.lower()
                    rule = "non-finite" if "nan" in lower else "vanishing-gradient" if "vanish" in lower else rule
                self.say(rule, step, text)
