"""Faults inside the watching of a training: every call that telltales makes there is made to fail, one after another.

Which calls there are is not listed but found, by tracing trainings that are watched with everything switched on. The
interpreter's profile hook then makes one of them raise, and the training has to end as if nobody had watched it.
"""

from __future__ import annotations

import errno
import inspect
import io
import itertools
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import nets
import torch
from torch import nn

import telltales
from torture.shown import Effort, Progress, Shown

HOME = str(Path(telltales.__file__).parent)
STEPS = 4
ERRORS: tuple[Callable[[], Exception], ...] = (
    lambda: ZeroDivisionError("oh"),
    lambda: MemoryError("none left"),
    lambda: RecursionError("too deep"),
    lambda: OSError(errno.ENOSPC, "No space left on device"),
)
CANNOT_FAIL = {"is_grad_enabled", "is_compiling", "__exit__", "append", "assert_number"}
"""What a module's hook asks before anything else, as it reads a flag and stands where a compiler has to understand it;
what puts back a mode of PyTorch's; what remembers a hook that has just been put in; what refuses an argument."""

PASSES_ON = {"_Mode.__torch_function__"}
"""What this calls is the training's own."""
PLAIN = {"Watch.on_finding", "Watch.on_observed", "assert_number"}
"""What these call puts something into a list, or looks at an argument's type."""
DEVICE_IS_GONE = {"WaitingLosses.on_host", "Description.end"}
"""What these can't get any more from a device, they leave out without a word."""
AT_FIRST = {"Recording.__init__", "Verdicts.__init__"}
"""What `telltales.watch` begins with: where not even an empty record can be made, it raises, before any training."""


@dataclass(frozen=True)
class Call:
    """Who of telltales calls whom."""

    caller: str
    callee: str
    own: bool
    """Whether the callee is telltales' own, too."""

    def __str__(self) -> str:
        return f"{self.caller} -> {self.callee}"


@dataclass
class Fault:
    """What is to go wrong."""

    call: Call
    error: Callable[[], Exception]
    at: int = 1
    """At which of the calls."""
    again: bool = False
    """Whether it goes wrong in every later step, too."""


class Tracing:
    """Counts the calls of a watched training, and lets one fail."""

    def __init__(self, fault: Fault | None = None) -> None:
        self.calls: dict[Call, int] = {}
        self.fired = 0
        self.within: set[str] = set()
        """What was going on when it failed last."""
        self._fault = fault
        self._left = fault.at if fault is not None else 0

    def start(self) -> None:
        if self._fault is None or not self.fired or self._fault.again:
            sys.setprofile(self._see)

    def _see(self, frame: FrameType, event: str, arg: Any) -> None:
        call = _call(frame, event, arg)
        if call is None:
            return
        if self._fault is None:
            self.calls[call] = self.calls.get(call, 0) + 1
        elif call == self._fault.call:
            self._left -= 1
            if self._left <= 0:
                self.fired += 1
                self.within = {code.co_qualname for code in _stack(frame)}
                raise self._fault.error()


def _stack(frame: FrameType | None) -> Iterator[CodeType]:
    while frame is not None:
        yield frame.f_code
        frame = frame.f_back


def _is_own(code: CodeType) -> bool:
    return code.co_filename.startswith(HOME)


def _call(frame: FrameType, event: str, arg: Any) -> Call | None:
    """The call that an event of the profile hook stands for, if telltales makes it."""
    if event == "c_call":
        if not _is_own(frame.f_code) or arg.__name__ in CANNOT_FAIL or frame.f_code.co_qualname in PASSES_ON | PLAIN:
            return None
        return Call(frame.f_code.co_qualname, getattr(arg, "__qualname__", arg.__name__), own=False)
    if event != "call" or frame.f_code.co_name in CANNOT_FAIL or frame.f_code.co_flags & inspect.CO_GENERATOR:
        # A generator is called whenever it goes on, and when it is thrown away, where an error goes nowhere.
        return None
    own = _is_own(frame.f_code)
    # What a library of Python's calls on behalf of telltales, as a cached property, is called by telltales.
    callers = itertools.islice(_stack(frame.f_back), None if own else 1)
    caller = next((code for code in callers if _is_own(code)), None)
    if caller is None or caller.co_qualname in PLAIN or (not own and caller.co_qualname in PASSES_ON):
        return None
    return Call(caller.co_qualname, frame.f_code.co_qualname, own)


