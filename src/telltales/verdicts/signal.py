"""Rules on the signal's way forward through the layers and the gradient's way back."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from telltales.thresholds import (
    COLLAPSED,
    DEAD_AT_ONCE,
    DEAD_ROWS,
    DEAD_UNITS,
    DRIFT,
    EXPLODING_DEPTH,
    EXPLODING_GROWTH,
    FAR_TOO_SMALL,
    FAR_TOO_SMALL_WITH_NORMS,
    FLAT_ENTROPY,
    GRADIENT_SPIKE,
    LAYER_STD_RATIO,
    SATURATED,
    SATURATED_ROWS,
    STUCK_UNITS,
    VANISHING,
    VANISHING_OUTPUTS,
    WRONG_SCALE,
)
from telltales.verdicts.rule import Sign, rule
from telltales.verdicts.run import Run
from telltales.verdicts.structure import listed

GAINS = {"tanh": 5 / 3, "sigmoid": 1.0, "relu": math.sqrt(2), "leaky_relu": math.sqrt(2), "selu": 0.75}
"""As `torch.nn.init.calculate_gain` has them; rectifiers of other kinds are taken for ReLU."""


@dataclass(frozen=True)
class Scale:
    """How a layer's first weights compare with those that keep the signal's size."""

    parameter: str
    module: str
    std: float
    gain: float
    fan_in: int

    @property
    def right(self) -> float:
        return self.gain / math.sqrt(self.fan_in)

    @property
    def ratio(self) -> float:
        return self.std / self.right


def first_scales(run: Run) -> list[Scale]:
    """Of each linear or convolutional layer but the last, in the order in which they ran."""
    order = list(run.modules)
    found = []
    for place, module in enumerate(order):
        kind = str(run.modules[module].get("type"))
        name = f"{module}.weight" if module in order else ""
        if not kind.startswith(("Linear", "Conv")) or name not in run.parameters:
            continue
        shape = run.parameters[name]["shape"]
        std = float(run.values("weight", "std", [name])[0, 0])
        if len(shape) < 2 or not std > 0:
            continue
        following = (run.modules[after] for after in order[place + 1 : place + 3])
        acts = [facts for facts in following if facts.get("activation")]
        gain = 1.0
        if acts:
            is_rectifier = bool(acts[0].get("rectifier"))
            gain = GAINS.get(str(acts[0]["activation"]), GAINS["relu"] if is_rectifier else 1.0)
        found.append(Scale(name, module, std, gain, math.prod(shape[1:])))
    return found[:-1]


@rule("poor-init")
def poor_init(run: Run) -> Iterator[Sign]:
    """First weights of a scale that does not fit the layers' width, where the signal shows it, too."""
    if int(run.steps[0]) != 0:
        return
    wrong = [s for s in first_scales(run) if s.ratio > WRONG_SCALE or s.ratio < 1 / WRONG_SCALE / 3]
    if not wrong:
        return
    too_large = [s for s in wrong if s.ratio > WRONG_SCALE]
    saturated = run.values("activation", "saturated")[0]
    is_flat = [
        name
        for name, share in zip(run.names("activation"), saturated, strict=True)
        if _may_saturate(run, name) and share > SATURATED
    ]
    layers = [s.module for s in first_scales(run)]
    stds = run.values("activation", "std", layers)[0]
    known = stds[stds > 0]
    spread = float(known.max() / known.min()) if known.size > 1 else 1.0
    too_small = FAR_TOO_SMALL_WITH_NORMS if run.has_norms else FAR_TOO_SMALL
    is_tiny = sum(s.ratio < too_small for s in wrong) * 2 > len(layers)
    if too_large and is_flat:
        shown = (
            f"{saturated[run.names('activation').index(is_flat[0])]:.0%} of {is_flat[0]} is in its flat part at the "
            f"first step (limit {SATURATED:.0%})"
        )
    elif spread > LAYER_STD_RATIO and not run.has_norms:
        shown = f"the outputs' std changes {spread:,.0f}-fold from layer to layer (limit {LAYER_STD_RATIO:.0f})"
    elif too_large and _is_confidently_wrong(run):
        shown = f"the first loss is {run.scalar('loss')[0]:.3g}"
    elif is_tiny:
        shown = f"it is less than {too_small:g} of that"
    else:
        return
    worst = max(wrong, key=lambda s: abs(math.log(s.ratio)))
    evidence = (
        f"{worst.parameter} has a std of {worst.std:.3g}, where {worst.gain:.3g}/sqrt({worst.fan_in}) = "
        f"{worst.right:.3g} keeps the signal's size; {shown}"
    )
    layers_now = {s.parameter: {"std": s.std, "right": s.right, "gain": s.gain, "fan_in": s.fan_in} for s in wrong}
    remedy = "Rescale: " + "; ".join(
        f"{s.parameter} to a std of {s.gain:.3g}/sqrt({s.fan_in}) = {s.right:.3g}" for s in wrong[:6]
    )
    yield Sign(evidence, worst.module, 0, {"layers": layers_now}, tuple(s.module for s in wrong), remedy=remedy + ".")


