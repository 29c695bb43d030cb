"""What an example is, and the loop that all of them train in."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

import telltales
from examples.data import Data, names
from telltales.finding import Finding
from telltales.record import Record
from telltales.verdicts.grouping import grouped

LOSS = ("loss", "loss")
"""The plot of most: the loss, step by step, and that of held-out data where it was taken."""


@dataclass(frozen=True)
class Seen:
    """What telltales told, and the numbers that it read."""

    findings: list[Finding]
    record: Record

    def named(self) -> list[str]:
        """The rules, without those of notes; roots first."""
        return [one.rule for root in self.findings for one in root.every() if one.severity != "note"]


@dataclass(frozen=True)
class Example:
    """A fault in a training. ``shows``: the table and the column that are drawn of both."""

    rule: str
    shows: tuple[str, str]
    run: Callable[[bool], Seen]

    @property
    def said(self) -> str:
        """What is wrong in it, in a sentence."""
        return inspect.getdoc(self.run) or ""

    @property
    def code(self) -> str:
        """The function as it stands, without its decorator and what it says of itself."""
        source = inspect.getsource(self.run)
        source = source[source.index("def ") :].rstrip()
        return source.replace(f'    """{self.run.__doc__}"""\n', "").replace(":\n\n", ":\n", 1)

    def seen(self, sick: bool) -> Seen:
        """The same numbers whenever it is run."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return self.run(sick)


EXAMPLES: dict[str, Example] = {}
UNHURRIED = math.inf
"""Seconds that preflight may take: what a page shows is not to depend on what else the machine is doing."""


def example(rule: str, *shows: str) -> Callable[[Callable[[bool], Seen]], Callable[[bool], Seen]]:
    """The function below shows this rule. ``shows``: a table and a column of the record; left out, the loss."""

    def register(run: Callable[[bool], Seen]) -> Callable[[bool], Seen]:
        table, column = shows or LOSS
        EXAMPLES[rule] = Example(rule, (table, column), run)
        return run

    return register


def checked(model: nn.Module, data: Data) -> Seen:
    """What preflight alone tells of a model that can't be trained."""
    found = telltales.preflight(model, data.batch(0, 32), nn.functional.cross_entropy, time_limit=UNHURRIED)
    return Seen(list(found), Record())


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    data: Data | None = None,
    *,
    loss_fn: Callable[..., torch.Tensor] = nn.functional.cross_entropy,
    steps: int = 120,
    batch: int = 32,
    check: bool = False,
    zero_grad: bool = True,
    clip: float | None = None,
    rate: Callable[[int], float] | None = None,
    each: Callable[[int], None] = lambda step: None,
    spoil: Callable[[int, torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]] = lambda step, x, y: (x, y),
    backward: Callable[[torch.Tensor], None] = torch.Tensor.backward,
    evaluate: int | None = None,
    both: bool = False,
    modes: tuple[bool, bool] = (True, False),
    scaler: torch.amp.GradScaler | None = None,
    **options: Any,
) -> Seen:
    """Train and tell what was seen.

    ``check``: preflight first. ``rate``: step → factor of the learning rate. ``each``: called before each step;
    ``spoil``: changes its batch. ``backward``: in place of ``loss.backward()``. ``evaluate``: on held-out data every so
    many steps, and ``both``: on some of the training data as well. ``modes``: whether it trains, and evaluates, in
    training mode. ``scaler``: of the loss, for half precision. ``options``: of `telltales.watch`.
    """
    data = names() if data is None else data
    first = spoil(0, *data.batch(0, batch))
    before: Iterable[Finding] = (
        telltales.preflight(model, first, loss_fn, optimizer, time_limit=UNHURRIED) if check else ()
    )
    schedule = None if rate is None else torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    with telltales.watch(model, optimizer, scaler=scaler, **options) as watch:
        for step in range(steps):
            model.train(modes[0])
            each(step)
            x, y = spoil(step, *data.batch(step, batch))
            loss = loss_fn(model(x), y)
            if zero_grad:
                optimizer.zero_grad()
            backward(loss if scaler is None else scaler.scale(loss))
            if clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            if scaler is None:
                optimizer.step()
            else:
                scaler.step(optimizer)
                scaler.update()
            if schedule is not None:
                schedule.step()
            watch.step(loss, x, y)
            if evaluate is not None and (step + 1) % evaluate == 0:
                model.train(modes[1])
                with torch.no_grad():
                    scores, targets = model(data.held_out[0]), data.held_out[1]
                    by_class = {} if targets.is_floating_point() else {"predicted": scores, "targets": targets}
                    watch.evaluation(loss_fn(scores, targets), "dev", **by_class)
                    if both:
                        watch.evaluation(loss_fn(model(data.x[:1000]), data.y[:1000]), "train")
    return Seen(grouped((*before, *watch.findings())), watch.record)
