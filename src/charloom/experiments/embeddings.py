"""What a network's embedding has learnt: which characters lie near one another, and whether vowels stand apart."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from charloom import models
from charloom.config import ModelConfig, TrainingConfig
from charloom.contexts import Contexts
from charloom.dataset import Dataset
from charloom.errors import ConfigError
from charloom.experiments.study import Names, Section, Study, Table
from charloom.experiments.trials import Trial, Trials
from charloom.loss import log_softmax
from charloom.models.neural import NeuralModel
from charloom.vocabulary import MARKER, Vocabulary

VOWELS = frozenset("aeiouаеёиоуыэюяαεηιουω")
NEIGHBOURS = 3
LEAST_COUNT = 30
"""A character that is seen less often has hardly moved from where it began."""


@dataclass(frozen=True)
class Conditions:
    embedding: int = 10
    context_length: int = 3
    hidden: int = 200
    steps: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Characters:
    """Those that are common enough, with what is known of each."""

    ids: NDArray[np.int64]
    names: tuple[str, ...]
    vowel: NDArray[np.bool_]
    counts: NDArray[np.int64]


def study_embeddings(dataset: Dataset, trials: Trials, conditions: Conditions | None = None) -> Study:
    """Train an MLP, and look at its table of embeddings.

    Raises `ConfigError` where fewer than four characters are common enough to be compared.
    """
    conditions = conditions or Conditions()
    model = ModelConfig(
        model="mlp",
        embedding=conditions.embedding,
        context_length=conditions.context_length,
        hidden=conditions.hidden,
    )
    (tried,) = trials.fit([Trial("mlp", model, TrainingConfig(seed=conditions.seed, steps=conditions.steps))])
    network = tried.run.text_model().model
    assert isinstance(network, NeuralModel)
    table = network.state_dict()["embedding.weight"].numpy().astype(np.float64)
    return _study(dataset, conditions, table, tried.result["dev"]["loss"]["nats"])


def common_characters(dataset: Dataset) -> Characters:
    """Of the training part; the marker is none of them."""
    _, targets = Contexts(dataset.encoded("train"), 1).all_rows()
    counts = np.bincount(targets, minlength=len(dataset.vocabulary))
    ids = np.array([one for one in range(len(counts)) if one != MARKER and counts[one] >= LEAST_COUNT], np.int64)
    if len(ids) < 4:
        raise ConfigError(
            f"{len(ids)} characters stand in the training part {LEAST_COUNT} times or more: too few to compare",
            remedy="Give more text.",
        )
    names = tuple(_shown(dataset.vocabulary, one) for one in ids)
    return Characters(ids, names, np.array([_is_vowel(name) for name in names]), counts[ids])


def cosines(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, N): the cosine of every pair of rows, after their mean is taken off."""
    centred = rows - rows.mean(0)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    product: NDArray[np.float64] = centred @ centred.T
    return product


