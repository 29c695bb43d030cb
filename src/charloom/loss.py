"""Logits become a loss: the mean negative log-likelihood of the targets, in nats (or bits) per character."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float, Int


def cross_entropy(
    logits: Float[torch.Tensor, "*batch vocab"], targets: Int[torch.Tensor, "*batch"]
) -> Float[torch.Tensor, ""]:
    """Mean nats per character over every position: one per row, or each position of a sequence."""
    import torch

    return torch.nn.functional.cross_entropy(logits.flatten(0, -2), targets.flatten())


def soft_cross_entropy(
    logits: Float[torch.Tensor, "batch vocab"],
    shares: Float[torch.Tensor, "batch vocab"],
    weights: Float[torch.Tensor, " batch"],
) -> Float[torch.Tensor, ""]:
    """Nats per character where a row stands for many: each row's targets have ``shares`` of 1, and it a weight."""
    import torch

    losses = torch.nn.functional.cross_entropy(logits, shares, reduction="none")
    return torch.dot(losses, weights.to(losses.dtype))


def log_softmax(logits: Float[np.ndarray, "*batch vocab"]) -> Float[np.ndarray, "*batch vocab"]:
    """Natural log-probabilities in float64. Finite for logits of any size; a logit of -inf stays -inf."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    log_probabilities: Float[np.ndarray, "*batch vocab"] = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return log_probabilities


def bits(nats: float) -> float:
    """Nats to bits: divided by ln 2."""
    return nats / math.log(2)


def perplexity(nats: float) -> float:
    """exp(nats): the number of equally likely characters that would be as hard to guess."""
    return math.exp(nats) if nats < 700 else math.inf
