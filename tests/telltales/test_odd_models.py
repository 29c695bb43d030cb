"""Models and loops out of the ordinary: watched like any other, or left alone, but never broken."""

from __future__ import annotations

import copy
import dataclasses
import pickle  # noqa: TID251 -- a model that is watched must remain one that can be pickled
import threading

import numpy as np
import pytest
import torch
from nets import hooks
from torch import nn
from torch.utils.checkpoint import checkpoint

import telltales

pytestmark = pytest.mark.filterwarnings("error::telltales.TelltalesWarning")


def mlp():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def inputs(size=16):
    return torch.randn(size, 4)


def loop(model, make=inputs, forward=None, steps=3, optimizer=None, **options):
    """Every step observed, with all there is to measure."""
    optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=0.1)
    with telltales.watch(model, optimizer, preset="full", **options) as w:
        for _ in range(steps):
            x = make()
            loss = (forward(model, x) if forward else model(x)).float().square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            w.step(loss, x)
    assert hooks(model) == 0
    assert torch._C._len_torch_function_stack() == 0
    assert len(w.record) == steps
    return w.record


def measured(record, kind, column, name):
    values = record.series(kind, name, column)
    return bool(np.isfinite(values).all()) and bool((values > 0).all())


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointed_activations(reentrant):
    def forward(model, x):
        return model[2](checkpoint(model[:2], x.requires_grad_(), use_reentrant=reentrant))

    record = loop(mlp(), forward=forward)
    assert set(record.names("activation")) == {"0", "1", "2"}
    assert measured(record, "activation_gradient", "std", "0")


def test_two_watches_of_one_model_see_the_same():
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with telltales.watch(model, optimizer) as one, telltales.watch(model, optimizer) as other:
        for _ in range(12):
            loss = model(inputs()).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            one.step(loss)
            other.step(loss)
    for column in ("norm", "norm_used", "ratio"):
        np.testing.assert_array_equal(one.record.values("gradient", column), other.record.values("gradient", column))
    assert hooks(model) == 0


def test_copies_of_a_watched_model_are_not_watched():
    model = mlp()
    with telltales.watch(model, torch.optim.SGD(model.parameters(), lr=0.1), loss_from=model) as w:
        copied, stored = copy.deepcopy(model), pickle.loads(pickle.dumps(model))  # noqa: S301 -- our own bytes
        for other in (copied, stored):
            other(inputs()).sum().backward()
        assert not w._probes.modules[0].calls
        assert torch._C._len_torch_function_stack() == 0
        assert list(model.state_dict()) == list(stored.state_dict())


def test_a_lazy_model_is_watched_once_its_parameters_are_there():
    model = nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(2))
    with telltales.watch(model, schedule=lambda step: True) as w:
        for _ in range(2):
            loss = model(inputs()).square().mean()
            loss.backward()
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter -= 0.1 * parameter.grad
            w.step(loss)
    assert np.isfinite(w.record.series("update", "0.weight", "ratio")[1])


