"""Rules on how a training is put together. One observed step is enough for most, as they rest on facts."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from telltales.catalogue import GRADIENT_OF_ZEROS, NEVER_UPDATED, NOTHING_TO_USE, UPDATED_BY_ANOTHER
from telltales.finding import Severity, listed
from telltales.thresholds import (
    FEWEST_UPDATES,
    HALF_EPSILON,
    LEFT_OUT_ON_PURPOSE,
    NO_UPDATE,
    ROUNDING_ERRORS,
    SMALLEST_EPSILON,
    STALE_GRADIENTS,
    TINY_BATCH_NORM,
)
from telltales.verdicts.rule import Sign, rule
from telltales.verdicts.run import Run


def _in_no_optimizer(run: Run) -> list[str]:
    return [
        name for name, facts in run.parameters.items() if facts.get("trainable") and facts.get("optimized") is False
    ]


def _replaced(run: Run) -> list[str]:
    """Parameters in no optimizer while one holds tensors of their shapes that are not the model's."""
    shapes = [list(shape) for shape in run.about.get("strangers", [])]
    return [name for name in _in_no_optimizer(run) if run.parameters[name]["shape"] in shapes]


@rule("optimizer-mismatch")
def optimizer_mismatch(run: Run) -> Iterator[Sign]:
    """The optimizer holds tensors in the shapes of parameters that it does not hold, or never makes an update."""
    names = _replaced(run)
    if names:
        evidence = (
            f"{len(names)} parameters are in no optimizer, and it holds {len(run.about['strangers'])} "
            f"tensors that are not the model's: {listed(names)}"
        )
        yield Sign(evidence, names[0], int(run.steps[0]), {"missing": names}, tuple(names))
    elif run.rows >= NO_UPDATE and (run.scalar("optimizer_steps") == 0).all() and not _is_scaled(run):
        moved = bool(run.about.get("changed_by_another"))
        evidence = (
            f"none of {run.rows} observed steps had an update by {run.about.get('optimizer')}, though the weights "
            + ("changed" if moved else "have gradients")
        )
        why, remedy = UPDATED_BY_ANOTHER if moved else NEVER_UPDATED
        yield Sign(evidence, step=int(run.steps[0]), numbers={"moved": moved}, why=why, remedy=remedy)


def _is_scaled(run: Run) -> bool:
    return bool(np.isfinite(run.scalar("loss_scale")).any())


@rule("unregistered-parameter")
def unregistered_parameter(run: Run) -> Iterator[Sign]:
    """A parameter that is trained and in no optimizer. Where that is so of most, it is meant."""
    replaced = _replaced(run)
    names = [name for name in _in_no_optimizer(run) if name not in replaced]
    trained = sum(bool(facts.get("trainable")) for facts in run.parameters.values())
    if names:
        is_meant = len(names) > LEFT_OUT_ON_PURPOSE * trained
        evidence = f"{len(names)} of {trained} trainable parameters are in no optimizer: {listed(names)}"
        severity: Severity | None = "note" if is_meant else None
        yield Sign(evidence, names[0], int(run.steps[0]), {"missing": names}, tuple(names), severity)


