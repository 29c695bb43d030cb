"""Watching real loops: what is recorded is right, and nothing is changed."""

from __future__ import annotations

import math
import pathlib
from contextlib import nullcontext

import nets
import numpy as np
import pytest
import torch
from nets import CLASSES, Convolutional, Recurrent, Transformer, batches, deep_mlp, hooks, loss_of, state_hash, train
from torch import nn

import telltales
from telltales.observation import COLUMNS

MODELS = {"deep mlp": deep_mlp, "recurrent": Recurrent, "transformer": Transformer}


@pytest.mark.parametrize("preset", ["economy", "standard", "full"])
@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_nothing_changes(make, preset):
    plain, _ = train(make, 30, watched=False, clip=1.0)
    expected = state_hash(plain)
    options = {"schedule": telltales.PRESETS[preset].schedule}
    watched, record = train(make, 30, clip=1.0, preset=preset, **options)
    assert state_hash(watched) == expected
    assert record is not None
    assert len(record) >= 12
    assert hooks(watched) == 0


def by_hand(steps):
    """The tutorial's own loop on the deep MLP: activations and gradients retained, updates measured by difference."""
    torch.manual_seed(0)
    model = deep_mlp()
    optimizer = nets.sgd(model)
    rows = []
    for x, y in batches(steps):
        h, outputs = x, []
        for layer in model:
            h = layer(h)
            outputs.append(h)
            if h.is_floating_point():
                h.retain_grad()
        loss = loss_of(h, y)
        optimizer.zero_grad()
        loss.backward()
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        optimizer.step()
        change = {name: p.detach() - before[name] for name, p in model.named_parameters()}
        rows.append((loss.item(), outputs, before, {n: p.grad.clone() for n, p in model.named_parameters()}, change))
    return rows


def test_figures_are_those_of_a_loop_by_hand():
    rows = by_hand(6)
    _, record = train(deep_mlp, 6, nets.sgd)
    for place, (loss, outputs, weights, gradients, changes) in enumerate(rows):
        assert record.scalar("loss")[place] == pytest.approx(loss, rel=1e-6)
        for name in record.names("activation"):
            h = outputs[int(name)].detach()
            for column, value in (
                ("mean", h.mean()),
                ("std", h.std()),
                ("rms", h.square().mean().sqrt()),
                ("min", h.min()),
                ("max", h.max()),
            ):
                got = record.series("activation", name, column)[place]
                assert got == pytest.approx(float(value), rel=1e-5, abs=1e-6), (name, column)
            g = outputs[int(name)].grad
            assert record.series("activation_gradient", name, "std")[place] == pytest.approx(float(g.std()), rel=1e-5)
            if isinstance(deep_mlp()[int(name)], nn.Tanh):
                share = float((h.abs() >= 0.97).float().mean())
                assert record.series("activation", name, "saturated")[place] == pytest.approx(share, abs=1e-6)
        for name, weight in weights.items():
            gradient, change = gradients[name], changes[name]
            assert record.series("weight", name, "std")[place] == pytest.approx(float(weight.std()), rel=1e-5, abs=1e-7)
            assert record.series("weight", name, "norm")[place] == pytest.approx(float(weight.norm()), rel=1e-5)
            assert record.series("gradient", name, "norm")[place] == pytest.approx(float(gradient.norm()), rel=1e-5)
            assert record.series("update", name, "std")[place] == pytest.approx(float(change.std()), rel=1e-3, abs=1e-9)
            if weight.ndim == 2:
                expected = float(gradient.std() / weight.std()), float(change.std() / weight.std())
                assert record.series("gradient", name, "ratio")[place] == pytest.approx(expected[0], rel=1e-4)
                assert record.series("update", name, "ratio")[place] == pytest.approx(expected[1], rel=1e-3)


