"""torch-audit: one-shot audits of the model and the batch before training, and of gradients at every tenth step.

Its advice on speed and style (TA2xx, TA400 to TA404) is no alarm, and does not count.
"""

from __future__ import annotations

from typing import Any

import torch

from faultbench.listening import Training
from faultbench.peers.peer import Peer

RULES = {
    "TA100": "non-finite",
    "TA102": "exploding-gradient",
    "TA103": "dead-relu",
    "TA104": "no-gradient",
    "TA300": "wrong-device",
    "TA301": "unnormalised-input",
    "TA302": "constant-input",
    "TA303": "shape-layout",
    "TA304": "tiny-batch-norm",
    "TA405": "symmetric-init",
}
COUNTED = ("WARN", "ERROR", "FATAL")


class Audit(Peer):
    name = "torch-audit"

    def begin(self, training: Training) -> None:
        inputs, _ = training.batch(0)
        self._audit(training, "static", -1, None)
        self._audit(training, "init", -1, inputs)

    def after_backward(self, training: Training, step: int, loss: torch.Tensor) -> None:
        if step % 10 == 0:
            self._audit(training, "backward", step, None)

    def after_step(self, training: Training, step: int, loss: torch.Tensor, inputs: Any, targets: Any) -> None:
        if step % 10 == 0:
            self._audit(training, "forward", step, inputs)

    def _audit(self, training: Training, phase: str, step: int, batch: Any) -> None:
        from torch_audit import audit

        result = audit(training.model, step=max(step, 0), phase=phase, batch=batch, optimizer=training.optimizer)
        for finding in result.findings:
            is_advice = finding.rule_id.startswith(("TA2", "TA40")) and finding.rule_id not in RULES
            if finding.severity.value in COUNTED and not is_advice:
                self.say(RULES.get(finding.rule_id, ""), step, f"{finding.rule_id}: {finding.message}")
