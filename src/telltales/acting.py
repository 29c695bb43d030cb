"""What a watch does with its record: judges it as it grows, tells of findings and, if asked to, ends the training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Generic, TypeVar

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from telltales.catalogue import CATALOGUE, made
from telltales.errors import FindingError, UsageError
from telltales.failures import warn_of
from telltales.finding import SEVERITIES, Finding
from telltales.naming import every_parameter, is_distributed
from telltales.record import Record
from telltales.turns import leaves_out
from telltales.verdicts import Judge, Rule
from telltales.verdicts.judging import is_judged

T = TypeVar("T")

BEFORE_UPDATE = "non-finite"
"""The rule that is looked at before every update, where it is to end the training."""


class Callbacks(Generic[T]):
    """Who wants to be told of something. One that raises is told no more."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._all: list[Callable[[T], None]] = []

    def add(self, callback: Callable[[T], None]) -> None:
        self._all.append(callback)

    def call(self, told: T) -> None:
        for callback in tuple(self._all):
            try:
                callback(told)
            except Exception as error:  # noqa: BLE001 - who is told must not end a training
                self._all = [other for other in self._all if other is not callback]
                name = getattr(callback, "__name__", type(callback).__name__)
                warn_of(f"a callback for {self._what} failed and is called no more ({name})", error)


class Verdicts:
    """The findings of one watch, and who wants to know of them."""

    def __init__(self, rules: Sequence[Rule], mute: Iterable[str]) -> None:
        self._judge = Judge(rules, mute)
        self._rules = [rule.entry.rule for rule in rules]
        self._listeners: Callbacks[Finding] = Callbacks("findings")
        self._raising: set[str] = set()
        self._held: Finding | None = None

    def findings(self) -> list[Finding]:
        return self._judge.findings()

    def listen(self, listener: Callable[[Finding], None]) -> None:
        self._listeners.add(listener)

    def raise_on(self, rules: Iterable[str]) -> None:
        """Raises `UsageError` for what is neither a rule nor a severity."""
        wanted = tuple(rules)
        for rule in wanted:
            if rule not in (*self._rules, *CATALOGUE, *SEVERITIES):
                raise UsageError(
                    f"no rule is called {rule!r}", remedy="docs/rules lists them; error stands for all such."
                )
        self._raising.update(wanted)

    @property
    def looks_before_updates(self) -> bool:
        return not self._raising.isdisjoint((BEFORE_UPDATE, "error"))

    def observed(self, record: Record) -> Finding | None:
        """Judge an observed step, unless many like it were judged; the finding that ends the training, if any."""
        return self.judge(record) if is_judged(record.observed) else None

    def judge(self, record: Record) -> Finding | None:
        """Judge the record as it is, and tell of what is new; the finding that ends the training, if any."""
        fresh = self._judge.update(record)
        for finding in fresh:
            self.tell(finding)
        return next(
            (finding for finding in fresh if not self._raising.isdisjoint((finding.rule, finding.severity))), None
        )

    def hold(self, finding: Finding | None) -> None:
        """Let `agreed` give this one, found where processes can't agree."""
        self._held = self._held or finding

    def agreed(self, finding: Finding | None) -> Finding | None:
        """The finding that ends the training, for every process of it: the first alone has a record to judge.

        In a distributed training with `raise_on`, every process has to call it.
        """
        found, self._held = self._held or finding, None
        if not self._raising or not is_distributed():
            return found
        shared = [found]
        torch.distributed.broadcast_object_list(shared, src=0)
        return shared[0]

    def tell(self, finding: Finding) -> None:
        self._listeners.call(finding)


class UpdateGuard:
    """Looks at the gradients before every update, and ends the training before a bad one is applied."""

    def __init__(
        self,
        models: Mapping[str, nn.Module],
        stop: Callable[[Finding], FindingError],
        failed: Callable[[Exception], None],
    ) -> None:
        """``stop``: ends the watch and gives what is to be raised."""
        self._models, self._stop, self._failed = models, stop, failed
        self._handles: list[RemovableHandle] = []

    def install(self, optimizers: Iterable[torch.optim.Optimizer]) -> None:
        for optimizer in optimizers:
            self._handles.append(optimizer.register_step_pre_hook(self._before_update))

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _before_update(self, optimizer: torch.optim.Optimizer, *_: object) -> None:
        try:
            found = self._found(optimizer)
        except Exception as error:  # noqa: BLE001 - a look that fails must not end a training
            return self._failed(error)
        if found is not None:
            raise self._stop(found)

    def _found(self, optimizer: torch.optim.Optimizer) -> Finding | None:
        held = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        bad = [parameter for parameter in held if not _is_finite(parameter.grad)]
        if not bad or leaves_out(optimizer):
            return None
        names = {id(parameter): name for name, parameter in every_parameter(self._models).items()}
        places = [names[id(parameter)] for parameter in bad if id(parameter) in names]
        evidence = f"the gradients of {len(bad)} of {len(held)} parameters are not finite, and no update was made"
        return made(BEFORE_UPDATE, evidence, places[0] if places else "", places=places)


def _is_finite(gradient: torch.Tensor) -> bool:
    values = gradient.detach()
    return bool(torch.isfinite(values.coalesce().values() if values.is_sparse else values).all())
