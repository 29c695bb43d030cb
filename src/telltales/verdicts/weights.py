"""Rules on what decay, clipping and the training itself do to the size of weights and gradients."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from telltales.finding import Severity
from telltales.thresholds import CLIPPED_BELOW, CLIPPED_SHARE, DECAY_SHARE, SHRUNK, TINY_CLIP, WEIGHT_GROWTH
from telltales.verdicts.losses import hardly_moves
from telltales.verdicts.rule import Sign, rule
from telltales.verdicts.run import Run


@rule("clipping-always-on")
def clipping_always_on(run: Run) -> Iterator[Sign]:
    """Most updates used a gradient that had been clipped."""
    of_each, used_of_each = run.values("gradient", "norm"), run.values("gradient", "norm_used")
    # A gradient that no optimizer used is none that was clipped.
    before = np.sqrt(np.nansum(np.where(np.isnan(used_of_each), np.nan, of_each) ** 2, axis=1))
    used = run.scalar("gradient_norm_used")
    known = np.isfinite(before) & np.isfinite(used) & (before > 0) & (run.steps >= 10)
    if known.sum() < 8:
        return
    clipped = used[known] < CLIPPED_BELOW * before[known]
    if clipped.mean() > CLIPPED_SHARE:
        factor = float(np.median(used[known][clipped] / before[known][clipped]))
        # Adam divides by the gradient's size, so that its updates stay the same.
        stops = factor < TINY_CLIP and "Adam" not in str(run.about.get("optimizer")) and hardly_moves(run)
        evidence = (
            f"{clipped.mean():.0%} of the observed gradients were clipped, to {factor:.0%} of their norm at the median"
        )
        numbers = {"share": float(clipped.mean()), "factor": factor, "norm": float(np.median(before[known]))}
        severity: Severity | None = "warning" if stops else None
        yield Sign(evidence, step=int(run.steps[known][0]), numbers=numbers, severity=severity)


@rule("excessive-weight-decay")
def excessive_weight_decay(run: Run) -> Iterator[Sign]:
    """Decay that is the larger part of most updates, and weights that shrink by it."""
    decay = run.values("group", "weight_decay")
    rows = run.steps >= 5
    if rows.sum() < 5 or not (decay > 0).any():
        return
    names = run.matrices
    norms = run.values("weight", "norm", names)[rows]
    groups = run.names("group")
    place = [
        groups.index(str(run.parameters[name].get("group"))) if run.parameters[name].get("group") in groups else 0
        for name in names
    ]
    decays, rates = decay[rows][:, place], run.values("group", "learning_rate")[rows][:, place]
    of_groups = run.about.get("groups") or {}
    decoupled = np.array([bool((of_groups.get(groups[one]) or {}).get("decoupled")) for one in place], bool)
    of_update = rates * decays * norms / run.values("update", "norm", names)[rows]
    share = np.where(decoupled, of_update, decays * norms / run.values("gradient", "norm", names)[rows])
    left = norms[-1] / run.values("weight", "norm", names)[0]
    if not np.isfinite(share[-5:]).any() or not np.isfinite(left).any():
        return
    typical, shrunk = float(np.nanmedian(share[-5:])), float(np.nanquantile(left, 0.25))
    if typical > DECAY_SHARE and shrunk < SHRUNK:
        evidence = (
            f"decay is {min(typical, 1):.0%} of the updates at the median (limit {DECAY_SHARE:.0%}), and "
            f"the weights' norms are {shrunk:.0%} of the first"
        )
        if typical > 1:
            evidence = (
                f"decay pulls {typical:.1f} times as hard as the loss at the median (limit "
                f"{DECAY_SHARE:g}), and the weights' norms are {shrunk:.0%} of the first"
            )
        yield Sign(
            evidence,
            step=int(run.steps[rows][-5]),
            numbers={"share": typical, "weight_decay": float(np.nanmax(decay)), "left": shrunk},
        )


@rule("weight-blow-up")
def weight_blow_up(run: Run) -> Iterator[Sign]:
    """Weights that have grown to many times their first norm and go on growing."""
    names = run.grown_matrices
    if run.rows < 6 or not names:
        return
    whole = run.whole_norm
    if (
        whole[0] > 0
        and np.isfinite(whole[-1])
        and whole[-1] > WEIGHT_GROWTH * whole[0]
        and (np.diff(whole[-3:]) > 0).all()
    ):
        evidence = (
            f"the matrices' norm is {whole[-1]:.3g}, {whole[-1] / whole[0]:.0f} times the first, and grows "
            f"(limit {WEIGHT_GROWTH:.0f})"
        )
        yield Sign(evidence, step=int(run.steps[-3]), numbers={"growth": float(whole[-1] / whole[0])})


RULES = (excessive_weight_decay, weight_blow_up, clipping_always_on)
