"""The MLP language model in NumPy float64, written from the formulas."""

import math

import numpy as np

from oracles.batch_norm import EPSILON, BatchNormTwin

_erf = np.vectorize(math.erf)

ACTIVATIONS = {
    "tanh": np.tanh,
    "relu": lambda z: np.where(z > 0, z, 0),
    "leaky-relu": lambda z: np.where(z > 0, z, 0.01 * z),
    "gelu": lambda z: z * (1 + _erf(z / math.sqrt(2))) / 2,
    "silu": lambda z: z / (1 + np.exp(-z)),
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "identity": lambda z: z,
}


def logits(weights, contexts, *, layers, activation, norm, train=False):
    """``weights`` are the model's parameters and buffers by name, as float64 arrays."""
    hidden = np.concatenate([weights["embedding.weight"][contexts[:, i]] for i in range(contexts.shape[1])], axis=1)
    for layer in range(layers):
        parts = {
            name.removeprefix(f"hidden.{layer}."): array
            for name, array in weights.items()
            if name.startswith(f"hidden.{layer}.")
        }
        hidden = hidden @ parts["linear.weight"].T + parts.get("linear.bias", 0)
        hidden = ACTIVATIONS[activation](normalize(hidden, parts, norm, train))
    return hidden @ weights["output.weight"].T + weights["output.bias"]


def normalize(hidden, parts, norm, train):
    """Batch norm works down the columns (examples), layer and RMS norm along the rows (units)."""
    if norm == "batch":
        names = ("weight", "bias", "running_mean", "running_var")
        twin = BatchNormTwin(*(parts[f"norm.{name}"] for name in names))
        return twin.train(hidden) if train else twin.evaluate(hidden)
    if norm == "layer":
        mean = hidden.mean(axis=1, keepdims=True)
        variance = ((hidden - mean) ** 2).mean(axis=1, keepdims=True)
        return parts["norm.weight"] * (hidden - mean) / np.sqrt(variance + EPSILON) + parts["norm.bias"]
    if norm == "rms":
        mean_square = (hidden**2).mean(axis=1, keepdims=True)
        return parts["norm.weight"] * hidden / np.sqrt(mean_square + np.finfo(np.float64).eps)
    return hidden
