"""A record as it grows, in memory and, where it has a path, on disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from telltales.failures import warn_of
from telltales.observation import Evaluation, Observation
from telltales.record import Limits, Record
from telltales.record_file import RecordWriter, cut_record, read_record


class Recording:
    """Takes in what a watch sees. A file that can't be written any more is given up; the record in memory goes on."""

    def __init__(
        self,
        path: str | os.PathLike[str] | None,
        about: dict[str, Any],
        limits: Limits | None,
        resume_at: int | None,
    ) -> None:
        """``resume_at``: go on with the record at ``path``, if there is one, cut back to what was before this step.

        Raises `RecordError` for a path that can't be written, or a record there that can't be read.
        """
        self.record = Record(limits=limits or Limits())
        goes_on = resume_at is not None and path is not None and Path(path).exists()
        if goes_on and path is not None and resume_at is not None:
            cut_record(path, resume_at)
            self.record = read_record(path, limits)
        self.record.about |= about
        self._writer = None if path is None else RecordWriter(path, self.record, append=goes_on)

    @property
    def seconds(self) -> float:
        """How long the training had run when it was last observed."""
        return float(self.record.scalar("seconds")[-1]) if len(self.record) else 0.0

    def observe(self, observation: Observation) -> None:
        self.record.append(observation)
        self._write(lambda writer: writer.observe(observation))

    def evaluate(self, evaluation: Evaluation) -> None:
        self.record.evaluate(evaluation)
        self._write(lambda writer: writer.evaluate(evaluation))

    def close(self, outcome: str, first_step: int, losses: NDArray[np.float32]) -> None:
        """End the record, with the losses since the last observed step."""
        if losses.size:
            self.record.losses.extend(first_step, losses)
            self._write(lambda writer: writer.add_losses(first_step, losses))
        self.record.outcome = outcome
        self._write(lambda writer: writer.close(outcome))
        self._writer = None

    def abandon(self) -> None:
        """Close the file if it is still open, as after a failure."""
        if self._writer is not None:
            self._writer.abandon()

    def _write(self, line: Callable[[RecordWriter], None]) -> None:
        if self._writer is None:
            return
        try:
            line(self._writer)
        except Exception as error:  # noqa: BLE001 - writing must not end a training
            writer, self._writer = self._writer, None
            writer.abandon()
            warn_of(f"the record is written no further, and goes on in memory: {writer.path}", error)
