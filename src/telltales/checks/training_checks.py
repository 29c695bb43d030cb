"""A short training on one batch: can it be memorised, and does the input help with it?"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from telltales.catalogue import made
from telltales.checks.calling import Calling, backward, main_tensor
from telltales.checks.dependence_checks import blanked, exchanged
from telltales.checks.floors import floor_of
from telltales.checks.look import Look, Seen, quiet
from telltales.checks.loss_calls import Listening, LossCall
from telltales.checks.result import NotApplicable
from telltales.finding import Finding
from telltales.naming import every_parameter
from telltales.thresholds import HALFWAY, MEMORISED, MOVED_AT_ALL, PARAMETERS_PER_TARGET, STILL_FALLING

STEPS = 200
MOST_EXAMPLES = 32
FEWEST_EXAMPLES = 4
"""So many a linear model of a few features can memorise, too."""
MOST_COMPARED = 64
Make = Callable[[list[nn.Parameter]], torch.optim.Optimizer]


class OutOfTime(Exception):
    """The time for what takes long was up before there was an answer."""


@dataclass(frozen=True)
class _Fit:
    """What a training reached."""

    losses: list[float]
    floor: float | None
    depends: bool
    """Whether, before or afterwards, other inputs gave other outputs."""

    @property
    def first(self) -> float:
        return self.losses[0]

    @property
    def best(self) -> float:
        return min((loss for loss in self.losses if math.isfinite(loss)), default=math.inf)

    @property
    def share(self) -> float:
        """Of the first loss that is left, both without the floor; for an unknown floor, 1 less what it fell by."""
        if self.floor is None:
            return 1 - (self.first - self.best) / max(abs(self.first), 1e-12)
        return max(self.best - self.floor, 0.0) / max(self.first - self.floor, 1e-12)

    @property
    def is_memorised(self) -> bool:
        if not math.isfinite(self.first):
            return False
        if self.floor is None:
            return self.share < 1 - MOVED_AT_ALL or abs(self.first) < 1e-6
        if self.first - self.floor < 1e-2 or self.share <= MEMORISED:
            return True
        recent = min(self.losses[-STEPS // 4 :])
        earlier = min(self.losses[: -STEPS // 4] or self.losses)
        falls = (earlier - recent) > STILL_FALLING * (earlier - self.floor)
        return self.share < HALFWAY and falls


def memorising(look: Look) -> Iterator[Finding]:
    """Both checks that need a training: ``cannot-overfit-batch`` and ``input-ignored``."""
    if not look.seen.loss.requires_grad or not look.trained:
        raise NotApplicable("the loss has no graph")
    if look.seen.loss.numel() != 1:
        raise NotApplicable("the loss is not one number")
    if not math.isfinite(float(look.seen.loss.detach())):
        raise NotApplicable("the first loss is not finite")
    look.progress("memorising one batch")
    cut = _cut(look)
    batches = [cut] if look.calling.size <= FEWEST_EXAMPLES or cut is look.calling else [cut, cut.cut(FEWEST_EXAMPLES)]
    is_small = _is_small(look)
    fits: list[tuple[str, _Fit]] = []
    for name, make in _attempts(look):
        for calling in batches:
            fit = _fitted(look, calling, make)
            fits.append((name, fit))
            if fit.is_memorised or (is_small and fit.share < 1 - MOVED_AT_ALL):
                yield from _ignored(look, fit)
                return
    name, best = min(fits, key=lambda pair: pair[1].share)
    yield from _ignored(look, best)
    attempts = list(dict.fromkeys(one for one, _ in fits))
    floor = "" if best.floor is None else f"; the batch's own floor is {best.floor:.3g}"
    limit = "" if best.floor is None else f", where {MEMORISED:.0%} or less should be left"
    evidence = (
        f"in {STEPS} steps on at most {MOST_EXAMPLES} examples the loss went from {best.first:.4g} to {best.best:.4g} "
        f"at the best ({name}){limit}{floor}; tried: {', '.join(attempts)}"
    )
    numbers = {"first": best.first, "best": best.best, "floor": best.floor, "share": best.share, "tried": attempts}
    yield made("cannot-overfit-batch", evidence, numbers=numbers)


def _ignored(look: Look, fit: _Fit) -> Iterator[Finding]:
    """The trained copy does not look at its input, or does as well on one input for all examples."""
    if not look.calling.tensors:
        return
    size = min(look.calling.size, MOST_EXAMPLES)
    if not fit.depends and _inputs_differ(look.calling):
        evidence = f"after a training on {size} examples the outputs are the same whichever of them is given"
        yield made("input-ignored", evidence, numbers={"first": fit.first, "best": fit.best})
        return
    if fit.is_memorised or fit.floor is None or not _inputs_differ(look.calling) or look.calling.targets is None:
        return
    look.progress("the same with the input blanked")
    cut = look.calling.cut(MOST_EXAMPLES)
    blank = _fitted(look, blanked(cut), lambda held: torch.optim.Adam(held, 3e-3), floor=fit.floor)
    real = _fitted(look, cut, lambda held: torch.optim.Adam(held, 3e-3))
    if blank.share < 0.98 and blank.best <= real.best * 1.02:
        evidence = (
            f"with the first example's input given for all, a copy reaches a loss of {blank.best:.4g}, with the real "
            f"inputs {real.best:.4g}"
        )
        yield made("input-ignored", evidence, numbers={"blank": blank.best, "real": real.best, "first": real.first})


def _inputs_differ(calling: Calling) -> bool:
    size = calling.size
    leaves = [leaf for leaf in calling.tensors if leaf.dim() and leaf.shape[0] == size]
    return size > 1 and any(bool((leaf != leaf[:1]).any()) for leaf in leaves)


def _cut(look: Look) -> Calling:
    """The first examples; the whole batch where the model runs on no smaller one."""
    cut = look.calling.cut(MOST_EXAMPLES)
    try:
        with look.trial() as model, torch.no_grad():
            quiet(model)
            cut.run(model)
            cut.cut(FEWEST_EXAMPLES).run(model)
    except Exception:  # noqa: BLE001 - any reason will do
        return look.calling
    return cut


def _is_small(look: Look) -> bool:
    """Whether a model has too few parameters to know even a few examples by heart, as a linear one may."""
    targets = [leaf for leaf in pytree.tree_leaves(look.calling.targets) if isinstance(leaf, torch.Tensor)]
    share = min(FEWEST_EXAMPLES / max(look.calling.size, 1), 1.0)
    wanted = share * max((leaf.numel() for leaf in targets), default=FEWEST_EXAMPLES)
    chosen = _in_an_optimizer(look)
    held = sum(p.numel() for name, p in look.trained.items() if chosen is None or name in chosen)
    return 0 < held < PARAMETERS_PER_TARGET * wanted


def _attempts(look: Look) -> list[tuple[str, Make]]:
    """Adam at the rate that suits most models, then others, the user's own optimizer among them."""
    rates = (3e-3, 3e-2, 3e-4)
    found: list[tuple[str, Make]] = [
        (f"Adam at {rate:g}", lambda held, rate=rate: torch.optim.Adam(held, rate))  # type: ignore[misc]
        for rate in rates
    ]
    if len(look.optimizers) == 1:
        optimizer = next(iter(look.optimizers.values()))
        group = optimizer.param_groups[0]
        settings = {key: value for key, value in optimizer.defaults.items() if key in group}
        settings |= {key: group[key] for key in settings}

        def own(held: list[nn.Parameter]) -> torch.optim.Optimizer:
            return type(optimizer)(held, **settings)

        found.insert(1, (f"your {type(optimizer).__name__} at {float(group['lr']):g}", own))
    return found