def test_parameters_that_come_later():
    model = mlp()
    model[0].requires_grad_(False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with telltales.watch(model, optimizer, schedule=lambda step: True) as w:
        for step in range(4):
            if step == 2:
                model[0].requires_grad_(True)
                model.append(nn.Linear(2, 2))
                optimizer.add_param_group({"params": model[3].parameters()})
            loss = model(inputs()).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            w.step(loss)
    assert np.isnan(w.record.series("gradient", "0.weight", "norm")[:2]).all()
    # What is new is looked at from the next observed step on.
    assert (w.record.series("gradient", "3.weight", "norm")[3:] > 0).all()
    assert w.record.parameters["0.weight"]["trainable"] is True


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_precisions(dtype):
    record = loop(mlp().to(dtype), lambda: inputs().to(dtype))
    assert measured(record, "update", "ratio", "0.weight")
    assert measured(record, "weight", "spectral_norm", "0.weight")


def test_sparse_gradients():
    model = nn.Sequential(nn.Embedding(10, 4, sparse=True), nn.Linear(4, 2))
    record = loop(model, lambda: torch.randint(10, (16,)))
    assert measured(record, "gradient", "norm", "0.weight")
    assert measured(record, "gradient", "norm_used", "0.weight")


def test_complex_parameters():
    class Complex(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.randn(4, 2, dtype=torch.cfloat))

        def forward(self, x):
            return (x.cfloat() @ self.w).abs()

    assert measured(loop(Complex()), "update", "ratio", "w")


def test_packed_sequences():
    class Packed(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.head = nn.GRU(4, 5, batch_first=True), nn.Linear(5, 2)

        def forward(self, x):
            packed = nn.utils.rnn.pack_padded_sequence(x, [3, 2, 1], batch_first=True)
            return self.head(self.rnn(packed)[1][-1])

    record = loop(Packed(), lambda: torch.randn(3, 3, 4))
    assert measured(record, "activation", "std", "rnn")


def test_parametrized_weights():
    model = nn.Sequential(
        nn.utils.parametrizations.spectral_norm(nn.Linear(4, 8)),
        nn.Tanh(),
        nn.utils.parametrizations.weight_norm(nn.Linear(8, 2)),
    )
    record = loop(model)
    assert measured(record, "update", "ratio", "0.parametrizations.weight.original")


def test_gradients_of_gradients():
    def forward(model, x):
        x.requires_grad_()
        y = torch.tanh(model(x))
        (slope,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        return torch.cat([y, slope], 1)

    assert measured(loop(mlp(), forward=forward), "gradient", "norm", "0.weight")


def test_what_runs_under_vmap_is_left_alone():
    def forward(model, x):
        frozen = {name: parameter.detach() for name, parameter in model.named_parameters()}

        def of_one(weights, row):
            return torch.func.functional_call(model, weights, (row,)).square().mean()

        torch.func.vmap(torch.func.grad(of_one), in_dims=(None, 0))(frozen, x)
        return model(x)

    record = loop(mlp(), forward=forward)
    assert record.modules["0"]["calls"] == 1


def test_empty_batches_and_steps_without_a_gradient():
    model = mlp()
    with telltales.watch(model, schedule=lambda step: True) as w:
        model(torch.zeros(0, 4)).sum().backward()
        w.step(0.0, torch.zeros(0, 4), torch.zeros(0))
        model(inputs())
        w.step(1.0)
    assert w.record.scalar("batch_size")[0] == 0
    assert len(w.record) == 2


def test_gradients_that_are_zeroed_and_a_closure_that_gives_nothing():
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    norms = []
    with telltales.watch(model, optimizer) as w:
        for _ in range(3):
            loss = model(inputs()).square().mean()
            optimizer.zero_grad(set_to_none=False)
            loss.backward()
            norms.append(float(torch.nn.utils.get_total_norm([p.grad for p in model.parameters()])))
            optimizer.step(lambda: None)
            w.step(loss)
    np.testing.assert_allclose(w.record.scalar("gradient_norm"), norms, rtol=1e-5)


def test_in_another_thread():
    found = []
    thread = threading.Thread(target=lambda: found.append(loop(mlp())))
    thread.start()
    thread.join()
    assert measured(found[0], "activation", "std", "0")


def test_names_that_no_encoding_knows(tmp_path):
    name = "é\ud800"

    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = nn.ModuleDict({name: nn.Linear(4, 2)})

        def forward(self, x):
            return self.parts[name](x)

    loop(Named(), path=tmp_path / "r.jsonl")
    assert telltales.read_record(tmp_path / "r.jsonl").names("activation") == [f"parts.{name}"]


def test_a_loss_module_is_no_layer():
    class WithLoss(nn.Module):
        def __init__(self):
            super().__init__()
            self.head, self.loss = nn.Linear(4, 1), nn.MSELoss()

        def forward(self, x):
            return self.loss(self.head(x), x[:, :1])

    assert loop(WithLoss()).names("activation") == ["head"]


class SharedFunction(nn.Module):
    """One ReLU behind layers of two widths; half of the wider one's units are dead."""

    def __init__(self):
        super().__init__()
        self.wide, self.narrow, self.act = nn.Linear(4, 8), nn.Linear(8, 4), nn.ReLU()
        with torch.no_grad():
            self.wide.bias[:4] = -100
            self.narrow.bias += 100

    def forward(self, x):
        return self.act(self.narrow(self.act(self.wide(x))))


@pytest.mark.parametrize("size", [16, 20_000])
def test_a_function_that_serves_layers_of_several_widths(size):
    model = SharedFunction()
    record = loop(model, lambda: inputs(size), optimizer=torch.optim.SGD(model.parameters(), lr=0.0))
    assert record.modules["act"]["calls"] == 2
    # 4 of 8 and 0 of 4 units.
    np.testing.assert_allclose(record.series("activation", "act", "saturated_units"), 4 / 12, rtol=1e-5)


def test_gradients_of_activations_are_free_of_the_loss_scale():
    def run(scale):
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        torch.manual_seed(0)
        with telltales.watch(model, optimizer, scaler=scaler) as w:
            loss = model(inputs()).square().mean()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            w.step(loss)
        return w.record

    plain, scaled = run(1.0), run(2.0**14)
    np.testing.assert_allclose(
        scaled.values("activation_gradient", "std"), plain.values("activation_gradient", "std"), rtol=1e-5
    )
    one, other = (record.pictures[0].histograms["activation_gradient"]["2"] for record in (plain, scaled))
    assert one.first == other.first
    np.testing.assert_array_equal(one.counts, other.counts)


def test_a_loss_tensor_may_be_used_again():
    model, total = mlp(), torch.zeros(())
    with telltales.watch(model) as w:
        for step in range(12):
            model(inputs()).sum().backward()
            total.fill_(step)
            w.step(total)
            total.zero_()
    assert w.record.losses.mean.tolist() == list(range(12))


def test_another_thread_that_runs_the_model():
    model = mlp()
    model.append(nn.Softplus())
    stop, errors = threading.Event(), []

    def act():
        try:
            while not stop.is_set():
                with torch.no_grad():
                    model(inputs())
            assert torch._C._len_torch_function_stack() == 0
        except BaseException as error:  # noqa: BLE001 -- what a thread raises nobody sees
            errors.append(error)

    actor = threading.Thread(target=act)
    actor.start()
    try:
        loop(model, steps=30)
    finally:
        stop.set()
        actor.join()
    assert not errors


@pytest.mark.parametrize("change", [lambda m: m.double(), lambda m: setattr(m[0].weight, "data", torch.randn(8, 4))])
def test_parameters_that_change_after_the_watch_began(change):
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with telltales.watch(model, optimizer) as w:
        change(model)
        for _ in range(3):
            loss = model(inputs().to(model[0].weight.dtype)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            expected = float(nn.utils.clip_grad_norm_(model.parameters(), 0.01))
            optimizer.step()
            w.step(loss)
    assert w.record.scalar("gradient_norm")[-1] == pytest.approx(expected, rel=1e-4)


def test_a_backward_pass_that_failed_and_was_tried_again():
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def fail(gradient):
        raise KeyError

    with telltales.watch(model, optimizer) as w:
        handle = model[0].weight.register_hook(fail)
        with pytest.raises(KeyError):
            model(inputs()).square().mean().backward()
        handle.remove()
        optimizer.zero_grad()
        loss = model(inputs()).square().mean()
        loss.backward()
        expected = float(nn.utils.clip_grad_norm_(model.parameters(), 0.01))
        optimizer.step()
        w.step(loss)
    assert w.record.scalar("gradient_norm")[0] == pytest.approx(expected, rel=1e-5)


def test_what_is_refused_leaves_no_hook_behind(tmp_path):
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(telltales.RecordError):
        telltales.watch(model, optimizer, path=tmp_path / "missing" / "r.jsonl", loss_from=model)
    assert hooks(model) == 0
    with pytest.raises(telltales.UsageError):
        telltales.watch(model, type("Wrapper", (torch.optim.Optimizer,), {"__init__": lambda self: None})())
    assert hooks(model) == 0


def test_scripted_parts_are_passed_over():
    model = mlp()
    with pytest.warns(DeprecationWarning, match="script"):
        model[0] = torch.jit.script(model[0])
    assert loop(model).names("activation") == ["1", "2"]


def test_another_default_precision():
    torch.set_default_dtype(torch.float64)
    try:
        record = loop(mlp(), lambda: torch.randn(16, 4))
    finally:
        torch.set_default_dtype(torch.float32)
    assert record.pictures[0].histograms["activation"]["0"].counts.sum() == 16 * 8


def test_a_learning_rate_that_is_a_tensor():
    model = mlp()
    optimizer = torch.optim.Adam(model.parameters(), lr=torch.tensor(1.0))
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.1)
    with telltales.watch(model, optimizer) as w:
        for _ in range(3):
            loss = model(inputs()).square().mean()
            loss.backward()
            optimizer.step()
            schedule.step()
            w.step(loss)
    np.testing.assert_allclose(w.record.series("group", "0", "learning_rate"), [1, 0.1, 0.01], rtol=1e-5)


def test_a_function_in_a_long_loop_has_few_rows():
    class Loop(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.eye(2))

        def forward(self, x):
            for _ in range(50):
                x = torch.tanh(x @ self.w)
            return x

    record = loop(nn.Sequential(*mlp(), Loop()))
    functions = [name for name in record.names("activation") if "tanh" in name]
    assert functions == ["3.tanh", *(f"3.tanh:{number}" for number in range(2, 9)), "3.tanh:9+"]


def test_data_classes_as_outputs():
    @dataclasses.dataclass
    class Output:
        logits: torch.Tensor

    class Gives(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.randn(4, 2))

        def forward(self, x):
            return Output(x @ self.w)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.part = Gives()

        def forward(self, x):
            return self.part(x).logits

    assert measured(loop(Net()), "activation", "std", "part")


def test_units_of_a_function_after_a_convolution():
    class AttentionNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(1, 4, 3), nn.Linear(4, 2)
            with torch.no_grad():
                self.conv.bias[1] = -100

        def forward(self, x):
            return self.head(torch.relu(self.conv(x)).mean((2, 3)))

    record = loop(AttentionNet(), lambda: torch.randn(8, 1, 6, 6))
    np.testing.assert_allclose(record.series("activation", "relu", "saturated_units"), 0.25)


def test_an_update_without_a_loss_rests_on_the_one_before():
    model, criterion = mlp(), nn.MSELoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with telltales.watch(model, optimizer, loss_from=criterion) as w:
        for step in range(3):
            y = model(inputs())
            loss = y.square().mean() if step == 1 else criterion(y, torch.zeros_like(y))
            loss.backward()
            optimizer.step()
    first, second, third = w.record.scalar("loss")
    assert first == second != third
    assert "non-finite" not in [finding.rule for finding in w.findings()]


def test_gradients_that_reach_no_module_are_read_before_clipping_all_the_same():
    class Bare(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.randn(4, 2))
            self.frozen = nn.Linear(4, 4).requires_grad_(False)

        def forward(self, x):
            return self.frozen(x) @ self.w

    model = Bare()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    norms = []
    with telltales.watch(model, optimizer) as w:
        for _ in range(4):
            loss = model(inputs()).square().mean()
            optimizer.zero_grad()
            loss.backward()
            norms.append(float(nn.utils.clip_grad_norm_(model.parameters(), 0.01)))
            optimizer.step()
            w.step(loss)
    np.testing.assert_allclose(w.record.scalar("gradient_norm")[1:], norms[1:], rtol=1e-5)


def test_gradients_that_the_caller_keeps():
    kept = []

    def forward(model, x):
        kept.extend(parameter.grad for parameter in model.parameters())
        return model(x)

    record = loop(mlp(), forward=forward)
    assert measured(record, "gradient", "norm", "0.weight")


def test_an_optimizer_in_a_wrapper():
    class Wrapper(torch.optim.Optimizer):
        def __init__(self, optimizer):
            self.optimizer = optimizer

        def step(self, closure=None):
            self.optimizer.step(closure)

        def zero_grad(self, set_to_none=True):
            self.optimizer.zero_grad(set_to_none)

    model = mlp()
    record = loop(model, optimizer=Wrapper(torch.optim.SGD(model.parameters(), lr=0.1)))
    assert (record.scalar("optimizer_steps") == 1).all()
    np.testing.assert_allclose(record.series("group", "0", "learning_rate"), 0.1)


def test_what_is_not_a_number_is_not_called_saturated():
    model = mlp()
    with torch.no_grad():
        model[0].weight[0, 0] = np.nan
    record = loop(model, steps=1)
    assert np.isnan(record.series("activation", "1", "saturated")).all()
    assert np.isnan(record.series("activation", "1", "saturated_units")).all()
