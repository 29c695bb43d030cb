"""Without labels, with rewards, with unusual losses and optimizers."""

from __future__ import annotations

import copy
import math

import torch
from healthy import Batch, chain, classes, drawn, healthy, numbers, rows, train
from torch import nn
from torch.nn import functional

import telltales
from telltales.finding import Finding


@healthy
def an_autoencoder() -> list[Finding]:
    mixing = torch.randn(4, 30, generator=drawn(3))

    def batch(step: int) -> Batch:
        x = torch.sigmoid(rows(step, 64, 4) @ mixing)
        return x, x

    model = nn.Sequential(*chain(30, 64, 8, 64, 30), nn.Sigmoid())
    return train(model, torch.optim.Adam(model.parameters(), lr=2e-3), batch, functional.mse_loss, 500)


class Variational(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = chain(30, 32, 8), chain(4, 32, 30)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        mean, log_variance = self.encoder(x).chunk(2, 1)
        return self.decoder(mean + torch.randn_like(mean) * (log_variance / 2).exp()), mean, log_variance


@healthy
def a_variational_autoencoder() -> list[Finding]:
    mixing = torch.randn(4, 30, generator=drawn(3))

    def batch(step: int) -> Batch:
        x = (rows(step, 64, 4) @ mixing > 0).float()
        return x, x

    def loss(output: tuple[torch.Tensor, ...], x: torch.Tensor) -> torch.Tensor:
        scores, mean, log_variance = output
        fit = functional.binary_cross_entropy_with_logits(scores, x, reduction="sum") / len(x)
        return fit - 0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum() / len(x)

    model = Variational()
    return train(model, torch.optim.Adam(model.parameters(), lr=2e-3), batch, loss)


@healthy
def a_negative_loss() -> list[Finding]:
    rotation = torch.randn(20, 8, generator=drawn(4))
    model = chain(20, 64, 8)

    def loss(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return -functional.cosine_similarity(output, y).mean()

    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return train(model, optimizer, lambda step: (rows(step), rows(step) @ rotation), loss)


@healthy
def contrasts() -> list[Finding]:
    def batch(step: int) -> Batch:
        x = rows(step)
        views = [x + 0.3 * torch.randn(32, 20, generator=drawn(step, stream)) for stream in (1, 2)]
        return torch.cat(views), None

    def loss(output: torch.Tensor, _: None) -> torch.Tensor:
        first, second = functional.normalize(output, dim=1).chunk(2)
        return functional.cross_entropy(first @ second.T / 0.1, torch.arange(len(first)))

    model = chain(20, 64, 16)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    return train(model, optimizer, batch, loss, has_targets=False, check=False)


@healthy
def a_teacher_that_follows() -> list[Finding]:
    online = nn.Sequential(nn.Linear(20, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 16))
    model = nn.Sequential(online, nn.Linear(16, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 16))
    teacher = copy.deepcopy(online)

    def batch(step: int) -> Batch:
        x = rows(step)
        first, second = (x + 0.2 * torch.randn(32, 20, generator=drawn(step, stream)) for stream in (1, 2))
        return first, second

    def loss(output: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            wanted = functional.normalize(teacher(other), dim=1)
        return 2 - 2 * (functional.normalize(output, dim=1) * wanted).sum(1).mean()

    @torch.no_grad()
    def follow(step: int) -> None:
        for slow, fast in zip(teacher.parameters(), online.parameters(), strict=True):
            slow.mul_(0.99).add_(fast, alpha=0.01)

    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return train(model, optimizer, batch, loss, after=follow, has_targets=False, check=False)


@healthy
def distillation() -> list[Finding]:
    teacher, model = chain(20, 64, 3, activation=nn.Tanh), chain(20, 32, 3)

    def batch(step: int) -> Batch:
        with torch.no_grad():
            return rows(step), (3 * teacher(rows(step))).softmax(1)

    def loss(scores: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        return functional.kl_div(scores.log_softmax(1), wanted, reduction="batchmean")

    return train(model, torch.optim.Adam(model.parameters(), lr=3e-3), batch, loss)


class Pairs(nn.Module):
    """The product of two vectors, looked up."""

    def __init__(self, first: int, second: int, sparse: bool = False) -> None:
        super().__init__()
        self.first, self.second = (nn.Embedding(count, 8, sparse=sparse) for count in (first, second))

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return (self.first(ids[:, 0]) * self.second(ids[:, 1])).sum(1)


def rated(step: int, first: int, second: int) -> Batch:
    sides = [torch.randn(count, 3, generator=drawn(5 + place)) for place, count in enumerate((first, second))]
    ids = torch.stack([torch.randint(len(side), (64,), generator=drawn(step, i)) for i, side in enumerate(sides)], 1)
    return ids, (sides[0][ids[:, 0]] * sides[1][ids[:, 1]]).sum(1)


@healthy
def ratings() -> list[Finding]:
    model = Pairs(50, 40)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    return train(model, optimizer, lambda step: rated(step, 50, 40), functional.mse_loss, 500)


@healthy
def sparse_embeddings() -> list[Finding]:
    model = Pairs(500, 300, sparse=True)
    for table in (model.first, model.second):
        nn.init.normal_(table.weight, std=0.3)

    def batch(step: int) -> Batch:
        ids, ratings = rated(step, 500, 300)
        return ids, (ratings > 0).float()

    optimizer = torch.optim.SparseAdam(model.parameters(), lr=1e-2)
    return train(model, optimizer, batch, functional.binary_cross_entropy_with_logits, 500, check=False)


@healthy
def values_of_actions() -> list[Finding]:
    model = chain(4, 64, 2)
    target = copy.deepcopy(model)

    def batch(step: int) -> Batch:
        x = rows(step, 32, 4)
        actions = torch.randint(2, (32,), generator=drawn(step, 1))
        after = x + 0.1 * torch.randn(32, 4, generator=drawn(step, 2))
        return x, (actions, x[:, 0] * (2 * actions - 1), after)

    def loss(values: torch.Tensor, seen: tuple[torch.Tensor, ...]) -> torch.Tensor:
        actions, rewards, after = seen
        with torch.no_grad():
            wanted = rewards + 0.9 * target(after).max(1).values
        return functional.smooth_l1_loss(values.gather(1, actions[:, None])[:, 0], wanted)

    def renew(step: int) -> None:
        if step % 100 == 99:
            target.load_state_dict(model.state_dict())

    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return train(model, optimizer, batch, loss, 600, after=renew, has_targets=False)


@healthy
def an_actor_and_its_critic() -> list[Finding]:
    model = chain(4, 64, 3, activation=nn.Tanh)

    def loss(output: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        policy, values = torch.distributions.Categorical(logits=output[:, :2]), output[:, 2]
        actions = policy.sample()
        rewards = ((x[:, 0] > 0).long() == actions).float()
        gain = -(policy.log_prob(actions) * (rewards - values).detach()).mean()
        return gain + 0.5 * functional.mse_loss(values, rewards) - 0.01 * policy.entropy().mean()

    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return train(
        model,
        optimizer,
        lambda s: (rows(s, 64, 4), rows(s, 64, 4)),
        loss,
        has_targets=False,
        check=False,
        evaluates=False,
    )


class Flow(nn.Module):
    """Minus the log-density of each row under a shifted and scaled normal distribution."""

    def __init__(self) -> None:
        super().__init__()
        self.log_scale, self.shift = nn.Parameter(torch.zeros(6)), nn.Parameter(torch.zeros(6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = (x - self.shift) * self.log_scale.exp()
        return (0.5 * z**2 + 0.5 * math.log(2 * math.pi) - self.log_scale).sum(1)


@healthy
def a_density() -> list[Finding]:
    model = Flow()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    return train(
        model,
        optimizer,
        lambda s: (0.1 * rows(s, 64, 6) + 2, None),
        lambda o, _: o.mean(),
        400,
        has_targets=False,
        check=False,
    )


class Experts(nn.Module):
    """Each row goes to one of four experts; in a small batch some get none."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.experts = nn.Linear(20, 4), nn.ModuleList(chain(20, 32, 3) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shares = self.gate(x).softmax(1)
        chosen, out = shares.argmax(1), torch.zeros(len(x), 3)
        for number, expert in enumerate(self.experts):
            own = (chosen == number).nonzero()[:, 0]
            if len(own):
                out = out.index_add(0, own, expert(x[own]) * shares[own, number : number + 1])
        return out


@healthy
def a_mixture_of_experts() -> list[Finding]:
    model = Experts()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    return train(model, optimizer, classes, functional.cross_entropy, check=False)


@healthy
def a_differential_equation() -> list[Finding]:
    model = chain(1, 32, 32, 1, activation=nn.Tanh)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    with telltales.watch(model, optimizer) as watch:
        for step in range(400):
            x = torch.rand(64, 1, generator=drawn(step)).requires_grad_()
            u = model(x)
            (slope,) = torch.autograd.grad(u.sum(), x, create_graph=True)
            loss = (slope + 2 * u).square().mean() + (model(torch.zeros(1, 1)) - 1).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            watch.step(loss, x)
    return watch.findings()


class Repeated(nn.Module):
    """One layer, six times."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again, self.head = nn.Linear(20, 32), nn.Linear(32, 32), nn.Linear(32, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        for _ in range(6):
            x = x + 0.2 * torch.tanh(self.again(x))
        return self.head(x)


@healthy
def a_layer_that_is_repeated() -> list[Finding]:
    model = Repeated()
    return train(model, torch.optim.Adam(model.parameters(), lr=2e-3), classes, functional.cross_entropy)


class SignDescent(torch.optim.Optimizer):
    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.add_(parameter.grad.sign(), alpha=-group["lr"])


@healthy
def an_optimizer_of_ones_own() -> list[Finding]:
    model = chain(20, 64, 3)
    return train(model, SignDescent(model.parameters(), {"lr": 1e-3}), classes, functional.cross_entropy)


@healthy
def a_closure() -> list[Finding]:
    model = chain(20, 16, 1, activation=nn.Tanh)
    x, y = numbers(1, 256)
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.5, max_iter=5)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = functional.mse_loss(model(x), y)
        loss.backward()
        return loss

    with telltales.watch(model, optimizer) as watch:
        for _ in range(40):
            watch.step(optimizer.step(closure), x, y)
    return watch.findings()


@healthy
def a_spectral_norm() -> list[Finding]:
    norm = nn.utils.parametrizations.spectral_norm
    model = nn.Sequential(norm(nn.Linear(20, 64)), nn.LeakyReLU(0.2), norm(nn.Linear(64, 1)))

    def batch(step: int) -> Batch:
        x, y = numbers(step)
        return x, y.sign()

    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, betas=(0.5, 0.9))
    return train(model, optimizer, batch, lambda output, y: functional.relu(1 - output * y).mean())
