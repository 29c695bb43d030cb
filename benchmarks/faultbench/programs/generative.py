"""Programs that make things: an autoencoder and a game of two networks."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from faultbench.listening import Listening, Training
from faultbench.programs import data
from faultbench.programs.program import Program, supervised

NOISE = 16


class Autoencoder(nn.Module):
    """Digits to eight numbers with a spread, and back."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 16))
        self.decoder = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        mean, log_variance = self.encoder(x).chunk(2, -1)
        noise = torch.randn_like(mean) if self.training else torch.zeros_like(mean)
        return self.decoder(mean + noise * (0.5 * log_variance).exp()), mean, log_variance


def evidence_bound(output: Any, targets: torch.Tensor) -> torch.Tensor:
    """Squared error plus the divergence from a standard normal, both summed over what an example has."""
    made, mean, log_variance = output
    divergence = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum(1).mean()
    return ((made - targets) ** 2).sum(1).mean() + divergence


def digits_autoencoder(seed: int) -> Training:
    """A variational autoencoder, Adam."""
    model = Autoencoder()
    train, _, dev, _ = data.digits()
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    facts = {"is_autoencoder": True}
    return supervised(model, optimizer, (train, train, dev, dev), evidence_bound, seed=seed, facts=facts)


def digits_game(seed: int) -> Training:
    """A GAN on digits: two networks, two Adams, one round a step."""
    maker = nn.Sequential(nn.Linear(NOISE, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64))
    judge = nn.Sequential(nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1))
    x, y, dev_x, _ = data.digits()
    binary = nn.functional.binary_cross_entropy_with_logits

    def update(training: Training, step: int, listening: Listening) -> tuple[torch.Tensor, Any, Any]:
        maker, judge = training.models["maker"], training.models["judge"]
        of_maker, of_judge = training.optimizers["maker"], training.optimizers["judge"]
        real, _ = training.batch(step)
        made = maker(torch.randn(len(real), NOISE))
        ones, zeros = torch.ones(len(real), 1), torch.zeros(len(real), 1)
        loss_of_judge = binary(judge(real), ones) + binary(judge(made.detach()), zeros)
        if training.zero_grad:
            of_judge.zero_grad()
        loss_of_judge.backward()
        of_judge.step()
        loss = binary(judge(made), ones)
        if training.zero_grad:
            of_maker.zero_grad()
        loss.backward()
        listening.after_backward(training, step, loss)
        of_maker.step()
        return loss, real, None

    def quality(training: Training) -> float:
        """The Fréchet distance between held-out digits and as many made ones, in pixels."""
        maker = training.models["maker"].eval()
        with torch.no_grad():
            made = maker(torch.randn(500, NOISE, generator=torch.Generator().manual_seed(0)))
        apart = float((made.mean(0) - dev_x.mean(0)).square().sum())
        return apart + float((made.T.cov() - dev_x.T.cov()).square().sum()) ** 0.5

    return Training(
        models={"maker": maker, "judge": judge},
        optimizers={
            "maker": torch.optim.Adam(maker.parameters(), 1e-3, betas=(0.5, 0.999)),
            "judge": torch.optim.Adam(judge.parameters(), 1e-3, betas=(0.5, 0.999)),
        },
        batch=data.sampler(x, y, 32, seed),
        loss_fn=None,
        dev=[],
        steps=600,
        evaluate_every=100,
        update=update,
        quality=quality,
        facts={"arrays": data.digits(), "size": 32, "seed": seed},
    )


PROGRAMS = (
    Program("digits-gan", "tuning", digits_game),
    Program("digits-vae", "reporting", digits_autoencoder),
)
