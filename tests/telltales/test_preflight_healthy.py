"""Models that are healthy, though some look odd: preflight has nothing worse than a note to say of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from telltales.checks import preflight

CLASSES = 5


@dataclass
class Case:
    model: nn.Module
    batch: Any
    loss_fn: Callable[..., Any] | None = field(default_factory=nn.CrossEntropyLoss)
    options: dict[str, Any] = field(default_factory=dict)
    trained: Any = None


def _table(rows: int = 32, features: int = 10, classes: int = CLASSES) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(rows, features)
    return x, (x @ torch.randn(features, classes)).argmax(1)


def _images(rows: int = 16, channels: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(rows, channels, 12, 12), torch.randint(CLASSES, (rows,))


def _tokens(rows: int = 8, length: int = 12, vocabulary: int = 20) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.randint(vocabulary, (rows, length + 1))
    return ids[:, :-1], ids[:, 1:]


def _by_position(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(output.flatten(0, 1), targets.flatten())


def mlp() -> Case:
    return Case(nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 5)), _table())


def tanh_mlp_with_batch_norm() -> Case:
    layers: list[nn.Module] = []
    for width in (10, 24, 24, 24):
        layers += [nn.Linear(width, 24), nn.BatchNorm1d(24), nn.Tanh()]
    return Case(nn.Sequential(*layers, nn.Linear(24, 5)), _table())


def logistic_regression() -> Case:
    x = torch.randn(64, 4)
    return Case(nn.Linear(4, 2), (x, (x[:, 0] + torch.randn(64) > 0).long()))


def binary_classifier() -> Case:
    x = torch.randn(48, 6)
    model = nn.Sequential(nn.Linear(6, 16), nn.GELU(), nn.Linear(16, 1), nn.Flatten(0))
    return Case(model, (x, (x.sum(1) > 0).float()), nn.BCEWithLogitsLoss())


def sigmoid_output() -> Case:
    x = torch.randn(48, 6)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 1), nn.Sigmoid(), nn.Flatten(0))
    return Case(model, (x, (x.sum(1) > 0).float()), nn.BCELoss())


def log_softmax_output() -> Case:
    return Case(nn.Sequential(nn.Linear(10, 24), nn.ReLU(), nn.Linear(24, 5), nn.LogSoftmax(1)), _table(), nn.NLLLoss())


def regression() -> Case:
    x = torch.randn(40, 5)
    model = nn.Sequential(nn.Linear(5, 32), nn.Tanh(), nn.Linear(32, 1))
    return Case(model, (x, x.sum(1, keepdim=True).sin()), nn.MSELoss())


def regression_of_large_targets() -> Case:
    x = torch.randn(40, 5)
    return Case(nn.Sequential(nn.Linear(5, 32), nn.ReLU(), nn.Linear(32, 1)), (x, 20 + 5 * x[:, :1]), nn.SmoothL1Loss())


def linear_regression() -> Case:
    x = torch.randn(100, 3)
    return Case(nn.Linear(3, 1), (x, x @ torch.ones(3, 1) + torch.randn(100, 1)), nn.MSELoss())


def smoothed_labels() -> Case:
    return Case(mlp().model, _table(), nn.CrossEntropyLoss(label_smoothing=0.1))


def soft_targets() -> Case:
    return Case(mlp().model, (torch.randn(32, 10), torch.randn(32, 5).softmax(1)))


def weighted_classes() -> Case:
    return Case(mlp().model, _table(), nn.CrossEntropyLoss(weight=torch.tensor([1.0, 5.0, 1.0, 0.2, 1.0])))


def sparse_counts() -> Case:
    x = (torch.rand(32, 50) < 0.03).float()
    return Case(nn.Sequential(nn.Linear(50, 24), nn.ReLU(), nn.Linear(24, 5)), (x, torch.randint(5, (32,))))


def convolutional() -> Case:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.GroupNorm(4, 16),
        nn.SiLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(16, CLASSES),
    )
    return Case(model, _images())


class _Residual(nn.Module):
    """Two convolutions beside the identity; the last norm's gain may start at zero."""

    def __init__(self, width: int, zero: bool) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        self.norms = nn.ModuleList([nn.BatchNorm2d(width), nn.BatchNorm2d(width)])
        if zero:
            nn.init.zeros_(self.norms[1].weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = self.norms[0](self.first(x)).relu()
        return (x + self.norms[1](self.second(inner))).relu()


def residual(zero: bool = False) -> Case:
    blocks = [_Residual(8, zero) for _ in range(4)]
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)
    )
    return Case(model, _images())


