"""How a network is trained."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

from charloom.config.checks import at_least, one_of, require, seed_in_range

Engine = Literal["auto", "torch", "compiled"]
BatchKind = Literal["auto", "rows", "distinct"]
Precision = Literal["float32", "tf32", "bf16"]
REPEATS = 10
"""Rows for each distinct context from which on batches of distinct contexts are faster to the same loss."""


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
                at_least(name, getattr(self, name), 1)
        for name in ("weight_decay", "warmup"):
            at_least(name, getattr(self, name), 0)
        seed_in_range(self.seed)
        if self.learning_rate is not None:
            require(self.learning_rate > 0, f"--learning-rate {self.learning_rate} is not above 0", "Try 0.005.")
        require(0 <= self.momentum < 1, f"--momentum {self.momentum} is not in [0, 1)", "Try 0.9.")
        require(0 < self.drop_at <= 1, f"--drop-at {self.drop_at} is not in (0, 1]", "Try 0.5.")
        require(0 < self.drop_factor <= 1, f"--drop-factor {self.drop_factor} is not in (0, 1]", "Try 0.1.")
        one_of("optimizer", self.optimizer, Literal["sgd", "adam", "adamw"])
        one_of("schedule", self.schedule, Literal["constant", "step", "cosine"])
        one_of("device", self.device, Literal["auto", "cpu", "cuda"])
        one_of("engine", self.engine, Engine)
        one_of("batches", self.batches, BatchKind)
        one_of("precision", self.precision, Precision)
        require(
            self.precision == "float32" or self.engine != "compiled",
            f"--engine compiled does not train in {self.precision}",
            "Use --engine auto or torch.",
        )
        if self.optimizer != "sgd":
            require(self.momentum == 0, f"--momentum does not apply to {self.optimizer}", "Use --optimizer sgd.")
        if self.clip is not None:
            require(self.clip > 0, f"--clip {self.clip} is not above 0", "Try 1.0.")
        if self.patience is not None:
            at_least("patience", self.patience, 1)
        if self.schedule != "constant" and self.steps is not None:
            require(
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
