"""What the backward pass gives each parameter: nothing, the same for all units, or nothing but rounding."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from telltales.catalogue import GRADIENT_OF_ZEROS, made
from telltales.checks.look import TRANSPARENT, Event, Look
from telltales.finding import Finding, listed
from telltales.thresholds import EQUAL_ROWS, ZERO_UP_TO_ROUNDING


def no_gradient(look: Look) -> Iterator[Finding]:
    """A trainable parameter of a module that ran has no gradient, or one of zeros that a few updates do not change."""
    trained = list(look.trained)
    if not trained:
        evidence = "no parameter of the model has requires_grad set"
        yield made("no-gradient", evidence, numbers={"missing": []})
        return
    if not look.seen.loss.requires_grad:
        if not look.seen.output.requires_grad:
            evidence = f"the output has no graph: none of the {len(trained)} trainable parameters can get a gradient"
            yield made("no-gradient", evidence, trained[0], numbers={"missing": trained}, places=trained)
        return
    gradients = look.seen.gradients
    never = [name for name in trained if gradients[name] is None and _ran(look, name)]
    zero = [name for name in trained if _is_zero(gradients[name]) and not _has_trained_sibling(look, name)]
    if zero or never:
        # What starts at zero hides the gradient of what comes before it: a few updates bring it out.
        later = look.later_gradients()
        never = [name for name in never if all(step[name] is None for step in later)]
        zero = [name for name in zero if all(step[name] is None or _is_zero(step[name]) for step in later)]
    names = never + zero
    if names:
        what = "have no gradient" if never else "have a gradient of zeros, at the first steps, too,"
        evidence = f"{len(names)} of {len(trained)} trainable parameters {what} though their modules ran"
        evidence = f"{evidence}: {listed(names)}"
        why, remedy = (None, None) if never else GRADIENT_OF_ZEROS
        yield made("no-gradient", evidence, names[0], numbers={"missing": names}, places=names, why=why, remedy=remedy)


def _ran(look: Look, name: str) -> bool:
    place = name.rpartition(".")[0]
    return bool(look.seen.calls.get(place))


def _is_zero(gradient: torch.Tensor | None) -> bool:
    return gradient is not None and not bool(gradient.any())


def _has_trained_sibling(look: Look, name: str) -> bool:
    """Whether it is a bias beside a weight that gets a gradient: there is nothing wrong with the layer."""
    gradient = look.seen.gradients.get(name.rpartition(".")[0] + ".weight")
    return look.trained[name].dim() < 2 and gradient is not None and bool(gradient.any())


def symmetric_init(look: Look) -> Iterator[Finding]:
    """Layers whose units are the same, and get the same gradients in the first steps or differ by their biases only."""
    if not look.seen.loss.requires_grad:
        return
    equal = [name for name, p in look.trained.items() if p.dim() >= 2 and p.shape[0] > 1 and _equal_rows(p.detach())]
    equal = [name for name in equal if look.seen.gradients.get(name) is not None]
    if not equal:
        return
    later = look.later_gradients()
    stay = [name for name in equal if later and all(_equal_rows(step[name]) for step in later)]
    constant = [name for name in equal if bool(look.trained[name].detach().any())]
    if stay:
        names, shown = stay, f"and so are their gradients in the first {len(later)} steps"
    elif len(constant) > 1:
        names, shown = constant, f"as in {len(constant)} matrices: nothing but biases tells their units apart"
    elif len(equal) > 1 and _forgets_the_input(look):
        names, shown = equal, f"as in {len(equal)} matrices, and the last layer gets the same for every example"
    else:
        return
    weight = look.trained[names[0]]
    value = float(weight.detach().flatten()[0])
    evidence = f"all {weight.shape[0]} rows of {names[0]} are equal (the first number is {value:.3g}), {shown}"
    layers = {name: {"fan_in": look.trained[name][0].numel()} for name in names}
    yield made("symmetric-init", evidence, names[0], numbers={"layers": layers}, places=names)


def _forgets_the_input(look: Look) -> bool:
    """Whether the last layer is given the same for all examples, though these differ."""
    given = [event.input for event in look.seen.events if isinstance(event.module, nn.Linear)]
    if not given or given[-1] is None or given[-1].shape[0] < 2:
        return False
    return bool((given[-1] == given[-1][:1]).all())


def _equal_rows(values: torch.Tensor | None) -> bool:
    if values is None:
        return True
    rows = values.flatten(1)
    return bool(((rows - rows[:1]).abs() <= EQUAL_ROWS * rows.abs().max()).all())


def bias_before_norm(look: Look) -> Iterator[Finding]:
    """A bias with a gradient that is zero up to rounding, before a norm that subtracts each channel's mean."""
    names = []
    for event, following in zip(look.seen.events, look.seen.events[1:], strict=False):
        module = event.module
        if not isinstance(module, nn.Linear | nn.modules.conv._ConvNd) or module.bias is None:
            continue
        name = f"{event.name}.bias".lstrip(".")
        gradient, weights = (look.seen.gradients.get(f"{event.name}.{one}".lstrip(".")) for one in ("bias", "weight"))
        if gradient is None or weights is None or not _subtracts_means(following, event):
            continue
        if float(gradient.abs().max()) <= ZERO_UP_TO_ROUNDING * float(weights.abs().max()):
            names.append(name)
    if names:
        evidence = (
            f"the gradients of {len(names)} biases are zero up to rounding (below {ZERO_UP_TO_ROUNDING:g} of their "
            f"weights'), and a norm follows: {listed(names)}"
        )
        yield made("bias-before-norm", evidence, names[0], numbers={"biases": names}, places=names)


def _subtracts_means(norm: Event, before: Event) -> bool:
    """Whether ``norm`` takes what ``before`` gives and subtracts the mean of each channel."""
    module = norm.module
    if norm.input is not before.output or isinstance(module, TRANSPARENT):
        return False
    if isinstance(module, nn.modules.batchnorm._NormBase):
        return module.training or not module.track_running_stats
    return isinstance(module, nn.GroupNorm) and module.num_groups == module.num_channels
