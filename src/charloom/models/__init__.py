"""The language models, one file a family, all behind one small protocol.

They know tensors only: text, files and configuration stay outside. Counted models need NumPy alone; torch is imported
when a neural model is built.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float, Int

    from charloom.models.neural import NeuralModel


class LanguageModel(Protocol):
    """What evaluation and sampling ask of a model, whichever it is.

    A model that predicts every position of a sequence at once fits by answering for the last one.
    """

    @property
    def vocabulary_size(self) -> int:
        """V: the characters and the marker."""

    @property
    def context_length(self) -> int:
        """How many characters the model looks back at; 0 for none."""

    def parameter_count(self) -> int:
        """Trainable parameters, or stored counts."""

    def next_logits(self, contexts: Int[np.ndarray, "batch context"]) -> Float[np.ndarray, "batch vocab"]:
        """Logits of the next character (natural log, up to a constant per row; -inf is allowed).

        Contexts hold ids, oldest first, padded on the left with the marker, id 0.
        """


class CountedModel(LanguageModel, Protocol):
    """What the counted models share besides: counting in one pass, and storage as arrays."""

    @classmethod
    def fit(
        cls,
        contexts: Int[np.ndarray, "rows context"],
        targets: Int[np.ndarray, " rows"],
        vocabulary_size: int,
        **options: Any,
    ) -> CountedModel:
        """Count the rows."""

    def arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        """The counts, for storage."""

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray[Any, Any]], vocabulary_size: int, **options: Any) -> CountedModel:
        """The model that `arrays` came from. Raises `CheckpointError` when they do not make one."""


def counted_family(family: str) -> type[CountedModel]:
    """The class of a counted family: unigram, bigram or ngram."""
    from charloom.models.counts import Bigram, Unigram
    from charloom.models.kneser_ney import KneserNey

    families: dict[str, Any] = {"unigram": Unigram, "bigram": Bigram, "ngram": KneserNey}
    chosen: type[CountedModel] = families[family]
    return chosen


def plain_model(
    family: str, arrays: Mapping[str, np.ndarray[Any, Any]], *, vocabulary_size: int, **options: Any
) -> LanguageModel:
    """The neural model that ``arrays`` were stored from, without torch.

    Raises `CheckpointError` when they do not make one of that family with those options.
    """
    from charloom.models.plain import PlainBigram, PlainMLP

    made: Any = PlainBigram if family == "bigram-net" else PlainMLP
    model: LanguageModel = made(arrays, vocabulary_size=vocabulary_size, **options)
    return model


def build_neural(family: str, *, vocabulary_size: int, seed: int, **options: Any) -> NeuralModel:
    """A neural model with fresh weights that depend on ``seed`` alone: bigram-net, mlp or deep-mlp.

    torch's global random stream is left as it was.
    """
    import torch

    from charloom.models.bigram import BigramNetwork
    from charloom.models.mlp import MLP

    families: dict[str, Any] = {"bigram-net": BigramNetwork, "mlp": MLP, "deep-mlp": MLP}
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):  # Layers fill themselves from the global stream before we do.
        model: NeuralModel = families[family](vocabulary_size=vocabulary_size, generator=generator, **options)
    return model
