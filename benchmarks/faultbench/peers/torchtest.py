"""torchtest2: `check_model` on the first batch; its warnings and failures count."""

from __future__ import annotations

from faultbench.listening import Training
from faultbench.peers.peer import Peer

RULES = {
    "output_finite": "non-finite",
    "output_varies": "input-ignored",
    "loss": "loss-reduction",
    "initial_loss": "initial-loss",
    "optimizer_coverage": "unregistered-parameter",
    "gradient_flow": "no-gradient",
    "gradient_magnitude": "vanishing-gradient",
    "params_change": "frozen-parameter",
    "frozen_params": "frozen-moves",
    "input_dependency": "input-ignored",
    "batch_independence": "batch-mixing",
    "overfit_batch": "cannot-overfit-batch",
    "gradcheck": "wrong-custom-gradient",
}


class Torchtest(Peer):
    name = "torchtest2"

    def begin(self, training: Training) -> None:
        import torchtest2

        if training.loss_fn is None:
            return
        inputs, targets = training.batch(0)
        report = torchtest2.check_model(
            training.model, inputs, targets, loss_fn=training.loss_fn, optimizer=training.optimizer
        )
        for result in (*report.failures, *report.warnings):
            rule = RULES.get(result.name, "")
            if result.name == "optimizer_coverage" and "not" in result.message and "model" in result.message.lower():
                is_stale = "stale" in result.message.lower() or "do not belong" in result.message.lower()
                rule = "optimizer-mismatch" if is_stale else rule
            if result.name == "output_range" and "softmax" in result.message.lower():
                rule = "double-softmax"
            self.say(rule, -1, f"{result.name}: {result.message}")
