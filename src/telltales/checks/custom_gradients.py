"""Hand-written backward passes against numeric derivatives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from telltales.catalogue import made
from telltales.checks.look import Look
from telltales.checks.restoring import restored
from telltales.checks.result import NotApplicable
from telltales.finding import Finding
from telltales.thresholds import GRADIENT_ERROR

_STEPS = (1e-6, 1e-5, 1e-4)
"""Of the differences, beside inputs of about 1; a kink is not hit by all of them."""


def wrong_custom_gradient(look: Look) -> Iterator[Finding]:
    """A `torch.autograd.Function` whose gradient is not its derivative along a random direction, in float64.

    Silent where the function changes nothing (a gradient reversed or scaled on purpose) or is flat in steps
    (a rounding with a straight-through gradient).
    """
    functions = {type(node)._forward_cls for node in look.seen.nodes if hasattr(type(node), "_forward_cls")}
    own = sorted((f for f in functions if not f.__module__.startswith("torch.")), key=lambda f: str(f.__name__))
    if not own:
        raise NotApplicable("no function in the graph has a hand-written backward pass")
    for function, args in _arguments(look, own).items():
        error = _error(function, args)
        if error is not None and error[0] > GRADIENT_ERROR:
            relative, analytic, numeric = error
            evidence = (
                f"along a random direction {function.__name__} has a gradient of {analytic:.6g} and a numeric "
                f"derivative of {numeric:.6g} in float64: a relative error of {relative:.2g} (limit {GRADIENT_ERROR:g})"
            )
            numbers = {"function": function.__name__, "analytic": analytic, "numeric": numeric, "error": relative}
            yield made("wrong-custom-gradient", evidence, function.__name__, numbers=numbers)


def _arguments(look: Look, functions: list[Any]) -> dict[Any, tuple[Any, ...]]:
    """What each function was given when it first ran, in one more pass."""
    found: dict[Any, tuple[Any, ...]] = {}
    before = {function: vars(function).get("forward") for function in functions}

    def listening(function: Any) -> Any:
        forward = function.forward
        has_context = function.setup_context is torch.autograd.Function.setup_context

        def heard(*args: Any) -> Any:
            found.setdefault(function, args[1:] if has_context else args)
            return forward(*args)

        return staticmethod(heard)

    try:
        for function in functions:
            function.forward = listening(function)
        with restored(look.model):
            look.calling.run(look.model)
    finally:
        for function, forward in before.items():
            if forward is None:
                del function.forward
            else:
                function.forward = forward
    return found


def _error(function: Any, args: tuple[Any, ...]) -> tuple[float, float, float] | None:
    """Relative error, analytic and numeric derivative along a random direction; None where they can't be compared."""
    generator = torch.Generator().manual_seed(0)
    given = [_double(value) for value in args]
    moving = [number for number, value in enumerate(args) if _is_float(value) and value.requires_grad]
    moving = moving or [number for number, value in enumerate(args) if _is_float(value)]
    if not moving:
        return None
    directions = {number: _like(given[number], generator) for number in moving}
    leaves = [
        value.requires_grad_(number in moving) if _is_float(value) else value for number, value in enumerate(given)
    ]
    output = _first(function.apply(*leaves))
    if any(torch.equal(output, leaves[n]) for n in moving if leaves[n].shape == output.shape):
        return None
    weights = _like(output, generator)
    slopes = torch.autograd.grad((output * weights).sum(), [leaves[n] for n in moving], allow_unused=True)
    analytic = sum(float((g * directions[n]).sum()) for n, g in zip(moving, slopes, strict=True) if g is not None)
    numeric = []
    for step in _STEPS:
        sides = []
        for sign in (1, -1):
            moved = [v.detach() + sign * step * directions[n] if n in directions else v for n, v in enumerate(leaves)]
            with torch.no_grad():
                sides.append(float((_first(function.apply(*moved)).detach() * weights).sum()))
        numeric.append((sides[0] - sides[1]) / (2 * step))
    if 0 in numeric:
        return None
    relative = [abs(value - analytic) / max(abs(value), abs(analytic)) for value in numeric]
    if max(numeric) - min(numeric) > GRADIENT_ERROR * max(map(abs, numeric)):
        # A jump of a function that is flat in steps: the smaller the step, the larger the difference.
        return None if min(relative) > GRADIENT_ERROR else (min(relative), analytic, numeric[0])
    return min(relative), analytic, numeric[relative.index(min(relative))]


def _is_float(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def _double(value: Any) -> Any:
    return value.detach().double().clone() if _is_float(value) else value


def _like(value: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    return torch.randn(value.shape, generator=generator, dtype=torch.float64).to(value.device)


def _first(output: Any) -> torch.Tensor:
    found: torch.Tensor = output if isinstance(output, torch.Tensor) else output[0]
    return found
