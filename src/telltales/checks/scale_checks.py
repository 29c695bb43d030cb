"""Sizes: of the weights and the signal at first, of the input, of the batches that norms see."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import nn

from telltales.catalogue import made
from telltales.checks.look import NORMS, TRANSPARENT, Event, Look
from telltales.finding import Finding, Severity, listed
from telltales.flat_regions import FlatRegion
from telltales.gains import GAINS, Scale, fan_in, told, without_small_heads
from telltales.thresholds import (
    CONSTANT_FEATURE,
    DENSE_FEATURES,
    FAR_TOO_SMALL,
    FAR_TOO_SMALL_WITH_NORMS,
    FEWEST_ROWS,
    INPUT_SCALE,
    LAYER_STD_RATIO,
    MOST_FEATURES,
    SATURATED,
    SMALL_INPUT,
    TINY_BATCH_NORM,
    TOO_SMALL,
    WRONG_SCALE,
)

LAYERS = (nn.Linear, nn.modules.conv._ConvNd)


def poor_init(look: Look) -> Iterator[Finding]:
    """Weights of a scale that does not fit the layers' width, where signal and gradient show it, too."""
    events, scales = _scales(look)
    hidden = without_small_heads(scales[:-1])
    if not hidden:
        return
    has_norms = any(isinstance(event.module, NORMS) for event in look.seen.events)
    too_small = FAR_TOO_SMALL_WITH_NORMS if has_norms else FAR_TOO_SMALL
    wrong = [s for s in hidden if s.ratio > WRONG_SCALE or s.ratio < TOO_SMALL]
    too_large = [s for s in wrong if s.ratio > WRONG_SCALE]
    flat = [e for e in look.seen.events if _may_saturate(e, look) and e.flat > SATURATED]
    ran = [events[s.module] for s in hidden]
    spread, slope = _spread([e.std for e in ran]), _spread([e.gradient for e in ran])
    if too_large and flat:
        shown = f"{flat[0].flat:.0%} of {flat[0].name} is in its flat part (limit {SATURATED:.0%})"
    elif wrong and spread > LAYER_STD_RATIO and not has_norms:
        shown = f"the outputs' std changes {spread:,.0f}-fold from layer to layer (limit {LAYER_STD_RATIO:.0f})"
    elif min(spread, slope) > LAYER_STD_RATIO and not has_norms and _is_a_chain(look, ran):
        wrong = hidden
        shown = (
            f"from layer to layer the outputs' std changes {spread:,.0f}-fold and their gradient's "
            f"{slope:,.0f}-fold (limit {LAYER_STD_RATIO:.0f})"
        )
    elif 2 * sum(s.ratio < too_small for s in wrong) > len(hidden) and len(hidden) > 1:
        shown = f"it is less than {too_small:g} of that"
    else:
        return
    yield made("poor-init", **told(wrong, shown))


def _scales(look: Look) -> tuple[dict[str, Event], list[Scale]]:
    """Each layer with its weights' std and the right one, in the order in which they first ran; and when that was."""
    ran: dict[str, Event] = {}
    found: dict[str, Scale] = {}
    for number, event in enumerate(look.seen.events):
        module = event.module
        name = f"{event.name}.weight".lstrip(".")
        parameter = look.parameters.get(name)
        if not isinstance(module, LAYERS) or parameter is None or name in found or parameter.numel() < 2:
            continue
        inputs = fan_in(parameter.shape, getattr(module, "transposed", False))
        std = float(parameter.detach().float().std())
        if std > 0:
            ran[event.name] = event
            found[name] = Scale(name, event.name, std, _gain(look.seen.events[number + 1 :]), inputs)
    return ran, list(found.values())


def _gain(following: list[Event]) -> float:
    """What the activation after a layer asks for, by PyTorch's table; 1 where another layer comes first."""
    for event in following:
        if event.region is not None and not isinstance(event.module, nn.RNNBase):
            return GAINS.get(event.region.function, 1.0)
        if isinstance(event.module, nn.LeakyReLU):
            return math.sqrt(2 / (1 + event.module.negative_slope**2))
        if not isinstance(event.module, (*NORMS, *TRANSPARENT)):
            return 1.0
    return 1.0


def _spread(values: list[float]) -> float:
    known = [value for value in values if value > 0 and math.isfinite(value)]
    return max(known) / min(known) if len(known) > 1 else 1.0


def _is_a_chain(look: Look, layers: list[Event]) -> bool:
    """Whether layers and activation functions follow one another, so that nothing but the weights sets the sizes."""
    only = all(e.module is None or isinstance(e.module, (*LAYERS, *TRANSPARENT)) or e.region for e in look.seen.events)
    stds = [event.std for event in layers]
    falling = sum(after < before for before, after in pairwise(stds))
    return only and len(layers) > 2 and falling in (0, len(stds) - 1)


