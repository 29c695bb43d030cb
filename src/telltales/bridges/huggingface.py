"""telltales in the Trainer of transformers: ``Trainer(..., callbacks=[TelltalesCallback()])``."""

from __future__ import annotations

import os
from typing import Any

from telltales.bridges.guarding import harmless
from telltales.bridges.optional import needed
from telltales.finding import Finding
from telltales.watching import Watch

_TrainerCallback: Any = needed("transformers", "transformers").TrainerCallback


class TelltalesCallback(_TrainerCallback):  # type: ignore[misc]
    """Watches a Trainer's model from its first step to its last; an update is a step, however many batches it takes.

    ``report``: write an HTML report there at the end. ``options``: those of `telltales.watch`. Afterwards ``watch``
    has the record and the findings. The loss is the model's own ``loss``. The Trainer does not tell of an exception:
    after one, `close` takes the hooks away.
    """

    def __init__(self, report: str | os.PathLike[str] | None = None, **options: Any) -> None:
        self._report = report
        self._options = options
        self.watch: Watch | None = None

    @property
    def findings(self) -> list[Finding]:
        return [] if self.watch is None else self.watch.findings()

    def on_train_begin(self, args: Any, state: Any, control: Any, **objects: Any) -> None:
        self._close("restarted")
        model, optimizer = objects["model"], objects["optimizer"]
        # Accelerate's wrapper around the optimizer holds the loss scaler, if there is one.
        scaler = getattr(optimizer, "scaler", None)
        options = {"first_step": state.global_step, "loss_from": model, "scaler": scaler} | self._options
        self.watch = Watch(model, optimizer, **options)

    @harmless
    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **objects: Any) -> None:
        for name, value in (metrics or {}).items():
            if self.watch is not None and name.endswith("_loss") and isinstance(value, int | float):
                self.watch.evaluation(value, name.removesuffix("_loss").replace("eval", "dev", 1))

    @harmless
    def on_train_end(self, args: Any, state: Any, control: Any, **objects: Any) -> None:
        self._close("finished")
        if self._report is not None and self.watch is not None:
            self.watch.report(self._report)

    def close(self) -> None:
        """End the watch of a training that an exception ended."""
        self._close("stopped")

    def _close(self, outcome: str) -> None:
        if self.watch is not None:
            self.watch.close(outcome)