def test_gradients_are_read_before_clipping_and_as_used():
    _, free = train(deep_mlp, 3)
    _, clipped = train(deep_mlp, 3, clip=0.1)
    assert clipped.scalar("gradient_norm")[0] == pytest.approx(free.scalar("gradient_norm")[0], rel=1e-5)
    assert clipped.scalar("gradient_norm")[0] > 0.2
    np.testing.assert_allclose(clipped.scalar("gradient_norm_used"), 0.1, rtol=1e-3)
    np.testing.assert_allclose(free.scalar("gradient_norm_used"), free.scalar("gradient_norm"), rtol=1e-5)


def test_every_table_is_filled():
    _, record = train(deep_mlp, 4, preset="full")
    for kind, columns in COLUMNS.items():
        assert record.names(kind), kind
        for column in columns:
            filled = ~np.isnan(record.values(kind, column)).all()
            assert filled or (kind, column) == ("activation", "entropy"), (kind, column)
    assert record.scalar("batch_size").tolist() == [16] * 4
    assert (record.scalar("optimizer_steps") == 1).all()
    assert (record.scalar("training_mode") == 1).all()


def test_accumulated_gradients_are_read_whole():
    def run(parts):
        torch.manual_seed(0)
        model = deep_mlp(norm=False)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with telltales.watch(model, optimizer) as w:
            for x, y in batches(3):
                optimizer.zero_grad()
                total = 0.0
                for some_x, some_y in zip(x.chunk(parts), y.chunk(parts), strict=True):
                    loss = loss_of(model(some_x), some_y) / parts
                    loss.backward()
                    total += loss.item()
                optimizer.step()
                w.step(total)
        return w.record

    whole, parts = run(1), run(4)
    np.testing.assert_allclose(parts.scalar("gradient_norm"), whole.scalar("gradient_norm"), rtol=1e-4)
    for column in ("mean", "std", "min", "max", "saturated"):
        np.testing.assert_allclose(
            parts.values("activation", column), whole.values("activation", column), rtol=1e-3, atol=1e-5
        )


def test_two_models_with_two_optimizers():
    torch.manual_seed(0)
    generator = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    critic = nn.Sequential(nn.Linear(3, 8), nn.LeakyReLU(), nn.Linear(8, 1))
    makers = {"G": torch.optim.Adam(generator.parameters(), 1e-3), "D": torch.optim.Adam(critic.parameters(), 1e-2)}
    expected = []
    with telltales.watch({"G": generator, "D": critic}, makers) as w:
        for _ in range(3):
            fake = generator(torch.randn(16, 4))
            loss_d = critic(fake.detach()).mean() - critic(torch.randn(16, 3)).mean()
            makers["D"].zero_grad()
            loss_d.backward()
            expected.append(critic[0].weight.grad.norm().item())
            makers["D"].step()
            loss_g = -critic(fake).mean()
            makers["G"].zero_grad()
            loss_g.backward()
            makers["G"].step()
            w.step(loss_g)
    record = w.record
    assert set(record.names("group")) == {"G.0", "D.0"}
    assert record.series("group", "D.0", "learning_rate")[0] == pytest.approx(1e-2)
    # What the generator's backward pass adds to the critic's gradients is not the critic's.
    np.testing.assert_allclose(record.series("gradient", "D.0.weight", "norm"), expected, rtol=1e-5)
    assert (record.series("update", "G.0.weight", "norm") > 0).all()


def test_a_closure():
    torch.manual_seed(0)
    model = deep_mlp(norm=False)
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=3)
    x, y = batches(1)[0]

    def closure():
        optimizer.zero_grad()
        loss = loss_of(model(x), y)
        loss.backward()
        return loss

    with telltales.watch(model, optimizer) as w:
        for _ in range(2):
            w.step(optimizer.step(closure))
    assert (w.record.scalar("gradient_norm") > 0).all()
    assert (w.record.series("update", "2.weight", "norm") > 0).all()


