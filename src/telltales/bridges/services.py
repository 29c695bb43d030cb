"""Trackers behind a service's library, each of which also works without a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from telltales.bridges.optional import needed
from telltales.finding import Finding


class WandB:
    """A run of Weights & Biases: numbers under ``telltales/``, findings as alerts."""

    def __init__(self, run: Any) -> None:
        """``run``: what ``wandb.init(...)`` gave; it stays yours to finish."""
        self._run = run

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        self._run.log({**numbers, "telltales/step": step})

    def finding(self, finding: Finding) -> None:
        level = {"error": "ERROR", "warning": "WARN"}.get(finding.severity, "INFO")
        self._run.alert(title=f"telltales: {finding.rule}", text=str(finding), level=level)

    def close(self) -> None:
        """Nothing to do: the run is yours."""


class MLflow:
    """A run of MLflow: numbers as metrics, findings as a tag each."""

    def __init__(self, run_id: str | None = None) -> None:
        """``run_id``: of the run to log to; left out, the active one."""
        self._mlflow = needed("mlflow", "mlflow-skinny")
        self._run_id = run_id

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        # MLflow knows no brackets and the like in a metric's name.
        allowed = {"".join(c if c.isalnum() or c in "_-. /" else "_" for c in name): v for name, v in numbers.items()}
        self._mlflow.log_metrics(allowed, step=step, run_id=self._run_id)

    def finding(self, finding: Finding) -> None:
        if self._run_id is None:
            self._mlflow.set_tag(f"telltales.{finding.rule}", str(finding)[:5000])
        else:
            client = self._mlflow.tracking.MlflowClient()
            client.set_tag(self._run_id, f"telltales.{finding.rule}", str(finding)[:5000])

    def close(self) -> None:
        """Nothing to do: the run is yours."""


class Trackio:
    """A run of Trackio, which keeps what it logs in a local database: numbers as metrics, findings as alerts."""

    def __init__(self, run: Any) -> None:
        """``run``: what ``trackio.init(...)`` gave; it stays yours to finish."""
        self._run = run
        self._level = needed("trackio", "trackio").AlertLevel

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        self._run.log({**numbers, "telltales/step": step})

    def finding(self, finding: Finding) -> None:
        level = {"error": "error", "warning": "warn"}.get(finding.severity, "info")
        self._run.alert(title=f"telltales: {finding.rule}", text=str(finding), level=self._level(level))

    def close(self) -> None:
        """Nothing to do: the run is yours."""