def principal_plane(rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(N, 2) coordinates on the two axes of greatest variance, and each axis's share of it."""
    centred = rows - rows.mean(0)
    left, scale, _ = np.linalg.svd(centred, full_matrices=False)
    shares = scale**2 / (scale**2).sum()
    return left[:, :2] * scale[:2], shares[:2]


def separation(similar: NDArray[np.float64], vowel: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Mean cosine between two vowels, two consonants, and one of each."""
    apart = ~np.eye(len(vowel), dtype=bool)
    both = np.outer(vowel, vowel) & apart
    neither = np.outer(~vowel, ~vowel) & apart
    mixed = np.outer(vowel, ~vowel)
    return float(similar[both].mean()), float(similar[neither].mean()), float(similar[mixed].mean())


def _study(dataset: Dataset, conditions: Conditions, table: NDArray[np.float64], dev: float) -> Study:
    characters = common_characters(dataset)
    learnt = table[characters.ids]
    followers = _followers(dataset)[characters.ids]
    views = {"embedding": learnt, "what follows (bigram)": followers}
    similar = {name: cosines(rows) for name, rows in views.items()}
    upper = np.triu_indices(len(characters.ids), 1)
    agreement = float(np.corrcoef(similar["embedding"][upper], similar["what follows (bigram)"][upper])[0, 1])
    there_are_both = 1 < characters.vowel.sum() < len(characters.vowel) - 1
    said = (
        f"{dataset.corpus.name}, {dataset.config.protocol} protocol; MLP, context {conditions.context_length},"
        f" embedding {conditions.embedding}, {conditions.hidden} hidden units, seed {conditions.seed}; dev {dev:.4f}"
        f" nats per character. Characters that stand in the training part {LEAST_COUNT} times or more."
    )
    sections = [
        Section(
            "The plane of the embedding",
            "Characters that may stand for one another come to lie together; the cosines below count all dimensions.",
            [
                _names(characters, learnt, "Embedding"),
                _names(characters, followers, "What follows, by a table of pairs"),
            ],
        ),
        Section(
            "Neighbours",
            f"The {NEIGHBOURS} characters of the largest cosine, in the embedding and by what follows in the data.",
            [_neighbours(characters, similar)],
        ),
        Section(
            "One-hot, bigram, embedding",
            "One-hot vectors are all equally far apart: what is alike has to be learnt.",
            [
                *(
                    [_separation_table(characters, similar)]
                    if there_are_both
                    else ["There are no vowels to compare here."]
                ),
                f"Over all pairs, cosines in the embedding and by what follows correlate with {agreement:.2f}.",
            ],
        ),
    ]
    results = {
        "dev": dev,
        "characters": list(characters.names),
        "vowels": characters.vowel.tolist(),
        "embedding": learnt.tolist(),
        "plane": principal_plane(learnt)[0].tolist(),
        "neighbours": {name: _nearest(rows, characters) for name, rows in similar.items()},
        "separation": {name: separation(rows, characters.vowel) for name, rows in similar.items()}
        if there_are_both
        else None,
        "agreement": agreement,
    }
    return Study("embeddings", "What the embedding has learnt", said, results, sections)


def _followers(dataset: Dataset) -> NDArray[np.float64]:
    """(V, V): the square roots of the bigram's probabilities, so that a row's products are overlaps (Hellinger)."""
    contexts, targets = Contexts(dataset.encoded("train"), 1).all_rows()
    size = len(dataset.vocabulary)
    bigram = models.counted_family("bigram").fit(contexts, targets, size, smoothing=1.0)
    logits = bigram.next_logits(np.arange(size, dtype=np.int64)[:, None])
    rows: NDArray[np.float64] = np.exp(log_softmax(logits) / 2)
    return rows


def _names(characters: Characters, rows: NDArray[np.float64], title: str) -> Names:
    plane, shares = principal_plane(rows)
    points = [
        (name, float(x), float(y), int(vowel))
        for name, (x, y), vowel in zip(characters.names, plane, characters.vowel, strict=True)
    ]
    said = f"Its two axes of greatest variance, which hold {shares[0]:.0%} and {shares[1]:.0%} of it."
    groups = ("consonants", "vowels") if characters.vowel.any() else ()
    return Names(title, said, "first axis", "second axis", points, groups)


def _nearest(similar: NDArray[np.float64], characters: Characters) -> dict[str, list[str]]:
    others = similar - 3 * np.eye(len(similar))
    order = np.argsort(-others, axis=1)[:, :NEIGHBOURS]
    return {
        name: [characters.names[place] for place in places]
        for name, places in zip(characters.names, order, strict=True)
    }


def _neighbours(characters: Characters, similar: dict[str, NDArray[np.float64]]) -> Table:
    nearest = {name: _nearest(rows, characters) for name, rows in similar.items()}
    rows = [
        [name, f"{count:,}", *("  ".join(each[name]) for each in nearest.values())]
        for name, count in zip(characters.names, characters.counts, strict=True)
    ]
    return Table("Nearest", {"character": "left", "count": "right", **dict.fromkeys(nearest, "left")}, rows)


def _separation_table(characters: Characters, similar: dict[str, NDArray[np.float64]]) -> Table:
    one_hot = cosines(np.eye(len(characters.ids)))
    rows = [
        [name, *(f"{value:+.2f}" for value in separation(each, characters.vowel))]
        for name, each in {"one-hot": one_hot, **similar}.items()
    ]
    columns: Sequence[str] = ("two vowels", "two consonants", "one of each")
    return Table(
        "Mean cosine between characters",
        {"": "left", **dict.fromkeys(columns, "right")},
        rows,
        "After the mean of all characters is taken off.",
    )


def _shown(vocabulary: Vocabulary, one: int) -> str:
    character = vocabulary.decode(np.array([one]))
    return {" ": "␣", "\n": "↵"}.get(character, character)


def _is_vowel(character: str) -> bool:
    base = unicodedata.normalize("NFD", character)[:1]
    return base.casefold() in VOWELS
