"""Which model, and its shape."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import Any, Literal

from charloom.config.checks import at_least, flag, one_of, require
from charloom.errors import ConfigError

Activation = Literal["tanh", "relu", "leaky-relu", "gelu", "silu", "sigmoid", "identity"]
Norm = Literal["none", "batch", "layer", "rms"]
Initialization = Literal["normal", "scaled", "xavier", "kaiming", "orthogonal", "default"]
HIGHEST_ORDER = 1000
"""Of n-grams, whose contexts are rows of so many ids."""


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
                takers = ", ".join(name for name, defaults in MODEL_DEFAULTS.items() if field.name in defaults)
                raise ConfigError(
                    f"{flag(field.name)} does not apply to {self.model}", remedy=f"It applies to: {takers}."
                )
        if order is not None:
            require(order >= 1, f"ngram:{order} has no order", "Write ngram:N with N at least 1, such as ngram:5.")
            require(order <= HIGHEST_ORDER, f"{self.model} is an order above {HIGHEST_ORDER}", "Try ngram:6.")
        for name, least in (("context_length", 1), ("embedding", 1), ("hidden", 1), ("layers", 1)):
            if getattr(self, name) is not None:
                at_least(name, getattr(self, name), least)
        for name in ("smoothing", "init_scale", "output_scale"):
            if getattr(self, name) is not None:
                at_least(name, getattr(self, name), 0)
        if self.activation is not None:
            one_of("activation", self.activation, Activation)
        if self.norm is not None:
            one_of("norm", self.norm, Norm)
        if self.init is not None:
            one_of("init", self.init, Initialization)
        if self.dropout is not None:
            require(0 <= self.dropout < 1, f"--dropout {self.dropout} is not in [0, 1)", "Try 0.1 or 0.2.")
        if self.norm_momentum is not None:
            require(0 < self.norm_momentum <= 1, f"--norm-momentum {self.norm_momentum} is not in (0, 1]", "Try 0.1.")
            norm = self.norm or applicable["norm"]
            require(norm == "batch", "--norm-momentum applies to batch norm only", "Add --norm batch.")

    def _parse(self) -> tuple[str, int | None]:
        matched = re.fullmatch(r"ngram:(\d{1,9})", self.model)
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
