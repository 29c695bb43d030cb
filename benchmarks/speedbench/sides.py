"""The same training steps by three loops: a tutorial's, PyTorch's, and the compiled one."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from charloom.config import TrainingConfig
from charloom.contexts import Batches
from charloom.engine import CompiledEngine
from charloom.models.mlp import MLP
from charloom.optimization import build_optimizer

BATCH = 32


def build(**options: Any) -> MLP:
    """The classic sizes (context 3, embedding 10, 27 characters) but for ``options``."""
    sizes: dict[str, Any] = {"vocabulary_size": 27, "context_length": 3, "embedding": 10, "hidden": 200, "layers": 1}
    return MLP(**(sizes | options), generator=torch.Generator().manual_seed(0))


def random_batches(model: MLP, steps: int, batch: int = BATCH) -> Batches:
    """Batches of rows, as `charloom.contexts.RowBatches` makes them."""
    random = np.random.default_rng(0)
    rows = np.arange(steps * batch).reshape(steps, batch)
    return Batches(
        contexts=random.integers(0, model.vocabulary_size, (rows.size, model.context_length)),
        starts=np.arange(rows.size + 1),
        targets=random.integers(0, model.vocabulary_size, rows.size),
        shares=np.ones(rows.size, dtype=np.float32),
        rows=rows,
        weights=np.full(rows.shape, 1 / batch, dtype=np.float32),
        numbers=rows,
    )


def tutorial(model: MLP, batches: Batches, rate: float) -> Callable[[], None]:
    """The loop of a course, on the model's device: tensors in a list, each op by hand, ``p.data += -lr * p.grad``."""
    hidden: Any = model.hidden
    table = model.embedding.weight.detach().clone()
    device, batch = table.device, batches.rows.shape[1]
    weights = [layer.linear.weight.detach().t().clone() for layer in hidden]
    biases = [torch.zeros(weight.shape[1], device=device) for weight in weights]
    gains = [torch.ones(weight.shape[1], device=device) for weight in weights]
    normed = hasattr(hidden[0], "norm")
    means = [torch.zeros(weight.shape[1], device=device) for weight in weights]
    spreads = [torch.ones(weight.shape[1], device=device) for weight in weights]
    last = model.output.weight.detach().t().clone()
    last_bias = model.output.bias.detach().clone()
    parameters = [table, *weights, *biases, *(gains if normed else []), last, last_bias]
    for parameter in parameters:
        parameter.requires_grad = True
    contexts, targets = torch.from_numpy(batches.contexts).to(device), torch.from_numpy(batches.targets).to(device)
    lossi = []

    def run() -> None:
        for _ in range(len(batches.rows)):
            ix = torch.randint(0, len(contexts), (batch,), device=device)
            x = table[contexts[ix]].view(batch, -1)
            for number, weight in enumerate(weights):
                x = x @ weight
                if normed:
                    mean, spread = x.mean(0, keepdim=True), x.std(0, keepdim=True)
                    x = gains[number] * (x - mean) / spread + biases[number]
                    with torch.no_grad():
                        means[number] = 0.999 * means[number] + 0.001 * mean
                        spreads[number] = 0.999 * spreads[number] + 0.001 * spread
                else:
                    x = x + biases[number]
                x = torch.tanh(x)
            loss = torch.nn.functional.cross_entropy(x @ last + last_bias, targets[ix])
            for parameter in parameters:
                parameter.grad = None
            loss.backward()
            for parameter in parameters:
                parameter.data += -rate * parameter.grad
            lossi.append(loss.log10().item())

    return run


def module(model: MLP, batches: Batches, rate: float) -> Callable[[], None]:
    """PyTorch as its documentation has it: a module, `torch.optim.SGD`, one call each."""
    model = copy.deepcopy(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    contexts, targets = torch.from_numpy(batches.contexts), torch.from_numpy(batches.targets)

    def run() -> None:
        for rows in torch.from_numpy(batches.rows):
            loss = torch.nn.functional.cross_entropy(model(contexts[rows]), targets[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()

    return run


def ours(model: MLP, batches: Batches, rate: float) -> Callable[[], None]:
    """charloom's compiled engine."""
    model = copy.deepcopy(model)
    config = TrainingConfig(optimizer="sgd", learning_rate=rate, weight_decay=0.0)
    engine = CompiledEngine(model, build_optimizer(model, config), config)
    rates = np.full(len(batches.rows), rate)

    def run() -> None:
        engine.train(batches, rates)

    return run


def flops(model: MLP) -> int:
    """Of the matrix products of one step: forwards, and twice as much backwards."""
    linears = [module for module in model.modules() if isinstance(module, torch.nn.Linear)]
    return sum(6 * BATCH * linear.in_features * linear.out_features for linear in linears)
