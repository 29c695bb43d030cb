"""Rules on the batches that a training is given."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import NormalDist

import numpy as np

from telltales.observation import VARIED
from telltales.thresholds import BATCHES_DIFFER, BY_CHANCE, EVENLY_HELD, ONE_CLASS
from telltales.verdicts.rule import Sign, rule
from telltales.verdicts.run import Run


@rule("constant-input")
def constant_input(run: Run) -> Iterator[Sign]:
    """Inputs whose examples are all the same, in batch after batch."""
    spread, size = run.scalar("input_std"), run.scalar("batch_size")
    rows = run.scalar("input_row_std")
    known = np.isfinite(rows) & (size >= 4)
    # Of ids no std is taken; their rows' means differ unless they are the same, or by chance.
    same = known & ((spread == 0) | (np.isnan(spread) & (rows == 0)))
    if known.sum() >= 3 and same[known].all():
        evidence = f"all examples were the same in each of {int(known.sum())} observed batches"
        yield Sign(evidence, step=int(run.steps[known][0]), severity="error")


@rule("unshuffled-data")
def unshuffled_data(run: Run) -> Iterator[Sign]:
    """Batches that differ from one another by more than chance lets them."""
    if not run.is_supervised:
        return
    classes, size = run.loss_facts.get("classes", 0), run.scalar("batch_size")
    entropy = run.scalar("target_entropy")
    known = np.isfinite(entropy) & (size >= 8)
    if classes > 1 and known.sum() >= 5:
        one_class = entropy[known] < ONE_CLASS * math.log(classes)
        labels = run.scalar("target_row_mean")[known]
        if one_class.mean() > 0.8 and (float(np.ptp(labels)) > 0.5 or classes > 2):
            evidence = (
                f"{one_class.mean():.0%} of the observed batches hold little else than one of the "
                f"{classes} classes: an entropy of {np.median(entropy[known]):.2f} against ln {classes} = "
                f"{math.log(classes):.2f}"
            )
            yield Sign(evidence, step=int(run.steps[known][0]), numbers={"share": float(one_class.mean())})
            return
    # Batches with as many examples of each of their classes were put together on purpose; so were those of examples of
    # about the same length.
    classes_held = np.exp(entropy[known])
    is_even = (
        known.any() and (classes_held > 1.5).all() and (abs(classes_held - np.rint(classes_held)) < EVENLY_HELD).all()
    )
    if is_even or VARIED in (run.about.get("shapes") or {}).values():
        return
    for what in ("target", "input"):
        ratio, count = _between_to_within(run, what)
        limit = max(BATCHES_DIFFER, _by_chance(count))
        if count >= 8 and ratio > limit:
            how = (
                f"{ratio:.1f} times as much as shuffled batches would" if ratio < math.inf else "from one another alone"
            )
            evidence = f"the batches' mean {what}s differ {how} (variance, limit {limit:.1f}; {count} batches)"
            yield Sign(evidence, step=int(run.steps[0]), numbers={"ratio": ratio})
            return


def _between_to_within(run: Run, what: str) -> tuple[float, int]:
    """The variance of the batches' means against what the spread of their rows lets expect: 1 for random batches."""
    mean, std, size = run.scalar(f"{what}_row_mean"), run.scalar(f"{what}_row_std"), run.scalar("batch_size")
    known = np.isfinite(mean) & np.isfinite(std) & (size >= 4)
    if known.sum() < 2:
        return math.nan, 0
    expected = float(np.mean(std[known] ** 2 / size[known]))
    found = float(np.var(mean[known], ddof=1))
    # Batches of one label each, or one value, have no spread in them.
    ratio = found / expected if expected > 0 else math.inf if found > 0 else math.nan
    return ratio, int(known.sum())


def _by_chance(count: int) -> float:
    """What a variance of ``count`` normal numbers exceeds, as a share of its mean, once in `BY_CHANCE` trials."""
    # Wilson and Hilferty 1931: the cube root of a chi-square over its degrees of freedom is nearly normal.
    part = 2 / (9 * max(count - 1, 1))
    return float((1 - part + NormalDist().inv_cdf(1 - BY_CHANCE) * math.sqrt(part)) ** 3)


RULES = (constant_input, unshuffled_data)
