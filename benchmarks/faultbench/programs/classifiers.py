"""Programs that tell classes, or a number, from measures and images."""

from __future__ import annotations

import torch
from torch import nn

from faultbench.listening import Training
from faultbench.programs import data
from faultbench.programs.program import Program, binary, cross_entropy, mse, supervised


def digits_mlp(seed: int) -> Training:
    """Two hidden layers of ReLU on digits, Adam."""
    model = nn.Sequential(
        nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)
    )
    return supervised(model, torch.optim.Adam(model.parameters(), 2e-3), data.digits(), cross_entropy, seed=seed)


class ConvNet(nn.Module):
    """Convolutions with batch norm and ReLU on digits."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.conv2, self.norm2 = nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(32)
        self.drop = nn.Dropout(0.1)
        self.head = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm1(self.conv1(x.view(-1, 1, 8, 8))))
        x = torch.relu(self.norm2(self.conv2(x)))
        return self.head(self.drop(x.mean((2, 3))))


def digits_conv(seed: int) -> Training:
    """The same with convolutions, SGD with momentum."""
    model = ConvNet()
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    return supervised(model, optimizer, data.digits(), cross_entropy, seed=seed, steps=300)


class Block(nn.Module):
    """A residual branch that starts as nothing: its last norm's gain is zero."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.norm2 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.act1, self.act2 = nn.ReLU(), nn.ReLU()
        nn.init.zeros_(self.norm2.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act2(x + self.norm2(self.conv2(self.act1(self.norm1(self.conv1(x))))))


class ResidualNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 12, 3, padding=1, stride=2, bias=False), nn.BatchNorm2d(12)
        self.act = nn.ReLU()
        self.blocks = nn.Sequential(Block(12), Block(12), Block(12))
        self.head = nn.Linear(12, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.norm(self.stem(x.view(-1, 1, 8, 8))))
        return self.head(self.blocks(x).mean((2, 3)))


def digits_residual(seed: int) -> Training:
    """A residual net whose branches start at zero, AdamW."""
    model = ResidualNet()
    optimizer = torch.optim.AdamW(model.parameters(), 5e-3, weight_decay=0.01)
    return supervised(model, optimizer, data.digits(), cross_entropy, seed=seed, steps=300)


def tumours_mlp(seed: int) -> Training:
    """Benign or not: hidden layers of GELU and one logit; Adam, small batches with layer norm."""
    model = nn.Sequential(
        nn.Linear(30, 32), nn.LayerNorm(32), nn.GELU(), nn.Linear(32, 32), nn.LayerNorm(32), nn.GELU(), nn.Linear(32, 1)
    )
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    return supervised(model, optimizer, data.tumours(), binary, seed=seed, size=8, steps=150)


def diabetes_regression(seed: int) -> Training:
    """A number from ten: two hidden layers of tanh, SGD with momentum."""
    model = nn.Sequential(nn.Linear(10, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    return supervised(model, optimizer, data.diabetes(), mse, seed=seed, steps=200)


def wine_mlp(seed: int) -> Training:
    """Three cultivars: hidden layers of tanh with dropout, RMSprop."""
    model = nn.Sequential(nn.Linear(13, 48), nn.Tanh(), nn.Dropout(0.2), nn.Linear(48, 48), nn.Tanh(), nn.Linear(48, 3))
    optimizer = torch.optim.RMSprop(model.parameters(), 1e-3)
    return supervised(model, optimizer, data.wine(), cross_entropy, seed=seed, size=16)


PROGRAMS = (
    Program("digits-mlp", "tuning", digits_mlp),
    Program("digits-conv", "tuning", digits_conv),
    Program("diabetes-regression", "tuning", diabetes_regression),
    Program("digits-residual", "reporting", digits_residual),
    Program("tumours-layer-norm", "tuning", tumours_mlp),
    Program("wine-dropout", "reporting", wine_mlp),
)
