"""Classes, numbers, sequences and pictures."""

from __future__ import annotations

import torch
from healthy import INTO_NUMBER, Batch, chain, classes, drawn, healthy, numbers, rows, train
from torch import nn
from torch.nn import functional

from telltales.finding import Finding


@healthy
def logistic_regression_from_zeros() -> list[Finding]:
    model = nn.Linear(20, 3)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    return train(model, torch.optim.SGD(model.parameters(), lr=0.5), classes, functional.cross_entropy)


@healthy
def linear_regression() -> list[Finding]:
    model = nn.Linear(20, 1)
    return train(model, torch.optim.SGD(model.parameters(), lr=0.05), numbers, functional.mse_loss)


@healthy
def large_targets() -> list[Finding]:
    model = chain(20, 64, 1)

    def batch(step: int) -> Batch:
        x, y = numbers(step)
        return x, 50 * y + 20

    return train(model, torch.optim.Adam(model.parameters(), lr=1e-2), batch, functional.mse_loss, 600)


@healthy
def fine_tuning() -> list[Finding]:
    model = chain(20, 64, 3, activation=nn.Tanh)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for step in range(400):
        x, y = classes(5000 + step)
        optimizer.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return train(model, torch.optim.Adam(model.parameters(), lr=1e-4), classes, functional.cross_entropy)


class BagOfWords(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.EmbeddingBag(200, 32), nn.Linear(32, 2)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.words(ids))


@healthy
def bag_of_words() -> list[Finding]:
    def batch(step: int) -> Batch:
        ids = torch.randint(200, (32, 12), generator=drawn(step))
        return ids, (ids < 60).sum(1).gt(3).long()

    model = BagOfWords()
    return train(model, torch.optim.Adam(model.parameters(), lr=1e-2), batch, functional.cross_entropy)


def shapes(step: int, size: int = 12) -> Batch:
    """Noisy pictures (32, 1, size, size) of four kinds."""
    kinds = torch.randn(4, 1, size, size, generator=drawn(9))
    y = torch.randint(4, (32,), generator=drawn(step))
    return kinds[y] + torch.randn(32, 1, size, size, generator=drawn(step, 2)), y


@healthy
def convolutions_with_group_norm_and_one_cycle() -> list[Finding]:
    model = nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.GELU()),
        *(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.GroupNorm(4, 32), nn.GELU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 4)),
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=301)
    return train(model, optimizer, shapes, functional.cross_entropy, schedule=schedule)


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = self.norms[0](self.first(x)).relu()
        return (x + self.norms[1](self.second(inner))).relu()


@healthy
def residual_convolutions_with_momentum_and_milestones() -> list[Finding]:
    model = nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), Residual(16), Residual(16)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4)),
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [120, 180])
    return train(model, optimizer, lambda s: shapes(s, 8), functional.cross_entropy, 240, schedule=schedule)


class PreNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.inside = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.inside(x)


@healthy
def deep_residual_mlp() -> list[Finding]:
    blocks = (PreNorm(32) for _ in range(12))
    model = nn.Sequential(nn.Linear(20, 32), *blocks, nn.LayerNorm(32), nn.Linear(32, 3))
    return train(model, torch.optim.AdamW(model.parameters(), lr=1e-3), classes, functional.cross_entropy, 200)


@healthy
def five_steps() -> list[Finding]:
    model = chain(20, 64, 3)
    return train(model, torch.optim.Adam(model.parameters(), lr=1e-3), classes, functional.cross_entropy, 5)


@healthy
def huber_and_rmsprop() -> list[Finding]:
    model = chain(20, 64, 64, 1, activation=nn.SiLU)
    return train(model, torch.optim.RMSprop(model.parameters(), lr=1e-3), numbers, functional.huber_loss)


class Tagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(30, 16, padding_idx=0)
        self.lstm = nn.LSTM(16, 32, batch_first=True, bidirectional=True)
        self.head = nn.Linear(64, 4)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(self.words(ids))[0]).transpose(1, 2)


