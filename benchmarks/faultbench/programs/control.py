"""A program that learns by trying: a pole on a cart, and the policy gradient."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import nn

from faultbench.listening import Listening, Training
from faultbench.programs.program import Program

POLES, LONGEST = 8, 60


def moved(state: np.ndarray, push: np.ndarray) -> np.ndarray:
    """(poles, 4) a fiftieth of a second later: Barto, Sutton and Anderson 1983, by Euler's method."""
    place, speed, angle, turning = state.T
    sin, cos = np.sin(angle), np.cos(angle)
    pull = (push + 0.05 * turning**2 * sin) / 1.1
    turn = (9.8 * sin - cos * pull) / (0.5 * (4 / 3 - 0.1 * cos**2 / 1.1))
    drive = pull - 0.05 * turn * cos / 1.1
    return np.stack([place + 0.02 * speed, speed + 0.02 * drive, angle + 0.02 * turning, turning + 0.02 * turn], 1)


def _tried(policy: nn.Module, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """States, actions, rewards to come and how long each pole stood, of `POLES` tries."""
    state, up = rng.uniform(-0.05, 0.05, (POLES, 4)), np.ones(POLES, bool)
    states, actions, alive = [], [], []
    for _ in range(LONGEST):
        with torch.no_grad():
            right = torch.softmax(policy(torch.tensor(state, dtype=torch.float32)), -1)[:, 1].numpy()
        action = (rng.random(POLES) < np.nan_to_num(right, nan=0.5)).astype(np.int64)
        states.append(state)
        actions.append(action)
        alive.append(up)
        state = moved(state, np.where(action == 1, 10.0, -10.0))
        up = up & (np.abs(state[:, 2]) < 12 * math.pi / 180) & (np.abs(state[:, 0]) < 2.4)
        state = np.clip(state, -5, 5)
    there = np.array(alive)
    to_come = there[::-1].cumsum(0)[::-1]
    return np.array(states)[there], np.array(actions)[there], to_come[there].astype(float), there.sum(0)


def pole(seed: int) -> Training:
    """REINFORCE with a mean baseline, Adam; the loss need not fall."""
    policy = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 2))
    rng = np.random.default_rng(seed)

    def update(training: Training, step: int, listening: Listening) -> tuple[torch.Tensor, Any, Any]:
        states, actions, to_come, _ = _tried(training.model, rng)
        inputs = torch.tensor(states, dtype=torch.float32)
        worth = torch.tensor((to_come - to_come.mean()) / (to_come.std() + 1e-6), dtype=torch.float32)
        chosen = torch.distributions.Categorical(logits=training.model(inputs)).log_prob(torch.tensor(actions))
        loss = -(chosen * worth).mean()
        if training.zero_grad:
            training.optimizer.zero_grad()
        loss.backward()
        listening.after_backward(training, step, loss)
        training.optimizer.step()
        return loss, inputs, None

    def quality(training: Training) -> float:
        """Minus the mean number of steps that a pole stands."""
        held_out = np.random.default_rng(10_000)
        return -float(np.mean([_tried(training.model, held_out)[3].mean() for _ in range(4)]))

    return Training(
        models={"model": policy},
        optimizers={"optimizer": torch.optim.Adam(policy.parameters(), 1e-2)},
        batch=lambda step: (torch.zeros(1, 4), None),
        loss_fn=None,
        dev=[],
        steps=60,
        evaluate_every=10,
        update=update,
        quality=quality,
        facts={"size": POLES, "seed": seed},
    )


PROGRAMS = (Program("pole-reinforce", "reporting", pole),)
