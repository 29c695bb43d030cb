"""Records of trainings that never were: deterministic numbers of plausible size, for tests of what draws them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from telltales.bins import EDGES
from telltales.observation import COLUMNS, Evaluation, Histogram, Observation, Picture, Reading
from telltales.record import Limits, Record

HOSTILE = (
    "</style><script>alert(1)</script>",
    "\" onload=\"alert('x')",
    "]]><![CDATA[ & &amp; <!-- -->",
    "\u202egnidaeh\u2066 \u200f",
    "NUL \x00 bell \x07 escape \x1b lone \ud800 none \uffff",
    "javascript:alert(1) url(https://example.org/x.svg)",
    "line\nbreak\ttab $\\frac{1}{0}$ {{x}} ${y}",
    "隐藏层.激活 שכבה الطبقة 🙂",
    '" onmouseover="alert(1)" \'><script>alert(2)</script><i a="' * 9,
    "x" * 3000,
)
"""What a name in a record may hold, as its file can come from anyone."""


@dataclass(frozen=True)
class Layer:
    """A module as it is simulated. ``std`` and ``gradient`` are those of its output and of the gradient by it."""

    name: str
    type: str
    std: float
    gradient: float
    activation: str | None = None
    rectifier: bool = False
    saturated: float = 0.0
    shape: tuple[int, ...] = ()
    """Of its weight matrix, if it has one."""
    weight_std: float = 0.05


def mlp(kind: str = "healthy", steps: int = 400, every: int = 4, seed: int = 0) -> Record:
    """Five hidden tanh layers: ``healthy``, ``saturated``, ``vanishing``, ``dead`` (those are ReLU) or ``broken``.

    The last one has NaN in its loss and infinite gradients from the middle on.
    """
    return record_of(mlp_layers(kind), steps, every, seed, broken=kind == "broken")


def mlp_layers(kind: str = "healthy") -> list[Layer]:
    layers = [Layer("embedding", "Embedding", 1.0, 2e-4, shape=(27, 10), weight_std=1.0)]
    width = 30
    for depth in range(5):
        shrink = 0.4**depth if kind == "vanishing" else 1.0
        flat = {"saturated": 0.75 - 0.05 * depth, "dead": 0.9 - 0.1 * depth}.get(kind, 0.06 + 0.01 * depth)
        name, std = f"hidden.{depth}", 0.65 * shrink
        gradient = 3e-4 * (0.3 ** (4 - depth) if kind == "vanishing" else 0.9 ** (4 - depth))
        layers += [
            Layer(f"{name}.linear", "Linear", 1.6 * shrink, gradient, shape=(100, width), weight_std=0.3),
            Layer(f"{name}.norm", "BatchNorm1d", 1.0 * shrink, gradient),
            Layer(
                f"{name}.activation",
                "ReLU" if kind == "dead" else "Tanh",
                0.9 if kind == "saturated" else std,
                gradient,
                "relu" if kind == "dead" else "tanh",
                kind == "dead",
                flat,
            ),
        ]
        width = 100
    return [*layers, Layer("output", "Linear", 1.2, 1.1e-3, shape=(27, 100), weight_std=0.1)]


def transformer(blocks: int = 60, steps: int = 60, every: int = 1, seed: int = 0) -> Record:
    """Blocks of twelve modules each, whose residual stream grows with depth."""
    layers = []
    for block in range(blocks):
        grown, gradient = 1 + 0.04 * block, 1e-4 * 0.98**block
        sizes = {"query": 0.9, "key": 0.9, "value": 0.7, "scores": 2.0, "softmax": 0.05, "projection": 0.2 * grown}
        layers += [Layer(f"blocks.{block}.norm_1", "LayerNorm", 1.0, gradient)]
        for place, (part, std) in enumerate(sizes.items()):
            matrix = (64, 64) if part in ("query", "key", "value", "projection") else ()
            layers.append(
                Layer(
                    f"blocks.{block}.attention.{part}",
                    "Linear" if matrix else "Identity",
                    std,
                    gradient * (1 + place),
                    shape=matrix,
                    weight_std=0.02,
                )
            )
        layers += [
            Layer(f"blocks.{block}.norm_2", "LayerNorm", 1.0, gradient),
            Layer(f"blocks.{block}.mlp.up", "Linear", 1.1, gradient, shape=(256, 64), weight_std=0.02),
            Layer(
                f"blocks.{block}.mlp.activation", "GELU", 0.4 * grown, gradient * 2, "gelu", True, 0.02 + 0.002 * block
            ),
            Layer(f"blocks.{block}.mlp.down", "Linear", 0.3 * grown, gradient, shape=(64, 256), weight_std=0.02),
            Layer(f"blocks.{block}.dropout", "Dropout", 0.3 * grown, gradient),
        ]
    return record_of(layers, steps, every, seed)


def hostile() -> Record:
    """The healthy net, with names and facts that try to break out of the page."""
    layers = [
        replace(layer, name=HOSTILE[place % len(HOSTILE)] + str(place), type=HOSTILE[(place + 1) % len(HOSTILE)])
        for place, layer in enumerate(mlp_layers())
    ]
    layers = [
        replace(layer, activation=HOSTILE[place % len(HOSTILE)]) if layer.activation else layer
        for place, layer in enumerate(layers)
    ]
    record = record_of(layers, 20, 1, 0, groups=HOSTILE[:3])
    record.about = {name: value for name, value in zip(HOSTILE, reversed(HOSTILE), strict=True)}
    record.about["unfired"] = list(HOSTILE)
    record.outcome = HOSTILE[0]
    for name in HOSTILE:
        record.evaluate(Evaluation(10, name, 2.5))
    return record


def economy(steps: int = 50) -> Record:
    """Losses only."""
    record = Record(about={"model": "MLP", "preset": "economy"})
    rng = np.random.default_rng(1)
    for step in range(steps):
        loss = _loss(step, steps, rng)
        record.append(Observation(step, {"loss": loss}, {}, None, np.array([loss], np.float32)))
    return record


def record_of(
    layers: list[Layer],
    steps: int,
    every: int,
    seed: int,
    broken: bool = False,
    groups: tuple[str, ...] = ("0",),
) -> Record:
    """A record of ``steps`` steps of which one in ``every`` is observed, with about twelve pictures."""
    rng = np.random.default_rng(seed)
    facts = {"model": "MLP", "preset": "standard", "optimizer": "SGD", "device": "cpu", "torch": "2.13.0"}
    record = Record(about=facts, limits=Limits())
    for layer in layers:
        of_function = {"activation": layer.activation, "rectifier": layer.rectifier} if layer.activation else {}
        record.modules[layer.name] = {"type": layer.type, "calls": 1, "activation": None, **of_function}
        if layer.shape:
            record.parameters[f"{layer.name}.weight"] = {
                "shape": list(layer.shape),
                "trainable": True,
                "aliases": [],
                "module": layer.name,
                "numel": int(np.prod(layer.shape)),
            }
    matrices = [layer for layer in layers if layer.shape]
    losses = np.array([_loss(step, steps, rng) for step in range(steps)], np.float32)
    if broken:
        losses[steps // 2 :] = np.nan
    before = -1
    pictures = {int(step) // every * every for step in np.linspace(0, steps - 1, 12)}
    for step in range(0, steps, every):
        progress = step / max(steps - 1, 1)
        sick = broken and step >= steps // 2
        tables = {
            "activation": _activations(layers, progress, rng),
            "activation_gradient": _gradients(layers, progress, rng),
            "gradient": _matrix_gradients(matrices, progress, rng),
            "weight": _weights(matrices, progress, rng),
            "update": _updates(matrices, progress, rng),
            "group": Reading(groups, np.array([[0.1 * (1 if progress < 0.7 else 0.1), 0.0]] * len(groups), np.float32)),
        }
        if sick:
            tables["activation_gradient"].values[::2] = np.inf
            tables["update"].values[:] = np.nan
        norm = float(np.inf if sick else 1.5 * np.exp(-progress) * rng.lognormal(0, 0.3))
        scalars = {
            "loss": float(losses[step]),
            "seconds": step * 0.01,
            "gradient_norm": norm,
            "gradient_norm_used": min(norm, 1.0),
            "noise_scale": float(40 * (1 + 9 * progress) * rng.lognormal(0, 0.2)),
            "batch_size": 32.0,
        }
        picture = _picture(step, layers, matrices, progress, rng) if step in pictures else None
        record.append(Observation(step, scalars, tables, picture, losses[before + 1 : step + 1]))
        before = step
    for done in range(0, steps, max(steps // 8, 1)):
        for split, above in (("dev", 0.05), ("test", 0.08)):
            record.evaluate(Evaluation(done, split, _loss(done, steps, rng) + above))
    record.outcome = "finished"
    return record


def _loss(step: int, steps: int, rng: np.random.Generator) -> float:
    return float(2.05 + 1.25 * np.exp(-6 * step / steps) + 0.12 * rng.normal())


def _activations(layers: list[Layer], progress: float, rng: np.random.Generator) -> Reading:
    values = _table("activation", len(layers))
    noise = rng.lognormal(0, 0.05, len(layers))
    std = np.array([layer.std for layer in layers]) * (1 + 0.3 * progress) * noise
    _put(values, "activation", mean=0.02 * rng.normal(size=len(layers)), std=std, rms=std, min=-3 * std, max=3 * std)
    _put(values, "activation", zeros=0.0, nonfinite=0.0)
    flat = np.array([layer.saturated if layer.activation else np.nan for layer in layers])
    _put(values, "activation", saturated=np.clip(flat * noise, 0, 1), saturated_units=np.clip(flat - 0.4, 0, 1))
    entropy = [0.9 - 0.3 * progress if layer.activation else np.nan for layer in layers]
    _put(values, "activation", entropy=np.array(entropy))
    return Reading(tuple(layer.name for layer in layers), values)


def _gradients(layers: list[Layer], progress: float, rng: np.random.Generator) -> Reading:
    values = _table("activation_gradient", len(layers))
    std = np.array([layer.gradient for layer in layers]) * np.exp(-progress) * rng.lognormal(0, 0.2, len(layers))
    _put(values, "activation_gradient", mean=0.0, std=std, rms=std, min=-4 * std, max=4 * std, zeros=0.0, nonfinite=0.0)
    return Reading(tuple(layer.name for layer in layers), values)


def _matrix_gradients(layers: list[Layer], progress: float, rng: np.random.Generator) -> Reading:
    values = _table("gradient", len(layers))
    scale = np.array([20 * layer.gradient for layer in layers]) * np.exp(-progress)
    std = scale * rng.lognormal(0, 0.2, len(layers))
    ratio = std / np.array([layer.weight_std for layer in layers])
    _put(values, "gradient", mean=0.0, std=std, rms=std, norm=50 * std, min=-4 * std, max=4 * std, ratio=ratio)
    _put(values, "gradient", zeros=0.0, nonfinite=0.0, norm_used=50 * std)
    return Reading(_weights_of(layers), values)


def _weights(layers: list[Layer], progress: float, rng: np.random.Generator) -> Reading:
    values = _table("weight", len(layers))
    std = np.array([layer.weight_std for layer in layers]) * (1 + 0.4 * progress)
    _put(values, "weight", mean=0.0, std=std, rms=std, norm=50 * std, min=-3 * std, max=3 * std, nonfinite=0.0)
    _put(values, "weight", spectral_norm=20 * std)
    return Reading(_weights_of(layers), values)


def _updates(layers: list[Layer], progress: float, rng: np.random.Generator) -> Reading:
    values = _table("update", len(layers))
    depth = np.linspace(-0.4, 0.4, len(layers))
    ratio = 10 ** (-2.8 - 0.8 * progress + depth + 0.1 * rng.normal(size=len(layers)))
    _put(values, "update", std=ratio, rms=ratio, norm=ratio, ratio=ratio)
    return Reading(_weights_of(layers), values)


def _picture(
    step: int, layers: list[Layer], matrices: list[Layer], progress: float, rng: np.random.Generator
) -> Picture:
    histograms: dict[str, dict[str, Histogram]] = {"activation": {}, "activation_gradient": {}, "gradient": {}}
    maps = {}
    for layer in layers:
        histograms["activation"][layer.name] = _histogram(_outputs(layer, progress, rng))
        histograms["activation_gradient"][layer.name] = _histogram(layer.gradient * rng.standard_t(4, 2000))
        if layer.activation:
            cells = rng.random((32, 100)) < layer.saturated
            cells[:, rng.random(100) < layer.saturated - 0.4] = True
            maps[layer.name] = cells
    for layer in matrices:
        histograms["gradient"][f"{layer.name}.weight"] = _histogram(20 * layer.gradient * rng.standard_t(4, 2000))
    return Picture(step, histograms, maps)


def _outputs(layer: Layer, progress: float, rng: np.random.Generator) -> np.ndarray:
    inner = rng.normal(size=2000) * (1 + 0.3 * progress)
    if layer.activation == "tanh":
        return np.tanh(inner * (3.0 if layer.saturated > 0.4 else 1.1 * layer.std / 0.65))
    if layer.rectifier:
        return np.maximum(inner - 2 * max(layer.saturated - 0.5, 0), 0) * layer.std
    return inner * layer.std


def _histogram(values: np.ndarray) -> Histogram:
    return Histogram.of(np.histogram(np.clip(values, EDGES[0], EDGES[-1]), EDGES)[0])


def _weights_of(layers: list[Layer]) -> tuple[str, ...]:
    return tuple(f"{layer.name}.weight" for layer in layers)


def _table(kind: str, rows: int) -> np.ndarray:
    return np.full((rows, len(COLUMNS[kind])), np.nan, np.float32)


def _put(values: np.ndarray, kind: str, **columns: object) -> None:
    for column, numbers in columns.items():
        values[:, COLUMNS[kind].index(column)] = numbers
