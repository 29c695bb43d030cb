"""How fast items are drawn, and whether they have the distribution that the model says."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from scipy.stats import chisquare

from charloom.config import DataConfig, ModelConfig, SamplingConfig, TrainingConfig
from charloom.dataset import Dataset
from charloom.fitting import fit
from charloom.loss import log_softmax
from charloom.models import plain_model
from charloom.text_model import TextModel
from charloom.vocabulary import MARKER
from speedbench.timing import timed

N = 10_000_000
TUTORIAL_NAMES = 500
TESTED = 1_000_000
COMMONEST = 1_000
POSITIONS = 8


def tutorial_names(model: Any, n: int) -> None:
    """The loop of a course: one character at a time, a tensor for each, `torch.multinomial` to draw."""
    letters = "." + "".join(map(chr, range(97, 123)))
    for _ in range(n):
        context, out = [0] * model.context_length, []
        while True:
            logits = model(torch.tensor([context]))
            ix = int(torch.multinomial(torch.softmax(logits, dim=1), num_samples=1).item())
            context = [*context[1:], ix]
            if ix == 0:
                break
            out.append(letters[ix])
        "".join(out)


def measure_sampling(data: str, rounds: int = 3) -> dict[str, Any]:
    """Names a second on one thread of three models, beside the tutorial's loop; and p-values of what was drawn.

    The models: a counted one of order 4, an MLP of context 3 (a table of 27³ rows), and the default MLP of context 6,
    for which no table has room; the MLPs are trained for 1,000 steps.
    """
    dataset = Dataset.load(DataConfig(data=data, protocol="classic"))
    quick = TrainingConfig(steps=1000, device="cpu")
    models = {
        "counted, order 4": (fit(dataset, ModelConfig(model="ngram:4")), N),
        "network, context 3": (
            fit(dataset, ModelConfig(model="mlp", context_length=3, embedding=10, hidden=200), quick),
            N,
        ),
        "network, context 6": (fit(dataset, ModelConfig(model="mlp"), quick), N // 10),
    }
    network: Any = models["network, context 3"][0].model
    models = {name: (_as_sample_reads_it(model), n) for name, (model, n) in models.items()}
    rates: dict[str, list[float]] = {name: [] for name in ("tutorial", *models)}
    with torch.no_grad():
        tutorial_names(network, 20)
        for _ in range(rounds):
            rates["tutorial"].append(TUTORIAL_NAMES / timed(lambda: tutorial_names(network, TUTORIAL_NAMES)))
            for name, (model, n) in models.items():
                rates[name].append(n / timed(lambda model=model, n=n: _draw(model, n)))
    return {
        "names_per_second": {name: statistics.median(every) for name, every in rates.items()},
        "p_values": p_values(models["network, context 3"][0]),
        "end_to_end": end_to_end(data),
    }


def p_values(model: TextModel, n: int = TESTED) -> dict[str, float]:
    """Chi-square tests of ``n`` items against the model's exact distribution.

    For each of the first positions: which character stands there, or whether the item has ended before. And for whole
    items: how often each of the commonest was drawn.
    """
    found = b"".join(model.sample_lines(n, SamplingConfig(seed=1), threads=1)).decode().split("\n")[:-1]
    size, vocabulary = len(model.vocabulary), model.vocabulary
    ended = size
    tests = {}
    # The chance of every context, position by position: those that have ended drop out of it.
    contexts = {(MARKER,) * model.model.context_length: 1.0}
    for position in range(POSITIONS):
        keys = list(contexts)
        shares = np.exp(log_softmax(model.model.next_logits(np.array(keys)).astype(np.float64)))
        weighted = shares * np.array([contexts[key] for key in keys])[:, None]
        expected = np.append(weighted.sum(axis=0), 1 - weighted.sum())
        counts = np.zeros(size + 1)
        for text, many in Counter(name[position : position + 1] for name in found if len(name) > position).items():
            counts[vocabulary.encode(text)[0]] += many
        counts[MARKER] = sum(len(name) == position for name in found)
        counts[ended] = n - counts.sum()
        tests[f"position {position + 1}"] = _fit(counts, expected * n)
        following: dict[tuple[int, ...], float] = {}
        for key, row in zip(keys, weighted, strict=True):
            for id_, share in enumerate(row):
                if id_ != MARKER:
                    after = (*key[1:], id_)
                    following[after] = following.get(after, 0.0) + float(share)
        contexts = following
    best = model.best(COMMONEST)
    drawn = Counter(found)
    exact = np.array([np.exp(one.log_probability) for one in best])
    hits = np.array([drawn[one.text] for one in best], dtype=float)
    tests[f"the {COMMONEST:,} commonest items"] = _fit(
        np.append(hits, n - hits.sum()), n * np.append(exact, 1 - exact.sum())
    )
    return tests


def end_to_end(data: str, n: int = 1_000_000) -> dict[str, float]:
    """Seconds of `charloom sample RUN --n ... >/dev/null`, all threads, the program's start included; best of three."""
    python = [sys.executable, "-m", "charloom"]
    with tempfile.TemporaryDirectory() as folder:
        model = ["--model", "mlp", "--context-length", "3", "--embedding", "10", "--hidden", "200"]
        command = [*python, "train", "run", "--data", data, "--protocol", "classic", *model]
        subprocess.run(command, cwd=folder, capture_output=True, check=True)
        return {
            f"{many:,} items": min(
                timed(
                    lambda many=many: subprocess.run(
                        [*python, "sample", "run", "--n", str(many)], cwd=folder, stdout=subprocess.DEVNULL, check=True
                    )
                )
                for _ in range(3)
            )
            for many in (20, n, 10 * n)
        }


def sampling_lines(report: dict[str, Any]) -> list[str]:
    """The report as text."""
    rates = report["names_per_second"]
    made = ["names a second, one thread"]
    made += [f"  {name:34}{rate:14,.0f}{rate / rates['tutorial']:10,.0f}x" for name, rate in rates.items()]
    made += [f"charloom sample RUN --n {name}: {took:.2f} s" for name, took in report["end_to_end"].items()]
    made.append(f"p-values of {TESTED:,} items against the model's distribution:")
    made += [f"  {name:34}{p:14.3f}" for name, p in report["p_values"].items()]
    return made


def _as_sample_reads_it(model: TextModel) -> TextModel:
    """Without torch."""
    if model.config.counted:
        return model
    network: Any = model.model
    arrays = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    size = len(model.vocabulary)
    plain = plain_model(model.config.family, arrays, vocabulary_size=size, **model.config.options())
    return replace(model, model=plain)


def _draw(model: TextModel, n: int) -> None:
    for _ in model.sample_lines(n, SamplingConfig(), threads=1):
        pass


def _fit(counts: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> float:
    """P-value; what is expected less than ten times is one cell."""
    rare = expected < 10
    counts = np.append(counts[~rare], counts[rare].sum())
    expected = np.append(expected[~rare], expected[rare].sum())
    kept = expected > 0
    assert not counts[~kept].any()
    return float(chisquare(counts[kept], expected[kept] * counts.sum() / expected.sum()).pvalue)
