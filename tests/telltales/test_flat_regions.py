"""Each activation function is flat where it is said to be: its derivative there is small, elsewhere it is not."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from telltales.flat_regions import flat_region

FLAT = [
    nn.Tanh(),
    nn.Sigmoid(),
    nn.Softsign(),
    nn.ReLU(),
    nn.ReLU6(),
    nn.Hardtanh(-2, 3),
    nn.Hardsigmoid(),
    nn.Hardswish(),
    nn.Threshold(0.1, 0.0),
    nn.ELU(0.5),
    nn.CELU(2.0),
    nn.SELU(),
    nn.GELU(),
    nn.GELU("tanh"),
    nn.SiLU(),
]


@pytest.mark.parametrize("function", FLAT, ids=lambda f: type(f).__name__)
def test_the_derivative_is_small_inside_and_larger_outside(function):
    region = flat_region(function)
    x = torch.linspace(-12, 12, 4001, requires_grad=True)
    y = function(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    tested = y if region.of == "output" else x
    flat = (tested <= region.low) | (tested >= region.high)
    assert flat.any()
    assert not flat.all()
    assert slope[flat].abs().max() < 0.07
    assert slope[~flat].abs().max() > 0.15
    # Beside the region the slope is not zero, so the threshold is not placed too far out.
    assert (slope[~flat].abs() > 0.005).float().mean() > 0.95 or region.of == "input"


@pytest.mark.parametrize(
    "module", [nn.Linear(2, 2), nn.LeakyReLU(), nn.PReLU(), nn.LayerNorm(2), nn.LogSigmoid(), nn.Softplus()]
)
def test_others_have_none(module):
    assert flat_region(module) is None


def test_rectifiers_are_told_from_squashing_functions():
    assert flat_region(nn.ReLU()).is_rectifier
    assert flat_region(nn.GELU()).is_rectifier
    assert not flat_region(nn.Tanh()).is_rectifier
    assert not flat_region(nn.ReLU6()).is_rectifier


def test_recurrent_layers_give_an_activation():
    assert flat_region(nn.LSTM(2, 2)).function == "tanh"
    assert flat_region(nn.RNN(2, 2, nonlinearity="relu")).function == "relu"


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("NewGELUActivation", "gelu"),
        ("PytorchGELUTanh", "gelu"),
        ("HardSwishMe", "hardswish"),
        ("SiLUActivation", "silu"),
    ],
)
def test_functions_from_elsewhere_are_known_by_name(name, function):
    assert flat_region(type(name, (nn.Module,), {})()).function == function


def test_the_thresholds_that_are_printed():
    assert math.atanh(flat_region(nn.Tanh()).high) == pytest.approx(2.09, abs=0.01)
