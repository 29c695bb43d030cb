"""Every setting there is, as frozen dataclasses that are checked when they are made.

The command line is generated from these classes, and a run folder stores them as ``config.json``. A model's own
settings are ``None`` until `ModelConfig.resolved` fills in that model's defaults, so that a setting given to a model
it does not apply to can be refused instead of being ignored.
"""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass
from typing import Any, Literal

from charloom.errors import ConfigError

Unit = Literal["line", "text"]
Protocol = Literal["unique", "classic"]
Case = Literal["keep", "lower", "fold"]
Normalization = Literal["nfc", "none"]
Activation = Literal["tanh", "relu", "leaky-relu", "gelu", "silu", "sigmoid", "identity"]
Norm = Literal["none", "batch", "layer", "rms"]
Initialization = Literal["normal", "scaled", "xavier", "kaiming", "orthogonal", "default"]
Engine = Literal["auto", "torch", "compiled"]
BatchKind = Literal["auto", "rows", "distinct"]
Precision = Literal["float32", "tf32", "bf16"]
REPEATS = 10
"""Rows for each distinct context from which on batches of distinct contexts are faster to the same loss."""

BUILTIN_DATA = "ssa-2018"


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which text to read, how to decode it, and how to split it."""

    data: str = BUILTIN_DATA
    """A file (.gz and .xz are unpacked), `-` for standard input, or `ssa-2018`, the built-in names."""
    unit: Unit = "line"
    """`line`: one item per line. `text`: one contiguous text."""
    protocol: Protocol = "unique"
    """`unique` drops repeated items before splitting; `classic` keeps them. Both shuffle, then split 80/10/10."""
    case: Case = "keep"
    """`lower` or `fold` (full Unicode case folding) the letters, or `keep` them."""
    normalize: Normalization = "nfc"
    """Unicode normalisation form."""
    strip: bool = True
    """Drop white space around each item (unit `line` only)."""
    max_line: int = 10_000
    """Longest line accepted, in characters (unit `line` only)."""
    split_seed: int = 42
    """Seed of the shuffle before the split."""

    def __post_init__(self) -> None:
        _require(self.data != "", "--data is empty", "Name a file, or `-` for standard input.")
        _one_of("unit", self.unit, Unit)
        _one_of("protocol", self.protocol, Protocol)
        _one_of("case", self.case, Case)
        _one_of("normalize", self.normalize, Normalization)
        _at_least("max-line", self.max_line, 1)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Which model, and its shape. Settings left out take the model's own defaults."""

    model: str = "mlp"
    """unigram, bigram, ngram:N (modified Kneser-Ney of order N), bigram-net, mlp or deep-mlp."""
    smoothing: float | None = None
    """Add-k smoothing of the counts (unigram, bigram)."""
    context_length: int | None = None
    """Characters the model looks back at."""
    embedding: int | None = None
    """Numbers per character embedding."""
    hidden: int | None = None
    """Units per hidden layer."""
    layers: int | None = None
    """Hidden layers."""
    activation: Activation | None = None
    """Nonlinearity of the hidden layers."""
    norm: Norm | None = None
    """Normalisation before each activation."""
    norm_momentum: float | None = None
    """Share of the newest batch in batch norm's running statistics."""
    dropout: float | None = None
    """Probability of zeroing a hidden unit while training."""
    init: Initialization | None = None
    """`normal` N(0,1); `scaled` 1/sqrt(fan-in); `xavier`; `kaiming` gain/sqrt(fan-in); `orthogonal`."""
    init_scale: float | None = None
    """Further factor on the hidden layers' initial weights."""
    output_scale: float | None = None
    """Further factor on the output layer's initial weights: small makes the first guess unsure."""

    def __post_init__(self) -> None:
        family, order = self._parse()
        applicable = MODEL_DEFAULTS[family]
        for field in dataclasses.fields(self):
            if field.name != "model" and getattr(self, field.name) is not None and field.name not in applicable:
                flag = _flag(field.name)
                takers = ", ".join(name for name, defaults in MODEL_DEFAULTS.items() if field.name in defaults)
                raise ConfigError(f"{flag} does not apply to {self.model}", remedy=f"It applies to: {takers}.")
        if order is not None:
            _require(order >= 1, f"ngram:{order} has no order", "Write ngram:N with N at least 1, such as ngram:5.")
        for name, least in (("context_length", 1), ("embedding", 1), ("hidden", 1), ("layers", 1)):
            if getattr(self, name) is not None:
                _at_least(name, getattr(self, name), least)
        for name in ("smoothing", "init_scale", "output_scale"):
            if getattr(self, name) is not None:
                _at_least(name, getattr(self, name), 0)
        if self.activation is not None:
            _one_of("activation", self.activation, Activation)
        if self.norm is not None:
            _one_of("norm", self.norm, Norm)
        if self.init is not None:
            _one_of("init", self.init, Initialization)
        if self.dropout is not None:
            _require(0 <= self.dropout < 1, f"--dropout {self.dropout} is not in [0, 1)", "Try 0.1 or 0.2.")
        if self.norm_momentum is not None:
            _require(0 < self.norm_momentum <= 1, f"--norm-momentum {self.norm_momentum} is not in (0, 1]", "Try 0.1.")
            norm = self.norm or applicable["norm"]
            _require(norm == "batch", "--norm-momentum applies to batch norm only", "Add --norm batch.")

    def _parse(self) -> tuple[str, int | None]:
        matched = re.fullmatch(r"ngram:(\d+)", self.model)
        if matched:
            return "ngram", int(matched[1])
        if self.model in MODEL_DEFAULTS and self.model != "ngram":
            return self.model, None
        names = ", ".join("ngram:N" if name == "ngram" else name for name in MODEL_DEFAULTS)
        raise ConfigError(f"there is no model {self.model!r}", remedy=f"Models: {names}.")

    @property
    def label(self) -> str:
        """The model and the settings it was given, such as ``mlp:hidden=300``."""
        given = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "model"}
        settings = (f":{name.replace('_', '-')}={value}" for name, value in given.items() if value is not None)
        return self.model + "".join(settings)

    @property
    def family(self) -> str:
        """`ngram` for every order of Kneser-Ney; otherwise the model's name."""
        return self._parse()[0]

    @property
    def counted(self) -> bool:
        """Whether the model is counted in one pass, with no gradient and no torch."""
        return self.family in ("unigram", "bigram", "ngram")

    @property
    def reach(self) -> int:
        """How many characters the model looks back at."""
        if self.family == "ngram":
            return int(self.options()["order"]) - 1
        fixed = {"unigram": 0, "bigram": 1, "bigram-net": 1}
        return fixed[self.family] if self.family in fixed else int(self.options()["context_length"])

    def resolved(self) -> ModelConfig:
        """The same configuration with the model's defaults filled in."""
        defaults = MODEL_DEFAULTS[self.family]
        missing = {name: value for name, value in defaults.items() if getattr(self, name) is None}
        if "norm_momentum" in missing and (self.norm or defaults["norm"]) != "batch":
            del missing["norm_momentum"]
        return dataclasses.replace(self, **missing)

    def options(self) -> dict[str, Any]:
        """The keyword arguments that build this model (see `charloom.models.build`)."""
        chosen = dataclasses.asdict(self.resolved())
        options = {name: value for name, value in chosen.items() if name != "model" and value is not None}
        order = self._parse()[1]
        return options if order is None else {"order": order}


