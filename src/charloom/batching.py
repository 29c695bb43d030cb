"""Which batches a training takes: of rows, or of distinct contexts."""

from __future__ import annotations

import torch

from charloom.config import TrainingConfig
from charloom.contexts import (
    LARGEST_DISTINCT,
    BatchSource,
    Contexts,
    DistinctBatches,
    DistinctContexts,
    RowBatches,
)
from charloom.errors import ConfigError
from charloom.models.mlp import MLP
from charloom.models.neural import NeuralModel
from charloom.recalibration import has_batch_norm


def plan_batches(model: NeuralModel, contexts: Contexts, config: TrainingConfig) -> tuple[TrainingConfig, BatchSource]:
    """The configuration with everything filled in for these training rows, and its batches.

    Raises `ConfigError` for distinct contexts where a row is not judged by itself.
    """
    dependent = _what_makes_rows_dependent(model)
    if config.batches == "distinct" and dependent:
        raise ConfigError(
            f"distinct contexts do not go with {dependent}: a context that occurs 900 times is one row in a batch",
            remedy="Use --batches rows.",
        )
    usual = isinstance(model, MLP) and config.may_be_distinct and not dependent
    free = usual and len(contexts) <= LARGEST_DISTINCT
    wanted = config.batches == "distinct" or free
    distinct = DistinctContexts(contexts, model.vocabulary_size) if wanted else None
    config = config.resolved(len(contexts), None if distinct is None else len(distinct))
    assert config.batch_size is not None
    if config.batches == "distinct":
        assert distinct is not None
        return config, DistinctBatches(distinct, config.batch_size, config.seed)
    return config, RowBatches(contexts, config.batch_size, config.seed)


def _what_makes_rows_dependent(model: torch.nn.Module) -> str | None:
    """What makes a row's loss depend on the other rows of its batch, or on chance."""
    if any(isinstance(module, torch.nn.Dropout) for module in model.modules()):
        return "dropout"
    return "batch norm" if has_batch_norm(model) else None
