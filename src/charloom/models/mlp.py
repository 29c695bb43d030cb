"""The neural probabilistic language model (Bengio et al. 2003), shallow or deep.

Each character of the context is looked up in a table of embeddings; the embeddings, side by side, go through one or
more hidden layers; a last linear layer gives the logits.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import nn

from charloom.initialization import GAINS, initialize_linear
from charloom.models.neural import NeuralModel

if TYPE_CHECKING:
    from jaxtyping import Float, Int

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "leaky-relu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "sigmoid": nn.Sigmoid,
    "identity": nn.Identity,
}


class MLP(NeuralModel):
    """embedding -> (linear [-> norm] -> activation [-> dropout]) x layers -> linear.

    A hidden layer has a bias unless batch norm follows, which would subtract it again. Layer and RMS norm would not:
    they work across the units of one example.
    """

    def __init__(
        self,
        *,
        vocabulary_size: int,
        context_length: int,
        embedding: int,
        hidden: int,
        layers: int,
        activation: str = "tanh",
        norm: str = "none",
        norm_momentum: float = 0.1,
        dropout: float = 0.0,
        init: str = "kaiming",
        init_scale: float = 1.0,
        output_scale: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(vocabulary_size, context_length)
        self.embedding = nn.Embedding(vocabulary_size, embedding)
        widths = [context_length * embedding] + [hidden] * layers
        self.hidden = nn.Sequential(
            *(
                hidden_layer(fan_in, fan_out, activation, norm, norm_momentum, dropout)
                for fan_in, fan_out in pairwise(widths)
            )
        )
        self.output = nn.Linear(hidden, vocabulary_size)
        with torch.no_grad():
            self.embedding.weight.normal_(generator=generator)
        for linear in (module for module in self.hidden.modules() if isinstance(module, nn.Linear)):
            initialize_linear(linear, init, gain=GAINS[activation], scale=init_scale, generator=generator)
        initialize_linear(self.output, init, scale=output_scale, generator=generator)

    def forward(self, contexts: Int[torch.Tensor, "B T"]) -> Float[torch.Tensor, "B V"]:
        """Logits of the next character."""
        embedded = self.embedding(contexts)  # (B, T, E)
        hidden = self.hidden(embedded.flatten(1))  # (B, T*E) -> (B, H)
        logits: torch.Tensor = self.output(hidden)  # (B, V)
        return logits


def hidden_layer(
    fan_in: int, fan_out: int, activation: str, norm: str, norm_momentum: float, dropout: float
) -> nn.Sequential:
    """One hidden layer, its parts named so that diagnostics can point at them."""
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    parts["linear"] = nn.Linear(fan_in, fan_out, bias=norm != "batch")
    if norm == "batch":
        parts["norm"] = nn.BatchNorm1d(fan_out, momentum=norm_momentum)
    elif norm == "layer":
        parts["norm"] = nn.LayerNorm(fan_out)
    elif norm == "rms":
        parts["norm"] = nn.RMSNorm(fan_out)
    parts["activation"] = ACTIVATIONS[activation]()
    if dropout > 0:
        parts["dropout"] = nn.Dropout(dropout)
    return nn.Sequential(parts)
