"""The facts of a record: what is watched, and how its parts are put together, kept up to date from step to step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

import telltales
from telltales.batch_readings import BatchReadings
from telltales.flat_values import WINDOW
from telltales.loss_graph import loss_facts
from telltales.naming import describe_parameters, device_of, every_parameter, unwrapped
from telltales.observation import VARIED
from telltales.observing import ObservedStep, Probes
from telltales.record import Record
from telltales.structure import MOST_NAMED, group_facts, mode_dependent, optimizer_facts

MOST_CLASSES = 1000
"""Labels are counted while there are no more different ones."""
SAID_AGAIN = 1.1
"""Counts are written down again when there are so many times as many: they fill the file of a record otherwise."""


class Description:
    """Writes into a record what is known of modules, parameters, optimizers, loss and labels."""

    def __init__(self, models: Mapping[str, nn.Module], optimizers: Mapping[str, torch.optim.Optimizer]) -> None:
        self._models, self._optimizers = models, optimizers
        self._trained: tuple[str, ...] | None = None
        self._labels: Counter[int] | None = Counter()
        self._told = 0
        self._changes: int | None = None

    def about(self, preset: str) -> dict[str, Any]:
        """What can be said before the first step."""
        names = (type(unwrapped(model)).__name__ for model in self._models.values())
        return {
            "model": ", ".join(names),
            "models": len(self._models),
            "optimizer": ", ".join(type(optimizer).__name__ for optimizer in self._optimizers.values()),
            "parameters": sum(parameter.numel() for parameter in every_parameter(self._models).values()),
            "preset": preset,
            "device": str(device_of(self._models)),
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "telltales": telltales.__version__,
            "window": WINDOW,
        }

    def update(self, record: Record, step: ObservedStep, probes: Probes, number: int) -> None:
        """After an observed step, number ``number``."""
        for name in step.modules.order:
            if name not in record.modules:
                record.modules[name] = probes.about(name)
        trained = tuple(step.trained)
        if trained != self._trained:
            self._describe_parameters(record, trained, number)
        record.about["mode_dependent"] = dict(list(mode_dependent(self._models).items())[:MOST_NAMED])
        if self._optimizers:
            held, strangers = optimizer_facts(every_parameter(self._models), self._optimizers)
            for name, facts in record.parameters.items():
                facts |= {"optimized": name in held, "group": held.get(name)}
            record.about["strangers"] = strangers[:MOST_NAMED]
            record.about["groups"] = group_facts(self._optimizers)
            changes = sum(parameter._version for parameter in step.trained.values())
            if step.updates == 0 and self._changes not in (None, changes):
                record.about["changed_by_another"] = True
            self._changes = changes
        for name in step.frozen.moved:
            record.parameters[name].setdefault("moved_while_frozen", number)

    def loss(self, record: Record, loss: object) -> None:
        """Take in the loss as the loop gives it: a tensor's graph tells what it is."""
        if isinstance(loss, torch.Tensor) and loss.grad_fn is not None:
            record.about["loss"] = loss_facts(loss)

    def batch(self, record: Record, batch: BatchReadings) -> None:
        """Take in the shapes of a batch's examples, and count its labels."""
        shapes = record.about.setdefault("shapes", {})
        for what, shape in batch.shapes.items():
            shapes[what] = shape if shapes.get(what, shape) == shape else VARIED
        labels = batch.labels
        if labels is None or self._labels is None:
            return
        self._labels.update(labels.tolist())
        if len(self._labels) > MOST_CLASSES:
            self._labels = None
            record.about.pop("labels", None)
        elif (count := self._labels.total()) > SAID_AGAIN * self._told:
            self._told = count
            record.about["labels"] = {str(label): count for label, count in sorted(self._labels.items())}

    def end(self, record: Record) -> None:
        """Take in which parameters are not finite now: what an exception ended is not observed any more.

        Nothing is taken in where the device gives nothing any more, as after a CUDA error.
        """
        there = {
            name: parameter.detach()
            for name, parameter in every_parameter(self._models).items()
            if not parameter.is_meta and not is_lazy(parameter)
        }
        try:
            found = [name for name, values in there.items() if not bool(values.isfinite().all())]
        except RuntimeError:
            return
        if found:
            record.about["not_finite_at_end"] = found[:MOST_NAMED]

    def ranks(self, record: Record, differing: Mapping[str, list[int]], number: int) -> None:
        """Take in which processes hold other values than the first; the step is that since which they do."""
        for name, facts in record.parameters.items():
            before = facts.pop("ranks_differ", {"step": number})
            if name in differing:
                facts["ranks_differ"] = before | {"ranks": differing[name]}

    def _describe_parameters(self, record: Record, trained: tuple[str, ...], number: int) -> None:
        now = describe_parameters(self._models)
        for name, facts in now.items():
            before = record.parameters.get(name, {})
            kept = {key: before[key] for key in ("untied", "moved_while_frozen", "ranks_differ") if key in before}
            lost = [alias for alias in before.get("aliases", ()) if alias not in facts["aliases"] and alias in now]
            record.parameters[name] = facts | kept | ({"untied": {"from": lost, "step": number}} if lost else {})
        self._trained = trained