def zero_initialised_residual() -> Case:
    return residual(zero=True)


class _ZeroBranch(nn.Module):
    def __init__(self, width: int, how: str) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.alpha = nn.Parameter(torch.zeros(()) if how == "alpha" else torch.ones(()))
        if how == "weight":
            nn.init.zeros_(self.down.weight)
            nn.init.zeros_(self.down.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.alpha * self.down(functional.relu(self.up(x)))


def zero_initialised_layers() -> Case:
    model = nn.Sequential(nn.Linear(10, 16), *[_ZeroBranch(16, "weight") for _ in range(4)], nn.Linear(16, 5))
    return Case(model, _table())


def rezero() -> Case:
    model = nn.Sequential(nn.Linear(10, 16), *[_ZeroBranch(16, "alpha") for _ in range(4)], nn.Linear(16, 5))
    return Case(model, _table())


def zero_initialised_head() -> Case:
    case = mlp()
    nn.init.zeros_(case.model[-1].weight)
    nn.init.zeros_(case.model[-1].bias)
    return case


class _LowRank(nn.Module):
    """A frozen layer and a product of two thin ones beside it, the second of zeros."""

    def __init__(self, layer: nn.Linear, rank: int = 4) -> None:
        super().__init__()
        self.layer = layer.requires_grad_(False)
        self.down = nn.Parameter(torch.randn(rank, layer.in_features) / math.sqrt(layer.in_features))
        self.up = nn.Parameter(torch.zeros(layer.out_features, rank))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) + functional.linear(functional.linear(x, self.down), self.up)


def low_rank_adaptation() -> Case:
    model = mlp().model
    model[0], model[2] = _LowRank(model[0]), _LowRank(model[2])
    return Case(model, _table())


def frozen_backbone() -> Case:
    model = mlp().model
    model[:4].requires_grad_(False)
    return Case(model, _table(), trained=list(model[4].parameters()))


def head_only_in_the_optimizer() -> Case:
    model = mlp().model
    return Case(model, _table(), trained=list(model[4].parameters()))


class _Decoder(nn.Module):
    """A causal transformer whose output layer is the embedding."""

    def __init__(self, vocabulary: int = 20, width: int = 32, causal: bool = True, tied: bool = True) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(64, width)
        layer = nn.TransformerEncoderLayer(width, 4, 64, dropout=0.1, batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, 2, nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.causal = causal
        nn.init.normal_(self.tokens.weight, std=0.02)
        if tied:
            self.head.weight = self.tokens.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        length = ids.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(length) if self.causal else None
        x = self.tokens(ids) + self.positions(torch.arange(length))
        return self.head(self.blocks(x, mask=mask, is_causal=self.causal))


def decoder_with_tied_weights() -> Case:
    return Case(_Decoder(), _tokens(), _by_position)


def decoder_that_shifts_in_the_loss() -> Case:
    ids, _ = _tokens()
    return Case(_Decoder(), (ids, ids), lambda output, targets: _by_position(output[:, :-1], targets[:, 1:]))


def encoder_for_tokens() -> Case:
    ids = torch.randint(20, (8, 12))
    return Case(_Decoder(causal=False, tied=False), (ids, (ids * 7 + 1) % 20), _by_position)


def encoder_that_copies() -> Case:
    ids = torch.randint(20, (8, 12))
    return Case(_Decoder(causal=False, tied=False), (ids, ids), _by_position)


class _Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase], every: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 16)
        self.layers = kind(16, 24, num_layers=2, batch_first=True, dropout=0.2)
        self.head = nn.Linear(24, 20)
        self.every = every

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        out, _ = self.layers(self.embedding(ids))
        return self.head(out if self.every else out[:, -1])


def lstm() -> Case:
    return Case(_Recurrent(nn.LSTM, True), _tokens(), _by_position)


def gru_of_whole_sequences() -> Case:
    ids = torch.randint(20, (16, 10))
    return Case(_Recurrent(nn.GRU, False), (ids, ids[:, 0]))


