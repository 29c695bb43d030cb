"""The neural models without torch: what their stored arrays make of contexts, in evaluation mode.

Torch takes a second and more to import, which is most of the time in which a few names could be made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from charloom.errors import CheckpointError
from charloom.models.counts import check_contexts

if TYPE_CHECKING:
    from jaxtyping import Float, Int

    Array = np.ndarray[Any, Any]

ROWS_AT_ONCE = 1 << 10
"""Contexts whose hidden units stay in the processor's cache."""
EPSILON = {"batch": 1e-5, "layer": 1e-5, "rms": float(np.finfo(np.float32).eps)}
"""What torch's norms add to the variance where nothing else is said."""


class PlainBigram:
    """`charloom.models.bigram.BigramNetwork` from its arrays."""

    context_length = 1

    def __init__(self, arrays: Mapping[str, Array], *, vocabulary_size: int) -> None:
        """Raises `CheckpointError` unless the arrays are such a model's."""
        _check(arrays, {"table.weight": (vocabulary_size, vocabulary_size)})
        self.vocabulary_size = vocabulary_size
        self._table = arrays["table.weight"]

    def parameter_count(self) -> int:
        """Number of trainable parameters."""
        return self._table.size

    def next_logits(self, contexts: Int[np.ndarray, "batch context"]) -> Float[np.ndarray, "batch vocab"]:
        """Logits of the next character."""
        contexts = check_contexts(contexts, 1, self.vocabulary_size)
        logits: Float[np.ndarray, "batch vocab"] = self._table[contexts[:, 0]]
        return logits


class PlainMLP:
    """`charloom.models.mlp.MLP` from its arrays."""

    def __init__(
        self,
        arrays: Mapping[str, Array],
        *,
        vocabulary_size: int,
        context_length: int,
        embedding: int,
        hidden: int,
        layers: int,
        activation: str = "tanh",
        norm: str = "none",
        **_training_only: Any,
    ) -> None:
        """Raises `CheckpointError` unless the arrays are such a model's."""
        if layers > len(arrays):
            raise CheckpointError(f"the stored weights have {len(arrays)} arrays, and should have {layers} layers")
        _check(arrays, _shapes_of_mlp(vocabulary_size, context_length, embedding, hidden, layers, norm))
        self.vocabulary_size, self.context_length = vocabulary_size, context_length
        self._arrays, self._layers = arrays, layers
        self._activation, self._norm = ACTIVATIONS[activation], norm

    def parameter_count(self) -> int:
        """Number of trainable parameters."""
        return sum(array.size for name, array in self._arrays.items() if not _is_statistic(name))

    def next_logits(self, contexts: Int[np.ndarray, "batch context"]) -> Float[np.ndarray, "batch vocab"]:
        """Logits of the next character."""
        contexts = check_contexts(contexts, self.context_length, self.vocabulary_size)
        parts = [
            self._logits(contexts[first : first + ROWS_AT_ONCE]) for first in range(0, len(contexts), ROWS_AT_ONCE)
        ]
        return np.concatenate(parts) if parts else np.empty((0, self.vocabulary_size), dtype=np.float32)

    def _logits(self, contexts: Int[np.ndarray, "batch context"]) -> Float[np.ndarray, "batch vocab"]:
        arrays = self._arrays
        flow = arrays["embedding.weight"][contexts].reshape(len(contexts), -1)
        for layer in range(self._layers):
            name = f"hidden.{layer}"
            flow = flow @ arrays[f"{name}.linear.weight"].T
            if f"{name}.linear.bias" in arrays:
                flow += arrays[f"{name}.linear.bias"]
            if self._norm != "none":
                flow = self._normalized(flow, f"{name}.norm")
            flow = self._activation(flow)
        logits: Float[np.ndarray, "batch vocab"] = flow @ arrays["output.weight"].T + arrays["output.bias"]
        return logits

    def _normalized(self, flow: Float[np.ndarray, "batch units"], name: str) -> Float[np.ndarray, "batch units"]:
        arrays, epsilon = self._arrays, np.float32(EPSILON[self._norm])
        mean: Any = np.float32(0)
        if self._norm == "batch":
            mean, variance = arrays[f"{name}.running_mean"], arrays[f"{name}.running_var"]
        else:
            if self._norm == "layer":
                mean = flow.mean(axis=1, keepdims=True)
            variance = np.square(flow - mean).mean(axis=1, keepdims=True)
        scaled: Float[np.ndarray, "batch units"] = (flow - mean) / np.sqrt(variance + epsilon)
        scaled *= arrays[f"{name}.weight"]
        if f"{name}.bias" in arrays:
            scaled += arrays[f"{name}.bias"]
        return scaled


def _shapes_of_mlp(
    vocabulary_size: int, context_length: int, embedding: int, hidden: int, layers: int, norm: str
) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"embedding.weight": (vocabulary_size, embedding)}
    for layer, (fan_in, fan_out) in zip(count(), pairwise([context_length * embedding] + [hidden] * layers)):
        name = f"hidden.{layer}"
        shapes[f"{name}.linear.weight"] = (fan_out, fan_in)
        if norm != "batch":
            shapes[f"{name}.linear.bias"] = (fan_out,)
        if norm != "none":
            shapes[f"{name}.norm.weight"] = (fan_out,)
        if norm in ("batch", "layer"):
            shapes[f"{name}.norm.bias"] = (fan_out,)
        if norm == "batch":
            shapes[f"{name}.norm.running_mean"] = shapes[f"{name}.norm.running_var"] = (fan_out,)
            shapes[f"{name}.norm.num_batches_tracked"] = ()
    shapes |= {"output.weight": (vocabulary_size, hidden), "output.bias": (vocabulary_size,)}
    return shapes


def _is_statistic(name: str) -> bool:
    return name.endswith((".running_mean", ".running_var", ".num_batches_tracked"))


def _check(arrays: Mapping[str, Array], shapes: Mapping[str, tuple[int, ...]]) -> None:
    if set(arrays) != set(shapes):
        differing = sorted(set(arrays) ^ set(shapes))
        raise CheckpointError(f"the stored weights are not this model's: {', '.join(differing)}")
    for name, shape in shapes.items():
        dtype = np.int64 if name.endswith(".num_batches_tracked") else np.float32
        stored = arrays[name]
        if stored.shape != shape or stored.dtype != dtype:
            raise CheckpointError(
                f"{name} is stored as {stored.shape} {stored.dtype} and should be {shape} {np.dtype(dtype)}"
            )


def _sigmoid(x: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    tail = np.exp(-abs(x))
    shares: Float[np.ndarray, "..."] = np.where(x >= 0, 1, tail) / (1 + tail)
    return shares


def _gelu(x: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    # erf by Abramowitz and Stegun, 7.1.26: within 1.5e-7.
    size = np.abs(x.astype(np.float64)) / np.sqrt(2)
    t = 1 / (1 + 0.3275911 * size)
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    erf = np.copysign(1 - series * np.exp(-size * size), x)
    product: Float[np.ndarray, "..."] = (0.5 * x * (1 + erf)).astype(x.dtype)
    return product


ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "leaky-relu": lambda x: np.where(x > 0, x, np.float32(0.01) * x),
    "gelu": _gelu,
    "silu": lambda x: x * _sigmoid(x),
    "sigmoid": _sigmoid,
    "identity": lambda x: x,
}
