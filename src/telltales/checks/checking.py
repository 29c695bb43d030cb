"""`preflight(model, batch, loss_fn, optimizer)`: every check before training, on one batch."""

from __future__ import annotations

import fnmatch
import warnings
from collections.abc import Callable, Iterable, Iterator
from time import monotonic
from typing import Any

import torch
from torch import nn

from telltales.catalogue import CATALOGUE
from telltales.checks import (
    custom_gradients,
    dependence_checks,
    gradient_checks,
    loss_checks,
    scale_checks,
    structure_checks,
    training_checks,
)
from telltales.checks.calling import Calling, Forward, calling
from telltales.checks.failed_pass import explained
from telltales.checks.look import ForwardFailed, Look
from telltales.checks.restoring import restored
from telltales.checks.result import NotApplicable, Preflight
from telltales.checks.training_checks import OutOfTime
from telltales.errors import TelltalesError, TelltalesWarning, UsageError
from telltales.finding import Finding
from telltales.naming import Optimizers, named_optimizers, unwrapped
from telltales.verdicts.grouping import grouped
from telltales.verdicts.judging import known_mutes

Check = Callable[[Look], Iterator[Finding]]

CHECKS: dict[str, Check] = {
    "optimizer-mismatch": structure_checks.optimizer_mismatch,
    "unregistered-parameter": structure_checks.unregistered_parameter,
    "no-gradient": gradient_checks.no_gradient,
    "symmetric-init": gradient_checks.symmetric_init,
    "non-finite": loss_checks.non_finite,
    "shape-layout": loss_checks.shape_layout,
    "double-softmax": loss_checks.double_softmax,
    "missing-log-softmax": loss_checks.missing_log_softmax,
    "loss-reduction": loss_checks.loss_reduction,
    "initial-loss": loss_checks.initial_loss,
    "poor-init": scale_checks.poor_init,
    "unnormalised-input": scale_checks.unnormalised_input,
    "constant-input": scale_checks.constant_input,
    "tiny-batch-norm": scale_checks.tiny_batch_norm,
    "bias-before-norm": gradient_checks.bias_before_norm,
    "shared-or-unused-module": structure_checks.shared_or_unused_module,
    "decay-on-norm": structure_checks.decay_on_norm,
    "adam-l2": structure_checks.adam_l2,
    "batch-mixing": dependence_checks.batch_mixing,
    "future-leak": dependence_checks.future_leak,
    "wrong-custom-gradient": custom_gradients.wrong_custom_gradient,
}
"""Rule → how to look for it."""
TRAININGS = ("cannot-overfit-batch", "input-ignored")
"""The rules that need a training on the batch, the last of all."""
ALWAYS = ("wrong-device",)
"""The rules that a pass which works has passed."""
NEED_OPTIMIZER = ("optimizer-mismatch", "decay-on-norm", "adam-l2")
RULES = (*CHECKS, *ALWAYS, *TRAININGS)


def preflight(
    model: nn.Module,
    batch: Any,
    loss_fn: Callable[..., Any] | None = None,
    optimizer: Optimizers = None,
    *,
    forward: Forward | None = None,
    sequence: bool | None = None,
    time_limit: float = 20.0,
    progress: Callable[[str], None] | None = None,
    mute: Iterable[str] = (),
) -> Preflight:
    """What is wrong with a model, its loss, its optimizer or its data, from one batch; everything is put back after.

    ``batch``: (inputs, targets), where inputs that are a tuple or a mapping are the model's arguments; then the loss
    is ``loss_fn(output, targets)``. Or a mapping; without ``loss_fn`` the model's output has a ``loss``. Anything else
    needs ``forward``, a function of model and batch that returns output and loss.
    ``sequence``: whether each position must not see later ones; left out, it is so where the targets are the inputs
    shifted by one.
    ``time_limit``: seconds for the checks that train; what they leave undone is in the result's ``left_out``.
    ``progress``: is told what is being done. ``mute``: rules to leave out, or a rule, ``@`` and a pattern of places.

    Raises `UsageError` where the model can't be run on the batch, with the module's name and the cause.
    """
    if not isinstance(model, nn.Module):
        raise UsageError(f"preflight needs a torch.nn.Module and was given {type(model).__name__}")
    if next(model.parameters(), None) is None:
        raise UsageError("the model has no parameters: there is nothing to train")
    muted = known_mutes(mute, RULES)
    optimizers = named_optimizers(optimizer)
    tell = progress or (lambda message: None)
    inner = unwrapped(model)
    wanted = [rule for rule in RULES if rule not in muted]
    called = calling(batch, loss_fn, forward)
    with restored(inner, optimizers.values(), batch, called.companions()), warnings.catch_warnings():
        # What PyTorch says of it from this file, shape-layout says better.
        warnings.filterwarnings("ignore", message="Using a target size")
        tell("one forward and backward pass")
        try:
            look = Look(inner, called, optimizers, sequence, monotonic() + time_limit, tell)
        except ForwardFailed as failure:
            return _failed(inner, called, failure, wanted, muted)
        result = _looked(look, wanted)
    return Preflight(grouped(f for f in result if not _is_muted(f, muted)), result.looked_at, result.left_out)


