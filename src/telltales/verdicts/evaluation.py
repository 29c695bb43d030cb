"""Rules on losses of held-out data beside those of training."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from telltales.observation import Evaluation
from telltales.thresholds import (
    BY_HEART,
    CLASS_ERROR,
    CLASS_LEARNT,
    FALLEN,
    FEWEST_OF_CLASS,
    FIRST_STEPS,
    GAP_AT_ONCE,
    GAP_MATTERS,
    HALF_INITIAL,
    IMBALANCE,
    LITTLE_LEARNT,
    MEMORISED_SHARE,
    NOT_FALLING,
    OVERFIT_GAP,
    OVERFIT_RISE,
    PATIENCE,
    RISE_BY_CHANCE,
    SOMETHING_LEARNT,
    T_VALUE,
    TOO_GOOD,
    WORSE_THAN_UNTRAINED,
)
from telltales.verdicts.losses import guess_loss, is_young_table, still_falls, training_guess
from telltales.verdicts.rule import Sign, rule
from telltales.verdicts.run import Run


def _held_out(run: Run) -> list[Evaluation]:
    """Those of the first split that is not the training data."""
    splits = [split for split in run.evaluations if not split.startswith("train")]
    return [e for e in run.evaluations[splits[0]] if math.isfinite(e.loss)] if splits else []


def _training_loss(run: Run, step: int) -> float:
    """The mean of the losses of the steps before ``step``: a twentieth of all, at least 10."""
    steps, losses = run.losses
    before = losses[steps < step]
    return float(before[-max(losses.size // 20, 10) :].mean()) if before.size else math.nan


@rule("overfitting")
def overfitting(run: Run) -> Iterator[Sign]:
    """The dev loss has risen since its best while the training loss fell on; or training data are known by heart."""
    evaluations = _held_out(run)
    if len(evaluations) < 4:
        return
    split, losses = evaluations[0].split, np.array([e.loss for e in evaluations])
    best, train = int(np.argmin(losses)), _training_loss(run, evaluations[-1].step)
    step, first = evaluations[best].step, abs(float(run.losses[1][0]))
    numbers = {"best": float(losses[best]), "best_step": step, "last": float(losses[-1]), "train": train}
    train_then = _training_loss(run, step)
    if _has_risen(losses, best) and train < (1 - FALLEN) * train_then and losses[-1] > (1 + OVERFIT_GAP) * train:
        evidence = (
            f"the {split} loss rose from {losses[best]:.3g} after {step:,} steps to {losses[-1]:.3g}, while the "
            f"training loss fell from {train_then:.3g} to {train:.3g}"
        )
        # Of a loss that has nearly all gone, what it loses again is little.
        is_little = losses[-1] - losses[best] < GAP_MATTERS * first
        yield Sign(evidence, split, step, numbers, severity="note" if is_little else None)
    elif 0 <= train < BY_HEART * float(losses[-4:].min()) and run.is_comparable:
        share = float(losses[-4:].min()) / first if first else 0.0
        if share > SOMETHING_LEARNT:
            evidence = (
                f"the training loss fell from {first:.3g} to {train:.3g}, as of what is known by heart; the {split} "
                f"loss is {losses[-1]:.3g}"
            )
            yield Sign(evidence, split, step, numbers, severity=None if share > LITTLE_LEARNT else "note")
    elif train < MEMORISED_SHARE * training_guess(run) and losses.min() > (1 - NOT_FALLING) * training_guess(run):
        evidence = (
            f"the training loss fell to {train:.3g}, and no {split} loss got below the {training_guess(run):.3g} of a "
            f"guess that does not look at the input (the best is {losses.min():.3g})"
        )
        yield Sign(evidence, split, step, numbers)


def _has_risen(losses: NDArray[np.float64], best: int) -> bool:
    """Whether the losses since the ``best`` are higher, and have become so step by step."""
    after = losses[best + 1 :]
    if len(after) < max(5, len(losses) // 5) or not losses[best] > 0:
        return False
    is_higher = losses[-1] > (1 + OVERFIT_RISE) * losses[best]
    # A small held-out sample jumps up and down, and its lowest loss is luck.
    return bool(is_higher and (after[-3:] > (1 + OVERFIT_RISE / 2) * losses[best]).all() and _rises_steadily(after))


def _rises_steadily(losses: NDArray[np.float64]) -> bool:
    """Whether later losses are higher than earlier ones by more than chance lets them (Mann 1945, Kendall's tau)."""
    count = len(losses)
    pairs = np.triu(np.sign(losses[None, :] - losses[:, None]), 1).sum()
    deviation = math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    return float(pairs - 1) / deviation > NormalDist().inv_cdf(1 - RISE_BY_CHANCE)


@rule("overtraining")
def overtraining(run: Run) -> Iterator[Sign]:
    """Most evaluations came after the best."""
    evaluations = _held_out(run)
    if len(evaluations) < 10:
        return
    best = int(np.argmin([e.loss for e in evaluations]))
    after = len(evaluations) - 1 - best
    if after > PATIENCE * len(evaluations):
        step = evaluations[best].step
        evidence = (
            f"the best {evaluations[0].split} loss, {evaluations[best].loss:.4g}, was measured after "
            f"{step:,} steps; {after} evaluations since were no better"
        )
        yield Sign(evidence, evaluations[0].split, step, {"best_step": step, "since": after})


@rule("dev-too-good")
def dev_too_good(run: Run) -> Iterator[Sign]:
    """A dev loss well below the training loss, without dropout or smoothing that would explain it."""
    evaluations = _held_out(run)
    dependent = set((run.about.get("mode_dependent") or {}).values())
    facts = run.loss_facts
    if len(evaluations) < 4 or dependent or facts.get("others") or facts.get("terms") != 1 or not run.is_supervised:
        return
    if not run.is_comparable or facts.get("reduction") != "mean":
        return
    # Measured in the same mode, the two can be compared; else augmentation may make the training loss the higher one.
    measured = {e.step: e.loss for split in ("train", "training") for e in run.evaluations.get(split, [])}
    recent = [e for e in evaluations if not measured or e.step in measured][-4:]
    if len(recent) < 4:
        return
    train = [measured.get(e.step, _training_loss(run, e.step)) for e in recent]
    dev = np.array([e.loss for e in recent])
    # That of a few examples scatters.
    is_clear = min(train) - dev.mean() > T_VALUE * dev.std(ddof=1)
    if is_clear and all(0 < e.loss < (1 - TOO_GOOD) * t for e, t in zip(recent, train, strict=True)):
        # A loss that still falls fast is lower at the end of its window than in it.
        if train[-1] < (1 - TOO_GOOD) * train[0]:
            return
        evidence = (
            f"the {recent[0].split} loss is {recent[-1].loss:.3g} and the training loss {train[-1]:.3g}, "
            f"at the last four evaluations (limit {TOO_GOOD:.0%})"
        )
        numbers = {"dev": recent[-1].loss, "train": train[-1]}
        yield Sign(evidence, recent[0].split, recent[0].step, numbers, severity=None if measured else "note")


@rule("train-eval-gap")
def train_eval_gap(run: Run) -> Iterator[Sign]:
    """With batch norm: training data that fit while training and not at evaluation, or a dev loss worse than none; or
    buffers that can't have come to describe the data."""
    dependent = (run.about.get("mode_dependent") or {}).items()
    norms = [name for name, kind in dependent if "BatchNorm" in kind]
    if norms:
        gaps = list(_gap(run, norms)) if run.is_comparable else []
        still = list(_still_buffers(run))
        if gaps and still:
            yield replace(gaps[0], evidence=f"{gaps[0].evidence}; {still[0].evidence}")
        else:
            yield from gaps or still


def _gap(run: Run, norms: list[str]) -> Iterator[Sign]:
    found: list[Evaluation] = []
    for split in ("train", "training"):
        found = found or [e for e in run.evaluations.get(split, []) if e.training is not True]
        if len(found) >= 2:
            pairs = [(e, _training_loss(run, e.step)) for e in found[-2:]]
            least = GAP_MATTERS * abs(float(run.losses[1][0]))
            if all(e.loss > GAP_AT_ONCE * t > 0 and e.loss - t > least for e, t in pairs):
                last, train = pairs[-1]
                evidence = (
                    f"on training data the loss is {last.loss:.3g} in evaluation mode and {train:.3g} in "
                    f"training mode after {last.step:,} steps (limit {GAP_AT_ONCE:g} times)"
                )
                yield Sign(
                    evidence, norms[0], found[0].step, {"evaluation": last.loss, "training": train}, tuple(norms)
                )
                return
    evaluations = [e for e in _held_out(run) if e.training is not True]
    _, losses = run.losses
    # Training data that were evaluated, and fit, say that it is not the norms.
    if len(evaluations) < 2 or losses.size < 20 or found:
        return
    first, last = float(losses[:5].mean()), evaluations[-1]
    train = _training_loss(run, last.step)
    # What is known by heart is another matter.
    learns = BY_HEART * first < train < 0.9 * first
    if learns and all(e.loss > WORSE_THAN_UNTRAINED * first for e in evaluations[-2:]):
        evidence = (
            f"the {last.split} loss is {last.loss:.3g} after {last.step:,} steps, worse than the first "
            f"training loss of {first:.3g}, though training has brought that to {train:.3g}"
        )
        yield Sign(evidence, norms[0], evaluations[0].step, {"evaluation": last.loss, "training": train}, tuple(norms))


def _still_buffers(run: Run) -> Iterator[Sign]:
    """A momentum by which a batch norm's buffers are still what they were at first when a model is evaluated."""
    evaluations = [e for e in _held_out(run) if e.training is not True]
    if not evaluations or evaluations[-1].step < FIRST_STEPS:
        return
    momenta = {name: facts["momentum"] for name, facts in run.modules.items() if facts.get("momentum") is not None}
    left = {name: (1 - float(one)) ** evaluations[-1].step for name, one in momenta.items()}
    still = [name for name, share in left.items() if share > HALF_INITIAL]
    if still:
        worst = max(still, key=lambda name: left[name])
        evidence = (
            f"with a momentum of {momenta[worst]:g} the buffers of {worst} are still {left[worst]:.0%} those of the "
            f"untrained model after {evaluations[-1].step:,} steps (limit {HALF_INITIAL:.0%}), and evaluation uses them"
        )
        numbers = {"momentum": float(momenta[worst]), "left": left[worst]}
        yield Sign(evidence, worst, evaluations[0].step, numbers, tuple(still), severity="warning")


@rule("class-imbalance")
def class_imbalance(run: Run) -> Iterator[Sign]:
    """Rare classes that are nearly always predicted wrongly, while most examples are predicted rightly."""
    for split, evaluations in run.evaluations.items():
        known = [dict(e.classes) for e in evaluations if e.classes]
        if len(known) < 2:
            continue
        largest = max(count for count, _ in known[-1].values())
        missed = [name for name, (count, _) in known[-1].items() if FEWEST_OF_CLASS <= count < largest / IMBALANCE]
        missed = [name for name in missed if all(_error(of, [name]) > CLASS_ERROR for of in known[-2:])]
        overall = _error(known[-1], list(known[-1]))
        if missed and overall < CLASS_LEARNT:
            worst = max(missed, key=lambda name: _error(known[-1], [name]))
            count, wrong = known[-1][worst]
            evidence = (
                f"of the {count:,} {split} examples of class {worst} {wrong / count:.0%} are predicted wrongly (limit "
                f"{CLASS_ERROR:.0%}), of all {overall:.0%}; the largest class has {largest / count:.0f} times as many"
            )
            step = next(e.step for e in evaluations if e.classes)
            yield Sign(evidence, f"class {worst}", step, {"missed": missed}, tuple(f"class {one}" for one in missed))
            return


def _error(classes: Mapping[str, tuple[int, int]], names: Sequence[str]) -> float:
    """The share of wrong predictions of these classes' examples."""
    found = [classes.get(name, (0, 0)) for name in names]
    return sum(wrong for _, wrong in found) / max(sum(count for count, _ in found), 1)


@rule("baseline-not-beaten")
def baseline_not_beaten(run: Run) -> Iterator[Sign]:
    """A held-out loss that is no better than that of a baseline: the number given, or the labels' entropy."""
    evaluations = _held_out(run)
    given = {name: float(loss) for name, loss in (run.about.get("baselines") or {}).items()}
    guess = "a guess that does not look at the input"
    given |= {guess: run.ask(guess_loss)}
    losses = run.losses[1]
    if len(evaluations) < 3 or losses.size < 100 or still_falls(losses) or is_young_table(run):
        return
    best = min(e.loss for e in evaluations)
    if best == evaluations[-1].loss < (1 - NOT_FALLING) * evaluations[-2].loss:
        # On its way down.
        return
    # The guess's loss is an estimate, and so is what is a little better than it.
    slack = {guess: 1 - NOT_FALLING}
    beaten = {name: loss for name, loss in given.items() if best >= slack.get(name, 1.0) * loss}
    if beaten:
        name = min(beaten, key=lambda one: beaten[one])
        evidence = f"the best {evaluations[0].split} loss is {best:.4g}; {name} reaches {beaten[name]:.4g}"
        yield Sign(
            evidence, evaluations[0].split, evaluations[0].step, {"best": best, "baseline": beaten[name], "name": name}
        )


RULES = (overfitting, train_eval_gap, dev_too_good, class_imbalance, baseline_not_beaten, overtraining)
