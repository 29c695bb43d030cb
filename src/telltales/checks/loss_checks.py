"""What the loss is given, what it gives, and how the examples' losses are put together."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch.nn import functional

from telltales.catalogue import made
from telltales.checks.look import Look
from telltales.checks.loss_calls import REGRESSION, LossCall
from telltales.checks.result import NotApplicable
from telltales.finding import Finding
from telltales.thresholds import FEW_CLASSES_SLACK, INITIAL_LOSS, ROW_SUM


def non_finite(look: Look) -> Iterator[Finding]:
    """A loss that is not a number, and the first place that shows why: the batch, a module, the loss itself."""
    if bool(torch.isfinite(look.seen.loss).all()):
        return
    loss = f"the loss of the batch is {float(look.seen.loss.detach().float().mean())}"
    for what, tensors in (("inputs", look.calling.tensors), ("targets", look.calling.target_tensors)):
        for tensor in (one for one in tensors if one.is_floating_point() and one.dim()):
            bad = ~torch.isfinite(tensor)
            if bool(bad.any()):
                evidence = (
                    f"{loss}; {int(bad.sum()):,} of {bad.numel():,} values of the {what} are not finite, the first in "
                    f"example {int(bad.nonzero()[0][0])}"
                )
                yield made("non-finite", evidence, numbers={"kind": what})
                return
    first = next((event for event in look.seen.events if not bool(torch.isfinite(event.output).all())), None)
    if first is None:
        yield made("non-finite", f"{loss}, though all outputs of the model are finite", numbers={"kind": "loss"})
    else:
        evidence = f"{loss}; the first outputs that are not finite are those of {first.name}"
        yield made("non-finite", evidence, first.name, numbers={"kind": "activation"})


def initial_loss(look: Look) -> Iterator[Finding]:
    """A cross-entropy above that of an even guess, for these labels and for any.

    A model most of which is frozen was trained before, on something else: it need not begin evenly.
    """
    every = list(look.model.parameters())
    if 2 * sum(p.numel() for p in every if p.requires_grad) < sum(p.numel() for p in every):
        raise NotApplicable("most of the model is frozen: it was trained before")
    if look.seen.facts.get("fed_by") in ("Mul", "Div"):
        raise NotApplicable("the logits are multiplied, as by a temperature")
    for call in look.seen.losses:
        guesses = _guesses(call)
        if guesses is None:
            continue
        mean, of_any_label, classes = guesses
        even = math.log(classes)
        limit = max(even * (1 + INITIAL_LOSS), even + FEW_CLASSES_SLACK)
        if min(mean, of_any_label) > limit:
            evidence = (
                f"the first loss is {mean:.3g} where an even guess among {classes} classes has ln {classes} = "
                f"{even:.3g} (limit {limit:.3g})"
            )
            numbers = {"loss": mean, "expected": even, "classes": classes, "output": _last_layer(look)}
            yield made("initial-loss", evidence, _last_layer(look), numbers=numbers)
            return


def _guesses(call: LossCall) -> tuple[float, float, int] | None:
    """The mean cross-entropy, that of labels drawn evenly (less noisy in a small batch), and the number of classes."""
    if call.is_indexed:
        logits, target = call.rows()
        logits = logits.float()
        if not logits.shape[0] or logits.shape[1] < 2:
            return None
        logits = logits if call.kind == "nll" else logits.log_softmax(1)
        return float(functional.nll_loss(logits, target)), -float(logits.mean()), logits.shape[1]
    if call.kind == "binary_cross_entropy_with_logits" and call.input.shape == call.target.shape:
        logits, target = call.input.float(), call.target.float()
        either = (functional.softplus(logits) + functional.softplus(-logits)).mean() / 2
        return float(functional.binary_cross_entropy_with_logits(logits, target)), float(either), 2
    return None


def _last_layer(look: Look) -> str:
    layers = [e.name for e in look.seen.events if isinstance(e.module, torch.nn.Linear | torch.nn.modules.conv._ConvNd)]
    return layers[-1] if layers else ""


def double_softmax(look: Look) -> Iterator[Finding]:
    """Cross-entropy of what is a distribution already; the sigmoid's loss of what comes from a sigmoid."""
    source = look.seen.facts.get("fed_by")
    for call in look.seen.losses:
        values = call.input.float()
        if call.kind == "cross_entropy" and values.dim() > 0 and values.shape[call.class_dim] > 1:
            sums = values.sum(call.class_dim)
            if bool((values >= 0).all()) and bool(((sums - 1).abs() < ROW_SUM).all()):
                evidence = (
                    f"cross_entropy, which takes the softmax itself, is given rows that are not negative and sum to 1 "
                    f"(the largest number is {float(values.max()):.3g})"
                )
                yield made("double-softmax", evidence, numbers={"loss": call.kind, "fed_by": source or "softmax"})
                return
            if source == "sigmoid" and look.seen.facts.get("kind") == "cross_entropy":
                evidence = "cross_entropy, which takes the softmax itself, is given the result of a sigmoid"
                yield made("double-softmax", evidence, numbers={"loss": call.kind, "fed_by": source})
                return
        if call.kind == "binary_cross_entropy_with_logits" and source in ("sigmoid", "softmax"):
            evidence = f"{call.kind}, which takes the sigmoid itself, is given the result of a {source}"
            yield made("double-softmax", evidence, numbers={"loss": call.kind, "fed_by": source})
            return


