"""Rules on the loss from step to step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from telltales.thresholds import (
    DIVERGED,
    FEW_CLASSES_SLACK,
    FEWEST_LOSSES,
    GRAVE_SPIKE,
    GUESS_MARGIN,
    INITIAL_LOSS,
    KNOWN,
    LABEL_ENTROPY,
    LONG_ENOUGH,
    LONG_TRAINING,
    LOSS_SPIKE,
    LOST_PROGRESS,
    MEMORISED_SHARE,
    NOT_FALLING,
    PLATEAU,
    RATTLE,
    RATTLE_SIZE,
    SLOW_PROGRESS,
    SMALL_SPIKE,
    SPIKE_DEVIATIONS,
    T_VALUE,
)
from telltales.verdicts.rule import Sign, rule
from telltales.verdicts.run import Run


def progress(run: Run) -> tuple[bool | None, float, float]:
    """Whether the loss has fallen, and its mean at first and now; None while there are too few to tell from noise.

    From the first that is not finite on they do not count.
    """
    _, losses = run.losses
    broken = np.flatnonzero(~np.isfinite(losses))
    finite = losses[: broken[0]] if broken.size else losses
    if finite.size < 4:
        return None, math.nan, math.nan
    count = max(finite.size // 5, min(finite.size // 2, 5))
    first, last = finite[: min(count, 10)], finite[-count:]
    # Where the loss shoots up at once, the mean of the first few is not what it began with, nor is their spread noise.
    begun = min(float(first.mean()), float(finite[0]) + abs(float(finite[0])) * NOT_FALLING)
    noise = first.var(ddof=1) if begun == float(first.mean()) else last.var(ddof=1)
    error = math.sqrt(noise / first.size + last.var(ddof=1) / last.size)
    # Student's t: a spread that is known from few losses is known badly.
    error *= T_VALUE * (1 + 3.2 / (first.size + last.size - 2))
    gone = begun - float(last.mean())
    least = NOT_FALLING * abs(begun)
    has_fallen = True if gone > max(error, least) else None
    # The spread of a few losses says too little of what chance may do.
    if gone < least and (finite.size >= FEWEST_LOSSES or (count >= 5 and gone < -error)):
        has_fallen = False
    return has_fallen, begun, float(last.mean())


def guess_loss(run: Run) -> float:
    """What a guess that does not look at the input can reach: NaN where the targets or the loss are not known.

    For classes the entropy of the labels; for yes and no that of their share; for numbers their variance.
    """
    facts = run.loss_facts
    kind, mean, std = facts.get("kind"), run.scalar("target_mean"), run.scalar("target_std")
    is_plain = facts.get("reduction") == "mean" and not facts.get("others") and facts.get("terms") == 1
    if not is_plain or not run.is_supervised or facts.get("class_weights"):
        return math.nan
    if kind == "cross_entropy":
        return label_entropy(run)
    known = np.isfinite(mean) & np.isfinite(std)
    if known.sum() < 8:
        return math.nan
    middle = float(mean[known].mean())
    spread = float((std[known] ** 2 + mean[known] ** 2).mean()) - middle**2
    if kind == "mse":
        return spread
    is_share = 0 < middle < 1 and abs(spread - middle * (1 - middle)) < 1e-3
    if str(kind).startswith("binary") and is_share:
        return -middle * math.log(middle) - (1 - middle) * math.log(1 - middle)
    return math.nan


def training_guess(run: Run) -> float:
    """`guess_loss`, for training losses; NaN where they are multiplied or divided, as those of micro-batches are."""
    return run.ask(guess_loss) if run.is_comparable else math.nan


def label_entropy(run: Run) -> float:
    """In nats, of the labels counted so far, smoothed as the loss does; NaN for none."""
    counts = np.array(list((run.about.get("labels") or {}).values()), float)
    if counts.sum() < 100 or counts.size < 2:
        return math.nan
    smoothing = run.loss_facts.get("smoothing", 0.0)
    shares = (1 - smoothing) * counts / counts.sum() + smoothing / counts.size
    # Miller and Madow 1955: a count of n labels shows too little entropy, by (C - 1) / 2n.
    return float(-(shares * np.log(shares)).sum() + (counts.size - 1) / (2 * counts.sum()))


@rule("initial-loss")
def initial_loss(run: Run) -> Iterator[Sign]:
    """The first loss of a classifier above that of an even guess."""
    facts, classes = run.loss_facts, run.loss_facts.get("classes", 0)
    # Ten times a loss, or an auxiliary one beside it, or a sum that is divided by anything, has another start.
    is_plain = facts.get("terms") == 1 and not facts.get("others") and facts.get("is_one", True)
    if int(run.steps[0]) != 0 or not (is_plain and run.is_supervised) or run.is_adapted:
        return
    # Nor do logits that are multiplied, as by a temperature, or a binary loss whose examples of yes weigh more.
    is_scaled = facts.get("fed_by") in ("Mul", "Div")
    kind = str(facts.get("kind"))
    is_weighted = "binary" in kind and facts.get("class_weights")
    if facts.get("reduction") != "mean" or facts.get("sign") == -1 or is_scaled or is_weighted:
        return
    even, loss = run.even_loss, float(run.scalar("loss")[0])
    limit = max((1 + INITIAL_LOSS) * even, even + FEW_CLASSES_SLACK)
    if loss > limit:
        what = f"ln {classes}" if kind == "cross_entropy" else "ln 2"
        evidence = f"the first loss is {loss:.3g}; an even guess has {what} = {even:.3g} (limit {limit:.3g})"
        yield Sign(evidence, run.output, 0, {"loss": loss, "even": even, "output": run.output})


@rule("loss-not-falling")
def loss_not_falling(run: Run) -> Iterator[Sign]:
    """A supervised loss that is where it was at first."""
    losses = run.losses[1]
    if not run.is_supervised or losses.size < 2 * FEWEST_LOSSES or still_falls(losses) or is_young_table(run):
        return
    fell, first, last = run.ask(progress)
    if fell is False and not (run.is_adapted or knew_at_first(run)):
        evidence = f"the loss was {first:.4g} at first and is {last:.4g} after {run.losses[0][-1] + 1:,} steps"
        yield Sign(evidence, step=int(run.steps[0]), numbers={"first": first, "last": last})


def hardly_moves(run: Run) -> bool:
    """Whether the loss has lost next to nothing of what it was at first."""
    has_fallen, first, last = run.ask(progress)
    return has_fallen is not True or first - last < SLOW_PROGRESS * abs(first)


def knew_at_first(run: Run) -> bool:
    """Whether a model began with more than a guess, so that it may have little left to learn."""
    return run.ask(progress)[1] < KNOWN * training_guess(run)


def is_young_table(run: Run) -> bool:
    """Whether this is the beginning of a model of embeddings alone: each row learns by itself, and most come seldom."""
    return not run.matrices and run.losses[1].size < LONG_TRAINING


@rule("plateau")
def plateau(run: Run) -> Iterator[Sign]:
    """A loss that fell, and does so no longer: half of all steps changed it by less than a thousandth."""
    steps, losses = run.losses
    if losses.size < 200 or not np.isfinite(losses).all() or run.ask(progress)[0] is not True:
        return
    half = losses[losses.size // 2 :]
    early, late = half[: half.size // 2], half[half.size // 2 :]
    change = abs(float(early.mean() - late.mean()))
    error = math.sqrt(early.var(ddof=1) / early.size + late.var(ddof=1) / late.size)
    if change < PLATEAU * abs(float(early.mean())) and error < PLATEAU * abs(float(early.mean())):
        evidence = (
            f"the mean loss changed by {change / abs(float(early.mean())):.2%} in the last "
            f"{steps[-1] - steps[losses.size // 2]:,} steps"
        )
        yield Sign(evidence, step=int(steps[losses.size // 2]), numbers={"change": change})


@rule("diverging")
def diverging(run: Run) -> Iterator[Sign]:
    """A supervised loss at twice its best and with most of its progress lost, for ten losses or more."""
    steps, losses = run.losses
    if not run.is_supervised or losses.size < 20:
        return
    window = max(losses.size // 50, 5)
    means = _moving_mean(np.where(np.isfinite(losses), losses, np.inf), window)
    best_at = int(np.argmin(means))
    best, first, recent = float(means[best_at]), float(means[0]), means[-10:]
    is_far = (recent > DIVERGED * best).all() and (recent - best > LOST_PROGRESS * (first - best)).all() and best > 0
    if is_far and np.isfinite(recent[-1]):
        evidence = (
            f"the loss is {recent[-1]:.3g}, {recent[-1] / best:.1f} times its best mean of {best:.3g} "
            f"around step {steps[best_at]:,} (limit {DIVERGED:.0f})"
        )
        numbers = {"loss": float(recent[-1]), "best": best, "best_step": int(steps[best_at])}
        yield Sign(evidence, step=int(steps[min(best_at + window, steps.size - 1)]), numbers=numbers)


@rule("loss-spike")
def loss_spike(run: Run) -> Iterator[Sign]:
    """One loss far above the twenty before it, none of which it is part of; in a long training, above twenty spans."""
    steps, losses = run.losses
    if losses.size < 30 or not run.is_supervised:
        return
    span = run.record.losses.span
    before = np.lib.stride_tricks.sliding_window_view(losses[:-1], 20)
    # The mean of a span scatters less than its steps do.
    mean, deviation = before.mean(1), before.std(1, ddof=1) * math.sqrt(span)
    now = run.highest_losses[20:]
    out = (mean > 0) & (now > LOSS_SPIKE * mean) & (now > mean + SPIKE_DEVIATIONS * deviation) & np.isfinite(now)
    # Where nearly all of the loss has gone, one hard example is many times the mean.
    first = abs(float(losses[:5].mean()))
    out &= now > SMALL_SPIKE * first
    there = np.flatnonzero(out)
    if there.size:
        place = int(there[np.argmax(now[there])])
        step = int(steps[place + 20])
        kept = run.record.batches.get(step)
        when = f"at step {step:,}" if span == 1 else f"at one of the steps {step:,} to {step + span - 1:,}"
        evidence = (
            f"the loss was {now[place]:.3g} {when}, {now[place] / mean[place]:.1f} times the "
            f"mean of the {20 * span:,} before (limit {LOSS_SPIKE:.0f})"
        )
        numbers = {"loss": float(now[place]), "before": float(mean[place]), "indices": kept[1] if kept else []}
        is_grave = now[place] > GRAVE_SPIKE * first
        yield Sign(evidence, step=step, numbers=numbers, severity="warning" if is_grave else "note")


@rule("oscillating")
def oscillating(run: Run) -> Iterator[Sign]:
    """Losses that swing to and fro: a high one after a low one, again and again."""
    recent = run.recent_losses[-50:]
    if recent.size < 50 or not run.is_supervised or not np.isfinite(recent).all():
        return
    rest = recent - np.polyval(np.polyfit(np.arange(50), recent, 1), np.arange(50))
    size = float(rest.std()) / max(abs(float(recent.mean())), 1e-30)
    correlation = float((rest[1:] * rest[:-1]).mean() / max(float((rest**2).mean()), 1e-30))
    if size > RATTLE_SIZE and correlation < RATTLE:
        evidence = (
            f"the last 50 losses swing by {size:.0%} of their mean, each against the one before "
            f"(correlation {correlation:.2f}, limit {RATTLE:g})"
        )
        last = run.record.losses.last_step if run.is_whole else run.step
        yield Sign(evidence, step=last - 49, numbers={"size": size, "correlation": correlation})


@rule("label-noise-or-shuffled")
def label_noise(run: Run) -> Iterator[Sign]:
    """A model that learns what a guess without the input reaches, or nothing that holds on other data."""
    entropy = training_guess(run)
    steps, losses = run.losses
    if not entropy > 0 or losses.size < LONG_ENOUGH or is_young_table(run):
        return
    count = max(losses.size // 5, 20)
    now = float(losses[-count:].mean())
    dev = [e.loss for e in run.evaluations.get("dev", []) if e.step >= 50]
    best_dev = min(dev, default=math.nan)
    limit = (1 - LABEL_ENTROPY) * entropy
    is_stuck = limit < now < (1 + GUESS_MARGIN) * entropy
    is_certain = len(dev) >= 3 or losses.size >= LONG_TRAINING
    # Another sample of the data has another entropy; a loss on it that fell below this one shows what is being learnt.
    fell = len(dev) >= 2 and best_dev < min((1 - NOT_FALLING) * dev[0], limit)
    learns = best_dev < (1 - GUESS_MARGIN) * entropy or fell
    if is_stuck and is_certain and not learns and not still_falls(losses):
        evidence = (
            f"the loss is {now:.3g} after {steps[-1] + 1:,} steps; the labels' own entropy, which a guess "
            f"without the input reaches, is {entropy:.3g}"
        )
        yield Sign(evidence, step=int(run.steps[0]), numbers={"loss": now, "entropy": entropy})
        return
    is_by_heart = MEMORISED_SHARE * entropy < now < (entropy if _rises(dev) else limit)
    # A small sample may be easier to guess: what rises was not learnt all the same.
    least = limit if _rises(dev) else (1 - NOT_FALLING) * entropy
    if is_by_heart and len(dev) >= 3 and best_dev > least:
        evidence = (
            f"the training loss is {now:.3g}, but no dev loss got below the labels' own entropy of "
            f"{entropy:.3g} (the best is {best_dev:.3g})"
        )
        yield Sign(evidence, step=int(run.steps[0]), numbers={"loss": now, "entropy": entropy, "dev": best_dev})


def _rises(losses: Sequence[float]) -> bool:
    return len(losses) >= 3 and losses[-1] > losses[0] and losses[-1] > (1 + NOT_FALLING) * min(losses)


def still_falls(losses: NDArray[np.float64]) -> bool:
    """Whether the second half of the losses ends below where it begins, beyond noise."""
    half = losses[losses.size // 2 :]
    early, late = half[: half.size // 2], half[half.size // 2 :]
    error = math.sqrt(early.var(ddof=1) / early.size + late.var(ddof=1) / late.size)
    return float(early.mean() - late.mean()) > T_VALUE * error


def _moving_mean(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.lib.stride_tricks.sliding_window_view(values, window).mean(1)
    return found


RULES = (
    initial_loss,
    diverging,
    label_noise,
    oscillating,
    loss_spike,
    loss_not_falling,
    plateau,
)