@healthy
def tags_of_padded_sentences() -> list[Finding]:
    def batch(step: int) -> Batch:
        ids = torch.randint(1, 30, (16, 10), generator=drawn(step))
        lengths = torch.randint(4, 11, (16,), generator=drawn(step, 1))
        padding = torch.arange(10)[None] >= lengths[:, None]
        return ids.masked_fill(padding, 0), (ids % 4).masked_fill(padding, -100)

    model = Tagger()
    return train(
        model, torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9), batch, functional.cross_entropy, clip=1.0
    )


@healthy
def two_tasks() -> list[Finding]:
    model = chain(20, 64, 4)

    def batch(step: int) -> Batch:
        x, y = classes(step)
        return x, (y, torch.tanh(x @ INTO_NUMBER))

    def loss(scores: torch.Tensor, targets: Batch) -> torch.Tensor:
        return functional.cross_entropy(scores[:, :3], targets[0]) + functional.mse_loss(scores[:, 3:], targets[1])

    return train(model, torch.optim.Adam(model.parameters(), lr=2e-3), batch, loss, has_targets=False)


@healthy
def mixed_examples() -> list[Finding]:
    def batch(step: int) -> Batch:
        x, y = classes(step, 64)
        soft = functional.one_hot(y, 3).float()
        return 0.7 * x + 0.3 * x.flip(0), 0.7 * soft + 0.3 * soft.flip(0)

    model = nn.Sequential(nn.Linear(20, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 3))
    return train(model, torch.optim.Adam(model.parameters(), lr=2e-3), batch, functional.cross_entropy)


@healthy
def warm_restarts() -> list[Finding]:
    model = chain(20, 64, 3, activation=nn.Tanh)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 50)
    return train(model, optimizer, classes, functional.cross_entropy, 400, schedule=schedule)


@healthy
def a_rare_class() -> list[Finding]:
    model = chain(20, 32, 1)

    def batch(step: int) -> Batch:
        x = rows(step, 64)
        return x, (x @ INTO_NUMBER > 7).float()

    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return train(model, optimizer, batch, functional.binary_cross_entropy_with_logits, 500)


@healthy
def batches_of_four() -> list[Finding]:
    model = chain(20, 32, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    return train(model, optimizer, lambda step: classes(step, 4), functional.cross_entropy, 600)


@healthy
def hinge_loss_of_a_linear_model() -> list[Finding]:
    model = nn.Linear(20, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, weight_decay=1e-3)
    return train(model, optimizer, classes, functional.multi_margin_loss)


@healthy
def counts() -> list[Finding]:
    model = chain(20, 32, 1, activation=nn.Tanh)

    def batch(step: int) -> Batch:
        x = rows(step, 64)
        return x, torch.poisson((0.2 * x @ INTO_NUMBER).exp(), generator=drawn(step, 1))

    return train(model, torch.optim.Adam(model.parameters(), lr=3e-3), batch, functional.poisson_nll_loss)


@healthy
def bfloat16_in_autocast() -> list[Finding]:
    inner = chain(20, 64, 64, 3, activation=nn.GELU)

    class Cast(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                return self.inner(x)

    optimizer = torch.optim.AdamW(inner.parameters(), lr=2e-3)
    return train(Cast(), optimizer, classes, lambda scores, y: functional.cross_entropy(scores.float(), y))


@healthy
def much_dropout_and_smoothed_labels() -> list[Finding]:
    hidden = [nn.Linear(20, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 128), nn.ReLU(), nn.Dropout(0.5)]
    model = nn.Sequential(*hidden, nn.Linear(128, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return train(model, optimizer, classes, nn.CrossEntropyLoss(label_smoothing=0.1))


@healthy
def a_linear_probe_on_frozen_layers() -> list[Finding]:
    body = nn.Sequential(nn.Linear(20, 64), nn.BatchNorm1d(64), nn.ReLU()).requires_grad_(False)
    model = nn.Sequential(body, nn.Linear(64, 3))
    for step in range(30):
        model(classes(999 + step)[0])
    return train(model, torch.optim.SGD(model[1].parameters(), lr=0.1), classes, functional.cross_entropy)