def _is_confidently_wrong(run: Run) -> bool:
    classes = run.loss_facts.get("classes", 0)
    return classes > 1 and float(run.scalar("loss")[0]) > 2 * math.log(classes)


def _may_saturate(run: Run, name: str) -> bool:
    """Whether a module is an activation function with flat ends, and not the model's output."""
    facts = run.modules.get(name, {})
    is_last = name == next(reversed(run.modules), None)
    return bool(facts.get("activation")) and not facts.get("rectifier") and not is_last


@rule("saturated")
def saturated(run: Run) -> Iterator[Sign]:
    """Most of a layer in the flat part from the start, or for long and with units that are stuck there."""
    names = [name for name in run.modules if _may_saturate(run, name)]
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
        dead |= (silent[-rows:] > DEAD_UNITS).all(0)
    there = np.flatnonzero(dead)
    if there.size:
        worst = int(there[np.argmax(silent[-1, there])])
        evidence = (
            f"{silent[-1, worst]:.0%} of the units of {names[worst]} were zero on every example at step "
            f"{run.step:,} (limit {DEAD_UNITS:.0%})"
        )
        since = run.since(silent[:, worst] > DEAD_UNITS)
        yield Sign(evidence, names[worst], since, {"units": float(silent[-1, worst])}, tuple(names[i] for i in there))


@rule("symmetric-init")
def symmetric_init(run: Run) -> Iterator[Sign]:
    """Two layers in a row whose first weights are all the same."""
    if int(run.steps[0]) != 0:
        return
    names = run.matrices
    spread = run.values("weight", "std", names)[0]
    rms = run.values("weight", "rms", names)[0]
    same = (spread <= 1e-6 * np.maximum(rms, 1e-30)) & ~np.isnan(spread)
    pairs = np.flatnonzero(same[:-1] & same[1:])
    if pairs.size:
        places = [name for name, there in zip(names, same, strict=True) if there]
        evidence = (
            f"all values of {places[0]} are {rms[int(pairs[0])]:.3g}, and so it is in {len(places)} of "
            f"{len(names)} matrices: {listed(places)}"
        )
        yield Sign(evidence, places[0], 0, {"layers": places}, tuple(places))


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
    ratios = [np.nanmedian(run.values("gradient", "ratio", some)[rows][-3:], axis=1) for some in (first, last)]
    modules = [[str(run.parameters[name]["module"]) for name in some] for some in (first, last)]
    outputs = [np.nanmedian(run.values("activation_gradient", "rms", some)[rows][-3:], axis=1) for some in modules]
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
        ratios = _medians(run.values("update", "ratio", run.matrices))
        before, after = ratios[max(row - 5, 0) : row], ratios[row + 1 : row + 6]
        if len(before) and len(after) >= 2 and np.nanmedian(after) < 0.3 * np.nanmedian(before):
            share = np.nanmedian(after) / np.nanmedian(before)
            evidence = f"after the gradient's spike at step {sign.step:,} updates are {share:.0%} of those before"
            yield Sign(evidence, step=sign.step, numbers={"share": float(share)})


def _medians(values: NDArray[np.float64]) -> NDArray[np.float64]:
    found = np.full(len(values), np.nan)
    some = ~np.isnan(values).all(1)
    found[some] = np.nanmedian(values[some], axis=1)
    return found


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
    change = np.median(stds[-3:], axis=0) / np.median(stds[3:8], axis=0)
    there = np.flatnonzero((change > DRIFT) | (change < 1 / DRIFT))
    there = there[np.isfinite(change[there]) & (change[there] > 0)]
    if there.size:
        worst = int(there[np.argmax(np.abs(np.log(change[there])))])
        evidence = (
            f"the outputs' std of {names[worst]} is {change[worst]:.2g} times what it was at first (limit "
            f"{DRIFT:.0f}-fold)"
        )
        yield Sign(evidence, names[worst], run.step, {"change": float(change[worst])}, tuple(names[i] for i in there))


RULES = (
    symmetric_init,
    poor_init,
    dead_relu,
    saturated,
    vanishing_gradient,
    exploding_gradient,
    activation_collapse,
    gradient_spike,
    second_moment_blow_up,
    activation_drift,
)
