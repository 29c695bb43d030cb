"""Batch norm's statistics, measured on the training data instead of remembered from the last noisy batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from charloom.contexts import LARGEST_DISTINCT, Contexts, DistinctContexts

ROWS = 1 << 16
"""Training rows that are enough to measure on where their distinct contexts are more."""


def has_batch_norm(model: nn.Module) -> bool:
    """Whether any part of the model normalises over the batch."""
    return bool(_batch_norms(model))


class Recalibration:
    """What batch norm's statistics are measured on: all training rows, as distinct contexts with their counts.

    Where there are more than ``rows`` of these, as many rows are taken, evenly spread.
    """

    def __init__(self, contexts: Contexts, vocabulary_size: int, rows: int = ROWS) -> None:
        distinct = DistinctContexts(contexts, vocabulary_size) if len(contexts) <= LARGEST_DISTINCT else None
        if distinct is not None and len(distinct) <= rows:
            measured, counts = distinct.contexts, distinct.counts
        else:
            index = np.linspace(0, len(contexts) - 1, min(rows, len(contexts))).astype(np.int64)
            measured, counts = contexts.rows(index)[0], np.ones(len(index), dtype=np.int64)
        self._contexts = torch.from_numpy(measured)
        self._counts = torch.from_numpy(counts)

    def apply(self, model: nn.Module) -> None:
        """Set every running mean and variance to those of the rows, taken at once.

        A running average with momentum 0.1 forgets all but the last few batches; with 0.001 it still holds 37% of its
        initial value after 1,000 steps. Dropout is off while measuring; the training mode is put back.
        """
        norms = _batch_norms(model)
        if not norms:
            return
        first = next(model.parameters())
        self._contexts, self._counts = self._contexts.to(first.device), self._counts.to(first.device)
        counts = self._counts.to(first.dtype)
        total = counts.sum()
        shares = (counts / total)[:, None]

        def measure(norm: Any, inputs: tuple[torch.Tensor]) -> None:
            mean = (shares * inputs[0]).sum(dim=0)
            norm.running_mean.copy_(mean)
            norm.running_var.copy_((shares * (inputs[0] - mean).square()).sum(dim=0) * (total / (total - 1)))

        was_training = model.training
        handles = [norm.register_forward_pre_hook(measure) for norm in norms]
        model.eval()
        try:
            with torch.no_grad():
                model(self._contexts)
        finally:
            for handle in handles:
                handle.remove()
            model.train(was_training)


def _batch_norms(model: nn.Module) -> list[_BatchNorm]:
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]
