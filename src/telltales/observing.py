"""One observed step, from its first forward pass to its numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch import nn

from telltales.batch_readings import BatchReadings
from telltales.errors import ProbeError
from telltales.functions import FunctionProbe
from telltales.module_readings import ModuleReadings
from telltales.naming import trained
from telltales.observation import COLUMNS, Observation, Picture, Reading
from telltales.parameter_readings import ParameterReadings, Stack
from telltales.probes import ModuleProbe
from telltales.structure import FrozenMarks, optimizer_facts
from telltales.transfer import Transfer
from telltales.turns import BackwardProbe, Left, OptimizerProbe, StaleGradients, leaves_out


class ObservedStep:
    """Takes in one step. Made before it begins; `finish` gives its numbers."""

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        optimizers: Mapping[str, torch.optim.Optimizer],
        scaler: Any,
        *,
        pictures: bool,
        spectral_norms: bool,
        keep_gradients: bool,
        left: Left,
    ) -> None:
        """``parameters``: every one. ``left``: `StaleGradients.left` of the step before, if that was observed."""
        self._optimizers = optimizers
        self._scaler = scaler
        self._scale = 1.0
        self._transfer = Transfer()
        self._pictures = pictures
        self._parameters = trained(parameters)
        self._names = {id(parameter): name for name, parameter in self._parameters.items()}
        self._groups: dict[str, tuple[int, int]] = {}
        self._updates = 0
        self.batch = BatchReadings(self._transfer)
        self.stale = StaleGradients(self._parameters, left)
        self.frozen = FrozenMarks(parameters, optimizer_facts(parameters, optimizers)[0])
        self.modules = ModuleReadings(self._transfer, pictures)
        self.parameters = ParameterReadings(
            self._transfer,
            self._parameters,
            pictures=pictures,
            spectral_norms=spectral_norms,
            keep_gradients=keep_gradients,
        )
        if not optimizers:
            self.parameters.snapshot(self._parameters)

    @property
    def updates(self) -> int:
        """How many updates there were, without those that a loss scaler left out."""
        return self._updates

    @property
    def has_its_turn(self) -> bool:
        """Whether the step had an update, or would have had one that a loss scaler left out."""
        return self._updates > 0 or (self._scaler is not None and float(self._scaler.get_scale()) < self._scale)

    @property
    def trained(self) -> Mapping[str, nn.Parameter]:
        return self._parameters

    def backward_ended(self, names: set[str]) -> None:
        self._scale = 1.0 if self._scaler is None else float(self._scaler.get_scale())
        self.parameters.backward_ended([name for name in self._parameters if name in names], self._scale)

    def before_update(self, optimizer: torch.optim.Optimizer) -> None:
        held = self._held_by(optimizer)
        self.parameters.snapshot(held)
        self.stale.before_update(held)
        self.frozen.before_update()

    def after_update(self, optimizer: torch.optim.Optimizer) -> None:
        self._updates += not leaves_out(optimizer)
        held = self._held_by(optimizer)
        self.parameters.updated(held)
        self.stale.after_update(held)
        self.frozen.after_update()
        prefix = next(prefix for prefix, held in self._optimizers.items() if held is optimizer)
        for number, group in enumerate(optimizer.param_groups):
            # A rate may be a tensor that its scheduler changes, and None where the optimizer finds its own.
            settings = (group.get(key) for key in ("lr", "weight_decay"))
            rate, decay = (torch.as_tensor(math.nan if one is None else one).clone() for one in settings)
            self._groups[f"{prefix}{number}"] = self._transfer.put(rate), self._transfer.put(decay)

    def finish(
        self,
        step: int,
        losses: torch.Tensor,
        probes: Sequence[ModuleProbe],
        previous: list[Stack],
        indices: Sequence[int] | None,
        seconds: float,
    ) -> tuple[Observation, tuple[float, float] | None]:
        """The step's numbers, and what `ParameterReadings.pair` says; one transfer, and one more if not all is finite.

        ``losses``: (steps,), those since the last observed step, this one's last.
        """
        for probe in probes:
            probe.collect_from_graph()
            probe.collect_sums()
        self.modules.put()
        if previous:
            self.parameters.compare_with(previous)
        self.parameters.put()
        sent = self._transfer.put(losses)
        self._transfer.fetch()
        self.modules.look_closer()
        self.parameters.look_closer()
        self._transfer.fetch()
        all_losses = self._transfer[sent]
        tables = self.modules.tables(self._scale) | self.parameters.tables() | self._group_table()
        picture = None
        if self._pictures:
            histograms = self.modules.histograms(self._scale) | self.parameters.histograms()
            picture = Picture(step, histograms, self.modules.maps())
        called = sum(probe.calls for probe in probes)
        scalars = {
            "loss": float(all_losses[-1]),
            "seconds": seconds,
            "training_mode": sum(probe.training for probe in probes) / called if called else math.nan,
            "loss_scale": self._scale if self._scale != 1 else math.nan,
            "stale_gradients": self.stale.share(),
        }
        if self._optimizers:
            scalars["optimizer_steps"] = float(self._updates)
        scalars |= self.parameters.norms() | self.batch.scalars()
        return Observation(step, scalars, tables, picture, all_losses, indices), self.parameters.pair()

    def _held_by(self, optimizer: torch.optim.Optimizer) -> list[str]:
        held = (id(parameter) for group in optimizer.param_groups for parameter in group["params"])
        return [self._names[parameter] for parameter in held if parameter in self._names]

    def _group_table(self) -> dict[str, Reading]:
        if not self._groups:
            return {}
        rows = [[float(self._transfer[ticket]) for ticket in tickets] for tickets in self._groups.values()]
        values = np.array(rows, np.float32).reshape(-1, len(COLUMNS["group"]))
        return {"group": Reading(tuple(self._groups), values)}


class Probes:
    """All probes of one watch, and which of them are installed."""

    def __init__(
        self,
        modules: list[ModuleProbe],
        functions: FunctionProbe,
        compiled_parts: list[set[nn.Module]],
        *,
        some_only: bool,
    ) -> None:
        """``some_only``: the modules are a selection, so that not every backward pass need reach one."""
        self.modules = modules
        self.functions = functions
        self._every = tuple(modules)
        self._compiled_parts = compiled_parts
        self._some_only = some_only
        self._backward: BackwardProbe | None = None
        self._optimizers: list[OptimizerProbe] = []
        if compiled_parts:
            for probe in modules:
                probe.install()

    def start(
        self, step: ObservedStep, optimizers: Sequence[torch.optim.Optimizer], failed: Callable[[Exception], None]
    ) -> None:
        is_compiled = bool(self._compiled_parts) or any(probe.traced for probe in self.modules)
        for probe in self.modules:
            probe.install()
            probe.start(step.modules)
        if not is_compiled:
            self.functions.start(step.modules)

        def backward_ended(names: set[str]) -> None:
            # Before the next forward pass of the step overwrites what a compiled graph has left.
            for probe in self.modules:
                probe.collect_from_graph()
            step.backward_ended(names)

        self._backward = BackwardProbe(step.trained, backward_ended, failed, step.stale)
        step.modules.backward_begun = self._backward.begun
        if is_compiled or self._some_only:
            self._backward.hook_parameters()
        self._optimizers = [OptimizerProbe(o, step.before_update, step.after_update, failed) for o in optimizers]
        for optimizer in self._optimizers:
            optimizer.install()

    def stop(self) -> None:
        """After an observed step: what a compiled graph has taken in stays, switched off."""
        # A loop whose gradients reach no module probe is one for the parameters to tell of.
        self._some_only |= self._backward is not None and not self._backward.has_seen_one
        stays = bool(self._compiled_parts) or any(probe.traced for probe in self.modules)
        for probe in self.modules:
            probe.stop()
            if not stays:
                probe.remove()
        self._stop_others()

    def remove(self) -> None:
        """All of them: one that fails to go does not keep the others."""
        with ExitStack() as every:
            for probe in self.modules:
                every.callback(probe.remove)
                every.callback(probe.stop)
            every.callback(self._stop_others)

    def drop_failed(self) -> dict[str, Exception]:
        """Take away what failed in the step; gives it by name, with what went wrong.

        Raises the first of these errors if no module is left to be watched.
        """
        failed = {probe.watched.name: probe.error for probe in self.modules if probe.error is not None}
        for probe in self.modules:
            if probe.error is not None:
                probe.stop()
                probe.remove()
        self.modules = [probe for probe in self.modules if probe.error is None]
        if failed and not self.modules:
            raise next(iter(failed.values()))
        if self.functions.error is not None and not self.functions.is_told:
            failed["functions that modules call"] = self.functions.error
            self.functions.is_told = True
        return failed

    def unfired(self) -> list[str]:
        """The modules that did not run. Raises `ProbeError` if it is the probes that did not see them."""
        silent = [probe.watched.name for probe in self.modules if not probe.calls and probe.error is None]
        ran = {probe.module for probe in self.modules if probe.calls}
        for part in self._compiled_parts:
            inside = [probe for probe in self.modules if probe.module in part]
            if inside and not ran & part and not any(probe.error for probe in inside):
                raise ProbeError(
                    f"none of its {len(inside)} probes fired: it was compiled, and called, before it was watched",
                    where=inside[0].watched.name,
                    remedy="Call telltales.watch before the first call of the compiled model (or torch._dynamo.reset() "
                    "before it).",
                )
        if not ran and not any(probe.passed_over or probe.error for probe in self.modules):
            raise ProbeError(
                f"no probe fired: none of the {len(self.modules)} watched modules ran with gradients switched on",
                remedy="Watch the model that the loop calls, before the first call if it is compiled, "
                "and call step after each update.",
            )
        return silent

    def about(self, name: str) -> dict[str, Any]:
        """What a record says of a module, or of a function that one calls."""
        named = (probe.about() for probe in self._every if probe.watched.name == name)
        return next(named, None) or self.functions.facts[name]

    def _stop_others(self) -> None:
        with ExitStack() as every:
            every.callback(self.functions.stop)
            if self._backward is not None:
                every.callback(self._backward.remove)
            for optimizer in self._optimizers:
                every.callback(optimizer.remove)
        self._backward, self._optimizers = None, []
