"""Whether the compiled engine and PyTorch come to the same, in every configuration that both train."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch

from charloom.config import TrainingConfig
from charloom.contexts import Batches
from charloom.engine import CompiledEngine
from charloom.models.mlp import ACTIVATIONS, MLP
from charloom.optimization import build_optimizer
from speedbench.sides import build, random_batches


def agreement() -> list[str]:
    """How far the two engines come apart in 1,000 steps on the same batches.

    Beside it, how far PyTorch comes from itself where every weight begins one float32 further: what a training makes
    of the last bit.
    """
    rules = {
        "SGD 0.05": {"optimizer": "sgd", "learning_rate": 0.05},
        "SGD 0.005, momentum 0.9, clip 1": {"optimizer": "sgd", "learning_rate": 0.005, "momentum": 0.9, "clip": 1.0},
        "Adam 0.001": {"optimizer": "adam", "learning_rate": 0.001, "weight_decay": 0.0},
        "AdamW 0.001, decay 0.1": {"optimizer": "adamw", "learning_rate": 0.001},
    }
    shapes = [{"norm": norm, "layers": layers} for norm in ("none", "batch", "layer", "rms") for layers in (1, 3)]
    shapes += [{"activation": activation} for activation in ACTIVATIONS if activation != "tanh"]
    made = [
        f"{'largest differences in 1,000 steps':58}{'loss':>10}{'weights':>10}{'running':>10}{'last bit':>10}",
        "batch 32, hidden 200, float32",
    ]
    for shape in shapes:
        for name, settings in rules.items():
            options = ", ".join(f"{key} {value}" for key, value in shape.items())
            differences = differ(build(**shape), TrainingConfig(steps=1_000, **settings))
            made.append(f"{options + '; ' + name:58}" + "".join(f"{value:10.1e}" for value in differences))
    return made


def differ(model: MLP, config: TrainingConfig) -> tuple[float, float, float, float]:
    """Differences of losses, weights and running statistics, and of PyTorch's losses from its own one bit further.

    Four in five targets follow from the last character.
    """
    batches = random_batches(model, 1_000)
    followers = np.random.default_rng(1).permutation(model.vocabulary_size)
    chosen = np.random.default_rng(2).random(len(batches.targets)) < 0.8
    batches.targets[chosen] = followers[batches.contexts[chosen, -1]]
    twin, moved = copy.deepcopy(model), copy.deepcopy(model)
    with torch.no_grad():
        for parameter in moved.parameters():
            parameter.copy_(torch.nextafter(parameter, torch.tensor(torch.inf)))
    assert config.learning_rate is not None
    rates = np.full(1_000, config.learning_rate)
    found = CompiledEngine(twin, build_optimizer(twin, config), config).train(batches, rates)
    expected, beside = (pytorch_losses(one, config, batches) for one in (model, moved))

    def largest(ours: Any, theirs: Any) -> float:
        pairs = zip(ours, theirs, strict=True)
        return max((abs(one - other).max().item() for one, other in pairs), default=0.0)

    return (
        float(abs(found - expected).max()),
        largest(model.parameters(), twin.parameters()),
        largest(model.buffers(), twin.buffers()),
        float(abs(beside - expected).max()),
    )


def pytorch_losses(model: MLP, config: TrainingConfig, batches: Batches) -> np.ndarray[Any, Any]:
    """PyTorch's loop, written out."""
    optimizer = build_optimizer(model, config)
    contexts, targets = torch.from_numpy(batches.contexts), torch.from_numpy(batches.targets)
    losses = []
    for rows in torch.from_numpy(batches.rows):
        loss = torch.nn.functional.cross_entropy(model(contexts[rows]), targets[rows])
        optimizer.zero_grad()
        loss.backward()
        if config.clip is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        optimizer.step()
        losses.append(loss.item())
    return np.array(losses)
