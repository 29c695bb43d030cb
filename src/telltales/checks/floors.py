"""The lowest loss that any model can reach on a batch: equal inputs with different targets can't all be right."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch.nn import functional

from telltales.checks.calling import Calling
from telltales.checks.loss_calls import REGRESSION, LossCall


def floor_of(call: LossCall | None, calling: Calling) -> float | None:
    """The lowest value of a loss of known kind, reduced by the mean; None where it is not known.

    For class numbers: the entropy of the targets of equal inputs, in nats, or, in a sequence, of equal tokens (what a
    table of pairs reaches); for soft targets their entropy; for regression what the targets' spread at equal inputs
    leaves. Label smoothing adds the entropy of the smoothed target.
    """
    if call is not None:
        call = replace(call, input=call.input.cpu(), target=call.target.cpu())
        calling = calling.mapped(torch.Tensor.cpu)
    if call is None or call.reduction != "mean" or call.options.get("weight") is not None:
        return None
    if call.kind in ("cross_entropy", "nll"):
        smoothing = float(call.options.get("label_smoothing") or 0.0)
        if not call.is_indexed:
            return None if smoothing else _entropy(call.target.movedim(call.class_dim, -1))
        conditional = _conditional_entropy(call, calling)
        if conditional is None or (smoothing and conditional > 0):
            return None
        return conditional + _smoothed(smoothing, call.input.shape[call.class_dim])
    if call.kind.startswith("binary_cross_entropy"):
        if call.options.get("pos_weight") is not None:
            return None
        return _binary_floor(call, calling)
    if call.kind in REGRESSION and call.input.shape == call.target.shape:
        return _regression_floor(call, calling)
    return None


def _keys(number: int, calling: Calling) -> torch.Tensor | None:
    """For each of ``number`` targets, which of the distinct inputs it goes with; None where that is not clear."""
    main = calling.main
    if (
        main is None
        or not calling.size
        or any(leaf.dim() and leaf.shape[0] != calling.size for leaf in calling.tensors)
    ):
        return None
    if number == calling.size:
        columns = [leaf.reshape(calling.size, -1).double() for leaf in calling.tensors if leaf.dim()]
        return _numbered(torch.cat(columns, 1))
    if main.dim() == 2 and number == main.numel():
        return _numbered(main.reshape(-1, 1))
    return None


def _numbered(rows: torch.Tensor) -> torch.Tensor:
    """For each row the number of its kind, equal rows having the same."""
    numbers: torch.Tensor = torch.unique(rows, dim=0, return_inverse=True)[1]
    return numbers


def _conditional_entropy(call: LossCall, calling: Calling) -> float | None:
    target = call.target.reshape(-1)
    keys = _keys(target.numel(), calling)
    if keys is None:
        return None
    counts = target != int(call.options.get("ignore_index", -100))
    if not bool(counts.any()):
        return None
    table = torch.zeros(int(keys.max()) + 1, int(target[counts].max()) + 1, dtype=torch.float64)
    one = torch.ones((), dtype=torch.float64)
    table.index_put_((keys[counts], target[counts].long()), one, accumulate=True)
    return float(-(torch.special.xlogy(table, table / table.sum(1, keepdim=True).clamp(min=1))).sum() / table.sum())


def _smoothed(smoothing: float, classes: int) -> float:
    if not smoothing:
        return 0.0
    target = torch.full((classes,), smoothing / classes, dtype=torch.float64)
    target[0] += 1 - smoothing
    return float(-torch.special.xlogy(target, target).sum())


def _entropy(target: torch.Tensor) -> float:
    """Of rows of probabilities, over the last dimension."""
    rows = target.double()
    return float(-torch.special.xlogy(rows, rows).sum(-1).mean())


def _binary_floor(call: LossCall, calling: Calling) -> float | None:
    means = _means_at_equal_inputs(call, calling)
    if means is None:
        return None
    return float(functional.binary_cross_entropy(means, means))


def _regression_floor(call: LossCall, calling: Calling) -> float | None:
    means = _means_at_equal_inputs(call, calling)
    if means is None:
        return None
    target = call.target.double().reshape(means.shape)
    if call.kind == "mse":
        return float(functional.mse_loss(means, target))
    return 0.0 if torch.allclose(means, target) else None


def _means_at_equal_inputs(call: LossCall, calling: Calling) -> torch.Tensor | None:
    """Each target's mean over the examples with the same input, (examples, values)."""
    if not call.target.dim() or call.target.shape[0] != calling.size:
        return None
    target = call.target.double().reshape(calling.size, -1)
    keys = _keys(calling.size, calling)
    if keys is None:
        return None
    sums = torch.zeros(int(keys.max()) + 1, target.shape[1], dtype=torch.float64)
    sums.index_add_(0, keys, target)
    return (sums / keys.bincount()[:, None])[keys]
