"""The loss against NumPy twins, and its units."""

import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from charloom.loss import bits, cross_entropy, log_softmax, perplexity


@pytest.mark.parametrize("shape", [(7,), (3, 5), (1, 1), (2, 3, 4)], ids=["B", "B T", "one", "more"])
def test_cross_entropy_is_the_mean_over_every_position(shape):
    generator = np.random.default_rng(0)
    logits, targets = generator.normal(0, 3, (*shape, 11)), generator.integers(0, 11, shape)
    losses = [
        math.log(sum(math.exp(logit) for logit in logits[position])) - logits[position][targets[position]]
        for position in np.ndindex(shape)
    ]
    loss = cross_entropy(torch.from_numpy(logits), torch.from_numpy(targets))
    assert loss.shape == ()
    assert loss.item() == pytest.approx(math.fsum(losses) / len(losses), rel=1e-12)


@pytest.mark.parametrize("shape", [(6, 11), (2, 3, 11)], ids=["B V", "B T V"])
def test_log_softmax_is_that_of_torch(shape):
    logits = np.random.default_rng(1).normal(0, 5, shape).astype(np.float32)
    ours = log_softmax(logits)
    assert ours.dtype == np.float64
    assert_allclose(ours, torch.from_numpy(logits).double().log_softmax(-1), atol=1e-13)
    assert_allclose(np.exp(ours).sum(axis=-1), 1, rtol=1e-14)
    targets = np.random.default_rng(2).integers(0, 11, shape[:-1])
    picked = np.take_along_axis(ours, targets[..., None], axis=-1)
    assert -picked.mean() == pytest.approx(
        cross_entropy(torch.from_numpy(logits).double(), torch.from_numpy(targets)).item(), rel=1e-12
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_logits_stay_finite(dtype):
    logits = np.array([[1e4, -1e4, 0], [1e4, 1e4, 1e4], [-1e4, -1e4, -1e4]], dtype=dtype)
    assert_allclose(log_softmax(logits), [[0, -2e4, -1e4], [-math.log(3)] * 3, [-math.log(3)] * 3])
    loss = cross_entropy(torch.from_numpy(logits), torch.tensor([1, 0, 2]))
    assert loss.item() == pytest.approx((2e4 + 2 * math.log(3)) / 3)


def test_the_impossible_stays_impossible():
    assert_allclose(
        log_softmax(np.array([[-np.inf, 2, 2], [5, -np.inf, -np.inf]])),
        [[-np.inf, *[-math.log(2)] * 2], [0, -np.inf, -np.inf]],
    )


def test_what_was_given_is_left_alone():
    logits = np.array([[1.0, 2.0]])
    logits.flags.writeable = False
    log_softmax(logits)


def test_units():
    assert bits(math.log(8)) == pytest.approx(3)
    assert perplexity(math.log(27)) == pytest.approx(27)
    assert perplexity(0) == 1
    assert math.isfinite(perplexity(699))
    assert perplexity(1e6) == perplexity(math.inf) == math.inf
