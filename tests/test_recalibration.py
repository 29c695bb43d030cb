"""After recalibration, batch norm's statistics are those of the training rows."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from charloom.contexts import Contexts
from charloom.models.mlp import MLP
from charloom.recalibration import Recalibration
from charloom.vocabulary import Vocabulary
from oracles.batch_norm import BatchNormTwin

VOCABULARY = Vocabulary("abcde")
ITEMS = ["abba", "cede", "ad", "becca", "dee", "eddabecca", "a", "cab"]
CONTEXTS = Contexts(VOCABULARY.encode_items(ITEMS, unit="line"), 3)


def small(norm="batch", **settings):
    """A float64 model with running statistics far from the truth."""
    generator = torch.Generator().manual_seed(0)
    model = MLP(
        vocabulary_size=6, context_length=3, embedding=3, hidden=5, layers=2, norm=norm, generator=generator, **settings
    ).double()
    for layer in model.hidden:
        if norm == "batch":
            layer.norm.running_mean.fill_(7)
            layer.norm.running_var.fill_(9)
            layer.norm.weight.data.uniform_(0.5, 1.5, generator=generator)
    return model


def arrays(model):
    return {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}


def check_statistics(model, contexts):
    """Layer by layer in NumPy. What a layer passes on is normalised as in evaluation, with what was just measured."""
    hidden = model.embedding.weight.detach().numpy()[contexts].reshape(len(contexts), -1)
    for layer in model.hidden:
        hidden = hidden @ layer.linear.weight.detach().numpy().T
        assert_allclose(layer.norm.running_mean, hidden.mean(axis=0), rtol=1e-10, atol=1e-12)
        assert_allclose(layer.norm.running_var, hidden.var(axis=0, ddof=1), rtol=1e-10)
        parts = (layer.norm.weight, layer.norm.bias, layer.norm.running_mean, layer.norm.running_var)
        hidden = np.tanh(BatchNormTwin(*(part.detach().numpy() for part in parts)).evaluate(hidden))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("momentum", [0.1, 0.001])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_statistics_are_those_of_all_training_rows(training, momentum, dropout):
    model = small(dropout=dropout, norm_momentum=momentum).train(training)
    random_state, before = torch.get_rng_state(), arrays(model)
    Recalibration(CONTEXTS, 6).apply(model)
    check_statistics(model, CONTEXTS.all_rows()[0])
    assert all(module.training is training for module in model.modules())
    assert [layer.norm.momentum for layer in model.hidden] == [momentum] * 2
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(parameter.grad is None for parameter in model.parameters())
    for name, _ in model.named_parameters():
        assert_array_equal(arrays(model)[name], before[name])


def test_few_contexts_are_measured_once_each_with_their_counts():
    seen = []
    model = small()
    model.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    Recalibration(CONTEXTS, 6).apply(model)
    assert seen == [len(set(map(tuple, CONTEXTS.all_rows()[0].tolist())))]
    assert seen[0] < len(CONTEXTS)


def test_of_many_rows_a_spread_out_part_is_taken():
    model = small()
    Recalibration(CONTEXTS, 6, rows=6).apply(model)
    chosen = [0, 7, 15, 22, 30, 38]
    assert len(CONTEXTS) == chosen[-1] + 1
    check_statistics(model, CONTEXTS.rows(np.array(chosen))[0])


def test_all_is_put_back_after_an_error():
    model = small()
    model.hidden[1].norm.momentum = None
    model.output = torch.nn.Linear(4, 6).double()
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        Recalibration(CONTEXTS, 6).apply(model)
    assert [layer.norm.momentum for layer in model.hidden] == [0.1, None]
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("norm", ["none", "layer", "rms"])
def test_without_batch_norm_nothing_is_done(norm):
    model = small(norm=norm)
    model.register_forward_pre_hook(lambda *_: pytest.fail("the model was run"))
    before = arrays(model)
    Recalibration(CONTEXTS, 6).apply(model)
    for name, array in arrays(model).items():
        assert_array_equal(array, before[name])
