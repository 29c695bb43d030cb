"""Attaches telltales to a training: what went on inside is recorded in the run folder, and drawn when it ends.

The only file that imports telltales.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import telltales
from charloom.errors import ConfigError, RunError
from charloom.loss import cross_entropy
from charloom.observer import Measurement, Observer, Outcome, Step
from charloom.runs import Run
from telltales.report.findings import findings_text

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float

    from charloom.training import Training

PRESETS = tuple(telltales.PRESETS)
Prescription = telltales.Prescription
"""A change that a finding calls for: its ``rule``, ``kind``, ``text`` and ``values``."""


@dataclass(frozen=True)
class Diagnosis:
    """What was found in a watched run."""

    text: str
    """For a terminal; several lines."""
    findings: list[dict[str, Any]]
    """As plain data, the worst first."""
    prescriptions: list[Prescription]
    """Of the findings that call for a change which can be said exactly; what follows from them counts, too."""

    @property
    def there(self) -> list[str]:
        """The ids of the warnings and errors that are not gone."""
        worse = [one for one in self.findings if one["severity"] != "note" and one["resolved"] is None]
        return [one["rule"] for one in worse]


class Watching(Observer):
    """Watches a run's training with one of telltales' presets; see `record_path` and `report_path`.

    A resumed training goes on with the record that was begun, cut back to the checkpoint. Whatever fails in watching is
    a warning, and the training goes on.
    """

    def __init__(self, run: Run, preset: str) -> None:
        """Raises `ConfigError` for a preset that does not exist."""
        if preset not in PRESETS:
            raise ConfigError(f"--watch {preset!r} is none of {', '.join(PRESETS)}")
        self._run = run
        self._preset = preset
        self._watch: telltales.Watch | None = None

    def started(self, training: Training) -> None:
        """Attach the probes."""
        attach = partial(
            telltales.watch,
            training.model,
            training.optimizer,
            preset=self._preset,
            path=record_path(self._run),
            first_step=training.step,
        )
        with self._guarded("this training is not watched"):
            try:
                self._watch = attach(resume=training.step > 0)
            except telltales.RecordError as error:
                if not training.step or isinstance(error.__cause__, OSError):
                    raise  # A full disk is no damage: the old record stands.
                aside = record_path(self._run).with_name("record.damaged.jsonl")
                record_path(self._run).rename(aside)
                self._watch = attach()
                said = f"a new record is begun, and {aside.name} keeps the old one, which is damaged: {error}"
                warnings.warn(said, stacklevel=2)

    def stepped(self, training: Training, step: Step) -> None:
        """Read the probes, if the step is one of those to observe."""
        if self._watch is not None:
            with self._guarded("watching stops"):
                self._watch.step(step.loss, step.contexts, step.targets, step.rows)

    def free_steps(self, most: int) -> int:
        """How many steps there are until one is to be observed."""
        return most if self._watch is None else self._watch.free_steps(most)

    def passed(self, training: Training, losses: Float[np.ndarray, " steps"]) -> None:
        """Note the losses of steps that were not observed."""
        if self._watch is not None:
            with self._guarded("watching stops"):
                self._watch.passed(losses.tolist())

    def evaluated(self, training: Training, measurement: Measurement) -> None:
        """Note the dev loss."""
        if self._watch is not None:
            with self._guarded("watching stops"):
                self._watch.evaluation(measurement.dev_loss, "dev")

    def ended(self, training: Training, outcome: Outcome) -> None:
        """Take the probes away, and draw what was seen."""
        if self._watch is not None:
            with self._guarded("there is no report"):
                self._watch.close(outcome)
                self._watch.report(report_path(self._run), title=f"{self._run.name} ({self._run.model.model})")

    @contextmanager
    def _guarded(self, fact: str) -> Iterator[None]:
        """What fails ends the watching, with a warning, and nothing else."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - watching must not end a training
            watch, self._watch = self._watch, None
            if watch is not None:
                watch.close("failed")
            warnings.warn(f"{fact}: {error}", telltales.TelltalesWarning, stacklevel=4)


def diagnose(run: Run, width: int = 100) -> Diagnosis:
    """What a watched run's record shows. Raises `RunError` if it was not watched, or its record can't be read."""
    try:
        record = telltales.read_record(record_path(run))
    except telltales.RecordError as error:
        raise RunError(f"there is no record to judge: {error}", where=str(run.folder)) from error
    findings = telltales.judge(record)
    there = [one for root in findings for one in root.every() if one.resolved is None and one.severity != "note"]
    prescribed = [made for one in there if (made := telltales.prescribe(one)) is not None]
    return Diagnosis(findings_text(findings, record, None, width), [one.as_json() for one in findings], prescribed)


def diagnose_if_watched(run: Run) -> Diagnosis | None:
    """What `diagnose` gives; None where there is no record that could be judged."""
    try:
        return diagnose(run)
    except RunError:
        return None


def diagnose_before(
    training: Training, time_limit: float, progress: Callable[[str], None]
) -> tuple[Diagnosis, tuple[str, ...], dict[str, str]]:
    """What `telltales.preflight` finds on a training's first batch, the rules it looked at, and why not at others."""
    contexts, targets = training.first_batch()
    found = telltales.preflight(
        training.model,
        (contexts, targets),
        cross_entropy,
        training.optimizer,
        time_limit=time_limit,
        progress=progress,
    )
    text = "\n\n".join(map(str, found)) or "nothing found"
    return Diagnosis(text, [one.as_json() for one in found], []), found.looked_at, found.left_out


def record_path(run: Run) -> Path:
    """Where a watched run's record lies."""
    return run.folder / "record.jsonl"


def report_path(run: Run) -> Path:
    """Where a watched run's report lies."""
    return run.folder / "report.html"


def watched_with(run: Run) -> str | None:
    """The preset that a run was watched with so far; `standard` if its record was lost or damaged, None without one."""
    if not record_path(run).exists():
        return "standard" if report_path(run).exists() else None
    try:
        preset = telltales.read_record(record_path(run)).about.get("preset")
    except telltales.RecordError:
        return "standard"
    return preset if preset in PRESETS else None
