"""Functions that a model calls: seen, named, and measured as the modules of the same kind are."""

from __future__ import annotations

import nets
import numpy as np
import pytest
import torch
from nets import CLASSES, batches, hooks, loss_of, state_hash, train
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

import telltales
from oracles import statistics as oracle
from telltales.statistics import attention_entropy


class Block(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.first, self.second = nn.Linear(size, size), nn.Linear(size, size)

    def forward(self, x):
        return torch.tanh(self.second(functional.relu(self.first(x)).relu()))


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(CLASSES, 8)
        self.block = Block(8)
        self.act = nn.GELU()
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x):
        return self.head(functional.relu_(self.act(self.block(self.embedding(x).mean(1)))))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(CLASSES, 8)
        self.heads = nn.Linear(8, 24)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x):
        q, k, v = self.heads(self.embedding(x)).unflatten(-1, (3, 2, 4)).movedim(2, 0).transpose(2, 3)
        h = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        weights = torch.softmax(h.flatten(-2), dim=-1)
        return self.head(h.transpose(1, 2).flatten(2).mean(1)) + 0 * weights.sum()


def test_each_call_has_the_name_of_the_module_that_makes_it():
    _, record = train(Functional, 3)
    assert record.names("activation") == [
        *("embedding", "block.first", "block.relu", "block.relu:2", "block.second", "block.tanh"),
        *("act", "relu", "head"),
    ]
    assert record.modules["block.tanh"]["type"] == "function tanh"
    assert record.modules["block.tanh"]["activation"] == "tanh"
    assert not np.isnan(record.series("activation", "block.relu", "saturated")).any()
    assert not np.isnan(record.series("activation_gradient", "block.tanh", "std")).any()
    assert "relu" in record.pictures[0].maps


def test_nothing_changes_and_nothing_is_left():
    for make in (Functional, Attention):
        plain, _ = train(make, watched=False)
        expected = state_hash(plain)
        watched, _ = train(make, preset="full")
        assert state_hash(watched) == expected
        assert hooks(watched) == 0


def test_a_function_is_measured_as_the_module_of_its_kind():
    def make(as_module):
        torch.manual_seed(0)
        linear = nn.Linear(3, 9)

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.linear, self.head = linear, nn.Linear(9, CLASSES)
                if as_module:
                    self.relu = nn.ReLU()

            def forward(self, x):
                h = self.linear(x.float())
                return self.head(self.relu(h) if as_module else functional.relu(h))

        return Net()

    _, function = train(lambda: make(False), 4)
    _, module = train(lambda: make(True), 4)
    assert function.names("activation") == module.names("activation")
    for kind in ("activation", "activation_gradient"):
        for column in telltales.observation.COLUMNS[kind]:
            np.testing.assert_array_equal(function.values(kind, column), module.values(kind, column))


def test_attention_and_softmax_have_an_entropy():
    _, record = train(Attention, 2)
    assert record.modules["attention"]["type"] == "function attention"
    assert 0.5 < record.series("activation", "attention", "entropy")[0] <= 1
    assert 0 < record.series("activation", "softmax", "entropy")[0] <= 1
    assert np.isnan(record.series("activation", "attention", "saturated")).all()


@pytest.mark.parametrize("kind", ["none", "causal", "bool", "float", "grouped"])
def test_attention_entropy_is_that_of_the_weights(kind):
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 2, 4, 5, 6, generator=generator)
    allowed = torch.ones(5, 5).tril().bool()
    mask = allowed.numpy() if kind not in ("none", "grouped") else None
    expected = oracle.attention_entropy(q.double().numpy(), k.double().numpy(), mask)
    options = {
        "causal": {"is_causal": True},
        "bool": {"attn_mask": allowed},
        "float": {"attn_mask": torch.zeros(5, 5).masked_fill(~allowed, float("-inf"))},
    }.get(kind, {})
    if kind == "grouped":
        options = {"enable_gqa": True}
        k = k[:, :1]
        expected = oracle.attention_entropy(q.double().numpy(), k.expand(-1, 4, -1, -1).double().numpy(), mask)
    assert float(attention_entropy(q, k, v, **options)) == pytest.approx(expected, rel=1e-4)


def test_attention_that_looks_at_one_place_has_no_entropy():
    eye = torch.eye(4)[None, None]
    assert float(attention_entropy(100 * eye, 100 * eye, eye)) == pytest.approx(0, abs=1e-6)
    assert float(attention_entropy(0 * eye, eye, eye)) == pytest.approx(1)
    assert torch.isnan(attention_entropy(eye[..., :1, :], eye[..., :1, :], eye[..., :1, :]))


def test_an_exception_in_the_forward_pass_leaves_no_mode_behind():
    class Breaks(Functional):
        def forward(self, x):
            raise KeyError

    model = Breaks()
    optimizer = nets.sgd(model)
    with telltales.watch(model, optimizer) as w:
        for _ in range(2):
            with pytest.raises(KeyError):
                model(torch.zeros(2, 3, dtype=torch.long))
            assert torch._C._len_torch_function_stack() == 0
    assert hooks(model) == 0
    assert len(w.record) == 0


def test_an_interrupt_or_a_fault_of_ours_leaves_no_mode_behind(monkeypatch):
    class Interrupted(Functional):
        def forward(self, x):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), telltales.watch(Interrupted()) as w:
        w._models[""](torch.zeros(2, 3, dtype=torch.long))
    assert torch._C._len_torch_function_stack() == 0

    def broken(*_):
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("telltales.functions.FunctionProbe._read", broken)
    switched_off = r"watched no more.*functions that modules call\): ZeroDivisionError: oh"
    with pytest.warns(telltales.TelltalesWarning, match=switched_off):
        model, _ = train(Functional)
    assert torch._C._len_torch_function_stack() == 0
    assert hooks(model) == 0


def test_modes_of_the_callers_own_still_see_everything():
    seen = []

    class Own(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            seen.append(func)
            return func(*args, **(kwargs or {}))

    model = Functional()
    optimizer = nets.sgd(model)
    x, y = batches(1)[0]
    with telltales.watch(model, optimizer) as w, Own():
        loss = loss_of(model(x), y)
        loss.backward()
        optimizer.step()
        w.step(loss)
    assert functional.relu in seen
    assert "block.relu" in w.record.names("activation")


def test_patterns_choose_among_functions_too():
    _, record = train(Functional, 2, modules=["block.tanh", "head"])
    assert record.names("activation") == ["block.tanh", "head"]
    _, record = train(Functional, 2, modules=lambda name, module: name == "head")
    assert record.names("activation") == ["head"]
