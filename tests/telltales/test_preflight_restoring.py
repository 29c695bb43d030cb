"""After preflight everything is as before, bit for bit, whatever the model does."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from telltales.checks import Preflight, preflight
from telltales.checks.restoring import restored
from telltales.errors import UsageError


def _bits(tensor: torch.Tensor | None) -> Any:
    return None if tensor is None else (str(tensor.dtype), tuple(tensor.shape), tensor.detach().numpy().tobytes())


def _state(model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> dict[str, Any]:
    """All that must stay: values and identities."""
    named = [*model.named_parameters(), *model.named_buffers()]
    found: dict[str, Any] = {
        "values": {name: _bits(tensor) for name, tensor in named},
        "tensors": {name: (id(tensor), tensor.data_ptr()) for name, tensor in named},
        "gradients": {name: (_bits(tensor.grad), id(tensor.grad)) for name, tensor in model.named_parameters()},
        "flags": {name: tensor.requires_grad for name, tensor in named},
        "modes": {name: module.training for name, module in model.named_modules()},
        "attributes": {name: sorted(vars(module)) for name, module in model.named_modules()},
        "hooks": {
            name: [len(value) for key, value in vars(module).items() if key.endswith("_hooks")]
            for name, module in model.named_modules()
        },
        "python": random.getstate(),
        "numpy": str(np.random.get_state()),
        "torch": _bits(torch.get_rng_state()),
        "grad_mode": torch.is_grad_enabled(),
        "dtype": torch.get_default_dtype(),
    }
    if optimizer is not None:
        found["groups"] = [
            {key: [id(p) for p in value] if key == "params" else value for key, value in group.items()}
            for group in optimizer.param_groups
        ]
        found["state"] = {
            id(key): {name: _bits(one) if isinstance(one, torch.Tensor) else one for name, one in value.items()}
            for key, value in optimizer.state.items()
        }
    return found


class _Everything(nn.Module):
    """Dropout, batch norm, spectral norm, a counter, a list that grows, a buffer that is replaced, other randomness."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.utils.parametrizations.spectral_norm(nn.Linear(10, 32))
        self.norm, self.drop = nn.BatchNorm1d(32), nn.Dropout(0.4)
        self.frozen = nn.Linear(32, 32).requires_grad_(False)
        self.head = nn.Linear(32, 5)
        self.drop.eval()
        self.register_buffer("mean", torch.zeros(10))
        self.calls, self.seen, self.last = 0, [], {"x": None}
        self.loose = torch.zeros(3)
        self.generator = torch.Generator().manual_seed(5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.seen.append(self.calls)
        self.last["x"] = x
        self.loose += 1
        self.added = True
        self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
        noise = random.random() + np.random.rand() + float(torch.rand((), generator=self.generator))
        x += 0.001 * noise
        return self.head(self.frozen(self.drop(self.norm(self.first(x)).relu())))


class _Nothing(nn.Module):
    """A plain one, to be made to fail."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(10, 16), nn.BatchNorm1d(16), nn.Dropout(), nn.Linear(16, 5))
        self.passes, self.fails_at = [0], 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.passes[0] += 1
        self.net[1].running_mean += 1
        with torch.no_grad():
            self.net[0].weight *= 1.5
        torch.set_grad_enabled(True)
        torch.rand(3)
        if self.passes[0] == self.fails_at:
            raise RuntimeError("no more")
        return self.net(x)


def _batch() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(16, 10), torch.randint(5, (16,))


@pytest.mark.parametrize("steps", [0, 2])
@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.SGD])
def test_a_model_of_everything_is_as_before(kind: type[torch.optim.Optimizer], steps: int) -> None:
    torch.manual_seed(0)
    model, batch = _Everything(), _batch()
    options = {"momentum": 0.9} if kind is torch.optim.SGD else {}
    optimizer = kind([p for p in model.parameters() if p.requires_grad], lr=0.01, **options)
    for _ in range(steps):
        functional.cross_entropy(model(batch[0].clone()), batch[1]).backward()
        optimizer.step()
    model.frozen.weight.grad = torch.full((32, 32), float("nan"))
    x, _ = batch
    before, kept, loose = _state(model, optimizer), x.clone(), model.loose.clone()
    seen, last, generator = list(model.seen), dict(model.last), model.generator.get_state()
    result = preflight(model, batch, nn.CrossEntropyLoss(), optimizer)
    assert _state(model, optimizer) == before
    assert torch.equal(x, kept)
    assert x.grad is None
    assert model.calls == steps
    assert model.seen == seen
    assert model.last == last or model.last["x"] is last["x"]
    assert torch.equal(model.loose, loose)
    assert torch.equal(model.generator.get_state(), generator)
    assert "cannot-overfit-batch" in result.looked_at


def test_a_training_after_it_is_the_same_bit_for_bit() -> None:
    def trained(checked: bool) -> list[Any]:
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(10, 16), nn.BatchNorm1d(16), nn.Dropout(), nn.ReLU(), nn.Linear(16, 5))
        optimizer = torch.optim.Adam(model.parameters())
        for step in range(6):
            x, y = _batch()
            if checked and step in (0, 3):
                preflight(model, (x, y), nn.CrossEntropyLoss(), optimizer)
            loss = functional.cross_entropy(model(x), y)
            if checked and step == 4:
                # The graph of a loss that waits for its backward pass stays good.
                preflight(model, (x, y), nn.CrossEntropyLoss(), optimizer)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return [_bits(tensor) for tensor in model.state_dict().values()]

    assert trained(True) == trained(False)


@pytest.mark.parametrize("fails_at", [1, 2, 3, 5, 20])
@pytest.mark.parametrize("grad_mode", [True, False])
@pytest.mark.filterwarnings("ignore:the check:telltales.errors.TelltalesWarning")
def test_it_is_as_before_after_an_exception(fails_at: int, grad_mode: bool) -> None:
    torch.manual_seed(0)
    model, batch = _Nothing(), _batch()
    model.fails_at = fails_at
    optimizer = torch.optim.Adam(model.parameters())
    with torch.set_grad_enabled(grad_mode):
        before = _state(model, optimizer)
        if fails_at == 1:
            with pytest.raises(UsageError, match="no more") as caught:
                preflight(model, batch, nn.CrossEntropyLoss(), optimizer)
            assert isinstance(caught.value.__cause__, RuntimeError)
        else:
            result = preflight(model, batch, nn.CrossEntropyLoss(), optimizer)
            assert any("no more" in reason for reason in result.left_out.values())
        assert _state(model, optimizer) == before
        assert model.passes == [0]


def test_the_guard_puts_back_what_anything_inside_changed() -> None:
    torch.manual_seed(0)
    model = _Everything()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad])
    x, y = batch = _batch()
    before = _state(model, optimizer)
    kept = x.clone()
    weight = model.head.weight

    def change() -> None:
        functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        optimizer.param_groups[0]["lr"] = 5.0
        optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(2))]})
        model.frozen.bias.grad = torch.ones(32)
        model.double().eval().requires_grad_(False)
        model.head.weight = nn.Parameter(torch.zeros(5, 32))
        model.extra = nn.Linear(2, 2)
        model.norm.weight.requires_grad_(False)
        model.register_forward_hook(lambda *_: None)
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), restored(model, [optimizer], batch):
        change()
    assert _state(model, optimizer) == before
    assert model.head.weight is weight
    assert torch.equal(x, kept)
    assert not hasattr(model, "extra")
    assert model(x.clone()).dtype == torch.float32


def test_nothing_is_written_where_nothing_has_changed() -> None:
    model = nn.Linear(3, 3)
    version = model.weight._version
    with restored(model):
        pass
    assert model.weight._version == version


def test_gradients_keep_their_objects_and_none_stays_none() -> None:
    model = nn.Sequential(nn.Linear(10, 5), nn.Linear(5, 5))
    model[0].weight.grad = gradient = torch.full((5, 10), 7.0)
    preflight(model, _batch(), nn.CrossEntropyLoss())
    assert model[0].weight.grad is gradient
    assert bool((gradient == 7).all())
    assert model[0].bias.grad is None


def test_a_judge_that_the_loss_refers_to_is_as_before() -> None:
    judge = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1))
    batch = torch.randn(16, 10), torch.ones(16, 1)

    def loss_fn(output: torch.Tensor, ones: torch.Tensor) -> torch.Tensor:
        return functional.binary_cross_entropy_with_logits(judge(output), ones)

    model = nn.Linear(10, 5)
    before = _state(judge)
    preflight(model, batch, loss_fn)
    assert _state(judge) == before
    assert all(parameter.grad is None for parameter in judge.parameters())


def test_a_tensor_that_only_the_loss_knows_gets_no_gradient() -> None:
    held = [torch.ones(5, requires_grad=True)]
    preflight(nn.Linear(10, 5), _batch(), lambda output, y: functional.cross_entropy(output * held[0], y))
    assert held[0].grad is None


class _NotCopied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 5))

    def __deepcopy__(self, memo: Any) -> nn.Module:
        raise TypeError("there is only one")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)


def test_a_model_that_cannot_be_copied_is_tried_in_place_and_put_back() -> None:
    torch.manual_seed(0)
    model = _NotCopied()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    batch = _batch()
    before = _state(model, optimizer)
    result = preflight(model, batch, nn.CrossEntropyLoss(), optimizer)
    assert _state(model, optimizer) == before
    assert not [finding for finding in result if finding.severity != "note"]
    assert "cannot-overfit-batch" in result.looked_at


def test_a_forward_that_knows_its_own_model_trains_that_and_puts_it_back() -> None:
    torch.manual_seed(0)
    own = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 5))
    batch = _batch()
    before = _state(own)

    def forward(model: nn.Module, batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
        output = own(batch[0])
        return output, functional.cross_entropy(output, batch[1])

    result = preflight(own, batch, forward=forward)
    assert not list(result)
    assert _state(own) == before


def test_a_wrapped_optimizer_and_a_compiled_model_are_looked_into() -> None:
    class Wrapper:
        def __init__(self, optimizer: torch.optim.Optimizer) -> None:
            self.optimizer = optimizer

    model = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 5))
    inner = torch.optim.SGD(model.parameters(), lr=0.1)
    compiled: Callable[..., Any] = torch.compile(model, backend="eager")
    assert not list(preflight(compiled, _batch(), nn.CrossEntropyLoss(), Wrapper(inner)))  # type: ignore[arg-type]


def test_under_inference_mode_it_works_all_the_same() -> None:
    model = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 5))
    batch = _batch()
    with torch.inference_mode():
        result = preflight(model, batch, nn.CrossEntropyLoss())
        assert torch.is_inference_mode_enabled()
    assert isinstance(result, Preflight)
    assert not list(result)


def test_a_copy_of_the_result_keeps_what_was_looked_at() -> None:
    result = preflight(nn.Linear(10, 5), _batch(), nn.CrossEntropyLoss())
    assert copy.copy(result).looked_at == result.looked_at
