"""Neural models without torch give what those with torch give, and refuse arrays that are not theirs."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from charloom.errors import CheckpointError
from charloom.models import build_neural, plain_model
from charloom.models.mlp import ACTIVATIONS as WITH_TORCH
from charloom.models.plain import ACTIVATIONS

SIZE = 9
SMALL = {"context_length": 3, "embedding": 5, "hidden": 16, "layers": 2}


def both(family, **options):
    """A network with anything but its first weights, and the same without torch."""
    import torch

    network = build_neural(family, vocabulary_size=SIZE, seed=1, **options)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator) * 1.5 + 0.1)
        for parameter in network.parameters():
            parameter -= 0.8
    arrays = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    return network, plain_model(family, arrays, vocabulary_size=SIZE, **options), arrays


def test_every_activation_is_there():
    assert set(ACTIVATIONS) == set(WITH_TORCH)


@pytest.mark.parametrize("norm", ["none", "batch", "layer", "rms"])
@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_an_mlp_gives_the_same_logits(norm, activation):
    network, plain, _ = both("mlp", activation=activation, norm=norm, dropout=0.3, init="default", **SMALL)
    contexts = np.random.default_rng(0).integers(0, SIZE, (500, 3))
    expected = network.next_logits(contexts)
    assert np.ptp(expected, axis=0).min() > 0.01
    assert_allclose(plain.next_logits(contexts), expected, rtol=2e-6, atol=2e-6 * abs(expected).max())
    assert plain.next_logits(contexts).dtype == np.float32
    assert plain.parameter_count() == network.parameter_count()


def test_a_bigram_network_gives_the_same_logits():
    network, plain, _ = both("bigram-net")
    contexts = np.arange(SIZE)[:, None]
    assert_allclose(plain.next_logits(contexts), network.next_logits(contexts), rtol=0)
    assert plain.parameter_count() == network.parameter_count()


def test_large_inputs_neither_overflow_nor_warn():
    x = np.array([-1e4, -100, 0, 100, 1e4], dtype=np.float32)
    for name, activation in ACTIVATIONS.items():
        assert np.isfinite(activation(x)).all(), name


@pytest.mark.parametrize(("family", "options"), [("mlp", SMALL | {"norm": "batch"}), ("bigram-net", {})])
def test_arrays_of_another_model_are_refused(family, options):
    _, _, arrays = both(family, **options)
    for name, array in arrays.items():
        others = {
            "not this model's": {key: value for key, value in arrays.items() if key != name},
            "should be": arrays | {name: array.astype(np.float16)},
            "is stored as": arrays | {name: np.zeros((*array.shape, 2), array.dtype)},
        }
        for message, wrong in others.items():
            with pytest.raises(CheckpointError, match=message):
                plain_model(family, wrong, vocabulary_size=SIZE, **options)
    with pytest.raises(CheckpointError, match="more is"):
        plain_model(family, arrays | {"more": np.zeros(1)} | {"more is": np.zeros(1)}, vocabulary_size=SIZE, **options)
