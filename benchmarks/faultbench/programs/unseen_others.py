"""Programs that no threshold was set on: images out of noise, and a pole that is balanced by trust."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import nn

from faultbench.listening import Listening, Training
from faultbench.programs import data
from faultbench.programs.control import moved
from faultbench.programs.program import Program, supervised


class NoisyBlock(nn.Module):
    """A residual branch that is told how much noise there is."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.told = nn.LayerNorm(width), nn.Linear(width, width)
        self.widen, self.act, self.narrow = nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width)

    def forward(self, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        return x + self.narrow(self.act(self.widen(self.norm(x + self.told(level)))))


class Denoiser(nn.Module):
    """Puts noise of a random strength on images, and says what was under it."""

    waves: torch.Tensor

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.register_buffer("waves", torch.logspace(0, 1.5, width // 2))
        self.level = nn.Sequential(nn.Linear(width, width), nn.SiLU())
        self.enter = nn.Linear(64, width)
        self.blocks = nn.ModuleList(NoisyBlock(width) for _ in range(2))
        self.norm, self.leave = nn.LayerNorm(width), nn.Linear(width, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = None if self.training else torch.Generator().manual_seed(0)
        time, noise = torch.rand(len(x), 1, generator=kept), torch.randn(x.shape, generator=kept)
        return self.clean(torch.cos(time * math.pi / 2) * x + torch.sin(time * math.pi / 2) * noise, time)

    def clean(self, x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        angles = time * self.waves
        level = self.level(torch.cat([angles.sin(), angles.cos()], -1))
        x = self.enter(x)
        for block in self.blocks:
            x = block(x, level)
        return self.leave(self.norm(x))


def squared_error(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The mean over all pixels."""
    return (output - targets).square().mean()


def digits_diffusion(seed: int) -> Training:
    """A diffusion model that predicts the clean digit, AdamW."""
    model = Denoiser()
    train, _, dev, _ = data.digits()
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=0.01)
    facts = {"is_autoencoder": True}
    return supervised(model, optimizer, (train, train, dev, dev), squared_error, seed=seed, size=64, facts=facts)


POLES, ROLLED, LONGEST = 16, 32, 200
EPOCHS, PARTS = 4, 2


class Poles:
    """Poles that are set up anew when they have fallen, or have stood long enough."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng, self.age = rng, np.zeros(POLES, int)
        self.state = rng.uniform(-0.05, 0.05, (POLES, 4))

    @property
    def seen(self) -> torch.Tensor:
        return torch.tensor(self.state, dtype=torch.float32)

    def push(self, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Whether each fell, and whether it begins again."""
        self.state, self.age = moved(self.state, np.where(right, 10.0, -10.0)), self.age + 1
        fell = (np.abs(self.state[:, 2]) > 12 * math.pi / 180) | (np.abs(self.state[:, 0]) > 2.4)
        over = fell | (self.age >= LONGEST)
        self.state[over], self.age[over] = self.rng.uniform(-0.05, 0.05, (int(over.sum()), 4)), 0
        return fell, over


class ActorCritic(nn.Module):
    """What to do in a state, (..., 2) logits, and what the state is worth, (...)."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.actor = nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh())
        self.policy = nn.Linear(width, 2)
        self.critic = nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh())
        self.value = nn.Linear(width, 1)
        for module in (*self.actor, *self.critic, self.value):
            if isinstance(module, nn.Linear):
                nn.init.orthogonal_(module.weight, 1.0 if module is self.value else math.sqrt(2))
                nn.init.zeros_(module.bias)
        nn.init.orthogonal_(self.policy.weight, 0.01)
        nn.init.zeros_(self.policy.bias)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.policy(self.actor(x)), self.value(self.critic(x)).squeeze(-1)


@torch.no_grad()
def rolled_out(model: nn.Module, poles: Poles, rng: np.random.Generator) -> tuple[torch.Tensor, ...]:
    """States, actions, their log probabilities, generalised advantages and returns of `ROLLED` steps of all poles."""
    rows, ends = [], []
    for _ in range(ROLLED):
        logits, values = model(poles.seen)
        chances = torch.log_softmax(logits, -1)
        actions = torch.tensor(rng.random(POLES) < np.nan_to_num(chances[:, 1].exp().numpy(), nan=0.5)).long()
        rows.append((poles.seen, actions, chances.gather(1, actions[:, None])[:, 0], values))
        ends.append(poles.push(actions.numpy() == 1))
    states, actions, chances, values = (torch.stack(column) for column in zip(*rows, strict=True))
    advantages, ahead, worth_ahead = torch.zeros_like(values), torch.zeros(POLES), model(poles.seen)[1]
    for step in reversed(range(ROLLED)):
        fell, over = (torch.tensor(end) for end in ends[step])
        # What has only stood long enough is worth as much as it was.
        following = torch.where(over, torch.where(fell, 0.0, values[step]), worth_ahead)
        surprise = torch.where(fell, 0.0, 1.0) / 10 + 0.98 * following - values[step]
        ahead = surprise + 0.98 * 0.95 * torch.where(over, 0.0, ahead)
        advantages[step], worth_ahead = ahead, values[step]
    return tuple(part.flatten(0, 1) for part in (states, actions, chances, advantages, advantages + values))


def pole_ppo(seed: int) -> Training:
    """Proximal policy optimisation with a critic, Adam with clipping; each step is one of eight on the same tries."""
    model, rng = ActorCritic(), np.random.default_rng(seed)
    poles = Poles(rng)
    tries: list[torch.Tensor] = []

    def update(training: Training, step: int, listening: Listening) -> tuple[torch.Tensor, Any, Any]:
        if step % (EPOCHS * PARTS) == 0:
            tries[:] = rolled_out(training.model, poles, rng)
        if step % PARTS == 0:
            order = torch.from_numpy(rng.permutation(len(tries[0])))
            tries[:] = [part[order] for part in tries]
        states, actions, chances, advantages, returns = (part.chunk(PARTS)[step % PARTS] for part in tries)
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-6)
        logits, values = training.model(states)
        now = torch.distributions.Categorical(logits=logits)
        ratio = (now.log_prob(actions) - chances).exp()
        gain = torch.minimum(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages).mean()
        loss = 0.5 * (values - returns).square().mean() - gain - 0.01 * now.entropy().mean()
        if training.zero_grad:
            training.optimizer.zero_grad()
        loss.backward()
        listening.after_backward(training, step, loss)
        if training.clip is not None:
            nn.utils.clip_grad_norm_(training.model.parameters(), training.clip)
        training.optimizer.step()
        return loss, states, None

    def quality(training: Training) -> float:
        """Minus the mean number of steps that a pole stands, `LONGEST` at best."""
        held_out, lengths = Poles(np.random.default_rng(10_000)), np.full(POLES, LONGEST)
        for step in range(LONGEST):
            with torch.no_grad():
                right = training.model(held_out.seen)[0].argmax(-1).numpy() == 1
            over = held_out.push(right)[1]
            lengths[over] = np.minimum(lengths[over], step + 1)
        return -float(lengths.mean())

    return Training(
        models={"model": model},
        optimizers={"optimizer": torch.optim.Adam(model.parameters(), 3e-3, eps=1e-5)},
        batch=lambda step: (torch.zeros(1, 4), None),
        loss_fn=None,
        dev=[],
        steps=400,
        evaluate_every=80,
        update=update,
        quality=quality,
        clip=0.5,
        facts={"size": POLES, "seed": seed},
    )


PROGRAMS = (
    Program("digits-diffusion", "unseen", digits_diffusion),
    Program("pole-ppo", "unseen", pole_ppo),
)