class _TimeFirst(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers, self.head = nn.RNN(6, 24), nn.Linear(24, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.layers(x)[0])


def time_before_batch() -> Case:
    return Case(_TimeFirst(), (torch.randn(10, 8, 6), torch.randn(10, 8, 3)), nn.MSELoss())


class _Bigram(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(20, 20)
        nn.init.normal_(self.table.weight, std=0.1)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.table(ids)


def bigram() -> Case:
    return Case(_Bigram(), _tokens(16, 16), _by_position)


class _Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(16, 4, batch_first=True), nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.attention(x, x, x, need_weights=False)[0].mean(1))


def attention() -> Case:
    return Case(_Attention(), (torch.randn(16, 6, 16), torch.randint(5, (16,))))


class _Variational(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 8))
        self.decoder = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 20))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        mean, log_variance = self.encoder(x).chunk(2, 1)
        z = mean + torch.randn_like(mean) * (log_variance / 2).exp()
        return self.decoder(z), mean, log_variance


def variational() -> Case:
    def elbo(output: Any, x: torch.Tensor) -> torch.Tensor:
        decoded, mean, log_variance = output
        divergence = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum()
        return functional.binary_cross_entropy_with_logits(decoded, x, reduction="sum") + divergence

    x = (torch.rand(32, 20) < 0.4).float()
    return Case(_Variational(), (x, x), elbo)


def generator_alone() -> Case:
    torch.manual_seed(3)
    generator = nn.Sequential(nn.Linear(8, 32), nn.LeakyReLU(0.2), nn.Linear(32, 12), nn.Tanh())
    judge = nn.Sequential(nn.Linear(12, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1))

    def fooled(output: torch.Tensor, ones: torch.Tensor) -> torch.Tensor:
        return functional.binary_cross_entropy_with_logits(judge(output), ones)

    return Case(generator, (torch.randn(16, 8), torch.ones(16, 1)), fooled)


def contrastive() -> Case:
    def info_nce(output: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        first, second = functional.normalize(output, dim=1).chunk(2)
        return functional.cross_entropy(first @ second.T / 0.2, torch.arange(first.shape[0]))

    x = torch.randn(16, 10)
    model = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 16))
    return Case(model, (torch.cat([x, x + 0.1 * torch.randn_like(x)]), torch.zeros(32)), info_nce)


class _Experts(nn.Module):
    """Of eight experts the best one runs for the whole batch."""

    def __init__(self) -> None:
        super().__init__()
        self.router = nn.Linear(10, 8)
        self.experts = nn.ModuleList([nn.Sequential(nn.Linear(10, 16), nn.ReLU()) for _ in range(8)])
        self.head = nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weights = self.router(x.mean(0)).softmax(0)
        chosen = int(weights.argmax())
        return self.head(self.experts[chosen](x) * weights[chosen])


def experts() -> Case:
    return Case(_Experts(), _table(), options={"mute": ["batch-mixing"]})


def policy_gradient() -> Case:
    def loss(output: torch.Tensor, taken: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        actions, advantages = taken
        return -(output.log_softmax(1).gather(1, actions[:, None])[:, 0] * advantages).mean()

    model = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 3))
    return Case(model, (torch.randn(32, 4), (torch.randint(3, (32,)), torch.randn(32))), loss)


def spectral_norm() -> Case:
    model = nn.Sequential(
        nn.utils.parametrizations.spectral_norm(nn.Linear(10, 32)),
        nn.ReLU(),
        nn.utils.parametrizations.weight_norm(nn.Linear(32, 5)),
    )
    return Case(model, _table())


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return (x * 4).round() / 4

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient


class _Reversed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return -0.1 * gradient


class _Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors
        return 2 * x * gradient


class _Applied(nn.Module):
    def __init__(self, function: type[torch.autograd.Function]) -> None:
        super().__init__()
        self.apply_it = function.apply

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.apply_it(x)