def _may_saturate(event: Event, look: Look) -> bool:
    """Whether it is an activation function with flat ends, not a recurrent layer's and not the output."""
    region: FlatRegion | None = event.region
    if region is None or region.is_rectifier or isinstance(event.module, nn.RNNBase | nn.RNNCellBase):
        return False
    return event is not look.seen.events[-1] and event.output.shape != look.seen.output.shape


def tiny_batch_norm(look: Look) -> Iterator[Finding]:
    """Batch norm in training mode with few values for each statistic."""
    few = {}
    for event in look.seen.events:
        module = event.module
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training and len(event.input_shape) >= 2:
            count = math.prod(event.input_shape) // max(event.input_shape[1], 1)
            if count < TINY_BATCH_NORM:
                few[event.name] = count
    if few:
        name = min(few, key=lambda one: few[one])
        evidence = f"{few[name]} values for each statistic (fewer than {TINY_BATCH_NORM:.0f})"
        yield made("tiny-batch-norm", evidence, name, numbers={"values": few[name]}, places=list(few))


def unnormalised_input(look: Look) -> Iterator[Finding]:
    """Numbers far from mean 0 and spread 1 that go into a layer without a norm before it."""
    values = _float_input(look)
    if values is None or values.numel() < 2:
        return
    first = next(
        (e for e in look.seen.events if e.module and next(e.module.parameters(recurse=False), None) is not None), None
    )
    if first is not None and isinstance(first.module, NORMS):
        return
    mean, std = float(values.mean()), float(values.std())
    if not math.isfinite(mean) or std == 0:
        return
    if std > INPUT_SCALE or abs(mean) > INPUT_SCALE * max(1.0, std) or std < SMALL_INPUT:
        if first is not None and _is_scaled_before(first, mean, std):
            return
        evidence = (
            f"the input has a mean of {mean:.4g} and a std of {std:.3g} (limits: a mean of {INPUT_SCALE:.0f} times the "
            f"std, a std of {SMALL_INPUT:g} to {INPUT_SCALE:.0f})"
        )
        yield made("unnormalised-input", evidence, numbers={"mean": mean, "std": std})


def _is_scaled_before(first: Event, mean: float, std: float) -> bool:
    """Whether the model scales its input itself: its first layer gets other numbers than the batch holds."""
    if first.input is None or not first.input.is_floating_point():
        return True
    given = first.input.detach().float()
    return abs(float(given.std()) - std) > std / 2 or abs(float(given.mean()) - mean) > std / 2


def constant_input(look: Look) -> Iterator[Finding]:
    """All examples the same; or, worth knowing, single features of tables that are, apart from zeros among sparse
    ones and one column of ones."""
    main = look.calling.main
    if main is not None and main.dim() > 1 and main.shape[0] > 3 and bool((main == main[:1]).all()):
        evidence = f"all {main.shape[0]} examples of the batch are the same"
        yield made("constant-input", evidence, numbers={"features": "all"}, severity="error")
        return
    values = _float_input(look)
    if values is None or values.numel() < 2:
        return
    if values.shape[0] > 1 and bool((values == values[:1]).all()) and float(values.std()) < CONSTANT_FEATURE:
        evidence = f"all {values.numel():,} numbers of the input are {float(values.flatten()[0]):.4g}"
        yield made("constant-input", evidence, numbers={"features": "all"})
        return
    if values.dim() != 2 or values.shape[0] < FEWEST_ROWS or not 1 < values.shape[1] <= MOST_FEATURES:
        return
    scale = values.abs().amax(0).clamp(min=1.0)
    constant = values.std(0) < CONSTANT_FEATURE * scale
    others = values[:, ~constant]
    is_dense = others.numel() > 0 and float((others != 0).float().mean()) > DENSE_FEATURES
    is_zero = (values == 0).all(0)
    ones = (values == 1).all(0)
    counts = constant & (is_dense | ~is_zero)
    if int(ones.sum()) == 1:
        counts &= ~ones
    numbers = counts.nonzero().flatten().tolist()
    if numbers:
        shown = listed([str(number) for number in numbers])
        evidence = f"{len(numbers)} of {values.shape[1]} features are the same in all {values.shape[0]} rows: {shown}"
        where = f"input feature {numbers[0]}"
        places = [f"input feature {number}" for number in numbers]
        is_most = 2 * len(numbers) > values.shape[1]
        severity: Severity = "warning" if is_most else "note"
        yield made("constant-input", evidence, where, numbers={"features": numbers}, places=places, severity=severity)


def _float_input(look: Look) -> torch.Tensor | None:
    main = look.calling.main
    return main.detach().float() if main is not None and main.is_floating_point() and main.dim() > 1 else None
