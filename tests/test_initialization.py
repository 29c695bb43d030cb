"""How wide the weights start, measured; and the gains, integrated."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from torch import nn

from charloom.initialization import GAINS, initialize, initialize_linear
from charloom.models.mlp import ACTIVATIONS

FAN_OUT, FAN_IN = 400, 600


def filled(scheme, shape=(FAN_OUT, FAN_IN), **settings):
    weight = torch.full(shape, torch.nan)
    initialize(weight, scheme, generator=torch.Generator().manual_seed(1), **settings)
    return weight


@pytest.mark.parametrize(
    ("scheme", "deviation"),
    [
        ("normal", 1.0),
        ("scaled", 1 / math.sqrt(FAN_IN)),
        ("xavier", 1.7 * math.sqrt(2 / (FAN_IN + FAN_OUT))),
        ("kaiming", 1.7 / math.sqrt(FAN_IN)),
    ],
)
def test_the_spread_of_each_scheme(scheme, deviation):
    """240,000 numbers: their standard deviation is uncertain by 0.15%. ``normal`` and ``scaled`` know no gain."""
    assert kstest(filled(scheme, gain=1.7).flatten() / deviation, "norm").pvalue > 0.01
    scaled_down = filled(scheme, gain=1.7, scale=0.1).double()
    assert scaled_down.std() == pytest.approx(0.1 * deviation, rel=0.006)
    assert abs(scaled_down.mean()) < 4 * 0.1 * deviation / math.sqrt(FAN_OUT * FAN_IN)


@pytest.mark.parametrize("shape", [(40, 60), (60, 40), (50, 50)], ids=["wide", "tall", "square"])
def test_orthogonal_is_orthogonal(shape):
    weight = filled("orthogonal", shape, gain=1.5, scale=0.5).double()
    rows, columns = shape
    product = weight @ weight.T if rows <= columns else weight.T @ weight
    torch.testing.assert_close(product, 0.75**2 * torch.eye(min(shape), dtype=torch.float64), rtol=0, atol=1e-6)


def test_default_is_what_torch_does():
    """Uniform within 1/sqrt(fan_in), weight and bias alike."""
    bound = 1 / math.sqrt(FAN_IN)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = nn.Linear(FAN_IN, FAN_OUT)
    assert kstest(layer.weight.detach().flatten() / bound, "uniform", args=(-1, 2)).pvalue > 0.01
    initialize_linear(layer, "default", gain=1.7, scale=0.1, generator=torch.Generator().manual_seed(1))
    for parameter in (layer.weight, layer.bias):
        assert kstest(parameter.detach().flatten() / (0.1 * bound), "uniform", args=(-1, 2)).pvalue > 0.01


@pytest.mark.parametrize("activation", ["identity", "relu", "leaky-relu", "gelu", "silu"])
def test_the_gain_makes_up_for_the_nonlinearity(activation):
    """gain^2 * E[f(z)^2] = 1 for z ~ N(0, 1), by the trapezoidal rule."""
    z = torch.linspace(-12, 12, 200_001, dtype=torch.float64)
    density = torch.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    second_moment = torch.trapezoid(ACTIVATIONS[activation]()(z) ** 2 * density, z)
    assert GAINS[activation] == pytest.approx(1 / math.sqrt(second_moment), abs=5e-5)


@pytest.mark.parametrize("activation", ["tanh", "sigmoid"])
def test_the_conventional_gains(activation):
    assert GAINS[activation] == nn.init.calculate_gain(activation)


def test_every_activation_has_a_gain():
    assert set(GAINS) == set(ACTIVATIONS)


@pytest.mark.parametrize("scheme", ["kaiming", "orthogonal"])
@pytest.mark.parametrize("activation", ["relu", "leaky-relu", "gelu", "silu"])
def test_with_its_gain_a_deep_stack_keeps_the_spread(scheme, activation):
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(512, 512, generator=generator)
    for _ in range(10):
        weight = torch.empty(512, 512)
        initialize(weight, scheme, gain=GAINS[activation], generator=generator)
        z = ACTIVATIONS[activation]()(z) @ weight.T
    assert 0.8 < z.square().mean().sqrt() < 1.25


def test_the_bias_starts_at_zero_except_under_normal():
    layer = nn.Linear(3, 10_000)
    initialize_linear(layer, "kaiming")
    assert not layer.bias.any()
    initialize_linear(layer, "normal", scale=0.1, generator=torch.Generator().manual_seed(2))
    assert layer.bias.std().item() == pytest.approx(0.1, rel=0.04)
    assert layer.weight.std().item() == pytest.approx(0.1, rel=0.03)
    initialize_linear(nn.Linear(3, 4, bias=False), "normal")


@pytest.mark.parametrize("scheme", ["normal", "scaled", "xavier", "kaiming", "orthogonal"])
def test_the_weights_come_from_the_given_generator_alone(scheme):
    before = torch.get_rng_state()
    np.testing.assert_array_equal(filled(scheme), filled(scheme))
    assert torch.equal(torch.get_rng_state(), before)