class _TwoDomains(nn.Module):
    """Classes are told from features that should not tell two domains apart."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.classes = nn.Sequential(nn.Linear(10, 32), nn.ReLU()), nn.Linear(32, 5)
        self.domains = nn.Sequential(_Applied(_Reversed), nn.Linear(32, 2))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.body(x)
        return self.classes(x), self.domains(x)


def straight_through() -> Case:
    return Case(
        nn.Sequential(nn.Linear(10, 32), nn.Tanh(), _Applied(_StraightThrough), nn.Linear(32, 5)),
        _table(),
    )


def reversed_gradient() -> Case:
    def both(output: tuple[torch.Tensor, torch.Tensor], y: torch.Tensor) -> torch.Tensor:
        domains = torch.arange(y.numel()) % 2
        return functional.cross_entropy(output[0], y) + functional.cross_entropy(output[1], domains)

    return Case(_TwoDomains(), _table(), both)


def right_custom_gradient() -> Case:
    return Case(nn.Sequential(nn.Linear(10, 32), _Applied(_Square), nn.Linear(32, 5)), _table())


def two_images_and_layer_norm() -> Case:
    model = nn.Sequential(nn.Flatten(), nn.LayerNorm(432), nn.Linear(432, 32), nn.GELU(), nn.Linear(32, 5))
    return Case(model, _images(2))


class _HuggingFace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = _Decoder()

    def forward(self, input_ids: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        logits = self.inner(input_ids)
        return {"loss": _by_position(logits[:, :-1], labels[:, 1:]), "logits": logits}


def output_with_its_loss() -> Case:
    ids, _ = _tokens()
    return Case(_HuggingFace(), {"input_ids": ids, "labels": ids.clone()}, None)


class _TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.head = nn.Linear(6, 16), nn.Embedding(9, 16), nn.Linear(16, 5)

    def forward(self, x: torch.Tensor, kind: torch.Tensor) -> torch.Tensor:
        return self.head((self.left(x) + self.right(kind)).relu())


def two_inputs() -> Case:
    return Case(_TwoInputs(), ((torch.randn(24, 6), torch.randint(9, (24,))), torch.randint(5, (24,))))


def inputs_by_name() -> Case:
    inputs = {"x": torch.randn(24, 6), "kind": torch.randint(9, (24,))}
    return Case(_TwoInputs(), (inputs, torch.randint(5, (24,))))


def its_own_forward() -> Case:
    def forward(model: nn.Module, batch: Any) -> tuple[Any, torch.Tensor]:
        output = model(batch["points"])
        return output, functional.cross_entropy(output, batch["answers"])

    x, y = _table()
    return Case(mlp().model, {"points": x, "answers": y}, None, {"forward": forward})


CASES = [
    mlp,
    tanh_mlp_with_batch_norm,
    logistic_regression,
    binary_classifier,
    sigmoid_output,
    log_softmax_output,
    regression,
    regression_of_large_targets,
    linear_regression,
    smoothed_labels,
    soft_targets,
    weighted_classes,
    sparse_counts,
    convolutional,
    residual,
    zero_initialised_residual,
    zero_initialised_layers,
    rezero,
    zero_initialised_head,
    low_rank_adaptation,
    frozen_backbone,
    head_only_in_the_optimizer,
    decoder_with_tied_weights,
    decoder_that_shifts_in_the_loss,
    encoder_for_tokens,
    encoder_that_copies,
    lstm,
    gru_of_whole_sequences,
    time_before_batch,
    bigram,
    attention,
    variational,
    generator_alone,
    contrastive,
    experts,
    policy_gradient,
    spectral_norm,
    straight_through,
    reversed_gradient,
    right_custom_gradient,
    two_images_and_layer_norm,
    output_with_its_loss,
    two_inputs,
    inputs_by_name,
    its_own_forward,
]


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
@pytest.mark.parametrize("seed", [0, 1])
def test_nothing_worse_than_a_note_is_said_of_a_healthy_model(make: Callable[[], Case], seed: int) -> None:
    torch.manual_seed(seed)
    case = make()
    trained = case.trained or [p for p in case.model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, 1e-3)
    result = preflight(case.model, case.batch, case.loss_fn, optimizer, time_limit=60, **case.options)
    assert not [str(finding) for finding in result if finding.severity != "note"]
    failures = {rule: reason for rule, reason in result.left_out.items() if "failed" in reason or "time" in reason}
    assert not failures


def test_the_list_of_healthy_models_leaves_none_out() -> None:
    named = {value for value in globals().values() if getattr(value, "__annotations__", {}).get("return") == "Case"}
    assert named == set(CASES)
