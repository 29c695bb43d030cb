"""A record up to one of its observed steps, as rules look at it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from telltales.observation import Evaluation
from telltales.record import Record
from telltales.thresholds import NEAR_ZERO_OUTPUT, NEARLY_EVEN

_SUPERVISED: tuple[str, ...] = (
    "cross_entropy",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "mse",
    "l1",
    "smooth_l1",
)
_SUPERVISED += ("huber", "nll")
Answer = TypeVar("Answer")


class Run:
    """What was known when ``rows`` observed steps were there. Arrays are (rows,) or (rows, names)."""

    def __init__(self, record: Record, rows: int | None = None) -> None:
        self.record = record
        self.rows = len(record) if rows is None else rows
        self._known_places: dict[str, dict[str, int]] = {}
        self._asked: dict[Callable[[Run], Any], Any] = {}

    def ask(self, question: Callable[[Run], Answer]) -> Answer:
        """What a function says of this run, computed once, however many rules want to know."""
        if question not in self._asked:
            self._asked[question] = question(self)
        found: Answer = self._asked[question]
        return found

    @property
    def is_whole(self) -> bool:
        """Whether this is all that there is: the losses after the last observed step count, too."""
        return self.rows == len(self.record)

    @cached_property
    def steps(self) -> NDArray[np.int64]:
        return self.record.steps[: self.rows]

    @property
    def step(self) -> int:
        """The last observed step; -1 before the first."""
        return int(self.steps[-1]) if self.rows else -1

    @property
    def about(self) -> dict[str, Any]:
        return self.record.about

    @property
    def loss_facts(self) -> dict[str, Any]:
        """What the graph says of the loss; see `telltales.loss_graph.loss_facts`."""
        found: dict[str, Any] = self.record.about.get("loss") or {}
        return found

    @cached_property
    def modules(self) -> dict[str, dict[str, Any]]:
        return _well_formed(self.record.modules)

    @cached_property
    def parameters(self) -> dict[str, dict[str, Any]]:
        return _well_formed(self.record.parameters)

    def scalar(self, name: str) -> NDArray[np.float64]:
        return self.record.scalar(name)[: self.rows]

    def names(self, kind: str) -> list[str]:
        return self.record.names(kind)

    def values(self, kind: str, column: str, names: Sequence[str] | None = None) -> NDArray[np.float64]:
        """(rows, names) of a table; NaN for a name that has no row in it."""
        values = self.record.values(kind, column)[: self.rows]
        if names is None:
            return values.astype(np.float64)
        known = self._places(kind)
        places = np.array([known.get(name, -1) for name in names], np.intp)
        if not values.shape[1]:
            return np.full((self.rows, len(names)), np.nan)
        return np.where(places < 0, np.nan, values[:, places].astype(np.float64))

    def _places(self, kind: str) -> dict[str, int]:
        if kind not in self._known_places:
            self._known_places[kind] = {name: place for place, name in enumerate(self.names(kind))}
        return self._known_places[kind]

    @cached_property
    def losses(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The loss of every step so far, or of every span of steps: the first step of each, and its mean."""
        series = self.record.losses
        return series.steps[self._known_spans], series.mean[self._known_spans]

    @cached_property
    def highest_losses(self) -> NDArray[np.float64]:
        """The highest of each span's."""
        return self.record.losses.highest[self._known_spans]

    @cached_property
    def recent_losses(self) -> NDArray[np.float64]:
        """The last losses, of one step each; none where those of spans are all that is known of the time until now."""
        if self.is_whole:
            return self.record.losses.recent
        return self.losses[1] if self.record.losses.span == 1 else np.zeros(0)

    @property
    def _known_spans(self) -> NDArray[np.bool_] | slice:
        series = self.record.losses
        return slice(None) if self.is_whole else series.steps + series.span - 1 <= self.step

    @cached_property
    def evaluations(self) -> dict[str, list[Evaluation]]:
        """Split → its evaluations so far."""
        every = self.record.evaluations
        kept = {split: [e for e in every.of(split) if self.is_whole or e.step <= self.step] for split in every.splits}
        return {split: found for split, found in kept.items() if found}

    @cached_property
    def matrices(self) -> list[str]:
        """The trained parameters of two or more dimensions, embeddings left out, in the order of the model."""
        return [
            name for name in self._trained if len(self.parameters[name]["shape"]) >= 2 and not self.is_embedding(name)
        ]

    @cached_property
    def _trained(self) -> list[str]:
        return [name for name, facts in self.parameters.items() if facts.get("trainable")]

    def is_embedding(self, name: str) -> bool:
        """Whether a parameter is an embedding's table, most rows of which have no gradient in a step."""
        return "Embedding" in str(self.modules.get(self.parameters[name]["module"], {}).get("type", ""))

    @cached_property
    def output(self) -> str:
        """The last module to run that is a linear or convolutional layer: the one that gives the scores."""
        kinds = ("Linear", "Conv")
        return next((n for n, m in reversed(self.modules.items()) if str(m.get("type")).startswith(kinds)), "")

    @cached_property
    def grown_matrices(self) -> list[str]:
        """The matrices but an output layer's that begins near zero, on purpose, and has to grow to be of use."""
        weight = f"{self.output}.weight"
        if weight not in self.matrices or not self.rows:
            return self.matrices
        fan_in = math.prod(self.parameters[weight]["shape"][1:])
        begins_small = float(self.values("weight", "std", [weight])[0, 0]) < NEAR_ZERO_OUTPUT / math.sqrt(fan_in)
        return [name for name in self.matrices if name != weight] if begins_small else self.matrices

    @cached_property
    def whole_norm(self) -> NDArray[np.float64]:
        """(rows,), the norm of all grown matrices together."""
        return np.asarray(np.sqrt(np.nansum(self.values("weight", "norm", self.grown_matrices) ** 2, axis=1)))

    @property
    def is_supervised(self) -> bool:
        """Whether the loss is a known distance to given targets that one optimizer makes smaller.

        A game's or a policy's loss need not fall.
        """
        facts = self.loss_facts
        return self.is_alone and facts.get("kind") in _SUPERVISED and not facts.get("weighted")

    @property
    def is_alone(self) -> bool:
        """Whether there is one model, and one optimizer."""
        return self.about.get("models", 1) == 1 and "," not in str(self.about.get("optimizer", ""))

    @cached_property
    def is_comparable(self) -> bool:
        """Whether training losses are of the size of those at evaluation: not multiplied or divided.

        By what a loss is divided its graph does not say; a division by one leaves it near that of a model which says
        nothing, at first, and near the first loss at evaluation.
        """
        facts = self.loss_facts
        if facts.get("factor", 1.0) != 1.0 or facts.get("is_one", True):
            return bool(facts.get("factor", 1.0) == 1.0)
        steps, losses = self.losses
        if losses.size and float(losses[0]) > NEARLY_EVEN * self.silent_loss:
            return True
        first = min((e for every in self.evaluations.values() for e in every), key=lambda e: e.step, default=None)
        before = losses[steps < first.step][-10:] if first is not None else losses[:0]
        return first is not None and before.size > 0 and float(before.mean()) > NEARLY_EVEN * first.loss > 0

    @property
    def silent_loss(self) -> float:
        """What a model's loss is that says nothing: of an even guess or, for a mean squared error, of zeros."""
        if self.loss_facts.get("kind") != "mse" or self.loss_facts.get("reduction") != "mean" or not self.rows:
            return self.even_loss
        return float(self.scalar("target_mean")[0] ** 2 + self.scalar("target_std")[0] ** 2)

    @cached_property
    def even_loss(self) -> float:
        """What a classifier's loss is where all classes are equally likely; NaN for no classifier."""
        kind, classes = str(self.loss_facts.get("kind")), int(self.loss_facts.get("classes") or 0)
        if kind == "cross_entropy" and classes > 1:
            return math.log(classes)
        return math.log(2) if "binary" in kind else math.nan

    @property
    def is_adapted(self) -> bool:
        """Whether most values are frozen: a model that was trained before and is adapted, and need not begin evenly."""
        every = [(int(facts.get("numel") or 0), bool(facts.get("trainable"))) for facts in self.parameters.values()]
        return sum(n for n, trained in every if trained) * 2 < sum(n for n, _ in every)

    @property
    def has_norms(self) -> bool:
        """Whether any layer normalises its input."""
        return any("Norm" in str(facts.get("type")) for facts in self.modules.values())

    def since(self, holds: NDArray[np.bool_]) -> int:
        """The step from which on a condition, (rows,), has held until now."""
        broken = np.flatnonzero(~holds)
        first = int(broken[-1]) + 1 if broken.size else 0
        return int(self.steps[min(first, self.rows - 1)])

    def learning_rate(self) -> NDArray[np.float64]:
        """(rows,), the largest of all groups."""
        rates = self.values("group", "learning_rate")
        return np.asarray(np.fmax.reduce(rates, axis=1, initial=np.nan))


def _well_formed(described: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """With shapes that are lists of whole numbers, and modules that are names: a file may hold anything."""
    return {
        name: {**facts, "shape": _shape(facts.get("shape")), "module": str(facts.get("module", ""))}
        for name, facts in described.items()
    }


def _shape(value: Any) -> list[int]:
    is_shape = isinstance(value, list | tuple) and all(isinstance(size, int) for size in value)
    return list(value) if is_shape else []
