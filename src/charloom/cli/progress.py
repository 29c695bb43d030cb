"""What is shown while a model trains, and what Ctrl-C does."""

from __future__ import annotations

import math
import os
import signal
import time
from contextlib import suppress
from types import FrameType
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from charloom.cli.console import err, escape, log
from charloom.observer import Measurement, Observer, Outcome
from charloom.training import Training

if TYPE_CHECKING:
    import torch

REFRESH_SECONDS = 0.2
HANG_UP: int | None = getattr(signal, "SIGHUP", None)
"""Not on every system."""


class ProgressDisplay(Observer):
    """A bar with loss, dev loss, speed and time left; where there is no terminal, a line per evaluation.

    ``place``, such as ``3 of 12``, says that the training is one of many: it gets one line in all then.
    """

    def __init__(self, title: str, place: str = "") -> None:
        self._title = f"{place}  {title}" if place else title
        self._one_of_many = bool(place)
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[loss]}  {task.fields[speed]}"),
            TimeRemainingColumn(compact=True),
            console=err,
            transient=True,
            disable=not err.is_terminal,
        )
        self._dev = ""
        self._shown_at = -math.inf
        self._first_step = 0
        self._started = 0.0

    def started(self, training: Training) -> None:
        """Show the bar, and say what trains."""
        if not self._one_of_many:
            held = "distinct contexts" if training.config.batches == "distinct" else "rows"
            batches = f"batches of {training.config.batch_size} {held}"
            log(f"engine: {training.engine} ({escape(training.engine_reason)}); {batches}")
        self._first_step, self._started = training.step, time.perf_counter()
        self._bar.start()
        self._task = self._bar.add_task(self._title, total=training.steps, completed=training.step, loss="", speed="")

    def compiling(self, training: Training) -> None:
        """Say what is being waited for."""
        log("Compiling the training loop: some ten seconds, once on this machine.")

    def advanced(self, training: Training, loss: torch.Tensor | float) -> None:
        """Move the bar, a few times a second at most: reading the loss makes a GPU wait."""
        now = time.perf_counter()
        if self._bar.disable or now - self._shown_at < REFRESH_SECONDS:
            return
        self._shown_at = now
        speed = (training.step - self._first_step) / (now - self._started)
        self._bar.update(
            self._task,
            completed=training.step,
            loss=f"loss {float(loss):.3f}{self._dev}",
            speed=f"{speed:,.0f} steps/s",
        )

    def evaluated(self, training: Training, measurement: Measurement) -> None:
        """Show the dev loss."""
        self._dev = f", dev {measurement.dev_loss:.4f}"
        if self._bar.disable and (not self._one_of_many or measurement.step == training.steps):
            best = " (best)" if measurement.best else ""
            log(
                f"{escape(self._title)}  step {measurement.step:,} of {training.steps:,}"
                f"  train {measurement.train_loss:.4f}  dev {measurement.dev_loss:.4f}{best}"
                f"  {measurement.seconds:.1f} s"
            )

    def ended(self, training: Training, outcome: Outcome) -> None:
        """Take the bar away."""
        self._bar.stop()


class StopOnSignal(Observer):
    """The first Ctrl-C, SIGTERM or hang-up of the terminal lets the training end with a checkpoint.

    A second Ctrl-C or SIGTERM ends it at once. Hang-ups come in pairs, from the system and from the shell: more of them
    change nothing, and neither does any where they were ignored from the start, as below ``nohup``.
    """

    def started(self, training: Training) -> None:
        """Take over the signals."""

        def ask_to_stop(_number: int, _frame: FrameType | None) -> None:
            # Straight to the file: the signal may have come while the console was printing, or with the terminal's end.
            with suppress(OSError):
                os.write(2, b"\nStopping after this step, with a checkpoint. Once more stops at once.\n")
            training.request_stop()
            self._restore()
            if HANG_UP in self._before:
                signal.signal(HANG_UP, signal.SIG_IGN)

        self._before: dict[int, Any] = {
            number: signal.signal(number, ask_to_stop)
            for number in (signal.SIGINT, signal.SIGTERM, HANG_UP)
            if number is not None and (number != HANG_UP or signal.getsignal(number) != signal.SIG_IGN)
        }

    def ended(self, training: Training, outcome: Outcome) -> None:
        """Give the signals back."""
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
