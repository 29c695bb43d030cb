"""telltales in Lightning: ``Trainer(callbacks=[TelltalesCallback()])``."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from typing import Any

import torch

from telltales.bridges.guarding import harmless
from telltales.bridges.optional import needed
from telltales.errors import ProbeError
from telltales.finding import Finding
from telltales.watching import Watch

_MODULE = "lightning.pytorch" if importlib.util.find_spec("lightning") else "pytorch_lightning"
_Callback: Any = needed(_MODULE, "lightning").Callback


class TelltalesCallback(_Callback):  # type: ignore[misc]
    """Watches a Lightning module from its first training batch to its last; an update is a step, its loss the mean of
    its micro-batches or, with manual optimisation, of those that went backward since the update before.

    ``report``: write an HTML report there at the end. ``options``: those of `telltales.watch`. Afterwards ``watch``
    has the record and the findings. Losses named ``val_loss`` or ``…/val_loss`` are recorded as those of dev.
    """

    def __init__(self, report: str | os.PathLike[str] | None = None, **options: Any) -> None:
        super().__init__()
        self._report = report
        self._options = options
        self._updates = 0
        self._losses: list[torch.Tensor] = []
        self._scaler: Any = None
        self.watch: Watch | None = None

    @property
    def findings(self) -> list[Finding]:
        return [] if self.watch is None else self.watch.findings()

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self._updates, self._losses = trainer.global_step, []
        self._scaler = getattr(trainer.precision_plugin, "scaler", None)
        options = {"first_step": trainer.global_step, "scaler": self._scaler} | self._options
        self.watch = Watch(pl_module, trainer.optimizers, **options)

    @harmless
    def on_before_backward(self, trainer: Any, pl_module: Any, loss: torch.Tensor) -> None:
        if self.watch is not None:
            self.watch.look_at_loss(loss)
            if not pl_module.automatic_optimization:
                self._losses.append(loss.detach() / (1 if self._scaler is None else self._scaler.get_scale()))

    @harmless
    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.watch is None:
            return
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if loss is not None and pl_module.automatic_optimization:
            # Lightning has divided it by the number of micro-batches.
            self._losses.append(loss.detach() * trainer.accumulate_grad_batches)
        if trainer.global_step == self._updates:
            return
        self._updates, losses, self._losses = trainer.global_step, self._losses, []
        if not losses:
            raise ProbeError(
                f"no loss was seen before update {self._updates:,}",
                remedy="Call self.manual_backward(loss) in training_step, which Lightning asks for, too.",
            )
        inputs, targets = batch if isinstance(batch, tuple | list) and len(batch) == 2 else (batch, None)
        self.watch.step(torch.stack(losses).mean(), inputs, targets)

    @harmless
    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        if self.watch is None or trainer.sanity_checking:
            return
        for name, value in trainer.callback_metrics.items():
            if name.rpartition("/")[2] == "val_loss":
                self.watch.evaluation(value, "dev")

    @harmless
    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self._close("finished")
        if self._report is not None and self.watch is not None:
            self.watch.report(self._report)

    @harmless
    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        self._close(type(exception).__name__)

    def _close(self, outcome: str) -> None:
        if self.watch is not None:
            self.watch.close(outcome)
