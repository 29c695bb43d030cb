"""Batch normalisation: computed with `torch.nn.BatchNorm1d` itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from charloom.recall.checks.measured import Measured, first_that, measured, normal

if TYPE_CHECKING:
    import torch


def norm_modes() -> Measured:
    """One batch in training and in evaluation, and one example of it beside others."""
    import torch

    norm = torch.nn.BatchNorm1d(4, momentum=0.1, dtype=torch.float64).requires_grad_(False)
    batches = 3 + 2 * normal(0, 200, 32, 4)
    for batch in batches:
        norm(batch)
    x = batches[0]
    trained = norm(x)
    other = norm(torch.cat([x[:1], batches[1][1:]]))
    before = norm.state_dict()["running_mean"].clone()
    norm.eval()
    evaluated, alone = norm(x), norm(x[:1])
    changed = not torch.equal(before, norm.state_dict()["running_mean"])
    return measured(
        f"training: this batch comes out with mean {abs(float(trained.mean())):.4f} and std {_std(trained):.4f}",
        f"evaluation: with mean {evaluated.mean():.4f} and std {_std(evaluated):.4f}, by the running statistics",
        "the first example in other company: its output moves by up to"
        f" {(trained[0] - other[0]).abs().max():.4f} in training, {(evaluated[0] - alone[0]).abs().max():.4f}"
        " in evaluation",
        f"running mean changed by the pass in evaluation: {'yes' if changed else 'no'}",
    )


def bias_before_norm() -> Measured:
    """The gradient of a bias whose layer is followed by batch norm, and without the norm."""
    import torch

    x, target = normal(1, 32, 8), normal(2, 32, 4)
    weight = normal(3, 8, 4)
    sizes = {}
    for normed in (True, False):
        bias = torch.zeros(4, dtype=torch.float64, requires_grad=True)
        pre = x @ weight + bias
        out = torch.nn.functional.batch_norm(pre, None, None, training=True) if normed else pre
        (gradient,) = torch.autograd.grad((out - target).square().mean(), bias)
        sizes[normed] = float(gradient.abs().max())
    return measured(
        f"largest gradient of the bias: {'below 1e-12' if sizes[True] < 1e-12 else f'{sizes[True]:.2g}'}"
        f" before batch norm, {sizes[False]:.2f} without it",
        answer=first_that({"zero": sizes[True] < 1e-12, "as-usual": sizes[True] > 1e-3}),
    )


def running_momentum() -> Measured:
    """What a running mean that began at 0 has of a constant input after 1,000 steps."""
    import torch

    norm = torch.nn.BatchNorm1d(1, momentum=0.001, dtype=torch.float64)
    x = torch.ones(2, 1, dtype=torch.float64)
    for _ in range(1000):
        norm(x)
    (mean,) = norm.state_dict()["running_mean"].tolist()
    return measured(
        f"inputs all 1: running mean {mean:.4f} after 1,000 steps, so {1 - mean:.4f} of its start, 0, is left",
        answer=1 - mean,
    )


def stored_variance() -> Measured:
    """The batch 0, 2: what it is divided by, and what is stored."""
    import torch

    norm = torch.nn.BatchNorm1d(1, momentum=1.0, eps=1e-12, dtype=torch.float64)
    out = norm(torch.tensor([[0.0], [2.0]], dtype=torch.float64)).flatten().tolist()
    (stored,) = norm.state_dict()["running_var"].tolist()
    return measured(
        f"0 and 2 become {out[0]:g} and {out[1]:g}: divided by a standard deviation of {1 / out[1]:g}",
        f"stored running variance: {stored:g}",
        answer=stored,
    )


def batch_of_one() -> Measured:
    """A training pass with one example."""
    import torch

    try:
        torch.nn.BatchNorm1d(200)(torch.ones(1, 200))
    except ValueError as error:
        return measured(f"ValueError: {error}", answer="raises")
    return measured("it passes", answer="zeros")


def batch_coupling() -> Measured:
    """How many of 32 outputs change when one example does."""
    import torch

    norm = torch.nn.BatchNorm1d(4, dtype=torch.float64)
    x = normal(4, 32, 4)
    changed = x.clone()
    changed[7] += 1
    moved = {}
    for mode in ("training", "evaluation"):
        norm.train(mode == "training")
        moved[mode] = int((norm(x) != norm(changed)).any(1).sum())
    return measured(
        f"outputs that change: {moved['training']} of 32 in training, {moved['evaluation']} in evaluation",
        answer=moved["training"],
    )


def norm_axes() -> Measured:
    """The mean over batch and positions of (32, 4, 68)."""
    x = normal(5, 32, 4, 68)
    mean = x.mean((0, 1), keepdim=True)
    return measured(
        f"mean over axes 0 and 1: {tuple(mean.shape)}; over axis 0 only: {tuple(x.mean(0, keepdim=True).shape)},"
        " a statistic of its own for every position",
        answer=tuple(mean.shape),
    )


def _std(values: torch.Tensor) -> float:
    return float(values.std(correction=0))


ALL = (norm_modes, bias_before_norm, running_momentum, stored_variance, batch_of_one, batch_coupling, norm_axes)