def test_without_an_optimizer_the_updates_are_seen_all_the_same():
    torch.manual_seed(0)
    model = deep_mlp(norm=False)
    with telltales.watch(model) as w:
        for x, y in batches(3):
            model.zero_grad()
            loss = loss_of(model(x), y)
            loss.backward()
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter -= 0.1 * parameter.grad
            w.step(loss)
    record = w.record
    np.testing.assert_allclose(
        record.series("update", "2.weight", "norm"), 0.1 * record.series("gradient", "2.weight", "norm"), rtol=1e-3
    )
    assert np.isnan(record.scalar("optimizer_steps")).all()


def test_frozen_and_tied_parameters():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(CLASSES, CLASSES)
            self.frozen = nn.Linear(CLASSES, CLASSES)
            self.head = nn.Linear(CLASSES, CLASSES, bias=False)
            self.head.weight = self.embedding.weight
            self.frozen.requires_grad_(False)

        def forward(self, x):
            return self.head(torch.tanh(self.frozen(self.embedding(x).mean(1))))

    _, record = train(Tied, 3)
    assert record.names("gradient") == ["embedding.weight"]
    assert record.parameters["embedding.weight"]["aliases"] == ["head.weight"]
    assert record.parameters["frozen.weight"]["trainable"] is False
    assert set(record.names("activation")) == {"embedding", "frozen", "tanh", "head"}


def test_the_learning_rate_is_the_one_that_was_used():
    torch.manual_seed(0)
    model = deep_mlp()
    optimizer = torch.optim.SGD(
        [{"params": model[0].parameters(), "lr": 0.5}, {"params": model[2:].parameters()}], lr=0.1
    )
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    with telltales.watch(model, optimizer) as w:
        for x, y in batches(3):
            optimizer.zero_grad()
            loss = loss_of(model(x), y)
            loss.backward()
            optimizer.step()
            schedule.step()
            w.step(loss)
    np.testing.assert_allclose(w.record.series("group", "0", "learning_rate"), [0.5, 0.25, 0.125])
    np.testing.assert_allclose(w.record.series("group", "1", "learning_rate"), [0.1, 0.05, 0.025], rtol=1e-6)


def test_autocast_with_a_loss_scale():
    def run(scale):
        torch.manual_seed(0)
        model = deep_mlp(norm=False)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        with telltales.watch(model, optimizer, scaler=scaler) as w:
            for x, y in batches(3):
                with torch.autocast("cpu", torch.bfloat16):
                    loss = loss_of(model(x), y)
                optimizer.zero_grad()
                scaler.scale(loss).backward()
                scaler.unscale_(optimizer)
                scaler.step(optimizer)
                scaler.update()
                w.step(loss)
        return w.record

    plain, scaled = run(1.0), run(1024.0)
    np.testing.assert_allclose(scaled.scalar("gradient_norm"), plain.scalar("gradient_norm"), rtol=1e-2)
    np.testing.assert_allclose(scaled.scalar("gradient_norm_used"), scaled.scalar("gradient_norm"), rtol=1e-3)
    assert (scaled.scalar("loss_scale") == 1024).all()


def test_in_place_functions_do_not_spoil_what_came_before():
    torch.manual_seed(0)
    model = Convolutional()
    optimizer = nets.adam(model)
    with telltales.watch(model, optimizer) as w:
        x = torch.randn(16, 1, 8, 8)
        loss = loss_of(model(x), torch.randint(CLASSES, (16,)))
        loss.backward()
        optimizer.step()
        w.step(loss)
    record = w.record
    assert record.series("activation", "norm", "min")[0] < 0
    assert record.series("activation", "act", "min")[0] == 0
    assert record.series("activation", "act", "saturated")[0] == record.series("activation", "act", "zeros")[0]


def test_a_dead_channel_of_a_convolution_is_found():
    torch.manual_seed(0)
    model = Convolutional()
    with torch.no_grad():
        model.norm.weight[2] = 0
        model.norm.bias[2] = -1
    optimizer = nets.sgd(model)
    with telltales.watch(model, optimizer) as w:
        loss = loss_of(model(torch.randn(16, 1, 8, 8)), torch.randint(CLASSES, (16,)))
        loss.backward()
        optimizer.step()
        w.step(loss)
    assert w.record.series("activation", "act", "saturated_units")[0] == pytest.approx(1 / 5)
    cells = w.record.pictures[0].maps["act"]
    assert cells[:, 2].all()
    assert not cells.all()


