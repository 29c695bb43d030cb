"""Each rule finds the fault that it is for, in a model that is healthy without it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from telltales.catalogue import CATALOGUE
from telltales.checks import Preflight, preflight
from telltales.finding import Finding


@dataclass
class Case:
    model: nn.Module
    batch: Any
    loss_fn: Callable[..., Any] | None = field(default_factory=nn.CrossEntropyLoss)
    optimizer: torch.optim.Optimizer | None = None
    options: dict[str, Any] = field(default_factory=dict)

    def result(self, **options: Any) -> Preflight:
        return preflight(self.model, self.batch, self.loss_fn, self.optimizer, **{**self.options, **options})


def _table(rows: int = 32, features: int = 10, classes: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(rows, features)
    return x, (x @ torch.randn(features, classes)).argmax(1)


def _mlp(*last: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 5), *last)


class _Around(nn.Module):
    """A model with something done to its input and to its output."""

    def __init__(
        self, model: nn.Module, before: Callable[[Any], Any] | None, after: Callable[[Any], Any] | None
    ) -> None:
        super().__init__()
        self.model, self.before, self.after = model, before, after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.before(x) if self.before else x
        x = self.model(x)
        return self.after(x) if self.after else x


class _Decoder(nn.Module):
    def __init__(self, causal: bool = True) -> None:
        super().__init__()
        self.causal = causal
        self.tokens, self.positions = nn.Embedding(20, 32), nn.Embedding(64, 32)
        self.layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, norm_first=True)
        self.head = nn.Linear(32, 20)
        nn.init.normal_(self.head.weight, std=0.02)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        length = ids.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(length) if self.causal else None
        x = self.tokens(ids) + self.positions(torch.arange(length))
        return self.head(self.layer(x, src_mask=mask, is_causal=self.causal))


def _by_position(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(output.flatten(0, 1), targets.flatten())


def _tokens() -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.randint(20, (8, 13))
    return ids[:, :-1], ids[:, 1:]


class _WrongCube(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors
        return 2 * x**2 * gradient


class _WrongScale(torch.autograd.Function):
    """With the context set up apart from the forward pass."""

    @staticmethod
    def forward(x: torch.Tensor, factor: float) -> torch.Tensor:
        return x * factor

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.factor = inputs[1]

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient * ctx.factor**2, None


def output_layer_too_large() -> Case:
    model = _mlp()
    with torch.no_grad():
        model[-1].weight *= 30
    return Case(model, _table())


def random_labels_for_equal_inputs_at_bounded_logits() -> Case:
    return Case(_Around(_mlp(), None, lambda output: output.tanh() * 0.3), _table())


def multiplied_by_zero() -> Case:
    model = _Around(_mlp(), lambda x: x * 0 + 1, None)
    return Case(model, _table())


def input_overwritten() -> Case:
    return Case(_Around(_mlp(), lambda x: torch.ones_like(x), None), _table())


def view_that_mixes() -> Case:
    x = torch.randn(6, 4, 10)
    model = _Around(nn.Linear(40, 5), lambda x: x.transpose(0, 1).reshape(6, 40), None)
    return Case(model, (x, torch.randint(5, (6,))))


class _MixedTokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(20, 8), nn.Linear(80, 5)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.embedding(ids).transpose(0, 1).reshape(ids.shape[0], 80))


def view_that_mixes_tokens() -> Case:
    return Case(_MixedTokens(), (torch.randint(20, (8, 10)), torch.randint(5, (8,))))


class _TimeFirst(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers, self.head = nn.LSTM(6, 16), nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.layers(x)[0][:, -1])


def batch_first_forgotten() -> Case:
    return Case(_TimeFirst(), (torch.randn(12, 7, 6), torch.randint(5, (12,))))


def mask_missing() -> Case:
    return Case(_Decoder(causal=False), _tokens(), _by_position)


def targets_not_shifted() -> Case:
    ids, _ = _tokens()
    return Case(_Decoder(), (ids, ids), _by_position)


def sequence_of_numbers() -> Case:
    x = torch.randn(8, 12, 3)
    model = _Around(nn.Conv1d(3, 3, 3, padding=1), lambda x: x.mT, lambda x: x.mT)
    return Case(model, (x, x.roll(-1, 1)), nn.MSELoss(), options={"sequence": True})


def left_out_of_the_optimizer() -> Case:
    model = _mlp()
    return Case(model, _table(), optimizer=torch.optim.SGD([*model[0].parameters(), *model[2].parameters()], lr=0.1))


class _PlainList(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = [nn.Linear(10, 10) for _ in range(2)]
        self.head = nn.Linear(10, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x).relu()
        return self.head(x)


def modules_in_a_plain_list() -> Case:
    model = _PlainList()
    return Case(model, _table(), optimizer=torch.optim.SGD(model.parameters(), lr=0.1))


class _PlainTensor(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.scale = _mlp(), torch.ones(5, requires_grad=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x) * self.scale


def tensor_in_place_of_a_parameter() -> Case:
    return Case(_PlainTensor(), _table())


def head_replaced_after_the_optimizer() -> Case:
    model = _mlp()
    optimizer = torch.optim.Adam(model.parameters())
    model[4] = nn.Linear(32, 5)
    return Case(model, _table(), optimizer=optimizer)


class _Detached(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Sequential(nn.Linear(10, 32), nn.ReLU()), nn.Linear(32, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x).detach())


def detached() -> Case:
    return Case(_Detached(), _table())


class _NoGrad(_Detached):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return self.head(self.body(x))


def without_a_graph() -> Case:
    return Case(_NoGrad(), _table())


def dead_from_the_start() -> Case:
    model = _mlp()
    nn.init.constant_(model[2].bias, -100.0)
    return Case(model, _table())


def constant_weights() -> Case:
    model = _mlp()
    for layer in (model[0], model[2], model[4]):
        nn.init.constant_(layer.weight, 0.1)
    return Case(model, _table())


def zero_weights() -> Case:
    model = _mlp()
    for layer in (model[0], model[2], model[4]):
        nn.init.zeros_(layer.weight)
    return Case(model, _table())


def constant_weights_and_zero_biases() -> Case:
    case = constant_weights()
    for layer in (case.model[0], case.model[2], case.model[4]):
        nn.init.zeros_(layer.bias)
    return case


def zero_weights_and_biases() -> Case:
    case = zero_weights()
    for layer in (case.model[0], case.model[2], case.model[4]):
        nn.init.zeros_(layer.bias)
    return case


def normal_weights_and_tanh() -> Case:
    model = nn.Sequential(nn.Linear(10, 200), nn.Tanh(), nn.Linear(200, 200), nn.Tanh(), nn.Linear(200, 5))
    for layer in (model[0], model[2]):
        nn.init.normal_(layer.weight)
    return Case(model, _table())


def normal_weights_and_relu() -> Case:
    model = _mlp()
    for layer in (model[0], model[2]):
        nn.init.normal_(layer.weight)
        nn.init.zeros_(layer.bias)
    layers = [nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU()]
    for layer in layers[::2]:
        nn.init.normal_(layer.weight)
    return Case(nn.Sequential(*model[:4], *layers, model[4]), _table())


def tiny_weights() -> Case:
    model = _mlp()
    for layer in (model[0], model[2]):
        nn.init.normal_(layer.weight, std=1e-3)
    return Case(model, _table())


def bias_and_batch_norm() -> Case:
    return Case(nn.Sequential(nn.Linear(10, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 5)), _table())


def softmax_and_cross_entropy() -> Case:
    return Case(_mlp(nn.Softmax(1)), _table())


def softmax_in_the_loss() -> Case:
    return Case(_mlp(), _table(), lambda output, y: functional.cross_entropy(output.softmax(1), y))


def sigmoid_and_its_logits_loss() -> Case:
    x = torch.randn(32, 10)
    model = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 1), nn.Sigmoid())
    return Case(model, (x, (x[:, :1] > 0).float()), nn.BCEWithLogitsLoss())


def logits_and_nll() -> Case:
    return Case(_mlp(), _table(), nn.NLLLoss())


def probabilities_and_nll() -> Case:
    return Case(_mlp(nn.Softmax(1)), _table(), nn.NLLLoss())


def unreduced() -> Case:
    return Case(_mlp(), _table(), nn.CrossEntropyLoss(reduction="none"))


def loss_detached() -> Case:
    return Case(_mlp(), _table(), lambda output, y: functional.cross_entropy(output, y).detach())


def summed() -> Case:
    return Case(_mlp(), _table(), nn.CrossEntropyLoss(reduction="sum"))


def wrong_sign() -> Case:
    return Case(_mlp(), _table(), lambda output, y: -functional.cross_entropy(output, y))


def softmax_over_the_batch() -> Case:
    return Case(_mlp(nn.LogSoftmax(0)), _table(), nn.NLLLoss())


def four_rows_and_batch_norm() -> Case:
    return Case(bias_and_batch_norm().model, _table(4))


def one_row_and_batch_norm() -> Case:
    return Case(bias_and_batch_norm().model, _table(1))


def images_up_to_255() -> Case:
    x = torch.randint(256, (16, 3, 8, 8)).float()
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 5))
    return Case(model, (x, torch.randint(5, (16,))))


def far_from_zero() -> Case:
    x, y = _table()
    return Case(_mlp(), (x + 1000, y))


def constant_features() -> Case:
    x, y = _table()
    x[:, [3, 7]] = 2.5
    return Case(_mlp(), (x, y))


def feature_of_zeros_among_dense_ones() -> Case:
    x, y = _table()
    x[:, 2] = 0
    return Case(_mlp(), (x, y))


def column_against_row() -> Case:
    x = torch.randn(32, 10)
    return Case(nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 1)), (x, x.sum(1)), nn.MSELoss())


def column_against_row_by_hand() -> Case:
    case = column_against_row()
    case.loss_fn = lambda output, y: ((output - y) ** 2).mean()
    return case


def channels_last() -> Case:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 5))
    return Case(model, (torch.randn(16, 8, 8, 3), torch.randint(5, (16,))))


def batch_elsewhere() -> Case:
    return Case(_mlp(), (torch.randn(16, 10, device="meta"), torch.randint(5, (16,))))


def part_of_the_model_elsewhere() -> Case:
    model = _mlp()
    model[2].to("meta")
    return Case(model, _table())


class _Leftover(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.old_head = _mlp(), nn.Linear(32, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x)


def leftover_module() -> Case:
    return Case(_Leftover(), _table())


class _SharedNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(10, 16), nn.Linear(16, 16), nn.Linear(16, 5)
        self.norm = nn.BatchNorm1d(16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.first(x)).relu()
        return self.head(self.norm(self.second(x)).relu())


def shared_batch_norm() -> Case:
    return Case(_SharedNorm(), _table())


class _Applied(nn.Module):
    def __init__(self, function: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


def wrong_backward() -> Case:
    return Case(nn.Sequential(nn.Linear(10, 32), _Applied(_WrongCube.apply), nn.Linear(32, 5)), _table())


def wrong_backward_with_its_context_apart() -> Case:
    function = _Applied(lambda x: _WrongScale.apply(x, 0.5))
    return Case(nn.Sequential(nn.Linear(10, 32), function, nn.ReLU(), nn.Linear(32, 5)), _table())


def decay_on_everything() -> Case:
    model = _mlp()
    return Case(model, _table(), optimizer=torch.optim.AdamW(model.parameters(), weight_decay=0.1))


def adam_with_decay() -> Case:
    model = _mlp()
    return Case(model, _table(), optimizer=torch.optim.Adam(model.parameters(), weight_decay=1e-4))


FAULTS: dict[Callable[[], Case], str] = {
    output_layer_too_large: "initial-loss",
    random_labels_for_equal_inputs_at_bounded_logits: "cannot-overfit-batch",
    multiplied_by_zero: "input-ignored",
    input_overwritten: "input-ignored",
    view_that_mixes: "batch-mixing",
    view_that_mixes_tokens: "batch-mixing",
    batch_first_forgotten: "batch-mixing",
    mask_missing: "future-leak",
    targets_not_shifted: "future-leak",
    sequence_of_numbers: "future-leak",
    left_out_of_the_optimizer: "unregistered-parameter",
    modules_in_a_plain_list: "unregistered-parameter",
    tensor_in_place_of_a_parameter: "unregistered-parameter",
    head_replaced_after_the_optimizer: "optimizer-mismatch",
    detached: "no-gradient",
    without_a_graph: "no-gradient",
    dead_from_the_start: "no-gradient",
    constant_weights: "symmetric-init",
    zero_weights: "symmetric-init",
    constant_weights_and_zero_biases: "symmetric-init",
    zero_weights_and_biases: "symmetric-init",
    normal_weights_and_tanh: "poor-init",
    normal_weights_and_relu: "poor-init",
    tiny_weights: "poor-init",
    bias_and_batch_norm: "bias-before-norm",
    softmax_and_cross_entropy: "double-softmax",
    softmax_in_the_loss: "double-softmax",
    sigmoid_and_its_logits_loss: "double-softmax",
    logits_and_nll: "missing-log-softmax",
    probabilities_and_nll: "missing-log-softmax",
    unreduced: "loss-reduction",
    loss_detached: "loss-reduction",
    summed: "loss-reduction",
    wrong_sign: "loss-reduction",
    softmax_over_the_batch: "loss-reduction",
    four_rows_and_batch_norm: "tiny-batch-norm",
    one_row_and_batch_norm: "tiny-batch-norm",
    images_up_to_255: "unnormalised-input",
    far_from_zero: "unnormalised-input",
    constant_features: "constant-input",
    feature_of_zeros_among_dense_ones: "constant-input",
    column_against_row: "shape-layout",
    column_against_row_by_hand: "shape-layout",
    channels_last: "shape-layout",
    batch_elsewhere: "wrong-device",
    part_of_the_model_elsewhere: "wrong-device",
    leftover_module: "shared-or-unused-module",
    shared_batch_norm: "shared-or-unused-module",
    wrong_backward: "wrong-custom-gradient",
    wrong_backward_with_its_context_apart: "wrong-custom-gradient",
    decay_on_everything: "decay-on-norm",
    adam_with_decay: "adam-l2",
}


@pytest.mark.parametrize("make", FAULTS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.filterwarnings("ignore:Using a target size")
@pytest.mark.filterwarnings("ignore:.*batch_first:UserWarning")
def test_each_fault_is_found_and_comes_first(make: Callable[[], Case], seed: int) -> None:
    torch.manual_seed(seed)
    result = make().result(time_limit=60)
    rule = FAULTS[make]
    worse = [finding for finding in result if finding.severity != "note"]
    some_features = make in (constant_features, feature_of_zeros_among_dense_ones)
    of_note = CATALOGUE[rule].severity == "note" or some_features
    roots = [finding.rule for finding in (result if of_note else worse)]
    assert rule in roots if of_note else roots == [rule], str(result)
    assert rule in result.looked_at
    json.dumps([finding.as_json() for finding in result], allow_nan=False)
    assert not [reason for reason in result.left_out.values() if "failed:" in reason]


def _only(case: Case, rule: str) -> Finding:
    torch.manual_seed(0)
    every = [inner for finding in case.result() for inner in finding.every() if inner.rule == rule]
    assert len(every) == 1
    return every[0]


def test_what_a_remedy_needs_is_in_the_numbers() -> None:
    torch.manual_seed(0)
    layers = _only(normal_weights_and_tanh(), "poor-init").numbers["layers"]
    assert list(layers) == ["2.weight"]
    assert layers["2.weight"]["right"] == pytest.approx(5 / 3 / math.sqrt(200))
    assert layers["2.weight"]["std"] == pytest.approx(1, abs=0.02)
    assert layers["2.weight"]["fan_in"] == 200
    missing = _only(left_out_of_the_optimizer(), "unregistered-parameter")
    assert missing.numbers["missing"] == ["4.weight", "4.bias"] == list(missing.places)
    hidden = _only(modules_in_a_plain_list(), "unregistered-parameter")
    assert hidden.numbers["unregistered"][0] == "layers[0].weight"
    decay = _only(decay_on_everything(), "decay-on-norm").numbers
    assert decay["group"] == 0
    assert decay["names"] == ["0.bias", "2.bias", "4.bias"]
    assert _only(bias_and_batch_norm(), "bias-before-norm").numbers["biases"] == ["0.bias"]
    assert _only(constant_features(), "constant-input").numbers["features"] == [3, 7]
    assert _only(column_against_row_by_hand(), "shape-layout").numbers["compared"] == [32, 32]


def test_symptoms_are_listed_under_their_cause() -> None:
    torch.manual_seed(0)
    result = softmax_and_cross_entropy().result()
    assert [finding.rule for finding in result[0].every()] == ["double-softmax", "cannot-overfit-batch"]
