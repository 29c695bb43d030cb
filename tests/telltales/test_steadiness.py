from __future__ import annotations

import math
import random

import pytest
import torch

from telltales.steadiness import NoiseScale, Spikes


def test_a_spike_is_told_from_noise():
    chance = random.Random(0)
    spikes = Spikes()
    assert not any(spikes.is_near(2 + 0.1 * chance.gauss(0, 1)) for _ in range(500))
    assert spikes.is_near(4.0)
    assert [spikes.is_near(2.0) for _ in range(10)] == [True] * 9 + [False]


def test_no_verdict_before_there_is_a_past():
    spikes = Spikes()
    assert not any(spikes.is_near(loss) for loss in [1.0] * 19)
    assert not Spikes().is_near(math.nan)


def test_what_is_not_finite_is_a_spike():
    spikes = Spikes()
    for _ in range(20):
        spikes.is_near(1.0)
    assert spikes.is_near(math.nan)


def test_the_noise_scale_of_a_known_gradient():
    """Gradient g, noise of variance s² per example and dimension: the noise scale is dim · s² / |g|²."""
    generator = torch.Generator().manual_seed(0)
    dimensions, size, deviation = 50, 16, 3.0
    true = torch.ones(dimensions) * 0.5
    noise = NoiseScale()
    previous, estimates = None, []
    for _ in range(4000):
        gradient = true + deviation / math.sqrt(size) * torch.randn(dimensions, generator=generator)
        if previous is not None:
            dot, apart = float(gradient @ previous), float((gradient - previous).square().sum())
            estimates.append(noise.update(dot, apart, size))
        previous = gradient
    expected = dimensions * deviation**2 / float(true @ true)
    settled = sorted(estimates[100:])
    assert settled[len(settled) // 2] == pytest.approx(expected, rel=0.1)


def test_no_noise_scale_without_a_signal():
    noise = NoiseScale()
    assert math.isnan(noise.update(-1.0, 2.0, 16))
    assert math.isnan(NoiseScale().update(math.nan, 1.0, 16))
    assert NoiseScale().update(1.0, 0.0, 16) == 0
