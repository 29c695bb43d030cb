"""Rules on the signal's way forward through the layers and the gradient's way back."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from telltales.finding import listed
from telltales.thresholds import (
    BEGAN_SMALL,
    COLLAPSED,
    DEAD_AT_ONCE,
    DEAD_ROWS,
    DEAD_UNITS,
    DIED,
    DRIFT,
    EXPLODING_DEPTH,
    EXPLODING_GROWTH,
    FLAT_ENTROPY,
    GRADIENT_SPIKE,
    MOSTLY_DEAD,
    SATURATED,
    SATURATED_ROWS,
    STUCK_UNITS,
    VANISHING,
    VANISHING_OUTPUTS,
)
from telltales.verdicts.initial import may_saturate
from telltales.verdicts.rows import medians
from telltales.verdicts.rule import Sign, rule
from telltales.verdicts.run import Run


@rule("saturated")
def saturated(run: Run) -> Iterator[Sign]:
    """Most of a layer in the flat part from the start, or for long and with units that are stuck there."""
    names = [name for name in run.modules if may_saturate(run, name)]
    share = run.values("activation", "saturated", names)
    stuck = run.values("activation", "saturated_units", names)
    rows = int(SATURATED_ROWS)
    if run.rows >= rows and names:
        recent = (share[-rows:] > SATURATED).all(0)
        at_first = (share[:rows] > SATURATED).all(0)
        there = np.flatnonzero(recent & (at_first | (stuck[-rows:] > STUCK_UNITS).all(0)))
        if there.size:
            worst = int(there[np.argmax(share[-1, there])])
            facts = run.modules[names[worst]]
            evidence = (
                f"{share[-1, worst]:.0%} of {names[worst]} ({facts['activation']}) is in the flat part, "
                f"{stuck[-1, worst]:.0%} of its units on every example (limit {SATURATED:.0%})"
            )
            since = run.since(share[:, worst] > SATURATED)
            numbers = {"share": float(share[-1, worst]), "units": float(stuck[-1, worst])}
            yield Sign(evidence, names[worst], since, numbers, tuple(names[i] for i in there))
            return
    entropy = run.values("activation", "entropy")[:rows]
    if run.rows >= rows and (flat := np.flatnonzero((entropy < FLAT_ENTROPY).all(0))).size and int(run.steps[0]) == 0:
        name = run.names("activation")[int(flat[0])]
        evidence = (
            f"the entropy of {name} is {entropy[0, flat[0]]:.1%} of the uniform distribution's from the "
            f"first step on (limit {FLAT_ENTROPY:.0%})"
        )
        yield Sign(evidence, name, 0, {"entropy": float(entropy[0, flat[0]])})


@rule("dead-relu")
def dead_relu(run: Run) -> Iterator[Sign]:
    """Most units of a rectifier silent on every example, again and again."""
    names = [name for name, facts in run.modules.items() if facts.get("rectifier")]
    if not names:
        return
    silent = run.values("activation", "saturated_units", names)
    rows, at_once = int(DEAD_ROWS), 2
    dead = np.zeros(len(names), bool)
    if run.rows >= at_once:
        dead |= (silent[-at_once:] > DEAD_AT_ONCE).all(0)
    if run.rows >= rows:
        # Behind a narrow layer half of the units may be silent from the start, as the signs of their weights have it.
        have_died = (silent[-rows:] - silent[0] > DIED).all(0) | (silent[-rows:] > MOSTLY_DEAD).all(0)
        dead |= (silent[-rows:] > DEAD_UNITS).all(0) & have_died
    there = np.flatnonzero(dead)
    if there.size:
        worst = int(there[np.argmax(silent[-1, there])])
        evidence = (
            f"{silent[-1, worst]:.0%} of the units of {names[worst]} were zero on every example at step "
            f"{run.step:,} (limit {DEAD_UNITS:.0%})"
        )
        since = run.since(silent[:, worst] > DEAD_UNITS)
        yield Sign(evidence, names[worst], since, {"units": float(silent[-1, worst])}, tuple(names[i] for i in there))


@rule("vanishing-gradient")
def vanishing_gradient(run: Run) -> Iterator[Sign]:
    """The gradients of the first layers, beside their weights, a thousandth of those of the last."""
    names = run.matrices
    rows = run.steps >= 1
    if len(names) < 3 or rows.sum() < 3:
        return
    # What comes before weights of zero, such as LoRA's, has no gradient at first, and little for a while.
    at_first = run.values("gradient", "norm", names)[0]
    names = [name for name, norm in zip(names, at_first, strict=True) if norm > 0]
    # An output layer that begins near zero, on purpose, has gradients that are large beside its weights.
    names = [name for name in names if name in run.grown_matrices]
    if len(names) < 2:
        return
    third = max(len(names) // 3, 1)
    first, last = names[:third], names[-third:]
    ratios = [medians(run.values("gradient", "ratio", some)[rows][-3:]) for some in (first, last)]
    modules = [[str(run.parameters[name]["module"]) for name in some] for some in (first, last)]
    outputs = [medians(run.values("activation_gradient", "rms", some)[rows][-3:]) for some in modules]
    of_weights, of_outputs = ratios[0] / ratios[1], outputs[0] / outputs[1]
    is_small = (ratios[0] > 0) & (of_weights < VANISHING) & ~(of_outputs >= VANISHING_OUTPUTS)
    if is_small.all():
        evidence = (
            f"the gradients of {listed(first, 2)}, beside their weights, are {of_weights[-1]:.1e} of those of "
            f"{listed(last, 2)} (limit {VANISHING:g})"
        )
        yield Sign(evidence, first[0], int(run.steps[rows][-3]), {"ratio": float(of_weights[-1])}, tuple(first))


@rule("exploding-gradient")
def exploding_gradient(run: Run) -> Iterator[Sign]:
    """Gradients that grow on their way back from layer to layer, or from step to step."""
    modules = list(dict.fromkeys(str(run.parameters[name]["module"]) for name in run.grown_matrices))
    if len(modules) >= 3 and run.rows >= 2 and not run.has_norms:
        rms = run.values("activation_gradient", "rms", modules)[-2:]
        depth = rms[:, 0] / rms[:, -1]
        if (depth > EXPLODING_DEPTH).all() and np.isfinite(depth).all():
            evidence = (
                f"the gradient at {modules[0]} is {depth[-1]:,.0f} times that at {modules[-1]} (limit "
                f"{EXPLODING_DEPTH:.0f})"
            )
            yield Sign(evidence, modules[0], int(run.steps[-2]), {"ratio": float(depth[-1])}, severity="warning")
            return
    norms = run.scalar("gradient_norm")
    finite = np.isfinite(norms)
    if finite.sum() < 8:
        return
    known = norms[finite]
    early = float(np.median(known[:5]))
    late = known[-3:]
    if early > 0 and (late > EXPLODING_GROWTH * early).all() and (np.diff(late) > 0).all() and _has_risen(run):
        evidence = (
            f"the gradient's norm is {late[-1]:.3g}, {late[-1] / early:,.0f} times its first median of "
            f"{early:.3g} (limit {EXPLODING_GROWTH:.0f}), and the loss has risen"
        )
        yield Sign(evidence, step=int(run.steps[finite][-3]), numbers={"norm": float(late[-1]), "before": early})


def _has_risen(run: Run) -> bool:
    _, losses = run.losses
    return losses.size >= 10 and float(np.mean(losses[-5:])) > float(np.mean(losses[:5]))


@rule("gradient-spike")
def gradient_spike(run: Run) -> Iterator[Sign]:
    """The largest gradient norm far above the median of those before it."""
    norms = run.scalar("gradient_norm")
    finite = np.flatnonzero(np.isfinite(norms))
    if finite.size < 11:
        return
    place = int(np.argmax(norms[finite][10:])) + 10
    before = float(np.median(norms[finite][:place]))
    highest = float(norms[finite][place])
    if before > 0 and highest > GRADIENT_SPIKE * before:
        step = int(run.steps[finite[place]])
        evidence = (
            f"the gradient's norm was {highest:.3g} at step {step:,}, {highest / before:.0f} times the "
            f"median before (limit {GRADIENT_SPIKE:.0f})"
        )
        yield Sign(evidence, step=step, numbers={"norm": highest, "before": before})


@rule("second-moment-blow-up")
def second_moment_blow_up(run: Run) -> Iterator[Sign]:
    """After a spike of the gradient, an Adam whose updates have become a fraction of those before."""
    if "Adam" not in str(run.about.get("optimizer")):
        return
    for sign in gradient_spike.look(run):
        row = int(np.searchsorted(run.steps, sign.step))
        ratios = medians(run.values("update", "ratio", run.matrices))
        before, after = ratios[max(row - 5, 0) : row], ratios[row + 1 : row + 6]
        if len(before) and len(after) >= 2 and np.nanmedian(after) < 0.3 * np.nanmedian(before):
            share = np.nanmedian(after) / np.nanmedian(before)
            evidence = f"after the gradient's spike at step {sign.step:,} updates are {share:.0%} of those before"
            yield Sign(evidence, step=sign.step, numbers={"share": float(share)})


@rule("activation-collapse")
def activation_collapse(run: Run) -> Iterator[Sign]:
    """A layer inside the model that gives one number and nothing else, after its first steps."""
    late = run.steps >= 5
    if late.sum() < 3:
        return
    names = [
        n for n, facts in run.modules.items() if str(facts.get("type")).startswith(("Linear", "Conv", "Embedding"))
    ]
    stds = run.values("activation", "std", names)[late][-3:]
    rms = run.values("activation", "rms", names)[late][-3:]
    gone = np.flatnonzero((stds <= COLLAPSED * np.maximum(rms, 1.0)).all(0))
    if gone.size:
        name = names[int(gone[0])]
        evidence = f"the outputs of {name} have a std of {stds[-1, gone[0]]:.1e} at step {run.step:,}"
        yield Sign(evidence, name, int(run.steps[late][-3]), places=tuple(names[i] for i in gone))


@rule("activation-drift")
def activation_drift(run: Run) -> Iterator[Sign]:
    """A layer whose outputs are of another size than at the beginning."""
    if run.rows < 12:
        return
    # An output layer that begins near an even guess grows from next to nothing, and so does what comes after it.
    ran = list(run.modules)
    after = set(ran[ran.index(run.output) :]) if run.output else set()
    names = [name for name in run.names("activation") if name not in after]
    stds = run.values("activation", "std", names)
    first = np.median(stds[3:8], axis=0)
    change = np.median(stds[-3:], axis=0) / first
    # What begins near nothing beside the others is meant to grow.
    grows = first < BEGAN_SMALL * np.median(first[first > 0]) if (first > 0).any() else np.zeros(len(first), bool)
    there = np.flatnonzero(((change > DRIFT) & ~grows) | (change < 1 / DRIFT))
    there = there[np.isfinite(change[there]) & (change[there] > 0)]
    if there.size:
        worst = int(there[np.argmax(np.abs(np.log(change[there])))])
        evidence = (
            f"the outputs' std of {names[worst]} is {change[worst]:.2g} times what it was at first (limit "
            f"{DRIFT:.0f}-fold)"
        )
        yield Sign(evidence, names[worst], run.step, {"change": float(change[worst])}, tuple(names[i] for i in there))


RULES = (
    dead_relu,
    saturated,
    vanishing_gradient,
    exploding_gradient,
    activation_collapse,
    gradient_spike,
    second_moment_blow_up,
    activation_drift,
)
