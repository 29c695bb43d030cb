"""On a GPU: the same numbers as on the CPU, a training that is left alone and is not made to wait, and preflight."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pytest
import torch
from nets import CLASSES, Convolutional, Recurrent, Transformer, adam, batches, deep_mlp, hooks, loss_of, sgd
from torch import nn

import telltales
from telltales.observation import COLUMNS

if not torch.cuda.is_available():
    pytest.skip("there is no GPU", allow_module_level=True)

NETS: dict[str, Callable[[], nn.Module]] = {
    "mlp": partial(deep_mlp, norm=False),
    "recurrent": Recurrent,
    "transformer": Transformer,
    "convolutional": Convolutional,
}


@pytest.fixture(autouse=True)
def exact() -> Iterator[None]:
    """The same sums in the same order, so that runs can be compared."""
    before = torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32 = True, False
    yield
    torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32 = before


def placed(name: str, device: str) -> tuple[nn.Module, list[tuple[torch.Tensor, torch.Tensor]]]:
    """A net without dropout, whose random numbers differ between devices, and its batches."""
    torch.manual_seed(0)
    model = NETS[name]().to(device)
    for module in model.modules():
        if isinstance(module, nn.Dropout | nn.MultiheadAttention):
            setattr(module, "dropout" if isinstance(module, nn.MultiheadAttention) else "p", 0.0)
    data = batches(12)
    if name == "convolutional":
        images = torch.randn(12, 16, 1, 6, 6, generator=torch.Generator().manual_seed(1))
        data = [(x, y) for x, (_, y) in zip(images, data, strict=True)]
    return model, [(x.to(device), y.to(device)) for x, y in data]


def trained(name: str, device: str, watched: bool) -> tuple[nn.Module, telltales.Record | None]:
    model, data = placed(name, device)
    optimizer = sgd(model)
    watch = telltales.watch(model, optimizer, schedule=lambda step: True) if watched else None
    for x, y in data:
        loss = loss_of(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if watch is not None:
            watch.step(loss, x, y)
    if watch is not None:
        watch.close()
        assert hooks(model) == 0
    return model, watch.record if watch is not None else None


@pytest.mark.parametrize("name", NETS)
def test_the_readings_are_those_of_the_cpu(name: str) -> None:
    _, here = trained(name, "cpu", True)
    _, there = trained(name, "cuda", True)
    assert here is not None
    assert there is not None
    for kind in COLUMNS:
        assert here.names(kind) == there.names(kind)
        # A gradient that is zero but for rounding is zero at other places.
        for column in set(COLUMNS[kind]) - ({"zeros"} if kind == "gradient" else set()):
            ours, theirs = here.values(kind, column)[0], there.values(kind, column)[0]
            np.testing.assert_allclose(theirs, ours, rtol=5e-3, atol=2e-3, equal_nan=True, err_msg=f"{kind} {column}")


@pytest.mark.parametrize("name", NETS)
def test_the_training_is_left_alone(name: str) -> None:
    plain, _ = trained(name, "cuda", False)
    watched, _ = trained(name, "cuda", True)
    for one, other in zip(plain.state_dict().values(), watched.state_dict().values(), strict=True):
        assert torch.equal(one, other)


def test_no_step_waits_for_the_gpu_but_an_observed_one_and_that_once() -> None:
    model, data = placed("mlp", "cuda")
    optimizer = adam(model)
    waits: list[list[str]] = []
    with telltales.watch(model, optimizer, schedule=lambda step: step in (0, 6)) as watch:
        for x, y in data:
            loss = loss_of(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                torch.cuda.set_sync_debug_mode("warn")
                try:
                    optimizer.step()
                    watch.step(loss, x, y)
                finally:
                    torch.cuda.set_sync_debug_mode("default")
            waits.append([f"{one.filename}:{one.lineno}" for one in caught])
    assert [wait for step, there in enumerate(waits) if step not in (0, 6) for wait in there] == []
    assert len(waits[6]) == 1, waits


def test_mixed_precision_with_a_scaler_is_read_without_its_scale() -> None:
    records = {}
    for scale in (1.0, 1024.0):
        model, data = placed("transformer", "cuda")
        optimizer = adam(model)
        scaler = torch.amp.GradScaler("cuda", init_scale=scale, growth_interval=10_000)
        with telltales.watch(model, optimizer, schedule=lambda step: True, scaler=scaler) as watch:
            for x, y in data:
                with torch.autocast("cuda", torch.float16):
                    output = model(x)
                loss = loss_of({"logits": output["logits"].float()}, y)
                optimizer.zero_grad()
                scaler.scale(loss).backward()
                scaler.step(optimizer)
                scaler.update()
                watch.step(loss, x, y)
        records[scale] = watch.record
        assert not [one for one in watch.findings() if one.severity != "note"], watch.findings()
    norms = [record.scalar("gradient_norm")[3] for record in records.values()]
    assert norms[0] == pytest.approx(norms[1], rel=0.05)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.filterwarnings("ignore:TensorFloat32:UserWarning")
def test_a_compiled_model_is_seen() -> None:
    model, data = placed("mlp", "cuda")
    compiled = torch.compile(model)
    optimizer = adam(model)
    with telltales.watch(compiled, optimizer, schedule=lambda step: step < 4) as watch:
        for x, y in data:
            loss = loss_of(compiled(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            watch.step(loss, x, y)
    assert len(watch.record.names("activation")) > 10


def test_what_was_trained_wrong_is_named() -> None:
    model, data = placed("mlp", "cuda")
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    with telltales.watch(model, optimizer, schedule=lambda step: True) as watch:
        for x, y in data:
            loss = loss_of(model(x), y)
            loss.backward()
            optimizer.step()
            watch.step(loss, x, y)
    assert watch.findings()[0].rule == "missing-zero-grad"


def test_preflight_finds_a_fault_and_puts_everything_back() -> None:
    model, data = placed("transformer", "cuda")
    optimizer = adam(model)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random_state = torch.cuda.get_rng_state()

    def twice(output: dict[str, torch.Tensor], y: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(output["logits"].softmax(-1), y)

    found = telltales.preflight(model, data[0], twice, optimizer)
    assert "double-softmax" in {one.rule for one in found}
    healthy = telltales.preflight(model, data[0], loss_of, optimizer)
    assert not [one for one in healthy if one.severity != "note"]
    assert torch.equal(random_state, torch.cuda.get_rng_state())
    for name, tensor in model.state_dict().items():
        assert torch.equal(before[name], tensor), name


def test_an_error_of_the_gpu_ends_the_training_with_that_error() -> None:
    script = f"""
        import torch, telltales
        model = torch.nn.Sequential(torch.nn.Embedding({CLASSES}, 4), torch.nn.Flatten(), torch.nn.Linear(12, 3)).cuda()
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        with telltales.watch(model, optimizer) as watch:
            for step in range(5):
                x = torch.full((4, 3), 99 if step == 3 else 1, device="cuda")
                loss = model(x).square().mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                watch.step(loss, x)
            torch.cuda.synchronize()
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "CUDA error" in ended.stderr
    assert "During handling" not in ended.stderr, ended.stderr[-2000:]