@rule("no-gradient")
def no_gradient(run: Run) -> Iterator[Sign]:
    """A trained parameter of a module that ran never got a gradient, or one of nothing but zeros for long."""
    if not run.is_alone and run.rows < 10:
        return
    trained = [name for name, facts in run.parameters.items() if facts.get("trainable") and facts.get("numel")]
    # Of a loss that is not finite, or one whose gradient is not, there is none that could be told from none.
    is_known = np.isfinite(run.scalar("loss")) & ~(run.values("gradient", "nonfinite") > 0).any(1)
    holds_them = any(facts.get("optimized") for facts in run.parameters.values())
    updated = is_known & (run.scalar("optimizer_steps") > 0) & holds_them
    if updated.sum() >= FEWEST_UPDATES and not (run.scalar("gradient_norm_used")[updated] > 0).any():
        had = (run.scalar("gradient_norm")[updated] > 0).all()
        what = "the backward pass's had been cleared" if had else "no backward pass had left any"
        evidence = f"the optimizer found no gradients at all {int(updated.sum())} observed updates: {what}"
        reason, order = NOTHING_TO_USE
        numbers = {"cleared": bool(had)}
        yield Sign(evidence, step=int(run.steps[updated][0]), numbers=numbers, why=reason, remedy=order)
        return
    norms, steps = run.values("gradient", "norm", trained)[is_known], run.steps[is_known]
    if not np.isfinite(norms).any():
        return
    never = [name for name, column in zip(trained, norms.T, strict=True) if np.isnan(column).all() and _ran(run, name)]
    zero: list[str] = []
    late = steps >= 1
    if late.sum() >= 8:
        is_zero = (norms[late] == 0).all(0)
        zero = [name for name, there in zip(trained, is_zero, strict=True) if there and name in run.matrices]
    if never or zero:
        names = never + zero
        what = "got no gradient at all" if never else f"got a gradient of zeros at all {int(late.sum())} observed steps"
        evidence = (
            f"{len(names)} of {len(trained)} trainable parameters {what}, though their modules ran: {listed(names)}"
        )
        why, remedy = (None, None) if never else GRADIENT_OF_ZEROS
        since = int(run.steps[0])
        yield Sign(evidence, names[0], since, {"missing": names}, tuple(names), why=why, remedy=remedy)


def _ran(run: Run, name: str) -> bool:
    """Whether the module that a parameter belongs to was called, or the one around it that is watched as a whole."""
    module = str(run.parameters[name]["module"])
    if module in run.about.get("unfired", []):
        return False
    while module and module not in run.modules:
        module = module.rpartition(".")[0]
    return bool(run.modules.get(module, {}).get("calls"))


@rule("frozen-parameter")
def frozen_parameter(run: Run) -> Iterator[Sign]:
    """A trained parameter with a gradient that no update moved while others moved."""
    trained = [name for name, facts in run.parameters.items() if facts.get("trainable") and facts.get("numel")]
    moved = run.values("update", "norm", trained)
    gradients = run.values("gradient", "norm", trained)
    counts = (moved > 0).any(1)
    if counts.sum() < 5:
        return
    # What comes before weights of zero has no gradient at first, and a bias before a norm one of rounding errors.
    largest = np.fmax.reduce(gradients[counts], axis=1, initial=0.0)[:, None]
    has_gradient = gradients[counts] > ROUNDING_ERRORS * largest
    still = (moved[counts] == 0).all(0) & (has_gradient.sum(0) >= 5)
    names = [name for name, there in zip(trained, still, strict=True) if there]
    if names:
        evidence = (
            f"{len(names)} of {len(trained)} trainable parameters have gradients and did not change in "
            f"{int(counts.sum())} observed updates: {listed(names)}"
        )
        yield Sign(evidence, names[0], int(run.steps[counts][0]), {"missing": names}, tuple(names))


@rule("frozen-moves")
def frozen_moves(run: Run) -> Iterator[Sign]:
    """An optimizer's update changed a parameter with requires_grad=False."""
    moved = {
        name: facts["moved_while_frozen"] for name, facts in run.parameters.items() if "moved_while_frozen" in facts
    }
    names = [name for name, step in moved.items() if step <= run.step]
    if names:
        evidence = f"an update changed {len(names)} parameters that do not require gradients: {listed(names)}"
        yield Sign(evidence, names[0], min(moved[name] for name in names), {"moved": names}, tuple(names))


@rule("missing-zero-grad")
def missing_zero_grad(run: Run) -> Iterator[Sign]:
    """Gradients that an update had used were still there when the next backward pass added to them."""
    share = run.scalar("stale_gradients")
    there = share >= STALE_GRADIENTS
    if there.any() and there[~np.isnan(share)][-1]:
        first = int(np.argmax(there))
        evidence = (
            f"at step {run.steps[first]:,} {share[first]:.0%} of the gradients were added to those that "
            f"the update before had used already ({int(there.sum())} of {int((~np.isnan(share)).sum())} "
            "observed pairs of steps)"
        )
        yield Sign(evidence, step=int(run.steps[first]), numbers={"share": float(share[first])})


