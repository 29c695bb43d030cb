"""Rules on how the weights begin."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from telltales.finding import listed
from telltales.gains import GAINS, RECTIFIER, Scale, fan_in, told, without_small_heads
from telltales.thresholds import (
    FAR_OFF,
    FAR_TOO_SMALL,
    FAR_TOO_SMALL_WITH_NORMS,
    LAYER_STD_RATIO,
    SATURATED,
    TOO_SMALL,
    WRONG_SCALE,
)
from telltales.verdicts.rule import Sign, rule
from telltales.verdicts.run import Run


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
            gain = GAINS.get(str(acts[0]["activation"]), RECTIFIER if is_rectifier else 1.0)
        found.append(Scale(name, module, std, gain, fan_in(shape, kind.startswith("ConvTranspose"))))
    return found[:-1]


@rule("poor-init")
def poor_init(run: Run) -> Iterator[Sign]:
    """First weights of a scale that does not fit the layers' width, where the signal shows it, too."""
    if int(run.steps[0]) != 0:
        return
    scales = without_small_heads(run.ask(first_scales))
    wrong = [s for s in scales if s.ratio > WRONG_SCALE or s.ratio < TOO_SMALL]
    if not wrong:
        return
    too_large = [s for s in wrong if s.ratio > WRONG_SCALE]
    saturated = run.values("activation", "saturated")[0]
    is_flat = [
        name
        for name, share in zip(run.names("activation"), saturated, strict=True)
        if may_saturate(run, name) and share > SATURATED
    ]
    layers = [s.module for s in scales]
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
    yield Sign(**told(wrong, shown), step=0)


def _is_confidently_wrong(run: Run) -> bool:
    """Whether the first loss is far above that of a model that says nothing."""
    is_class = run.loss_facts.get("classes", 0) > 1
    return float(run.scalar("loss")[0]) > (2.0 if is_class else FAR_OFF) * run.silent_loss > 0


def may_saturate(run: Run, name: str) -> bool:
    """Whether a module is an activation function with flat ends, and not the model's output."""
    facts = run.modules.get(name, {})
    is_last = name == next(reversed(run.modules), None)
    return bool(facts.get("activation")) and not facts.get("rectifier") and not is_last


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


RULES = (symmetric_init, poor_init)
