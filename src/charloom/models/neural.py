"""What every neural model shares: it is a `torch.nn.Module` that also speaks the NumPy protocol of the counted ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

if TYPE_CHECKING:
    from jaxtyping import Float, Int

ROWS_AT_ONCE = {"cpu": 1 << 11, "cuda": 1 << 16}
"""Contexts at once: on a CPU as many as leave their hidden units in its cache."""


class NeuralModel(nn.Module):
    """Base of the neural models. A subclass defines ``forward(contexts) -> logits``, tensors in and out."""

    def __init__(self, vocabulary_size: int, context_length: int) -> None:
        super().__init__()
        self.vocabulary_size = vocabulary_size
        self.context_length = context_length

    def parameter_count(self) -> int:
        """Number of trainable parameters."""
        return sum(parameter.numel() for parameter in self.parameters())

    @torch.inference_mode()
    def next_logits(self, contexts: Int[np.ndarray, "batch context"]) -> Float[np.ndarray, "batch vocab"]:
        """Logits of the next character for each context, in evaluation mode; the mode is put back."""
        device = next(self.parameters()).device
        size = ROWS_AT_ONCE[device.type]
        was_training = self.training
        self.eval()
        try:
            parts = [
                self(torch.tensor(contexts[first : first + size], device=device)).cpu().numpy()
                for first in range(0, len(contexts), size)
            ]
        finally:
            self.train(was_training)
        return np.concatenate(parts) if parts else np.empty((0, self.vocabulary_size), dtype=np.float32)