@rule("train-eval-mode")
def train_eval_mode(run: Run) -> Iterator[Sign]:
    """Training steps in evaluation mode, or evaluations in training mode, where that makes a difference."""
    dependent = run.about.get("mode_dependent") or {}
    if not dependent:
        return
    mode = run.scalar("training_mode")
    if run.rows and mode[-1] == 0:
        kinds = listed(sorted(set(dependent.values())))
        evidence = f"all modules were in evaluation mode at step {run.step:,}, {kinds} among them: call model.train()"
        yield Sign(evidence, next(iter(dependent)), run.since(mode == 0), {"training": "step"}, tuple(dependent))
        return
    for split, evaluations in run.evaluations.items():
        known = [e for e in evaluations if e.training is not None]
        if known and known[-1].training:
            kinds = listed(sorted(set(dependent.values())))
            evidence = (
                f"the {split} loss after {known[-1].step:,} steps was measured in training mode, with "
                f"{kinds} in the model: call model.eval()"
            )
            yield Sign(evidence, next(iter(dependent)), known[0].step, {"training": split}, tuple(dependent))
            return


@rule("tied-weights-diverge")
def tied_weights_diverge(run: Run) -> Iterator[Sign]:
    """Two names of one tensor have become two tensors."""
    untied = {name: facts["untied"] for name, facts in run.parameters.items() if facts.get("untied")}
    for name, facts in untied.items():
        if facts["step"] <= run.step:
            evidence = f"{name} and {listed(facts['from'])} were one tensor and are two since step {facts['step']:,}"
            yield Sign(evidence, name, int(facts["step"]), {"from": facts["from"]})
            return


@rule("ranks-diverge")
def ranks_diverge(run: Run) -> Iterator[Sign]:
    """Processes that should hold the same parameters do not."""
    facts = {name: one["ranks_differ"] for name, one in run.parameters.items() if one.get("ranks_differ")}
    names = [name for name, one in facts.items() if one["step"] <= run.step]
    if names:
        ranks = sorted({rank for name in names for rank in facts[name]["ranks"]})
        evidence = (
            f"{len(names)} of {len(run.parameters)} parameters of process {listed([str(rank) for rank in ranks])} are "
            f"not those of process 0: {listed(names)}"
        )
        since = min(int(facts[name]["step"]) for name in names)
        yield Sign(evidence, names[0], since, {"ranks": ranks}, tuple(names))


@rule("tiny-batch-norm")
def tiny_batch_norm(run: Run) -> Iterator[Sign]:
    """Batch norm in training mode with few values for each statistic."""
    if not run.scalar("training_mode")[-1] > 0:
        return
    few = {}
    for name, facts in run.modules.items():
        shape = facts.get("shape") or []
        if "BatchNorm" in str(facts.get("type")) and len(shape) >= 2:
            count = math.prod(shape) // max(shape[1], 1)
            if count < TINY_BATCH_NORM:
                few[name] = count
    if few:
        name = min(few, key=lambda one: few[one])
        evidence = f"{few[name]} values for each statistic (fewer than {TINY_BATCH_NORM:.0f}) at step {run.step:,}"
        yield Sign(evidence, name, int(run.steps[0]), {"values": few[name]}, tuple(few))


@rule("low-adam-epsilon")
def low_adam_epsilon(run: Run) -> Iterator[Sign]:
    """An epsilon that rounds to nothing beside any second moment."""
    is_half = any(facts.get("dtype") == "float16" for facts in run.parameters.values())
    limit = HALF_EPSILON if is_half else SMALLEST_EPSILON
    groups = run.about.get("groups") or {}
    low = {
        name: facts["eps"]
        for name, facts in groups.items()
        if "Adam" in str(facts.get("optimizer")) and facts.get("eps") is not None and facts["eps"] < limit
    }
    if low:
        name = next(iter(low))
        evidence = f"eps={low[name]:g} in group {name} (below {limit:g})"
        yield Sign(
            evidence, f"group {name}", int(run.steps[0]), {"eps": low[name]}, tuple(f"group {one}" for one in low)
        )


RULES = (
    optimizer_mismatch,
    unregistered_parameter,
    no_gradient,
    frozen_parameter,
    frozen_moves,
    missing_zero_grad,
    train_eval_mode,
    tied_weights_diverge,
    ranks_diverge,
    tiny_batch_norm,
    low_adam_epsilon,
)