def test_units_count_as_saturated_after_a_window_of_examples_only():
    class Gate(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(1, 2)
            self.act = nn.ReLU()

        def forward(self, x):
            return self.act(self.linear(x))

    model = Gate()
    with torch.no_grad():
        model.linear.weight.copy_(torch.tensor([[1.0], [-1.0]]))
        model.linear.bias.zero_()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with telltales.watch(model, optimizer, schedule=lambda step: True) as w:
        for sign in (1.0, -1.0, *[1.0] * 20):
            loss = model(torch.full((100, 1), sign)).sum()
            loss.backward()
            optimizer.step()
            w.step(loss)
    dead = w.record.series("activation", "act", "saturated_units")
    # The second unit is silent on the first batch, lives on the second, and is silent on the rest.
    assert dead[0] == 0.5
    assert dead[1] == 0
    assert dead[5] == 0
    assert dead[10] == 0
    assert dead[12] == 0.5


def test_attention_that_returns_its_weights_has_an_entropy():
    class Attends(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(CLASSES, 8)
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
            self.head = nn.Linear(8, CLASSES)

        def forward(self, x):
            h = self.embedding(x)
            return self.head(self.attention(h, h, h)[0].mean(1))

    _, record = train(Attends, 2)
    assert 0.5 < record.series("activation", "attention", "entropy")[0] <= 1
    assert "unfired" not in record.about


def test_evaluation_and_unobserved_steps_are_not_mixed_in():
    torch.manual_seed(0)
    model = deep_mlp()
    optimizer = nets.sgd(model)
    with telltales.watch(model, optimizer, schedule=lambda step: step % 2 == 0) as w:
        for number, (x, y) in enumerate(batches(5)):
            loss = loss_of(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            w.step(loss)
            # One on the model itself stays, for three evaluations: it tells in which mode they run.
            assert (hooks(model) == (1 if number < 3 else 0)) == (number % 2 == 0)
            model.eval()
            with torch.no_grad():
                w.evaluation(loss_of(model(x + 0), y))
            model.train()
    assert w.record.steps.tolist() == [0, 2, 4]
    assert (w.record.scalar("training_mode") == 1).all()
    assert len(w.record.losses.steps) == 5
    assert [e.step for e in w.record.evaluations.of("dev")] == [1, 2, 3, 4, 5]


def test_training_in_evaluation_mode_shows():
    torch.manual_seed(0)
    model = deep_mlp().eval()
    optimizer = nets.sgd(model)
    with telltales.watch(model, optimizer) as w:
        x, y = batches(1)[0]
        loss = loss_of(model(x), y)
        loss.backward()
        optimizer.step()
        w.step(loss)
    assert w.record.scalar("training_mode").tolist() == [0]


def test_what_is_not_finite_is_counted():
    torch.manual_seed(0)
    model = deep_mlp(norm=False)
    with torch.no_grad():
        model[2].weight[0, 0] = math.nan
    optimizer = nets.sgd(model)
    with telltales.watch(model, optimizer) as w:
        x, y = batches(1)[0]
        loss = loss_of(model(x), y)
        loss.backward()
        optimizer.step()
        w.step(loss)
    record = w.record
    assert record.series("weight", "2.weight", "nonfinite")[0] == pytest.approx(1 / 240)
    assert record.series("activation", "2", "nonfinite")[0] == pytest.approx(1 / 20)
    assert record.series("activation", "0", "nonfinite")[0] == 0
    assert math.isnan(record.scalar("loss")[0])


def test_a_model_that_never_runs_is_an_error():
    model, other = deep_mlp(), deep_mlp()
    optimizer = nets.sgd(model)
    with telltales.watch(other, optimizer) as w:
        x, y = batches(1)[0]
        loss = loss_of(model(x), y)
        loss.backward()
        optimizer.step()
        with pytest.raises(telltales.ProbeError, match="no probe fired"):
            w.step(loss)
    assert hooks(other) == 0


def test_a_module_that_never_runs_is_listed():
    class Unused(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Linear(3, CLASSES), nn.Linear(3, CLASSES)

        def forward(self, x):
            return self.used(x.float())

    _, record = train(Unused, 2)
    assert record.about["unfired"] == ["unused"]


def test_modules_can_be_chosen():
    _, record = train(Recurrent, 2, modules=["lstm", "h*"])
    assert record.names("activation") == ["lstm", "head"]
    _, record = train(Recurrent, 2, modules=lambda name, module: isinstance(module, nn.Embedding))
    assert record.names("activation") == ["embedding"]
    with pytest.raises(telltales.UsageError, match="no module"):
        train(Recurrent, 2, modules="nothing.*")


def test_an_exception_in_the_loop_leaves_nothing_behind(tmp_path):
    model = deep_mlp()
    optimizer = nets.sgd(model)
    with pytest.raises(KeyError), telltales.watch(model, optimizer, path=tmp_path / "r.jsonl") as w:
        raise KeyError
    assert hooks(model) == 0
    assert not optimizer._optimizer_step_pre_hooks
    assert not optimizer._optimizer_step_post_hooks
    assert telltales.read_record(tmp_path / "r.jsonl").outcome == "KeyError"
    w.step(1.0)
    assert len(w.record) == 0


def test_a_fault_of_ours_ends_the_watching_not_the_training(monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("telltales.module_readings.ModuleReadings.output", broken)
    plain, _ = train(deep_mlp, watched=False)
    expected = state_hash(plain)
    with pytest.warns(telltales.TelltalesWarning, match="watching stops at step 0: ZeroDivisionError: oh"):
        watched, _ = train(deep_mlp)
    assert state_hash(watched) == expected
    assert hooks(watched) == 0


def test_a_full_disk_ends_the_file_not_the_record(tmp_path):
    path = pathlib.Path("/dev/full")
    if not path.exists():
        pytest.skip("needs /dev/full")
    with pytest.raises(telltales.RecordError):
        train(deep_mlp, 2, path=tmp_path / "missing" / "r.jsonl")
    torch.manual_seed(0)
    model = deep_mlp()
    optimizer = nets.sgd(model)
    with telltales.watch(model, optimizer, path=tmp_path / "r.jsonl") as w:
        w._recording._writer._file.close()
        w._recording._writer._file = path.open("wb", buffering=0)
        for number, (x, y) in enumerate(batches(3)):
            loss = loss_of(model(x), y)
            loss.backward()
            optimizer.step()
            expected = (
                pytest.warns(telltales.TelltalesWarning, match="written no further") if number == 0 else nullcontext()
            )
            with expected:
                w.step(loss)
    assert len(w.record) == 3


def test_a_hundred_watches_leave_no_trace():
    model = deep_mlp()
    optimizer = nets.sgd(model)
    x, y = batches(1)[0]
    for _ in range(100):
        with telltales.watch(model, optimizer) as w:
            loss = loss_of(model(x), y)
            loss.backward()
            optimizer.step()
            w.step(loss)
    assert hooks(model) == 0
    assert not optimizer._optimizer_step_post_hooks


def test_only_models_and_optimizers_can_be_watched():
    with pytest.raises(telltales.UsageError, match=r"needs a torch\.nn\.Module"):
        telltales.watch("model")
    with pytest.raises(telltales.UsageError, match=r"needs a torch\.optim\.Optimizer"):
        telltales.watch(deep_mlp(), "sgd")
    with pytest.raises(telltales.UsageError, match="no preset is called 'rich'"):
        telltales.watch(deep_mlp(), preset="rich")


def test_around_spikes_more_steps_are_observed():
    model = deep_mlp()
    optimizer = nets.sgd(model)
    x, y = batches(1)[0]
    with telltales.watch(model, optimizer, schedule=lambda step: step == 0, around_spikes=True) as w:
        for step in range(60):
            loss = loss_of(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            w.step(9.0 if step == 40 else 1.0 + 0.01 * (step % 3))
    assert w.record.steps.tolist() == [0, *range(41, 51)]


def test_indices_are_kept_for_the_highest_losses():
    model = deep_mlp()
    optimizer = nets.sgd(model)
    with telltales.watch(model, optimizer, limits=telltales.Limits(batches=2), schedule=lambda step: True) as w:
        for number, (x, y) in enumerate(batches(4)):
            loss_of(model(x), y).backward()
            optimizer.step()
            w.step((1.0, 5.0, 2.0, math.nan)[number], indices=torch.arange(3) + number)
    assert {step: kept for step, (_, kept) in w.record.batches.items()} == {1: [1, 2, 3], 3: [3, 4, 5]}


def test_steps_count_themselves_where_the_loop_cannot_be_changed():
    def run(**options):
        torch.manual_seed(0)
        model, criterion = deep_mlp(), nn.CrossEntropyLoss()
        optimizer = nets.sgd(model)
        w = telltales.watch(model, optimizer, schedule=lambda step: step % 2 == 0, **{k: criterion for k in options})
        losses = []
        for x, y in batches(5):
            loss = criterion(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            if not options:
                w.step(loss)
            with torch.no_grad():
                criterion(model(x), y)
        w.close()
        assert not criterion._forward_hooks
        assert not optimizer._optimizer_step_post_hooks
        return w.record, losses

    record, losses = run(loss_from=True)
    expected, _ = run()
    np.testing.assert_allclose(record.losses.mean, losses, rtol=1e-6)
    np.testing.assert_array_equal(record.steps, [0, 2, 4])
    for column in ("norm", "norm_used"):
        np.testing.assert_array_equal(record.values("gradient", column), expected.values("gradient", column))
    np.testing.assert_array_equal(record.values("update", "ratio"), expected.values("update", "ratio"))


def test_a_loss_in_the_models_output_is_found():
    class WithLoss(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = deep_mlp()

        def forward(self, x, y):
            logits = self.net(x)
            return {"loss": loss_of(logits, y), "logits": logits}

    model = WithLoss()
    optimizer = nets.sgd(model)
    with telltales.watch(model, optimizer, loss_from=model) as w:
        for x, y in batches(4):
            for half_x, half_y in zip(x.chunk(2), y.chunk(2), strict=True):
                model(half_x, half_y)["loss"].backward()
            optimizer.step()
            optimizer.zero_grad()
    assert len(w.record) == 4


def test_a_loss_that_is_not_there_is_an_error():
    model = deep_mlp()
    optimizer = nets.sgd(model)
    x, y = batches(1)[0]
    with telltales.watch(model, optimizer, loss_from=nn.CrossEntropyLoss()):
        loss_of(model(x), y).backward()
        with pytest.raises(telltales.ProbeError, match="no loss before it"):
            optimizer.step()
    with pytest.raises(telltales.UsageError, match="Give the optimizer, too"):
        telltales.watch(model, loss_from=model)


def test_a_live_table_goes_with_it(capsys):
    train(deep_mlp, 3, live=True)
    lines = capsys.readouterr().err.splitlines()
    assert lines
    assert lines[-1].startswith("step 2  loss ")


def test_a_watch_shows_itself():
    model = deep_mlp()
    with telltales.watch(model, nets.sgd(model)) as w:
        x, y = batches(1)[0]
        loss_of(model(x), y).backward()
        w.step(1.0)
    assert "Sequential" in str(w)
    assert w._repr_html_().startswith("<div")


def test_a_loss_is_one_number():
    model = deep_mlp()
    with telltales.watch(model) as w, pytest.raises(telltales.UsageError, match="is not one number"):
        w.step(torch.zeros(3))
