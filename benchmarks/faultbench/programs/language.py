"""Programs that predict the next character."""

from __future__ import annotations

import math

import torch
from torch import nn

from faultbench.listening import Training
from faultbench.programs import data
from faultbench.programs.program import Program, cross_entropy, supervised, warm_up_and_cosine

CONTEXT, LENGTH = 3, 24


def names_tanh(seed: int) -> Training:
    """One hidden layer of tanh on three characters, SGD."""
    model = nn.Sequential(nn.Embedding(27, 10), nn.Flatten(), nn.Linear(30, 100), nn.Tanh(), nn.Linear(100, 27))
    _rescale(model[2], 5 / 3)
    with torch.no_grad():
        model[4].weight *= 0.1
    optimizer = torch.optim.SGD(model.parameters(), 0.2)
    return supervised(model, optimizer, data.names(CONTEXT), cross_entropy, seed=seed)


def names_deep(seed: int) -> Training:
    """Five hidden layers of tanh with batch norm, SGD with momentum."""
    layers: list[nn.Module] = [nn.Embedding(27, 10), nn.Flatten()]
    inputs = 30
    for _ in range(5):
        layers += [nn.Linear(inputs, 60, bias=False), nn.BatchNorm1d(60), nn.Tanh()]
        inputs = 60
    model = nn.Sequential(*layers, nn.Linear(inputs, 27))
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    return supervised(model, optimizer, data.names(CONTEXT), cross_entropy, seed=seed)


def _rescale(layer: nn.Linear, gain: float) -> None:
    nn.init.normal_(layer.weight, std=gain / math.sqrt(layer.in_features))
    nn.init.zeros_(layer.bias)


class Recurrent(nn.Module):
    """An embedding, a recurrent layer and a head, over whole stretches of text."""

    def __init__(self, kind: type[nn.RNNBase], width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(data.VOCABULARY, 16)
        self.recurrent = kind(16, width, batch_first=True)
        self.drop = nn.Dropout(0.1)
        self.head = nn.Linear(width, data.VOCABULARY)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.drop(self.recurrent(self.embedding(x))[0]))


def text_gru(seed: int) -> Training:
    """A GRU, Adam with clipping."""
    model = Recurrent(nn.GRU, 48)
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    return supervised(
        model, optimizer, data.text(LENGTH), cross_entropy, seed=seed, size=16, steps=300, clip=1.0, is_sequence=True
    )


def text_lstm(seed: int) -> Training:
    """An LSTM, RMSprop, gradients accumulated over two batches."""
    model = Recurrent(nn.LSTM, 40)
    optimizer = torch.optim.RMSprop(model.parameters(), 3e-3)
    return supervised(
        model, optimizer, data.text(LENGTH), cross_entropy, seed=seed, size=8, steps=300, accumulate=2, is_sequence=True
    )


class Attention(nn.Module):
    """Causal self-attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.causal = heads, True
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        q, k, v = self.qkv(x).view(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.out(mixed.transpose(1, 2).reshape(batch, length, width))


class DecoderBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width, 4)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Decoder(nn.Module):
    """A transformer whose head shares the embedding's weights."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.embedding, self.position = nn.Embedding(data.VOCABULARY, width), nn.Embedding(LENGTH, width)
        self.blocks = nn.Sequential(DecoderBlock(width), DecoderBlock(width))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, data.VOCABULARY, bias=False)
        nn.init.normal_(self.embedding.weight, std=0.05)
        nn.init.normal_(self.position.weight, std=0.05)
        self.head.weight = self.embedding.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embedding(x) + self.position(torch.arange(x.shape[1]))
        return self.head(self.norm(self.blocks(x)))


def text_decoder(seed: int) -> Training:
    """A transformer with tied weights, AdamW, warm-up, a cosine that ends at zero, clipping."""
    model = Decoder()
    optimizer = torch.optim.AdamW(model.parameters(), 5e-3, weight_decay=0.01)
    return supervised(
        model,
        optimizer,
        data.text(LENGTH),
        cross_entropy,
        seed=seed,
        size=16,
        steps=300,
        clip=1.0,
        is_sequence=True,
        scheduler=warm_up_and_cosine(optimizer, 20, 300),
    )


PROGRAMS = (
    Program("names-tanh", "tuning", names_tanh),
    Program("text-gru", "tuning", text_gru),
    Program("text-decoder", "tuning", text_decoder),
    Program("names-deep-norm", "reporting", names_deep),
    Program("text-lstm", "reporting", text_lstm),
)