def missing_log_softmax(look: Look) -> Iterator[Finding]:
    """An nll_loss whose input's rows are not the logarithms of a distribution."""
    for call in look.seen.losses:
        if call.kind == "nll" and not is_along_the_batch(look):
            total = call.input.float().logsumexp(call.class_dim).exp()
            if bool(((total - 1).abs() > ROW_SUM * 100).any()):
                evidence = (
                    f"nll_loss is given rows whose exponentials sum to {float(total.min()):.3g} to "
                    f"{float(total.max()):.3g}, not to 1; the loss is {float(look.seen.loss.detach().mean()):.3g}"
                )
                numbers = {"loss": float(look.seen.loss.detach().mean()), "fed_by": look.seen.facts.get("fed_by", "")}
                yield made("missing-log-softmax", evidence, numbers=numbers)
                return


def loss_reduction(look: Look) -> Iterator[Finding]:
    """A loss that is no single number, is cut from the graph, summed, made larger, or taken along the batch."""
    seen = look.seen
    loss, facts, call = seen.loss, seen.facts, seen.main_loss
    if loss.numel() != 1:
        evidence = f"the loss has the shape {tuple(loss.shape)}: backward() needs one number"
        yield made("loss-reduction", evidence, numbers={"shape": list(loss.shape)})
        return
    if not loss.requires_grad:
        if seen.output.requires_grad:
            evidence = "the model's output is in the graph and the loss is not: it was detached or computed elsewhere"
            yield made("loss-reduction", evidence, numbers={"detached": True})
        return
    kind = str(facts.get("kind", call.kind if call is not None else ""))
    if facts.get("sign") == -1 and not facts.get("others") and not _may_be_adversarial(kind, call):
        evidence = f"minus {kind} is minimised (the loss is {float(loss.detach()):.3g}), so that {kind} is made larger"
        yield made("loss-reduction", evidence, numbers={"sign": -1, "loss": kind})
        return
    is_alone = bool(facts) and not facts.get("others") and facts.get("terms", 1) == 1 and not facts.get("weighted")
    shape = list(facts.get("shape") or [])
    count = call.target.numel() if call is not None else look.calling.size
    if facts.get("reduction") == "sum" and is_alone and count > 1 and len(seen.losses) <= 1:
        evidence = f"{kind} is summed over {count:,} values: gradients are {count:,} times those of the mean"
        numbers = {"reduction": "sum", "count": count}
        yield made("loss-reduction", evidence, numbers=numbers, severity="warning")
    elif is_along_the_batch(look):
        evidence = f"the softmax of logits of shape {tuple(shape)} runs over the batch, not the classes"
        yield made("loss-reduction", evidence, numbers={"dim": 0, "shape": shape})


def is_along_the_batch(look: Look) -> bool:
    """Whether the loss's softmax is taken over the examples of rows of logits."""
    shape = list(look.seen.facts.get("shape") or [])
    return look.seen.facts.get("dim") == 0 and len(shape) == 2 and shape[0] == look.calling.size


def _may_be_adversarial(kind: str, call: LossCall | None) -> bool:
    """A generator's loss may be minus the discriminator's, whose targets are all the same."""
    if call is not None and call.target.numel() > 1:
        return bool((call.target == call.target.flatten()[0]).all())
    return kind.startswith("binary")


def shape_layout(look: Look) -> Iterator[Finding]:
    """A prediction and a target that fit only because both were stretched."""
    for call in look.seen.losses:
        if call.kind in REGRESSION and call.input.shape != call.target.shape:
            given, wanted = tuple(call.input.shape), tuple(call.target.shape)
            if yes := _stretched(given, wanted):
                yield _broadcast(given, wanted, yes)
                return
    shapes = look.seen.facts.get("broadcast")
    if shapes and not look.seen.losses:
        before, after = (tuple(shape) for shape in shapes)
        if math.prod(after) > max(math.prod(before), look.seen.output.numel()):
            yield _broadcast(before, after, after)


def _stretched(first: tuple[int, ...], second: tuple[int, ...]) -> tuple[int, ...] | None:
    both = tuple(torch.broadcast_shapes(first, second))  # type: ignore[no-untyped-call]
    return both if math.prod(both) > max(math.prod(first), math.prod(second)) else None


def _broadcast(given: tuple[int, ...], wanted: tuple[int, ...], both: tuple[int, ...]) -> Finding:
    evidence = f"a prediction of shape {given} and a target of shape {wanted} were both stretched to {both}"
    if wanted == both:
        evidence = f"a prediction of shape {given} was stretched to {both} against its target"
    numbers = {"prediction": list(given), "target": list(wanted), "compared": list(both)}
    return made("shape-layout", evidence, numbers=numbers)