_MLP_DEFAULTS: dict[str, Any] = {
    "context_length": 6,
    "embedding": 24,
    "hidden": 256,
    "layers": 1,
    "activation": "tanh",
    "norm": "none",
    "norm_momentum": 0.1,
    "dropout": 0.0,
    "init": "kaiming",
    "init_scale": 1.0,
    "output_scale": 0.1,
}

MODEL_DEFAULTS: dict[str, dict[str, Any]] = {
    "unigram": {"smoothing": 1.0},
    "bigram": {"smoothing": 1.0},
    "ngram": {},
    "bigram-net": {},
    "mlp": _MLP_DEFAULTS,
    "deep-mlp": {**_MLP_DEFAULTS, "hidden": 200, "layers": 3, "norm": "batch"},
}
"""What each family takes, with its defaults. A setting that is not listed is refused for that family."""


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How a neural model is trained. Counted models take none of these."""

    steps: int | None = None
    """Optimizer steps. [default: 20 epochs, or 80 times the distinct contexts; at least 200 and at most 10,000]"""
    batch_size: int | None = None
    """Rows (context, target) per step, or distinct contexts. [default: 256; 512]"""
    optimizer: Literal["sgd", "adam", "adamw"] = "adamw"
    """Update rule."""
    learning_rate: float | None = None
    """Peak learning rate. [default: 0.008; 0.03 for distinct contexts]"""
    momentum: float = 0.0
    """Momentum of SGD."""
    weight_decay: float = 0.1
    """Decay of the weight matrices (never of biases, norms or embeddings)."""
    schedule: Literal["constant", "step", "cosine"] = "cosine"
    """How the learning rate moves after the warm-up."""
    warmup: int = 0
    """Steps over which the learning rate rises linearly from 0."""
    drop_at: float = 0.5
    """Share of the steps after which schedule `step` drops the learning rate."""
    drop_factor: float = 0.1
    """Factor of that drop."""
    clip: float | None = None
    """Largest norm of the whole gradient; larger ones are scaled down."""
    seed: int = 0
    """Seed of the initial weights, the batch order and dropout."""
    evaluate_every: int | None = None
    """Steps between evaluations on dev; the best weights are kept. [default: 20 evaluations]"""
    checkpoint_every: int = 1_000
    """Steps between checkpoints that `--resume` can go on from."""
    patience: int | None = None
    """Stop after this many evaluations without a better dev loss."""
    recalibrate: bool = True
    """Measure batch norm's statistics on the training data before each evaluation."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; `auto` takes a GPU where there is one."""
    threads: int = 1
    """CPU threads; for small batches one is fastest. Results are bit-identical for the same number only."""
    engine: Engine = "auto"
    """The training loop: `torch`, step by step, `compiled` (MLPs on the CPU, many times faster), or the fastest."""
    batches: BatchKind = "auto"
    """`rows`, each once per epoch; `distinct` contexts, each with all its targets; `auto`: see docs/speed.md."""
    precision: Precision = "float32"
    """Numbers in the products of training steps: `bf16`, or on a GPU `tf32`. The weights are float32 with each."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "evaluate_every", "checkpoint_every", "threads"):
            if getattr(self, name) is not None:
                _at_least(name, getattr(self, name), 1)
        for name in ("weight_decay", "warmup"):
            _at_least(name, getattr(self, name), 0)
        _seed(self.seed)
        if self.learning_rate is not None:
            _require(self.learning_rate > 0, f"--learning-rate {self.learning_rate} is not above 0", "Try 0.005.")
        _require(0 <= self.momentum < 1, f"--momentum {self.momentum} is not in [0, 1)", "Try 0.9.")
        _require(0 < self.drop_at <= 1, f"--drop-at {self.drop_at} is not in (0, 1]", "Try 0.5.")
        _require(0 < self.drop_factor <= 1, f"--drop-factor {self.drop_factor} is not in (0, 1]", "Try 0.1.")
        _one_of("optimizer", self.optimizer, Literal["sgd", "adam", "adamw"])
        _one_of("schedule", self.schedule, Literal["constant", "step", "cosine"])
        _one_of("device", self.device, Literal["auto", "cpu", "cuda"])
        _one_of("engine", self.engine, Engine)
        _one_of("batches", self.batches, BatchKind)
        _one_of("precision", self.precision, Precision)
        _require(
            self.precision == "float32" or self.engine != "compiled",
            f"--engine compiled does not train in {self.precision}",
            "Use --engine auto or torch.",
        )
        if self.optimizer != "sgd":
            _require(self.momentum == 0, f"--momentum does not apply to {self.optimizer}", "Use --optimizer sgd.")
        if self.clip is not None:
            _require(self.clip > 0, f"--clip {self.clip} is not above 0", "Try 1.0.")
        if self.patience is not None:
            _at_least("patience", self.patience, 1)
        if self.schedule != "constant" and self.steps is not None:
            _require(
                self.warmup < self.steps,
                f"--warmup {self.warmup} leaves none of the {self.steps} steps",
                "Shorten the warm-up.",
            )

    @property
    def may_be_distinct(self) -> bool:
        """Whether `auto` is free to choose batches of distinct contexts."""
        return self.batches == "auto" and self.batch_size is None and self.learning_rate is None

    def resolved(self, rows: int, distinct: int | None = None) -> TrainingConfig:
        """The same configuration with everything filled in, for ``rows`` training rows.

        ``distinct``: how many distinct contexts they have, where a batch may hold those. Left out, ``auto`` is rows.
        """
        batches = self.batches
        if batches == "auto":
            repeated = distinct is not None and rows >= REPEATS * distinct
            batches = "distinct" if repeated and self.may_be_distinct else "rows"
        over_contexts = batches == "distinct" and distinct is not None
        batch_size = self.batch_size or (512 if over_contexts else 256)
        visits = 80 * distinct if over_contexts and distinct is not None else 20 * rows
        steps = self.steps or min(10_000, max(200, visits // batch_size))
        return dataclasses.replace(
            self,
            batches=batches,
            batch_size=batch_size,
            learning_rate=self.learning_rate or (0.03 if over_contexts else 0.008),
            steps=steps,
            evaluate_every=self.evaluate_every or max(1, steps // 20),
        )


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """How the next character is drawn: temperature, then top-k, then top-p, then min-p (see `charloom.sampling`)."""

    temperature: float = 1.0
    """Below 1 safer, above 1 wilder; 0 always takes the most probable character."""
    top_k: int | None = None
    """Keep the k most probable characters."""
    top_p: float | None = None
    """Keep the fewest characters whose probabilities sum to at least p."""
    min_p: float | None = None
    """Keep characters at least this share as probable as the most probable one."""
    max_length: int | None = None
    """Longest item, in characters, the prefix included. [default: 100; 500 for contiguous text]"""
    prefix: str = ""
    """Text that every item starts with."""
    seed: int = 0
    """Seed of the random numbers."""

    def __post_init__(self) -> None:
        _require(
            math.isfinite(self.temperature) and self.temperature >= 0,
            f"--temperature {self.temperature} is not a finite number of at least 0",
            "Use 0 for the most probable character, or a value such as 0.8.",
        )
        if self.top_k is not None:
            _at_least("top_k", self.top_k, 1)
        if self.top_p is not None:
            _require(0 < self.top_p <= 1, f"--top-p {self.top_p} is not in (0, 1]", "Try 0.9.")
        if self.min_p is not None:
            _require(0 <= self.min_p <= 1, f"--min-p {self.min_p} is not in [0, 1]", "Try 0.05.")
        if self.max_length is not None:
            _at_least("max_length", self.max_length, 1)
        _seed(self.seed)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _require(holds: bool, fact: str, remedy: str) -> None:
    if not holds:
        raise ConfigError(fact, remedy=remedy)


def _at_least(name: str, value: float, least: float) -> None:
    _require(
        math.isfinite(value) and value >= least,
        f"{_flag(name)} {value} is below {least}",
        f"Give a value of at least {least}.",
    )


def _seed(value: int) -> None:
    _require(0 <= value < 1 << 64, f"--seed {value} is not in [0, 2^64)", "Try 0.")


def _one_of(name: str, value: object, choices: Any) -> None:
    allowed = choices.__args__
    _require(value in allowed, f"{_flag(name)} {value!r} is not one of its choices", f"Choices: {', '.join(allowed)}.")
