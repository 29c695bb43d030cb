"""The compiled training loop on a PyTorch model: many steps at once, on the model's own parameters.

Parameters, running statistics and what the optimizer remembers become views of flat arrays, which the compiled steps
work on. So between two calls the module and its optimizer *are* the state: nothing is copied to and fro.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from charloom.compiled import available
from charloom.config import TrainingConfig
from charloom.contexts import Batches
from charloom.models.mlp import MLP

if TYPE_CHECKING:
    from jaxtyping import Float

ALIGNMENT = 16
"""Parameters start at multiples of so many elements."""
_ACTIVATIONS = (nn.Identity, nn.Tanh, nn.ReLU, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.Sigmoid)
_NORMS = (nn.BatchNorm1d, nn.LayerNorm, nn.RMSNorm)


def why_not_compiled(model: nn.Module, device: torch.device) -> str | None:
    """What keeps a model from being trained by the compiled engine; None if nothing does."""
    if not available():
        return "numba is not installed (pip install 'telltales[fast]')"
    if device.type != "cpu":
        return f"the compiled one runs on the CPU, and this training on {device}"
    if not isinstance(model, MLP):
        return "the compiled one trains MLPs only"
    if any(isinstance(module, nn.Dropout) for module in model.modules()):
        return "the compiled one has no dropout"
    try:
        from charloom.compiled import mlp  # noqa: F401
    except (ImportError, RuntimeError) as error:  # Of another NumPy, or without a folder for what it compiles.
        return f"numba cannot be used ({error})"
    return None


class CompiledEngine:
    """A model and its optimizer, bound to flat arrays. Raises `ImportError` where numba is missing."""

    def __init__(
        self, model: MLP, optimizer: torch.optim.Optimizer, config: TrainingConfig, steps_done: int = 0
    ) -> None:
        from charloom.compiled import mlp

        self._kernel = mlp.train
        self._config = config
        self._model, self._optimizer = model, optimizer
        hidden: Any = model.hidden
        linears: list[nn.Linear] = [*(layer.linear for layer in hidden), model.output]
        norms = [*(getattr(layer, "norm", None) for layer in hidden), None]
        decaying = [linear.weight for linear in linears]
        rest = [parameter for parameter in model.parameters() if all(parameter is not one for one in decaying)]
        embedding = model.embedding.weight
        others = [parameter for parameter in rest if parameter is not embedding]
        dtype = embedding.detach().numpy().dtype

        self._values, at = _flat([embedding, *decaying, *others], dtype)
        self._gradients = _zeros(self._values.size, dtype)
        self._first = _zeros(self._values.size, dtype)
        self._second = _zeros(self._values.size if config.optimizer != "sgd" else 0, dtype)
        self._places = at
        statistics = [t for norm in norms if isinstance(norm, nn.BatchNorm1d) for t in _running(norm)]
        self._statistics, running_at = _flat(statistics, dtype)
        self._counters: list[Any] = [norm.num_batches_tracked for norm in norms if isinstance(norm, nn.BatchNorm1d)]

        self._plan = np.full((len(linears), mlp.COLUMNS), -1, dtype=np.int64)
        for row, linear, norm in zip(self._plan, linears, norms, strict=True):
            row[mlp.FAN_IN], row[mlp.FAN_OUT] = linear.in_features, linear.out_features
            row[mlp.WEIGHT] = at[linear.weight]
            if linear.bias is not None:
                row[mlp.BIAS] = at[linear.bias]
            row[mlp.NORM] = 0 if norm is None else 1 + _NORMS.index(type(norm))
            if norm is not None:
                row[mlp.NORM_WEIGHT] = at[norm.weight]
                row[mlp.NORM_BIAS] = at[norm.bias] if getattr(norm, "bias", None) is not None else at[norm.weight]
            if isinstance(norm, nn.BatchNorm1d):
                row[mlp.MEAN], row[mlp.VARIANCE] = (running_at[t] for t in _running(norm))
        for row, layer in zip(self._plan, hidden, strict=False):
            row[mlp.ACTIVATION] = _ACTIVATIONS.index(type(layer.activation))
        self._epsilons = np.array([_epsilon(norm, dtype) for norm in norms])
        self._momenta = np.array([getattr(norm, "momentum", None) or 0.0 for norm in norms])
        weights_end = at[others[0]] if others else self._values.size
        bounds = [(0, at[decaying[0]], 0.0), (at[decaying[0]], weights_end, config.weight_decay)]
        self._segments = np.array([*bounds, (weights_end, self._values.size, 0.0)])
        self._work = _zeros(0, dtype)
        self._rows = 0
        self._step = steps_done
        self._bind_optimizer()

    def train(self, batches: Batches, rates: Float[np.ndarray, " steps"]) -> Float[np.ndarray, " done_or_1"]:
        """Train on the batches; the losses (float64), up to and with the first that is not finite.

        The step of a loss that is not finite is not made.
        """
        many = batches.rows.shape[1]
        if many != self._rows:
            self._lay_out_work(many)
        losses = np.empty(len(rates))
        group = self._optimizer.param_groups[0]
        done = self._kernel(
            self._plan,
            self._segments,
            self._values,
            self._gradients,
            self._first,
            self._second,
            self._statistics,
            self._work,
            self._model.embedding.embedding_dim,
            self._epsilons,
            self._momenta,
            batches.contexts,
            batches.starts,
            batches.targets,
            batches.shares,
            batches.rows,
            batches.weights,
            ("sgd", "adam", "adamw").index(self._config.optimizer),
            self._step,
            rates,
            self._config.momentum,
            group.get("betas", (0.9, 0.999)),
            group.get("eps", 0.0),
            self._config.clip or 0.0,
            losses,
        )
        self._step += done
        for remembered in self._optimizer.state.values():
            if "step" in remembered:
                remembered["step"].fill_(self._step)
        for counter in self._counters:
            counter += done
        return losses[: done + 1]

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """What is done to the model and the optimizer within is undone at the end; gradients stay."""
        flat = [self._values, self._first, self._second, self._statistics]
        kept = [array.copy() for array in flat]
        counted = [counter.clone() for counter in self._counters]
        try:
            yield
        finally:
            for array, before in zip(flat, kept, strict=True):
                array[:] = before
            for counter, count in zip(self._counters, counted, strict=True):
                counter.copy_(count)

    def _bind_optimizer(self) -> None:
        """Make what the optimizer remembers a view of the flat arrays."""
        buffers = {"exp_avg": self._first, "exp_avg_sq": self._second}
        if self._config.optimizer == "sgd":
            buffers = {"momentum_buffer": self._first} if self._config.momentum else {}
        for parameter, start in self._places.items():
            remembered = self._optimizer.state[parameter]
            if "exp_avg" in buffers:
                remembered.setdefault("step", torch.tensor(0.0))
            for name, flat in buffers.items():
                view = torch.from_numpy(flat[start : start + parameter.numel()]).view(parameter.shape)
                if name in remembered:
                    view.copy_(remembered[name])
                remembered[name] = view

    def _lay_out_work(self, rows: int) -> None:
        from charloom.compiled import mlp

        end = 0

        def take(elements: int) -> int:
            nonlocal end
            start, end = end, end + -(-elements // ALIGNMENT) * ALIGNMENT
            return start

        for row in self._plan:
            fan_in, units = int(row[mlp.FAN_IN]), int(row[mlp.FAN_OUT])
            row[mlp.INPUT], row[mlp.INPUT_GRADIENT] = take(rows * fan_in), take(rows * fan_in)
            row[mlp.SUMS], row[mlp.TURNED] = take(rows * units), take(fan_in * units)
            if row[mlp.NORM]:
                row[mlp.NORMAL], row[mlp.SCALES] = take(rows * units), take(max(rows, units))
        self._work = _zeros(end, self._values.dtype)
        self._rows = rows


def _flat(tensors: list[torch.Tensor], dtype: Any) -> tuple[np.ndarray[Any, Any], dict[torch.Tensor, int]]:
    """One array with all tensors in it, which become views of it, and where each starts."""
    starts, end = {}, 0
    for tensor in tensors:
        starts[tensor] = end
        end += -(-tensor.numel() // ALIGNMENT) * ALIGNMENT
    flat = _zeros(end, dtype)
    for tensor, start in starts.items():
        view = torch.from_numpy(flat[start : start + tensor.numel()]).view(tensor.shape)
        view.copy_(tensor.detach())
        tensor.data = view
    return flat, starts


def _zeros(elements: int, dtype: Any) -> np.ndarray[Any, Any]:
    """Zeros that start at a multiple of 64 bytes, where a cache line does."""
    size = np.dtype(dtype).itemsize
    raw = np.zeros(elements * size + 64, dtype=np.uint8)
    first = -raw.ctypes.data % 64
    return raw[first : first + elements * size].view(dtype)


def _running(norm: nn.BatchNorm1d) -> tuple[torch.Tensor, torch.Tensor]:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return norm.running_mean, norm.running_var


def _epsilon(norm: nn.Module | None, dtype: Any) -> float:
    epsilon = getattr(norm, "eps", 0.0)
    return float(np.finfo(dtype).eps) if epsilon is None else float(epsilon)
