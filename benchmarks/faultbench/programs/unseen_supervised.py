"""Programs that no threshold was set on: classes, characters and densities from networks of other kinds."""

from __future__ import annotations

import math

import torch
from torch import nn

from faultbench.listening import Training
from faultbench.programs import data
from faultbench.programs.program import Program, binary, cross_entropy, supervised, warm_up_and_cosine

LENGTH, MIXED = 32, 3


class Patches(nn.Module):
    """An image of 8×8 as sixteen squares, each a vector that knows its place."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(1, width, 2, stride=2)
        self.place = nn.Parameter(torch.empty(16, width))
        nn.init.trunc_normal_(self.place, std=0.02)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.project(x.view(-1, 1, 8, 8)).flatten(2).transpose(1, 2) + self.place


class SelfAttention(nn.Module):
    """Every patch looks at every other one."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.mix = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (one(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for one in (self.query, self.key, self.value))
        return self.mix(nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class EncoderBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), SelfAttention(width, 4)
        self.norm2 = nn.LayerNorm(width)
        self.widen, self.act, self.narrow = nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.narrow(self.act(self.widen(self.norm2(x))))


class VisionTransformer(nn.Module):
    """Norms come first in each block, and the head sees the mean of the patches."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.patches = Patches(width)
        self.encoder = nn.Sequential(EncoderBlock(width), EncoderBlock(width))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.encoder(self.patches(x)).mean(1)))


def digits_vit(seed: int) -> Training:
    """A small vision transformer on digits, AdamW, warm-up and cosine, clipping."""
    model = VisionTransformer()
    optimizer = torch.optim.AdamW(model.parameters(), 4e-3, betas=(0.9, 0.98), weight_decay=0.05)
    schedule = warm_up_and_cosine(optimizer, 30, 400)
    return supervised(model, optimizer, data.digits(), cross_entropy, seed=seed, size=64, scheduler=schedule, clip=1.0)


class Stage(nn.Module):
    """A convolution with group norm and SiLU."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm, self.act = nn.GroupNorm(4, outputs), nn.SiLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.norm(self.conv(x)))


class GroupNormNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.Sequential(Stage(1, 16, 1), Stage(16, 24, 2), Stage(24, 24, 1), Stage(24, 32, 2))
        self.head = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.stages(x.view(-1, 1, 8, 8)).mean((2, 3)))


def digits_group_norm(seed: int) -> Training:
    """Four convolutions with group norm and SiLU on digits; SGD with Nesterov's momentum, decay and a cosine."""
    model = GroupNormNet()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    schedule = warm_up_and_cosine(optimizer, 15, 300)
    return supervised(model, optimizer, data.digits(), cross_entropy, seed=seed, steps=300, scheduler=schedule)


def tumours_wide(seed: int) -> Training:
    """Benign or not: wide layers of ReLU, each with batch norm and dropout after it; NAdam."""
    layers: list[nn.Module] = []
    for inputs, outputs in ((30, 256), (256, 128)):
        layers += [nn.Linear(inputs, outputs), nn.ReLU(), nn.BatchNorm1d(outputs), nn.Dropout(0.3)]
    model = nn.Sequential(*layers, nn.Linear(128, 1))
    optimizer = torch.optim.NAdam(model.parameters(), 5e-4)
    return supervised(model, optimizer, data.tumours(), binary, seed=seed, steps=200)


class Dilated(nn.Module):
    """A depthwise convolution that looks back, and a gated mixing of channels, as a residual branch."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.reach, self.causal = 2 * dilation, True
        self.norm = nn.LayerNorm(width)
        self.look = nn.Conv1d(width, width, 3, dilation=dilation, groups=width)
        self.gate, self.act = nn.Linear(width, 4 * width), nn.GLU()
        self.mix = nn.Linear(2 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        before = self.reach if self.causal else self.reach // 2
        padded = nn.functional.pad(self.norm(x).transpose(1, 2), (before, self.reach - before))
        return x + self.mix(self.act(self.gate(self.look(padded).transpose(1, 2))))


class DilatedNet(nn.Module):
    """What is seen doubles from block to block: 31 characters in the end."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.letters = nn.Embedding(data.VOCABULARY, width)
        self.stack = nn.Sequential(*(Dilated(width, dilation) for dilation in (1, 2, 4, 8)))
        self.norm, self.drop = nn.LayerNorm(width), nn.Dropout(0.1)
        self.head = nn.Linear(width, data.VOCABULARY)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.drop(self.norm(self.stack(self.letters(x)))))


def text_dilated(seed: int) -> Training:
    """The next character from causal dilated convolutions, RAdam."""
    model = DilatedNet()
    optimizer = torch.optim.RAdam(model.parameters(), 8e-3)
    return supervised(
        model, optimizer, data.text(LENGTH), cross_entropy, seed=seed, size=16, steps=300, is_sequence=True
    )


def mixture(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Minus the log of the density that a mixture of normals gives to targets (...): its (..., 3 × normals) numbers."""
    weights, means, spreads = output.chunk(3, -1)
    spreads = nn.functional.softplus(spreads) + 0.05
    from_mean = (targets.unsqueeze(-1) - means) / spreads
    densities = -0.5 * from_mean**2 - spreads.log() - 0.5 * math.log(2 * math.pi)
    return -(torch.log_softmax(weights, -1) + densities).logsumexp(-1).mean()


def diabetes_mixture(seed: int) -> Training:
    """Not a number but its density: a mixture density network of two hidden layers of tanh, Adam."""
    model = nn.Sequential(nn.Linear(10, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 3 * MIXED))
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    return supervised(model, optimizer, data.diabetes(), mixture, seed=seed, steps=200)


PROGRAMS = (
    Program("digits-vit", "unseen", digits_vit),
    Program("digits-group-norm", "unseen", digits_group_norm),
    Program("tumours-wide", "unseen", tumours_wide),
    Program("text-dilated", "unseen", text_dilated),
    Program("diabetes-mixture", "unseen", diabetes_mixture),
)
