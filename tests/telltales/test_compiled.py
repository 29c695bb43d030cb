"""Compiled models: every probe fires, no graph breaks, and what comes too late is an error."""

from __future__ import annotations

import nets
import numpy as np
import pytest
import torch
from nets import CLASSES, Convolutional, batches, deep_mlp, hooks, loss_of, train
from torch import nn

import telltales

BACKEND = "aot_eager"

# PyTorch itself raises these while it traces an autograd function, or an input that has a gradient.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"),
]


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield
    torch._dynamo.reset()


def compiled(make):
    return torch.compile(make(), backend=BACKEND, fullgraph=True)


def breaks():
    return sum(torch._dynamo.utils.counters["graph_break"].values())


def graphs():
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


@pytest.mark.parametrize("make", [deep_mlp, nets.Transformer], ids=["deep mlp", "transformer"])
def test_every_probe_fires_without_a_graph_break(make):
    _, eager = train(make, 6, schedule=lambda step: step % 2 == 0)
    _, record = train(lambda: compiled(make), 6, schedule=lambda step: step % 2 == 0)
    assert breaks() == 0
    assert graphs() == 2
    # Functions are seen in eager execution only.
    modules = {name for name in eager.names("activation") if not eager.modules[name]["type"].startswith("function")}
    assert set(record.names("activation")) == modules
    assert record.about.get("unfired") == eager.about.get("unfired")
    for kind in ("activation", "activation_gradient", "gradient", "weight", "update"):
        for column in {"mean", "std", "rms", "saturated"} & set(telltales.observation.COLUMNS[kind]):
            for name in record.names(kind):
                np.testing.assert_allclose(
                    record.series(kind, name, column),
                    eager.series(kind, name, column),
                    rtol=5e-3,
                    atol=1e-5,
                    err_msg=f"{kind} {name} {column}",
                )
    assert set(record.pictures[0].histograms["activation_gradient"]) == modules


def test_a_watch_before_the_compilation_works_too():
    torch.manual_seed(0)
    model = deep_mlp()
    optimizer = nets.adam(model)
    with telltales.watch(model, optimizer, schedule=lambda step: step % 2 == 0) as w:
        fast = torch.compile(model, backend=BACKEND, fullgraph=True)
        for x, y in batches(6):
            loss = loss_of(fast(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            w.step(loss)
    assert w.record.steps.tolist() == [0, 2, 4]
    assert not np.isnan(w.record.values("activation_gradient", "std")).any()
    assert breaks() == 0
    assert hooks(model) == 0


def test_a_watch_after_the_first_call_is_an_error():
    model = compiled(deep_mlp)
    optimizer = nets.adam(model)
    x, y = batches(1)[0]
    loss_of(model(x), y).backward()
    with telltales.watch(model, optimizer) as w:
        loss = loss_of(model(x), y)
        loss.backward()
        optimizer.step()
        with pytest.raises(telltales.ProbeError, match="compiled, and called, before it was watched"):
            w.step(loss)


def test_a_part_that_was_compiled_too_early_is_an_error():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Sequential(nn.Embedding(CLASSES, 4), nn.Flatten())
            self.block = torch.compile(nn.Sequential(nn.Linear(12, 8), nn.Tanh()), backend=BACKEND)
            self.head = nn.Linear(8, CLASSES)

        def forward(self, x):
            return self.head(self.block(self.stem(x)))

    model = Mixed()
    optimizer = nets.adam(model)
    x, y = batches(1)[0]
    loss_of(model(x), y).backward()
    with telltales.watch(model, optimizer) as w:
        loss = loss_of(model(x), y)
        loss.backward()
        optimizer.step()
        with pytest.raises(telltales.ProbeError, match=r"block\.0"):
            w.step(loss)


def test_weights_do_not_depend_on_the_watch():
    def weights(watched):
        torch._dynamo.reset()
        model, _ = train(lambda: compiled(deep_mlp), 12, watched=watched)
        return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])

    assert torch.equal(weights(True), weights(False))


def test_accumulated_gradients_and_module_compile():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(108, CLASSES))
    model.compile(backend=BACKEND, fullgraph=True)
    optimizer = nets.sgd(model)
    x, y = torch.randn(8, 1, 8, 8), torch.randint(CLASSES, (8,))

    def step(w, parts):
        optimizer.zero_grad()
        for some_x, some_y in zip(x.chunk(parts), y.chunk(parts), strict=True):
            (loss_of(model(some_x), some_y) / parts).backward()
        w.step(1.0)

    with telltales.watch(model, schedule=lambda step: True) as w:
        step(w, 2)
        step(w, 2)
    record = w.record
    h = torch.relu(model[0](x)).detach()
    assert record.series("activation", "1", "mean")[0] == pytest.approx(float(h.mean()), rel=1e-4)
    assert record.series("activation_gradient", "3", "std")[0] > 0
    assert breaks() == 0


def test_a_conv_net_with_functions_in_place():
    torch.manual_seed(0)
    model = torch.compile(Convolutional(), backend=BACKEND, fullgraph=True)
    optimizer = nets.sgd(model)
    with telltales.watch(model, optimizer) as w:
        loss = loss_of(model(torch.randn(16, 1, 8, 8)), torch.randint(CLASSES, (16,)))
        loss.backward()
        optimizer.step()
        w.step(loss)
    assert w.record.series("activation", "norm", "min")[0] < 0
    assert w.record.series("activation", "act", "min")[0] == 0
