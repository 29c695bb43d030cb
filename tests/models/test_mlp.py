"""The MLP against NumPy, its gradients against differences, and what batch norm keeps."""

import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch.func import functional_call

from charloom.loss import cross_entropy
from charloom.models import build_neural, neural
from charloom.models.mlp import ACTIVATIONS, MLP
from oracles import mlp as oracle
from oracles.batch_norm import BatchNormTwin

NORMS = ["none", "batch", "layer", "rms"]
TUTORIAL = {"vocabulary_size": 27, "context_length": 3, "embedding": 10, "hidden": 200, "layers": 1}
SMALL = {"vocabulary_size": 6, "context_length": 3, "embedding": 3, "hidden": 5, "layers": 2}


def small(seed=0, **settings):
    """A float64 model in which no parameter or buffer has a value of no effect, such as a bias of 0."""
    model = MLP(**(SMALL | settings), generator=torch.Generator().manual_seed(seed)).double()
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                tensor.add_(0.3 * torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype))
            assert tensor.numel() == 1 or tensor.unique().numel() > 1, name
    return model


def some_rows(batch=9, seed=3):
    generator = np.random.default_rng(seed)
    return generator.integers(0, 6, (batch, 3)), generator.integers(0, 6, batch)


def arrays(model):
    return {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_forward_is_the_formula(norm, activation):
    model = small(norm=norm, activation=activation)
    contexts, _ = some_rows()
    settings = {"layers": 2, "activation": activation, "norm": norm}
    expected = oracle.logits(arrays(model), contexts, **settings)
    with torch.no_grad():
        made = model.eval()(torch.from_numpy(contexts))
        assert_allclose(made, expected, rtol=1e-12, atol=1e-13)
        assert_allclose(model.next_logits(contexts), expected, rtol=1e-12, atol=1e-13)
        expected = oracle.logits(arrays(model), contexts, **settings, train=True)
        assert_allclose(model.train()(torch.from_numpy(contexts)), expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("activation", ["tanh", "relu", "gelu", "sigmoid"])
def test_gradcheck_of_the_whole_loss(norm, activation):
    model = small(norm=norm, activation=activation).train()
    contexts, targets = map(torch.from_numpy, some_rows())
    names = [name for name, _ in model.named_parameters()]

    def loss(*parameters):
        logits = functional_call(model, dict(zip(names, parameters, strict=True)), contexts)
        return cross_entropy(logits, targets)

    assert torch.autograd.gradcheck(loss, tuple(model.parameters()))


def test_batch_norm_remembers_the_unbiased_variance():
    """It normalises by the biased one, which `test_forward_is_the_formula` shows."""
    model = small(norm="batch", layers=1, norm_momentum=0.3).train()
    norm = model.hidden[0].norm
    twin = BatchNormTwin(*(arrays(norm)[name] for name in ("weight", "bias", "running_mean", "running_var")), 0.3)
    for seed in range(4):
        contexts, _ = some_rows(batch=4, seed=seed)
        with torch.no_grad():
            model(torch.from_numpy(contexts))
            twin.train(model.hidden[0].linear(model.embedding(torch.from_numpy(contexts)).flatten(1)).numpy())
    assert_allclose(norm.running_mean, twin.running_mean, rtol=1e-12)
    assert_allclose(norm.running_var, twin.running_var, rtol=1e-12)


def test_batch_norm_refuses_to_train_on_one_row():
    contexts = torch.zeros(1, 3, dtype=torch.int64)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        small(norm="batch").train()(contexts)
    assert small(norm="batch").eval()(contexts).isfinite().all()
    assert small(norm="layer").train()(contexts).isfinite().all()


@pytest.mark.parametrize(
    ("norm", "parameters"), [("none", 11_897), ("batch", 12_097), ("layer", 12_297), ("rms", 12_097)]
)
def test_parameter_counts_of_the_tutorial(norm, parameters):
    """Batch norm drops the bias of 200 and adds a weight and a bias; RMS norm keeps the bias and adds a weight."""
    assert MLP(**TUTORIAL, norm=norm).parameter_count() == parameters


@pytest.mark.parametrize("norm", NORMS)
def test_a_bias_stands_where_it_matters(norm):
    """Added before batch norm, a bias would have no gradient; before the other norms it has one."""
    model = small(norm=norm, activation="tanh").train()
    contexts, targets = map(torch.from_numpy, some_rows())
    for layer in model.hidden:
        assert (layer.linear.bias is None) == (norm == "batch")
        if norm == "batch":
            layer.linear.bias = torch.nn.Parameter(torch.full((5,), 0.1, dtype=torch.float64))
    cross_entropy(model(contexts), targets).backward()
    for layer in model.hidden:
        size = layer.linear.bias.grad.abs().max()
        assert size < 1e-15 if norm == "batch" else size > 1e-4


def test_a_small_output_layer_starts_unsure_and_a_plain_one_confidently_wrong():
    generator = np.random.default_rng(0)
    contexts = torch.from_numpy(generator.integers(0, 27, (500, 3)))
    targets = torch.from_numpy(generator.integers(0, 27, 500))

    def first_loss(**settings):
        return cross_entropy(build_neural("mlp", seed=0, **TUTORIAL, **settings)(contexts), targets).item()

    assert first_loss(output_scale=0.01) == pytest.approx(math.log(27), abs=0.005)
    assert first_loss(init="normal", output_scale=0.01) == pytest.approx(math.log(27), abs=0.05)
    assert first_loss(init="normal") > 15


def test_the_scales_reach_the_layers_they_are_for():
    settings = {**TUTORIAL, "layers": 3, "activation": "relu", "init": "kaiming"}
    model = build_neural("deep-mlp", seed=0, **settings, init_scale=0.5, output_scale=0.25)
    assert model.embedding.weight.std().item() == pytest.approx(1, rel=0.1)
    for layer, fan_in in zip(model.hidden, [30, 200, 200], strict=True):
        expected = 0.5 * math.sqrt(2 / fan_in)
        assert layer.linear.weight.std().item() == pytest.approx(expected, rel=0.03)
    assert model.output.weight.std().item() == pytest.approx(0.25 / math.sqrt(200), rel=0.03)


def test_the_weights_depend_on_the_seed_alone():
    settings = {**SMALL, "norm": "batch", "init": "normal"}
    torch.manual_seed(1)
    first = arrays(build_neural("mlp", seed=5, **settings))
    torch.manual_seed(2)
    again, other = (arrays(build_neural("mlp", seed=seed, **settings)) for seed in (5, 6))
    for name, array in first.items():
        assert_array_equal(array, again[name])
        assert ".norm." in name or not np.array_equal(array, other[name]), name


def test_dropout_works_in_training_only():
    model = small(dropout=0.5, activation="sigmoid")
    contexts, _ = some_rows()
    plain = oracle.logits(arrays(model), contexts, layers=2, activation="sigmoid", norm="none")
    assert_allclose(model.train().next_logits(contexts), plain, rtol=1e-12)
    dropped = []
    model.hidden[1].register_forward_hook(lambda module, inputs, output: dropped.append(output))
    torch.manual_seed(0)
    with torch.no_grad():
        for _ in range(100):
            model(torch.from_numpy(contexts))
    share = (torch.cat(dropped) == 0).double().mean().item()
    assert share == pytest.approx(0.5, abs=0.03)
    assert "dropout" not in dict(small().named_modules())


@pytest.mark.parametrize("training", [True, False])
def test_next_logits_leaves_the_model_as_it_was(training):
    model = small(norm="batch", dropout=0.5).train(training)
    before, random_state = arrays(model), torch.get_rng_state()
    contexts, _ = some_rows()
    contexts.flags.writeable = False
    model.next_logits(contexts)
    with pytest.raises(IndexError):
        model.next_logits(contexts + 6)
    assert all(module.training is training for module in model.modules())
    assert torch.equal(torch.get_rng_state(), random_state)
    for name, array in arrays(model).items():
        assert_array_equal(array, before[name])


@pytest.mark.parametrize("rows", [0, 1, 4, 9])
def test_next_logits_of_any_number_of_rows(monkeypatch, rows):
    model = small(norm="batch")
    contexts, _ = some_rows(batch=9)
    expected = model.next_logits(contexts)
    monkeypatch.setattr(neural, "ROWS_AT_ONCE", {"cpu": 4})
    made = model.next_logits(contexts[:rows])
    assert made.shape == (rows, 6)
    assert_allclose(made, expected[:rows], rtol=1e-12)
