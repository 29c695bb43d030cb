"""What one writes in half an hour: fixed limits on the loss and the gradient's norm."""

from __future__ import annotations

import math
from typing import Any

import torch

from faultbench.listening import Training
from faultbench.peers.peer import Peer


class Naive(Peer):
    name = "naive"

    def __init__(self) -> None:
        super().__init__()
        self._losses: list[float] = []

    def after_backward(self, training: Training, step: int, loss: torch.Tensor) -> None:
        gradients = [p.grad for model in training.models.values() for p in model.parameters() if p.grad is not None]
        norm = math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients))
        if not math.isfinite(norm):
            self.say("non-finite", step, f"gradient norm {norm}")
        elif norm > 1e3:
            self.say("exploding-gradient", step, f"gradient norm {norm:.3g}")
        elif norm < 1e-6:
            self.say("vanishing-gradient", step, f"gradient norm {norm:.3g}")
        if any(not gradient.any() for gradient in gradients):
            self.say("no-gradient", step, "a gradient of zeros")

    def after_step(self, training: Training, step: int, loss: torch.Tensor, inputs: Any, targets: Any) -> None:
        self._losses.append(float(loss.detach()))
        if not math.isfinite(self._losses[-1]):
            self.say("non-finite", step, "the loss is not finite")
        elif self._losses[-1] > 2 * self._losses[0] > 0:
            self.say("diverging", step, "the loss has doubled")
        recent = self._losses[-50:]
        if len(recent) == 50 and max(recent) - min(recent) < 0.01 * abs(recent[0]):
            self.say("loss-not-falling", step, "the loss has not moved in 50 steps")