def _fitted(look: Look, calling: Calling, make: Make, floor: float | None = None) -> _Fit:
    """Train a copy without dropout. Raises `OutOfTime`."""
    with look.trial() as model:
        quiet(model)
        named = every_parameter({"": model})
        chosen = _in_an_optimizer(look)
        held = [p for name, p in named.items() if p.requires_grad and (chosen is None or name in chosen)]
        losses: list[float] = []
        updater: Any = None
        if held:
            try:
                updater = make(held)
            except (TypeError, ValueError):
                updater = torch.optim.Adam(held, 3e-3)
        known, depends = floor, _depends(look, calling, model)
        for step in range(STEPS):
            if look.is_late:
                raise OutOfTime
            torch.manual_seed(look.seed)
            listening = Listening(lambda region, output: None)
            if step == 0 and floor is None:
                with listening:
                    output, loss = calling.run(model)
                known = floor_of(_loss_of_output(look, listening, main_tensor(output), loss), calling)
            else:
                _, loss = calling.run(model)
            losses.append(float(loss.detach()))
            fit = _Fit(losses, known, True)
            if updater is None or not math.isfinite(losses[-1]) or (step > 4 and fit.share <= MEMORISED / 2):
                break
            model.zero_grad(set_to_none=True)
            backward(loss, held)
            if isinstance(updater, torch.optim.LBFGS):
                updater.step(lambda: _again(look, calling, model, held))  # type: ignore[no-untyped-call]
            else:
                updater.step()
        return _Fit(losses, known, depends or _depends(look, calling, model))


def _again(look: Look, calling: Calling, model: nn.Module, held: list[nn.Parameter]) -> torch.Tensor:
    """The loss with new gradients, for an optimizer that asks for several of them in one update."""
    torch.manual_seed(look.seed)
    model.zero_grad(set_to_none=True)
    with torch.enable_grad():
        _, loss = calling.run(model)
        backward(loss, held)
    return loss


def _loss_of_output(look: Look, listening: Listening, output: torch.Tensor, loss: torch.Tensor) -> LossCall | None:
    """The one loss function that was called, if it was given the model's own output and the loss is its value.

    A loss of what another network makes of the output, as a generator's, may have any lowest value.
    """
    call = Seen(output, loss, listening.losses, look.seen.facts, [], {}, {}).main_loss
    if call is None or not torch.allclose(call.value.float(), loss.detach().float(), rtol=1e-4):
        return None
    is_given = torch.isin(call.input.flatten()[:MOST_COMPARED], output.detach().flatten()).all()
    return call if bool(is_given) else None


def _in_an_optimizer(look: Look) -> set[str] | None:
    """The names of the parameters that the user's optimizers hold; None without any."""
    held = {id(p) for one in look.optimizers.values() for group in one.param_groups for p in group["params"]}
    return {name for name, p in look.parameters.items() if id(p) in held} if held else None


def _depends(look: Look, calling: Calling, model: nn.Module) -> bool:
    with torch.no_grad():
        torch.manual_seed(look.seed)
        before = calling.output(model).detach()
        torch.manual_seed(look.seed)
        after = exchanged(calling).output(model).detach()
    if before.shape != after.shape or not bool(torch.isfinite(before).all()):
        return True
    return not torch.allclose(before, after, rtol=1e-5, atol=1e-7)