def _looked(look: Look, wanted: list[str]) -> Preflight:
    """Run the checks one by one. One that fails is left out with a warning: the others go on."""
    found: list[Finding] = []
    looked_at: list[str] = [rule for rule in ALWAYS if rule in wanted]
    left_out: dict[str, str] = {}
    for rule in (rule for rule in CHECKS if rule in wanted):
        if rule in NEED_OPTIMIZER and not look.optimizers:
            left_out[rule] = "no optimizer was given"
            continue
        look.progress(CATALOGUE[rule].title.lower())
        reason = _asked(rule, CHECKS[rule], look, found)
        if reason is None:
            looked_at.append(rule)
        else:
            left_out[rule] = reason
    trainings = [rule for rule in TRAININGS if rule in wanted]
    if trainings:
        fresh: list[Finding] = []
        reason = _asked(TRAININGS[0], training_checks.memorising, look, fresh)
        found += [finding for finding in fresh if finding.rule in wanted]
        for rule in trainings:
            if reason is None or any(finding.rule == rule for finding in fresh):
                looked_at.append(rule)
            else:
                left_out[rule] = reason
    return Preflight(found, looked_at, left_out)


def _asked(rule: str, check: Check, look: Look, found: list[Finding]) -> str | None:
    """Add what a check finds; gives the reason why it found nothing out, if there is one."""
    try:
        torch.manual_seed(look.seed)
        found.extend(check(look))
    except NotApplicable as reason:
        return str(reason)
    except OutOfTime:
        return "the time was up"
    except Exception as error:  # noqa: BLE001 - one check must not take the others with it
        fact = f"the check {rule} failed and is left out: {type(error).__name__}: {error}"
        warnings.warn(fact, TelltalesWarning, stacklevel=4)
        return f"it failed: {type(error).__name__}: {error}"
    return None


def _failed(
    model: nn.Module, called: Calling, failure: ForwardFailed, wanted: list[str], muted: tuple[str, ...]
) -> Preflight:
    """The finding that a failed pass is. Raises `UsageError` where it is none that is known."""
    finding = explained(model, called, failure)
    if finding is None:
        error = failure.error
        if isinstance(error, TelltalesError):
            raise error
        raise UsageError(
            f"the pass over the batch failed: {type(error).__name__}: {error}",
            where=failure.name or None,
            remedy="Run the model and the loss on it by themselves; if they are called otherwise, give forward.",
        ) from error
    left_out = {rule: "the forward pass failed" for rule in wanted if rule != finding.rule}
    found = [finding] if finding.rule in wanted and not _is_muted(finding, muted) else []
    return Preflight(found, [finding.rule], left_out)


def _is_muted(finding: Finding, muted: tuple[str, ...]) -> bool:
    patterns = [entry.partition("@")[2] for entry in muted if entry.partition("@")[0] == finding.rule]
    places = finding.places or (finding.where,)
    return any(not pattern or all(fnmatch.fnmatchcase(one, pattern) for one in places) for pattern in patterns)
