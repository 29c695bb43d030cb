"""Rules on the optimizer's updates: their size beside the weights, and their rate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from telltales.thresholds import (
    AT_ONCE,
    FARTHEST,
    FEWEST_LOSSES,
    FIRST_STEPS,
    HUGE_UPDATE,
    IDLE_SHARE,
    LABEL_ENTROPY,
    LARGE_UPDATE,
    MANY_LARGE_UPDATES,
    RATE_ENDED,
    SETTLED,
    SMALL_UPDATE,
    UPDATE_GUIDE,
    WEIGHT_GROWTH,
    WHOLE_UPDATE,
)
from telltales.verdicts.losses import hardly_moves, knew_at_first, progress, training_guess
from telltales.verdicts.rows import lower_quantiles, medians
from telltales.verdicts.rule import Sign, rule
from telltales.verdicts.run import Run


def update_ratios(run: Run, quantile: float) -> NDArray[np.float64]:
    """(rows,), of the update ratios of all matrices; NaN where nothing was updated.

    A low quantile says what nearly all do: matrices that began at zero, such as LoRA's, change by much of themselves.
    """
    ratios = run.values("update", "ratio", run.grown_matrices)
    # One of several matrices says little of the others, and a model of one bears any: it starts anew at each step.
    some = ((ratios > 0).sum(1) >= min(2, ratios.shape[1])) & (len(run.matrices) > 1)
    return np.where(some, lower_quantiles(ratios, quantile), np.nan)


def _of_most(run: Run) -> NDArray[np.float64]:
    """(rows,), what three quarters of the matrices change by at least."""
    return update_ratios(run, 0.25)


def _first_updates_were_whole(run: Run, ratios: NDArray[np.float64]) -> bool:
    """Whether some of the first updates were as large as the weights, or two half as large, or made them many times
    as large."""
    early = ratios[np.isfinite(ratios) & (run.steps < FIRST_STEPS)]
    norms = run.whole_norm[run.steps <= AT_ONCE]
    grew = norms.size > 1 and norms[0] > 0 and float(norms[-1]) > WEIGHT_GROWTH * norms[0]
    return bool((early > WHOLE_UPDATE).any() or (early > HUGE_UPDATE).sum() >= 2 or grew)


@rule("learning-rate-too-high")
def learning_rate_too_high(run: Run) -> Iterator[Sign]:
    """Updates that are large beside nearly all weights, and a loss that does not fall for it."""
    ratios = run.ask(_of_most)
    rows = np.isfinite(ratios)
    if rows.sum() < 2:
        return
    typical = float(np.median(ratios[rows][-3:]))
    has_fallen, first, last = run.ask(progress)
    learns = has_fallen is True and not last > (1 - LABEL_ENTROPY) * training_guess(run)
    was_whole = _first_updates_were_whole(run, ratios)
    early = ratios[rows & (run.steps < FIRST_STEPS)]
    is_huge = was_whole or bool((ratios[rows][-2:] > HUGE_UPDATE).all())
    is_large = rows.sum() >= 5 and typical > LARGE_UPDATE and has_fallen is False
    # A loss that falls gets the time to fall below that of a guess.
    has_had_time = has_fallen is False or (has_fallen is True and run.step >= FIRST_STEPS)
    was_large = early.size >= 5 and float(np.median(early)) > MANY_LARGE_UPDATES and has_had_time
    if (is_huge or is_large or was_large) and not learns:
        yield _too_large(
            run, ratios, was_whole or (was_large and not is_large), None if has_fallen is None else (first, last)
        )


@rule("update-too-large")
def update_too_large(run: Run) -> Iterator[Sign]:
    """First updates as large as the weights, or later ones that stay large, though the loss falls."""
    ratios = run.ask(_of_most)
    has_fallen, _, last = run.ask(progress)
    if has_fallen is not True or last > (1 - LABEL_ENTROPY) * training_guess(run):
        return
    rows = np.isfinite(ratios) & (run.steps >= FIRST_STEPS)
    if _first_updates_were_whole(run, ratios):
        yield _too_large(run, ratios, True, None)
    elif rows.sum() >= 5 and (ratios[rows][-5:] > LARGE_UPDATE).all():
        yield replace(_too_large(run, ratios, False, None), severity="note")


def _too_large(run: Run, ratios: NDArray[np.float64], at_first: bool, went: tuple[float, float] | None) -> Sign:
    rows = np.isfinite(ratios)
    early = rows & (run.steps < FIRST_STEPS)
    typical = float(np.max(ratios[early])) if at_first else float(np.median(ratios[rows][-3:]))
    when = f"one of the first {FIRST_STEPS:.0f} updates changed" if at_first else "updates change"
    evidence = (
        f"{when} three quarters of the matrices by {typical:.2g} of themselves or more "
        f"({LARGE_UPDATE:.2g} is much, {UPDATE_GUIDE:g} usual)"
    )
    if went is not None:
        evidence += f", and the loss went from {went[0]:.3g} to {went[1]:.3g}"
    since = int(run.steps[rows][int(np.argmax(ratios[rows] > LARGE_UPDATE))])
    factor = float(UPDATE_GUIDE) / typical
    # Of the time when the updates were so large.
    rate = _rate(run, int(np.argmax(np.where(early, ratios, -1))) if at_first else -1)
    numbers = {"ratio": typical, "factor": factor, "learning_rate": rate}
    return Sign(evidence, step=since, numbers=numbers, remedy=_rate_remedy(rate, factor))


@rule("learning-rate-too-low")
def learning_rate_too_low(run: Run) -> Iterator[Sign]:
    """Updates that were tiny at every step after the first few, and a loss that has hardly moved."""
    ratios = update_ratios(run, 0.5)
    # Adam's first updates are its largest.
    rows = np.isfinite(ratios) & (run.steps >= SETTLED)
    if rows.sum() < 5 or run.step < FEWEST_LOSSES or _rate_rises(run):
        return
    largest = float(ratios[rows].max())
    _, first, last = run.ask(progress)
    if 0 < largest < SMALL_UPDATE and hardly_moves(run) and not knew_at_first(run):
        evidence = (
            f"no update since step {run.steps[rows][0]:,} changed half of the matrices by more than {largest:.1e} of "
            f"themselves ({UPDATE_GUIDE:g} is usual), and the loss went from {first:.4g} to {last:.4g} in "
            f"{run.step + 1:,} steps"
        )
        factor = float(UPDATE_GUIDE) / largest
        rate = _rate(run)
        numbers = {"ratio": largest, "factor": factor, "learning_rate": rate}
        yield Sign(evidence, step=int(run.steps[rows][0]), numbers=numbers, remedy=_rate_remedy(rate, factor))


@rule("update-too-small")
def update_too_small(run: Run) -> Iterator[Sign]:
    """Single layers that hardly change beside the others."""
    names = run.matrices
    rows = run.steps >= 10
    if rows.sum() < 5 or len(names) < 3:
        return
    ratios = run.values("update", "ratio", names)[rows][-5:]
    usual = medians(np.where(ratios > 0, ratios, np.nan))
    is_small = ((ratios > 0) & (ratios < 1e-3 * usual[:, None]) & (ratios < SMALL_UPDATE)).all(0)
    there = np.flatnonzero(is_small)
    if there.size:
        name = names[int(there[0])]
        evidence = (
            f"updates change {name} by {ratios[-1, there[0]]:.1e} of itself, a thousandth of what is usual "
            f"in this model ({usual[-1]:.1e})"
        )
        yield Sign(evidence, name, int(run.steps[rows][-5]), places=tuple(names[i] for i in there))


@rule("schedule-ended-early")
def schedule_ended_early(run: Run) -> Iterator[Sign]:
    """A learning rate that has been next to nothing for a good part of the training."""
    rates = run.learning_rate()
    if run.rows < 5 or not (rates > 0).any() or np.isnan(rates[-1]):
        return
    highest = int(np.nanargmax(rates))
    ended = np.flatnonzero((rates <= RATE_ENDED * rates[highest]) & (np.arange(run.rows) > highest))
    steps, _ = run.losses
    now = max(int(steps[-1]) if steps.size else 0, run.step)
    if not ended.size or rates[-1] > RATE_ENDED * rates[highest]:
        return
    first = int(run.steps[ended[0]])
    if now - first >= max(IDLE_SHARE * (now + 1), 20):
        evidence = (
            f"the learning rate was {rates[highest]:.2g} and is {rates[-1]:.2g} since step {first:,}, for "
            f"{now - first:,} of {now + 1:,} steps"
        )
        yield Sign(
            evidence, step=first, numbers={"highest": float(rates[highest]), "now": float(rates[-1]), "steps": first}
        )


def _rate_rises(run: Run) -> bool:
    """Whether the rate is still on its way up, as in a warm-up."""
    rates = run.learning_rate()
    return bool(run.rows > 2 and rates[-1] > 1.01 * rates[-3])


def _rate(run: Run, row: int = -1) -> float:
    """The learning rate at an observed step."""
    rates = run.learning_rate()
    return float(rates[row]) if run.rows else float("nan")


def _rate_remedy(rate: float, factor: float) -> str:
    if factor < FARTHEST:
        return (
            f"Use a learning rate of at most {FARTHEST:g} times the present one, and look again: beside weights that "
            "have blown up, the update ratio no longer tells by how much it is too high."
        )
    if not rate > 0:
        return f"Multiply the learning rate by about {factor:.2g}."
    return (
        f"Use a learning rate of about {rate * factor:.1g} in place of {rate:.2g}: that brings the update "
        f"ratio to about {UPDATE_GUIDE:g}."
    )


RULES = (
    learning_rate_too_high,
    learning_rate_too_low,
    schedule_ended_early,
    update_too_large,
    update_too_small,
)