class Small(nn.Module):
    """Modules and functions of the kinds that are watched in ways of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(nets.CLASSES, 4)
        self.hidden = nn.Linear(12, 8)
        self.norm = nn.BatchNorm1d(8)
        self.act = nn.Tanh()
        self.drop = nn.Dropout(0.1)
        self.head = nn.Linear(8, nets.CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.drop(self.act(self.norm(self.hidden(self.embedding(x).flatten(1)))))
        return self.head(torch.relu(h))


@dataclass
class Trained:
    """How a training ended."""

    state: str
    """Digest of weights, gradients, modes and the random state; of the losses as well."""
    warned: list[str]
    hooks: int
    refused: Exception | None
    """What `telltales.watch` raised before the training began."""


def train(folder: Path | None = None, tracing: Tracing | None = None, **options: Any) -> Trained:
    """A small training; with a ``folder``, watched with everything that can be switched on."""
    torch.manual_seed(0)
    model, loss_from = Small(), nn.CrossEntropyLoss()
    optimizer = nets.adam(model)
    watch, refused, losses = None, None, []
    attach, counts_itself = telltales.watch, options.pop("counts_itself", False)
    with warnings.catch_warnings(record=True) as heard, redirect_stderr(io.StringIO()):
        warnings.simplefilter("always")
        try:
            _start(tracing)
            if folder is not None:
                try:
                    watch = attach(
                        model,
                        optimizer,
                        path=folder / "record.jsonl",
                        preset="full",
                        schedule=lambda step: step not in (STEPS - 2, STEPS),
                        loss_from=loss_from if counts_itself else None,
                        around_spikes=True,
                        live=True,
                        **options,
                    )
                except Exception as error:  # noqa: BLE001 - it is looked at below
                    refused = error
            if watch is not None:
                watch.raise_on("non-finite")
                watch.on_finding(lambda finding: None)
                watch.on_observed(lambda seen: None)
            for x, y in nets.batches(STEPS):
                _start(tracing)
                loss = loss_from(model(x), y)
                if watch is not None:
                    watch.look_at_loss(loss)
                    watch.free_steps(1)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
                if watch is not None and not counts_itself:
                    watch.step(loss, x, y, range(len(x)))
                model.eval()
                with torch.no_grad():
                    dev = loss_from(model(x), y)
                if watch is not None:
                    watch.evaluation(dev)
                model.train()
            if watch is not None and watch.free_steps(1):
                watch.passed([losses[-1]])
            if watch is not None and folder is not None:
                watch.report(folder / "report.html")
                watch.close()
        except BaseException:
            sys.setprofile(None)
            if watch is not None:
                watch.close()
            raise
        finally:
            sys.setprofile(None)
    state = f"{nets.state_hash(model)} {losses}"
    left = nets.hooks(model) + nets.hooks(loss_from) + torch._C._len_torch_function_stack()
    left += len(optimizer._optimizer_step_pre_hooks) + len(optimizer._optimizer_step_post_hooks)
    return Trained(state, [str(one.message) for one in heard], left, refused)


def _start(tracing: Tracing | None) -> None:
    if tracing is not None:
        tracing.start()


def calls(folder: Path, **options: Any) -> dict[Call, int]:
    """Every call that telltales makes while a training is watched, and how often; but for its own entrances."""
    train(folder, **options)
    tracing = Tracing()
    train(folder, tracing, **options)
    return tracing.calls


def wrong(fault: Fault, folder: Path, expected: str, **options: Any) -> str:
    """What a fault has done that it must not; empty if nothing."""
    tracing = Tracing(fault)
    what = f"{fault.error()!r} at call {fault.at} of {fault.call}{', and on' if fault.again else ''}"
    try:
        got = train(folder, tracing, **options)
    except Exception as error:  # noqa: BLE001 - that is what must not be
        return f"{what}: the training ended with {error!r}"
    if got.state != expected:
        return f"{what}: the training came out otherwise"
    if not tracing.fired:
        return ""
    if got.refused is not None:
        unwritable = isinstance(got.refused, telltales.RecordError) and isinstance(fault.error(), OSError)
        return "" if unwritable or AT_FIRST & tracing.within else f"{what}: refused with {got.refused!r}"
    if not got.warned and DEVICE_IS_GONE & tracing.within:
        return ""
    facts = [line.partition(": ")[0] for line in got.warned]
    if len(facts) != len(set(facts)) if fault.again else len(facts) != 1:
        return f"{what}: {len(facts)} warnings, {got.warned}"
    if got.hooks and not (fault.again and "Watch._take_away" in tracing.within):
        return f"{what}: {got.hooks} hooks are left"
    return ""


def show(effort: Effort, progress: Progress) -> Iterator[Shown]:
    with tempfile.TemporaryDirectory() as name:
        yield from _shown(Path(name), effort, progress)


def _shown(folder: Path, effort: Effort, progress: Progress) -> Iterator[Shown]:
    expected = train().state
    found = calls(folder)
    progress(f"{len(found)} calls")
    faults = list(_faults(found, effort.damages // 20))
    failures = []
    for fault in faults:
        if line := wrong(fault, folder, expected):
            failures.append(line)
            progress(line)
    yield Shown(11, "calls inside a watch that fail", len(faults), tuple(failures))


def _faults(found: Mapping[Call, int], most: int) -> Iterator[Fault]:
    """Of the calls, evenly, what can go wrong with them: each error in turn, once or again and again."""
    every = list(found)
    for number, place in enumerate(range(0, len(every), max(len(every) // most, 1))):
        call = every[place]
        yield Fault(call, ERRORS[number % 4], 1 if number % 3 else (found[call] + 1) // 2, bool(number % 2))
