"""Rules on how the loss is computed, as the graph of the first loss tells it."""

from __future__ import annotations

import math
from collections.abc import Iterator

from telltales.thresholds import FEWEST_LOSSES, RUNAWAY
from telltales.verdicts.rule import Sign, rule
from telltales.verdicts.run import Run

_RAW = (
    "Addmm",
    "Mm",
    "Bmm",
    "Mv",
    "Convolution",
    "Relu",
    "Tanh",
    "NativeLayerNorm",
    "NativeBatchNorm",
    "softmax",
    "sigmoid",
)
"""Operations whose results are no log-probabilities."""


@rule("double-softmax")
def double_softmax(run: Run) -> Iterator[Sign]:
    """The graph has a softmax or sigmoid before a loss that takes it itself."""
    facts = run.loss_facts
    loss, source = facts.get("kind"), facts.get("fed_by")
    if (loss == "cross_entropy" and source in ("softmax", "sigmoid")) or (
        loss == "binary_cross_entropy_with_logits" and source in ("softmax", "sigmoid")
    ):
        evidence = (
            f"{loss}, which takes the {'softmax' if loss == 'cross_entropy' else 'sigmoid'} itself, is "
            f"given the result of a {source}"
        )
        yield Sign(evidence, step=int(run.steps[0]), numbers={"loss": loss, "fed_by": source})


@rule("missing-log-softmax")
def missing_log_softmax(run: Run) -> Iterator[Sign]:
    """The graph has no logarithm before an nll_loss."""
    facts = run.loss_facts
    source = facts.get("fed_by")
    first = run.scalar("loss")[0]
    if facts.get("kind") == "nll" and (source in _RAW or (source == "Add" and first < 0)):
        evidence = (
            f"nll_loss is given the result of {source}, which is no log-probability; the loss at step "
            f"{run.steps[0]:,} was {first:.3g}"
        )
        yield Sign(evidence, step=int(run.steps[0]), numbers={"fed_by": source, "loss": float(first)})


@rule("loss-reduction")
def loss_reduction(run: Run) -> Iterator[Sign]:
    """A known loss that is made larger, summed, or taken along the batch; or any that runs away downwards."""
    facts = run.loss_facts
    if not facts.get("kind") and run.is_alone and run.losses[1].size >= FEWEST_LOSSES:
        losses = run.losses[1]
        first, last = float(losses[:5].mean()), float(losses[-5:].mean())
        if last < -RUNAWAY * max(abs(first), 1.0):
            evidence = f"the loss was {first:.3g} at first and is {last:.3g}: it has no lower end, or the wrong sign"
            yield Sign(evidence, step=int(run.steps[0]), numbers={"first": first, "last": last}, severity="warning")
        return
    if not facts or not run.is_supervised:
        return
    step, kind, size = int(run.steps[0]), facts["kind"], run.scalar("batch_size")[-1]
    shape = facts.get("shape") or []
    if facts.get("sign") == -1:
        yield Sign(f"minus {kind} is minimised, so the loss is made larger", step=step, numbers={"sign": -1})
    elif facts.get("reduction") == "sum" and not facts.get("others"):
        number = math.prod(shape) // max(facts.get("classes", 1), 1) if shape else size
        if number > 1:
            evidence = (
                f"{kind} is summed over {number:,.0f} values: gradients are {number:,.0f} times those of the mean"
            )
            yield Sign(evidence, step=step, numbers={"reduction": "sum", "count": float(number)}, severity="warning")
    elif facts.get("dim") == 0 and len(shape) == 2 and size == shape[0]:
        yield Sign(f"the softmax of logits of shape {tuple(shape)} runs over the batch, not the classes", step=step)


@rule("shape-layout")
def shape_layout(run: Run) -> Iterator[Sign]:
    """Prediction and target were of different shapes, so that each was compared with all."""
    shapes = run.loss_facts.get("broadcast")
    if shapes:
        before, after = (tuple(shape) for shape in shapes)
        evidence = f"a prediction of shape {before} was broadcast to {after} against its target"
        yield Sign(evidence, step=int(run.steps[0]), numbers={"prediction": list(before), "compared": list(after)})


RULES = (double_softmax, missing_log_softmax, loss_reduction, shape_layout)
