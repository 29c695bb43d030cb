"""The bigram as a network of one layer: its weights arrive at the logs of the counted table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from charloom.models.neural import NeuralModel

if TYPE_CHECKING:
    from jaxtyping import Float, Int


class BigramNetwork(NeuralModel):
    """One row of logits per character. Looking a row up is multiplying the weights by a one-hot vector."""

    def __init__(self, *, vocabulary_size: int, generator: torch.Generator | None = None) -> None:
        super().__init__(vocabulary_size, context_length=1)
        self.table = nn.Embedding(vocabulary_size, vocabulary_size)
        with torch.no_grad():
            self.table.weight.normal_(generator=generator)

    def forward(self, contexts: Int[torch.Tensor, "B 1"]) -> Float[torch.Tensor, "B V"]:
        """Logits of the next character."""
        logits: torch.Tensor = self.table(contexts[:, -1])
        return logits
