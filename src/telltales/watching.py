"""`with watch(model, optimizer) as w:` around a training loop, `w.step(loss)` in it: the way in."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import nn

from telltales.acting import Callbacks, UpdateGuard, Verdicts
from telltales.automatic import Automatic
from telltales.class_errors import class_errors
from telltales.describing import Description
from telltales.errors import FindingError, ProbeError, RecordError, TelltalesError, UsageError
from telltales.failures import told, warn_of
from telltales.finding import Finding
from telltales.flat_regions import flat_region
from telltales.flat_values import Watched
from telltales.functions import FunctionProbe
from telltales.looking import Lookout
from telltales.naming import (
    Models,
    Optimizers,
    Selection,
    assert_whole,
    chosen_modules,
    device_of,
    every_parameter,
    is_distributed,
    named_models,
    named_optimizers,
    selects,
    unwrapped,
)
from telltales.observation import Evaluation
from telltales.observing import ObservedStep, Probes
from telltales.outputs import Axes
from telltales.parameter_readings import Stack
from telltales.probes import ModuleProbe, compiled_parts
from telltales.ranks import differing_ranks
from telltales.record import Limits, Record
from telltales.recording import Recording
from telltales.schedule import Preset, choose_preset
from telltales.steadiness import NoiseScale
from telltales.structure import ModeProbe
from telltales.turns import NOTHING_LEFT, Left
from telltales.verdicts import RULES, Rule
from telltales.waiting import WaitingLosses, assert_number

if TYPE_CHECKING:
    from telltales.report.terminal import LiveTable

FOR_THE_CALLER = FindingError, ProbeError, UsageError
"""What a loop is ended with: what the caller asked for, did wrong, or would take for watched."""


class Watch:
    """Watch a training: what goes on inside ``model`` while ``optimizer`` changes it.

    ``model``: one `torch.nn.Module`, or several in a sequence or a mapping (their names become prefixes).
    ``optimizer``: likewise; without it, the change of the parameters from step to step is measured all the same.
    ``preset``: ``economy``, ``standard`` or ``full`` (see `telltales.schedule.PRESETS`), or one of your own.
    ``schedule``: which steps to observe, in place of the preset's: a function of the step's number, from 0. The first
    step is observed in any case, and where `step` is called at every micro-batch, the next that has an update.
    ``modules``: which modules to probe: patterns such as ``blocks.*.act``, or a function of name and module. Left out,
    the innermost ones that compute something.
    ``loss_from``: the module whose output is the loss, or has it as ``loss``. With it, each update of the (last)
    optimizer is a step, and `Watch.step` need not be called: one line watches a loop that can't be changed.
    ``path``: where to write the record as it grows, as JSON lines.
    ``live``: show a table on standard error as it goes on, and what is found (on a terminal this needs rich).
    ``scaler``: the `torch.amp.GradScaler`, so that gradients are read without the loss scale.
    ``first_step``: the number of the first step, where a training goes on.
    ``resume``: go on with the record at ``path`` as well, cut back to ``first_step``, if there is one.
    ``around_spikes``: observe the steps after a loss that stands out, too; this reads every loss (a wait on a GPU).
    ``ranks``: in a distributed training, compare the parameters of all processes at each observed step. Every process
    has to watch with it, as they wait for one another.
    ``limits``: how much of each the record keeps in memory.
    ``rules``: what the findings come from; `telltales.RULES` and, if you like, your own.
    ``mute``: findings to leave out: an id, or an id, ``@`` and a pattern of places, as ``dead-relu@encoder.*``.

    It is a context manager; without ``with``, call `close`. A compiled model is watched before its first call. Weights,
    random state, modes and gradients are the same with the watch and without.

    Raises `UsageError` for what can't be watched, `RecordError` for a path that can't be written.
    """

    def __init__(
        self,
        model: Models,
        optimizer: Optimizers = None,
        *,
        preset: str | Preset = "standard",
        schedule: Callable[[int], bool] | None = None,
        modules: Selection = None,
        loss_from: nn.Module | None = None,
        path: str | os.PathLike[str] | None = None,
        live: bool = False,
        scaler: Any = None,
        first_step: int = 0,
        resume: bool = False,
        around_spikes: bool = False,
        ranks: bool = False,
        limits: Limits | None = None,
        rules: Sequence[Rule] = RULES,
        mute: Iterable[str] = (),
    ) -> None:
        self._attached: list[Callable[[], object]] = []
        """What takes away each thing that was put into the training."""
        self._open = True
        self._next = first_step
        self._error: Exception | None = None
        self._has_failed = self._seen = False
        self._verdicts = Verdicts(rules, mute)
        self._observers: Callbacks[Watch] = Callbacks("observed steps")
        self._guard: UpdateGuard | None = None
        self._automatic: Automatic | None = None
        self._report_to: str | os.PathLike[str] | None = None
        self._step: ObservedStep | None = None
        self._recording = Recording(None, {}, limits, None)
        try:
            self._models = named_models(model)
            self._optimizers = named_optimizers(optimizer)
            self._preset = choose_preset(preset)
            self._lookout = Lookout(schedule or self._preset.schedule, around_spikes)
            self._scaler = scaler
            if ranks and not is_distributed():
                raise UsageError("there is one process only, none to compare it with", remedy="Leave out ranks.")
            self._ranks = ranks
            self._losses = WaitingLosses()
            self._previous: tuple[int, list[Stack]] = (-2, [])
            self._noise = NoiseScale()
            self._description = Description(self._models, self._optimizers)
            self._left: tuple[int, Left] = (-2, NOTHING_LEFT)
            self._is_main = not is_distributed() or torch.distributed.get_rank() == 0
            self._probes = self._placed(modules)
            self._attached.append(self._probes.remove)
            self._mode = ModeProbe(self._models, self._failed)
            self._attached.append(self._mode.remove)
            self._mode.install()
            path = path if self._is_main else None
            about = self._description.about(self._preset.name)
            self._recording = Recording(path, about, limits, first_step if resume else None)
            if resume:
                every = self.record.evaluations
                self._mode.resume([one for split in every.splits for one in every.of(split)], first_step)
            self._started = time.perf_counter() - self._recording.seconds
            self._automatic = self._self_counting(loss_from)
            if live and self._is_main:
                self._show(_live_table())
            self._arm()
        except Exception as error:
            if isinstance(error, TelltalesError):
                self._take_away()
                raise
            self._end_after_failure(error)
        except BaseException:
            self._take_away()
            raise

    @property
    def record(self) -> Record:
        """What was seen so far. In a distributed training only the first process has anything in it."""
        return self._recording.record

    def step(
        self,
        loss: torch.Tensor | float,
        batch: Any = None,
        targets: Any = None,
        indices: Iterable[int] | torch.Tensor | None = None,
    ) -> None:
        """Say that a step is done: after the optimizer's update.

        ``loss``: its training loss. ``batch``: what the model was given, for the batch size and the inputs' scale.
        ``targets``: for their spread. ``indices``: which examples these were, kept for the highest losses.

        Raises `ProbeError` at the first observed step if the probes can't see the model, `UsageError` for a loss that
        is not one number, and `FindingError` where `raise_on` asked for it.
        """
        if not self._open:
            return
        assert_number(loss)
        if self._error is not None:
            return self._end_after_failure(self._error)
        try:
            self.look_at_loss(loss)
            loss = self._losses.add(loss)
            if self._step is not None:
                finding = self._observe(self._step, batch, targets, indices)
                self._raise(self._verdicts.agreed(finding))
            self._mode.step_ended()
            self._next += 1
            if self._lookout.wants(self._next, loss):
                self._arm()
        except FOR_THE_CALLER:
            self.close("failed")
            raise
        except Exception as error:  # noqa: BLE001 - watching must not end a training
            self._end_after_failure(error)

    def free_steps(self, most: int) -> int:
        """How many of the next ``most`` steps, in a row, need no look: 0 where the next one is observed.

        For a loop that makes many steps at once, out of sight of the hooks. After that many, or fewer, call `passed`.
        """
        if not self._open or self._error is not None:
            return most
        try:
            return 0 if self._step is not None else self._lookout.free(self._next, most)
        except Exception as error:  # noqa: BLE001 - watching must not end a training
            self._failed(error)
            return most

    def passed(self, losses: Sequence[float]) -> None:
        """Say that steps are done which needed no look, as many as there are ``losses`` (one each, oldest first).

        Raises `UsageError` where one of them was to be observed.
        """
        if not self._open:
            return
        if self._error is not None:
            return self._end_after_failure(self._error)
        try:
            for loss in losses:
                assert_number(loss)
            if not len(losses):
                return
            if len(losses) > self.free_steps(len(losses)):
                raise UsageError(
                    f"of {len(losses)} steps from step {self._next} on, one is to be observed",
                    remedy="Make no more steps at once than `free_steps` says; tell of the others with `step`.",
                )
            self._losses.extend(losses)
            self._mode.step_ended(len(losses))
            self._next += len(losses)
            # All are looked at, not just as many as it takes to know: spikes are told from what came before.
            if any([self._lookout.wants(self._next, loss) for loss in losses]):
                self._arm()
        except FOR_THE_CALLER:
            raise
        except Exception as error:  # noqa: BLE001 - watching must not end a training
            self._end_after_failure(error)

    def look_at_loss(self, loss: torch.Tensor | float) -> None:
        """Let the graph of a loss tell how it is computed, where `step` will be given its value only.

        ``loss``: before ``backward``, as the loop has it. `step` does this by itself with a tensor not detached.
        """
        if self._step is not None and self._is_main and self._open:
            try:
                self._description.loss(self.record, loss)
            except Exception as error:  # noqa: BLE001 - watching must not end a training
                self._failed(error)

    def evaluation(
        self,
        loss: torch.Tensor | float,
        split: str = "dev",
        *,
        predicted: torch.Tensor | None = None,
        targets: torch.Tensor | None = None,
    ) -> None:
        """Record a loss on held-out data, measured after the steps so far.

        ``predicted``, scores (N, C) or classes (N,), and ``targets``, classes (N,): to count each class's errors.

        Raises `UsageError` where the two do not fit.
        """
        if not self._open or not self._is_main:
            return
        try:
            assert_number(loss)
            if not isinstance(split, str):
                raise UsageError(f"a split is a name, not {split!r}", remedy="Give evaluation(loss, split).")
            value = float(loss.detach() if isinstance(loss, torch.Tensor) else loss)
            classes = class_errors(predicted, targets)
            self._recording.evaluate(Evaluation(self._next, split, value, self._mode.evaluated(), classes))
            finding = self._verdicts.judge(self.record)
            if is_distributed():
                # The others may evaluate something else, or nothing: they are asked at the next observed step.
                self._verdicts.hold(finding)
            else:
                self._raise(finding)
        except FOR_THE_CALLER:
            raise
        except Exception as error:  # noqa: BLE001 - watching must not end a training
            self._end_after_failure(error)

    def baseline(self, name: str, loss: float) -> None:
        """Say what a simple model reaches on held-out data, as ``"a bigram table", 2.45``: it is to be beaten."""
        self.record.about.setdefault("baselines", {})[name] = float(loss)

    def findings(self) -> list[Finding]:
        """What the rules have found so far, the worst first, each with the findings that follow from it."""
        return self._verdicts.findings()

    def raise_on(self, *rules: str, report: str | os.PathLike[str] | None = None) -> None:
        """End the training with a `FindingError` when one of these rules, or any of a severity, finds something.

        Gradients that are not finite (``non-finite``, or ``error``) end it before they are used, which costs a look at
        every gradient; other findings end it in `step` or `evaluation`. In a distributed training every process has to
        call it, and all end together, at an observed step. ``report``: write a report there first.

        Raises `UsageError` for a rule that does not exist.
        """
        self._report_to = report or self._report_to
        try:
            self._verdicts.raise_on(rules)
            if self._verdicts.looks_before_updates and self._guard is None and self._open:
                self._guard = UpdateGuard(self._models, self._stop_before_update, self._failed)
                self._attached.append(self._guard.remove)
                self._guard.install(self._optimizers.values())
        except FOR_THE_CALLER:
            raise
        except Exception as error:  # noqa: BLE001 - watching must not end a training
            self._end_after_failure(error)

    def on_finding(self, callback: Callable[[Finding], None]) -> None:
        """Call ``callback`` with each finding when it first appears, or is back.

        One that raises is called no more: `raise_on` is what ends a training.
        """
        self._verdicts.listen(callback)

    def on_observed(self, callback: Callable[[Watch], None]) -> None:
        """Call ``callback`` with this watch after each observed step. One that raises is called no more."""
        self._observers.add(callback)

    def close(self, outcome: str = "finished") -> None:
        """Take every hook away and end the record. What was seen stays in `record`."""
        if self._open and self._error is not None:
            self._end_after_failure(self._error)
        elif self._open:
            self._open = False
            self._step = None
            for act in (self._take_away, partial(self._end, outcome), self._recording.abandon):
                self._attempt(act)
        if self._attached:
            self._attempt(self._take_away)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close("finished" if kind is None else kind.__name__)

    def report(self, path: str | os.PathLike[str], title: str | None = None) -> None:
        """Write what was seen so far as one HTML file.

        Raises `RecordError` if it can't be drawn or written; while the watch goes on, and after one that failed, that
        is a warning.
        """
        try:
            self._draw(path, title)
        except RecordError as error:
            if not self._open and not self._has_failed:
                raise
            warn_of("there is no report", error)

    def _draw(self, path: str | os.PathLike[str], title: str | None) -> None:
        from telltales.report.html import write_report

        try:
            label = Path(path).stem
            write_report(path, {label: self.record}, title, {label: self.findings()})
        except RecordError:
            raise
        except Exception as error:
            raise RecordError(f"the report can't be drawn: {told(error)}", where=str(path)) from error

    def __str__(self) -> str:
        from telltales.report.findings import findings_text
        from telltales.report.terminal import summary_text

        return f"{summary_text(self.record)}\n{findings_text(self.findings(), self.record)}"

    def _repr_html_(self) -> str:
        from telltales.report.notebook import figure_html

        return figure_html(self.record)

    def _take_away(self) -> None:
        """Everything that was put into the training. What fails, or is interrupted, does not keep the rest there, and
        is taken away by the next call."""

        def take(remove: Callable[[], object]) -> None:
            remove()
            self._attached.remove(remove)

        with ExitStack() as every:
            for remove in self._attached:
                every.callback(take, remove)

    def _end(self, outcome: str) -> None:
        """End the record."""
        losses = self._losses.on_host() if self._is_main else np.zeros(0, np.float32)
        if self._is_main and len(self.record):
            self._attempt(partial(self._description.end, self.record))
        self._recording.close(outcome, self._next - len(losses), losses)
        if len(self.record):
            self._verdicts.judge(self.record)

    def _show(self, table: LiveTable) -> None:
        def live_table(watch: Watch) -> None:
            table.update(watch.record)

        self._attached.append(partial(table.__exit__, None, None, None))
        self._observers.add(live_table)
        self._verdicts.listen(table.tell)

    def _placed(self, selection: Selection) -> Probes:
        axes, device, gradients = Axes(), device_of(self._models), self._preset.activation_gradients
        probes = [
            ModuleProbe(Watched(name, flat_region(module)), module, axes, device, gradients)
            for name, module in chosen_modules(self._models, selection).items()
        ]
        roots = {prefix: unwrapped(model) for prefix, model in self._models.items()}
        functions = FunctionProbe(roots, selects(selection), axes, gradients)
        compiled = [part for model in self._models.values() for part in compiled_parts(model)]
        return Probes(probes, functions, compiled, some_only=selection is not None)

    def _self_counting(self, loss_from: nn.Module | None) -> Automatic | None:
        if loss_from is None:
            return None
        if not self._optimizers:
            raise UsageError("steps count themselves at an optimizer's updates", remedy="Give the optimizer, too.")
        optimizer = list(self._optimizers.values())[-1]
        automatic = Automatic(loss_from, optimizer, self.step, self.look_at_loss, self._failed)
        self._attached.append(automatic.remove)
        return automatic

    def _arm(self) -> None:
        """Look at the next step. Raises `UsageError` for a model that was sharded by now."""
        parameters = every_parameter(self._models)
        assert_whole(parameters)
        preset = self._preset
        self._step = ObservedStep(
            parameters,
            self._optimizers,
            self._scaler,
            pictures=preset.pictures is not None and preset.pictures(self._next),
            spectral_norms=preset.spectral_norms,
            keep_gradients=preset.noise_scale,
            left=self._left[1] if self._left[0] == self._next - 1 else NOTHING_LEFT,
        )
        self._probes.start(self._step, list(self._optimizers.values()), self._failed)
        if self._automatic is not None:
            self._automatic.come_last()

    def _observe(
        self, step: ObservedStep, batch: Any, targets: Any, indices: Iterable[int] | torch.Tensor | None
    ) -> Finding | None:
        """Take in the numbers of a step; the finding that ends the training, if there is one."""
        self._step = None
        step.batch.put(batch, targets, self.record.about.get("loss", {}).get("ignore_index"))
        before, gradients = self._previous
        with torch.no_grad():
            observation, pair = step.finish(
                self._next,
                self._losses.vector(),
                self._probes.modules,
                gradients if before == self._next - 1 else [],
                _as_list(indices),
                time.perf_counter() - self._started,
            )
        unfired = self._probes.unfired() if not self._seen else []
        self._seen = True
        self._probes.stop()
        failures = self._probes.drop_failed()
        self._losses.clear()
        self._previous = self._next, step.parameters.gradients
        self._left = self._next, step.stale.left
        if self._optimizers:
            self._lookout.observed(self._next, step.has_its_turn)
        differing = differing_ranks(self._models) if self._ranks else {}
        if not self._is_main:
            return None
        if unfired:
            self.record.about["unfired"] = unfired
        if failures:
            self._switched_off(failures)
        if pair is not None and "batch_size" in observation.scalars:
            scale = self._noise.update(*pair, observation.scalars["batch_size"])
            observation = replace(observation, scalars={**observation.scalars, "noise_scale": scale})
        self._description.update(self.record, step, self._probes, self._next)
        self._description.batch(self.record, step.batch)
        self._description.ranks(self.record, differing, self._next)
        self._recording.observe(observation)
        self._observers.call(self)
        return self._verdicts.observed(self.record)

    def _raise(self, finding: Finding | None) -> None:
        if finding is not None and self._open:
            raise self._stop(finding)

    def _stop_before_update(self, finding: Finding) -> FindingError:
        """The step is looked at as far as it came, so that the record has its readings and the first bad place."""
        if self._step is not None:
            self._losses.add(math.nan)
            look = partial(self._observe, self._step, None, None, None)
            self._attempt(look, "the step that ends the training is not in the record")
            self._next += 1
            every = [one for root in self.findings() for one in root.every()]
            finding = next((one for one in every if one.rule == finding.rule), finding)
        else:
            self._verdicts.tell(finding)
        return self._stop(finding)

    def _stop(self, finding: Finding) -> FindingError:
        self.close(FindingError.__name__)
        if self._report_to is not None and self._is_main:
            try:
                self.report(self._report_to)
            except RecordError as error:
                warn_of("there is no report", error)
        return FindingError(finding)

    def _failed(self, error: Exception) -> None:
        """Something in here went wrong: the next call says so and ends the watch. The training is left alone.

        Nothing is taken away at once, as this may be called in the middle of a forward or backward pass.
        """
        self._error = self._error or error

    def _end_after_failure(self, error: Exception) -> None:
        self._error = None
        step, is_first, self._has_failed = self._next, not self._has_failed, True
        self.close("failed")
        if is_first:
            warn_of(f"watching stops at step {step}", error)

    def _attempt(self, act: Callable[[], object], fact: str = "the watch is closed, and may lack the end") -> None:
        """Say so if it fails, unless it was said already that the watch has failed."""
        try:
            act()
        except Exception as error:  # noqa: BLE001 - watching must not end a training
            is_first, self._has_failed = not self._has_failed, True
            if is_first:
                warn_of(fact, error)

    def _switched_off(self, failures: dict[str, Exception]) -> None:
        """Note what failed, and is watched no more; the first time with a warning."""
        known = self.record.about.setdefault("switched_off", {})
        if not known:
            names, (error, *_) = ", ".join(failures), failures.values()
            warn_of(f"from step {self._next} on a part is watched no more, and all others are ({names})", error)
        known |= {name: told(error) for name, error in failures.items()}


watch = Watch
"""Reads better where it is called: ``with telltales.watch(model, optimizer) as w:``."""


def _as_list(indices: Iterable[int] | torch.Tensor | None) -> list[int] | None:
    if isinstance(indices, torch.Tensor):
        indices = indices.flatten().tolist()
    return None if indices is None else [int(index) for index in np.atleast_1d(np.asarray(indices)).ravel()]


def _live_table() -> LiveTable:
    from telltales.report.terminal import LiveTable

    return LiveTable().__enter__()
