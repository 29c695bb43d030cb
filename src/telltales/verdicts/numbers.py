"""Rules on numbers that are no numbers any more, or are about to be none."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from telltales.finding import listed
from telltales.thresholds import HALF_LIMIT, SKIPPED_UPDATES, SMALLEST_LOSS_SCALE
from telltales.verdicts.rule import Sign, rule
from telltales.verdicts.run import Run

_KINDS = (
    ("weight", "of the weights"),
    ("activation", "of the outputs"),
    ("activation_gradient", "of the gradients of the outputs"),
    ("gradient", "of the gradients"),
)


@rule("non-finite")
def non_finite(run: Run) -> Iterator[Sign]:
    """The first observed step with a value that is NaN or infinite, and the first place of it."""
    shares = {kind: run.values(kind, "nonfinite") for kind, _ in _KINDS}
    # A mask of minus infinities is no fault while loss and gradients are finite.
    counts = [_any(shares[kind]) for kind, _ in _KINDS if kind != "activation"]
    # A scaler looks for infinite gradients and leaves such a step out.
    is_skipped = run.scalar("optimizer_steps") == 0
    bad = ~np.isfinite(run.scalar("loss"))
    for kind, some in zip(("weight", "activation_gradient", "gradient"), counts, strict=True):
        bad |= some if kind == "weight" else some & ~is_skipped
    steps, losses = run.losses
    worse = np.flatnonzero(~np.isfinite(losses))
    if not bad.any():
        if worse.size:
            step = int(steps[worse[0]])
            yield Sign(f"the loss was {losses[worse[0]]} at step {step:,}", step=step, numbers={"kind": "loss"})
        elif run.is_whole and (names := run.about.get("not_finite_at_end")):
            evidence = f"when the training ended, {listed(names)} held values that were not finite"
            yield Sign(evidence, names[0], run.step, {"kind": "weight"}, tuple(names))
        return
    row = int(np.argmax(bad))
    step = int(run.steps[row])
    for kind, what in _KINDS:
        there = np.flatnonzero(shares[kind][row] > 0)
        if there.size:
            names = [run.names(kind)[place] for place in there]
            # Backward, the trouble begins at the end of the model.
            first = names[-1] if kind == "activation_gradient" else names[0]
            share = shares[kind][row][there[-1 if kind == "activation_gradient" else 0]]
            evidence = f"{share:.1%} {what} of {first} were not finite at step {step:,}"
            before = int(steps[worse[0]]) if worse.size else step
            if before < step:
                evidence += f"; the loss was not from step {before:,} on"
            numbers = {"share": float(share), "kind": kind}
            yield Sign(evidence, first, min(step, before), numbers, tuple(names))
            return
    yield Sign(f"the loss was {run.scalar('loss')[row]} at step {step:,}", step=step, numbers={"kind": "loss"})


@rule("half-overflow")
def half_overflow(run: Run) -> Iterator[Sign]:
    """Outputs in float16 near the largest number that it holds."""
    names = [name for name, facts in run.modules.items() if facts.get("dtype") == "float16"]
    if not names:
        return
    largest = np.fmax(run.values("activation", "max", names), -run.values("activation", "min", names))
    now = largest[-1]
    there = np.flatnonzero(now >= HALF_LIMIT)
    if there.size:
        worst = there[np.argmax(now[there])]
        evidence = (
            f"outputs of {names[worst]} reach {now[worst]:,.0f} in float16 (limit {HALF_LIMIT:,.0f}; it ends at 65,504)"
        )
        since = run.since(largest[:, worst] >= HALF_LIMIT)
        yield Sign(evidence, names[worst], since, {"largest": float(now[worst])}, tuple(names[i] for i in there))


@rule("loss-scale-collapse")
def loss_scale_collapse(run: Run) -> Iterator[Sign]:
    """A loss scaler that leaves out many updates, after those by which it finds its scale."""
    scale = run.scalar("loss_scale")
    known = ~np.isnan(scale) & (run.steps >= 10)
    if known.sum() < 10:
        return
    skipped = float((run.scalar("optimizer_steps")[known] == 0).mean())
    # An update that is left out halves the scale; a step without one, among micro-batches, does not.
    is_sinking = scale[known][-1] < scale[known][0]
    if (skipped > SKIPPED_UPDATES and is_sinking) or scale[known][-1] < SMALLEST_LOSS_SCALE:
        evidence = (
            f"{skipped:.0%} of the observed updates were left out (limit {SKIPPED_UPDATES:.0%}); the loss "
            f"scale is {scale[known][-1]:g}"
        )
        yield Sign(
            evidence, step=int(run.steps[known][0]), numbers={"skipped": skipped, "scale": float(scale[known][-1])}
        )


def _any(shares: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray((shares > 0).any(1))


RULES = (non_finite, half_overflow, loss_scale_collapse)
