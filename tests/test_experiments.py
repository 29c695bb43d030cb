"""The studies: what is compared is what was trained, what is there is not trained again, and the page shows it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import chdir
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import charloom
import small
import telltales
from charloom.cli import main
from charloom.config import ModelConfig, TrainingConfig
from charloom.contexts import Contexts
from charloom.errors import ConfigError, RunError, TrainingError
from charloom.experiments import Study, Trials, batchnorm, context, embeddings, initial, insides, sampling
from charloom.experiments.page import study_html, write_study
from charloom.experiments.study import (
    Card,
    Names,
    Plot,
    Section,
    Series,
    Table,
    banded,
    lowest,
    mean_and_spread,
    plain,
)
from charloom.experiments.trials import Trial, fit_silently
from charloom.fitting import fit, fit_run, start_training
from charloom.loss import cross_entropy
from charloom.observer import Observer
from charloom.runs import Run
from charloom.watching import record_path
from telltales.report import figures

INIT = initial.Conditions(hidden=(24,), seeds=(0, 1), steps=60, reach=3.2)
QUICK = TrainingConfig(steps=20, batch_size=16, evaluate_every=5, checkpoint_every=5)
MLP = ModelConfig(**small.SMALL_MLP)


class Counting:
    """Fits, and counts how often and how."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, bool, str]] = []

    def __call__(self, run: Any, dataset: Any, resume: bool, watch: str | None, place: str) -> None:
        self.calls.append((run.name, resume, place))
        fit_silently(run, dataset, resume, watch, place)


@pytest.fixture(scope="module")
def init(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Path]:
    folder = tmp_path_factory.mktemp("init")
    return initial.study_initialization(small.dataset(), Trials(folder, small.dataset()), INIT), folder


def outcome(study: Study, variant: str) -> dict[str, Any]:
    (found,) = (one for one in study.results["outcomes"] if one["variant"] == variant)
    return found


def test_what_is_finished_is_not_trained_again(tmp_path: Path) -> None:
    trials = [Trial("one", MLP, QUICK), Trial("two", ModelConfig(model="bigram"))]
    counting = Counting()
    first = Trials(tmp_path, small.dataset(), counting).fit(trials)
    again = Trials(tmp_path, small.dataset(), counting).fit(trials)
    assert [place for _, _, place in counting.calls] == ["1 of 2", "2 of 2"]
    assert [one.result for one in first] == [one.result for one in again]
    assert [one.history for one in first] == [one.history for one in again]
    assert [len(one.history) for one in first] == [4, 0]


@pytest.mark.parametrize(
    "other",
    [
        Trial("one", replace(MLP, hidden=13), QUICK),
        Trial("one", MLP, replace(QUICK, seed=1)),
        Trial("one", MLP, QUICK, "standard"),
    ],
    ids=["model", "training", "watch"],
)
def test_other_settings_are_another_run(tmp_path: Path, other: Trial) -> None:
    trials = Trials(tmp_path, small.dataset())
    (one,), (two,) = trials.fit([Trial("one", MLP, QUICK)]), trials.fit([other])
    assert one.run.folder != two.run.folder


def test_other_data_and_protocols_are_another_run(tmp_path: Path) -> None:
    trial = Trial("one", MLP, QUICK)
    classic = replace(small.dataset().config, protocol="classic")
    datasets = [small.dataset(), small.dataset(300), replace(small.dataset(), config=classic)]
    folders = {Trials(tmp_path, dataset).fit([trial])[0].run.folder for dataset in datasets}
    assert len(folders) == 3


def test_a_trial_that_was_stopped_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    trial = Trial("one", MLP, QUICK)
    (whole,) = Trials(tmp_path / "whole", small.dataset()).fit([trial])

    class Stopped(Exception):
        pass

    def stop(run: Any, dataset: Any, resume: bool, watch: str | None, place: str) -> None:
        class Stop(Observer):
            def evaluated(self, training: Any, measurement: Any) -> None:
                if measurement.step == 10:
                    training.request_stop()

        assert fit_run(run, dataset, [Stop()]) is None
        raise Stopped

    with pytest.raises(Stopped):
        Trials(tmp_path / "parts", small.dataset(), stop).fit([trial])
    counting = Counting()
    (parts,) = Trials(tmp_path / "parts", small.dataset(), counting).fit([trial])
    assert [resume for _, resume, _ in counting.calls] == [True]
    assert parts.result["weights_sha256"] == whole.result["weights_sha256"]
    assert [(one.step, one.dev_loss) for one in parts.history] == [(one.step, one.dev_loss) for one in whole.history]


def test_a_folder_without_a_run_is_begun_anew(tmp_path: Path) -> None:
    trials = Trials(tmp_path, small.dataset())
    (one,) = trials.fit([Trial("one", MLP, QUICK)])
    for path in one.run.folder.iterdir():
        if path.name != "vocabulary.json":
            path.unlink()
    (again,) = trials.fit([Trial("one", MLP, QUICK)])
    assert again.result["weights_sha256"] == one.result["weights_sha256"]


def test_a_diverging_trial_ends_itself_only(tmp_path: Path) -> None:
    def diverge(run: Any, dataset: Any, resume: bool, watch: str | None, place: str) -> None:
        if run.training.seed == 0:
            raise TrainingError("the loss is nan", where="step 3")
        fit_silently(run, dataset, resume, watch, place)

    trials = [Trial("one", MLP, replace(QUICK, seed=seed)) for seed in (0, 1)]
    failed, other = Trials(tmp_path, small.dataset(), diverge).fit(trials)
    assert failed.failure == "step 3: the loss is nan"
    assert failed.dev is None
    assert other.dev == other.result["dev"]["loss"]["nats"]
    cell = batchnorm.Cell("with", 0.1, 16, (failed, other))
    assert cell.words(0.0) == f"{other.dev:.3f}; 1 of 2 diverged"


def test_reached_is_the_first_measurement_below(tmp_path: Path) -> None:
    (one,) = Trials(tmp_path, small.dataset()).fit([Trial("one", MLP, QUICK)])
    losses = [measured.dev_loss for measured in one.history]
    assert one.reached(losses[0]) == 5
    assert one.reached(min(losses)) == one.history[losses.index(min(losses))].step
    assert one.reached(0.0) is None


def test_wide_weights_begin_far_above_a_guess_and_are_called_sick(init: tuple[Study, Path]) -> None:
    study, _ = init
    uniform = math.log(len(small.dataset().vocabulary))
    for seed in outcome(study, "N(0, 1)")["seeds"]:
        assert seed["first_loss"] > 1.5 * uniform
        assert seed["findings"][0]["rule"] == "poor-init"
        assert all(layer.flat[0] > 0.5 for layer in [insides.Layer(**one) for one in seed["layers"]])
    for variant in ("Kaiming", "batch norm", "none (PyTorch's own)"):
        for seed in outcome(study, variant)["seeds"]:
            assert seed["first_loss"] == pytest.approx(uniform, abs=0.15)
            assert not [one for one in seed["findings"] if one["rule"] == "poor-init"]
    cards = study.sections[0].parts[0]
    assert [card.severity for card in cards][:2] == ["warning", "well"]
    assert "poor-init" in cards[0].heading


def test_the_variants_see_the_same_batches_and_differ_in_their_weights(init: tuple[Study, Path]) -> None:
    study, _ = init
    runs = [_opened(one["seeds"][0]["run"]) for one in study.results["outcomes"]]
    assert len({(run.training.seed, run.training.batch_size, run.data_sha256) for run in runs}) == 1
    assert len({tuple(sorted(run.model.options().items(), key=str)) for run in runs}) == 4


def _opened(folder: str) -> Any:
    return Run.open(folder)


def test_the_first_loss_is_that_of_the_untrained_net(init: tuple[Study, Path]) -> None:
    study, _ = init
    run = _opened(outcome(study, "Kaiming")["seeds"][1]["run"])
    training = start_training(small.dataset(), run.model, run.training)
    contexts, targets = training.first_batch()
    first = float(cross_entropy(training.model(contexts), targets).detach())
    assert outcome(study, "Kaiming")["seeds"][1]["first_loss"] == pytest.approx(first, rel=1e-6)


def test_the_loss_curve_keeps_the_mean_of_all_losses(init: tuple[Study, Path]) -> None:
    study, _ = init
    for one in study.results["outcomes"]:
        record = telltales.read_record(record_path(_opened(one["seeds"][0]["run"])))
        steps = [step for step, _ in one["seeds"][0]["loss_curve"]]
        sizes = np.diff([0, *steps])
        mean = sum(size * loss for size, (_, loss) in zip(sizes, one["seeds"][0]["loss_curve"], strict=True)) / 60
        assert steps[-1] == 60
        assert mean == pytest.approx(float(record.losses.mean.mean()), rel=1e-6)


def test_several_values_give_every_combination(tmp_path: Path) -> None:
    conditions = replace(INIT, activations=("tanh", "relu"), layers=(1, 2), hidden=(8,), seeds=(0,), steps=10)
    study = initial.study_initialization(small.dataset(), Trials(tmp_path, small.dataset()), conditions)
    pairs = [(one["condition"], one["variant"]) for one in study.results["outcomes"]]
    assert len(set(pairs)) == len(pairs) == 4 * 4
    assert [one.heading for one in study.sections if one.heading.startswith("Loss")] == [
        f"Loss: {activation}, {layers} × 8, learning rate 0.1" for activation in ("tanh", "relu") for layers in (1, 2)
    ]
    assert initial.Conditions(seeds=(0,)).reach is None
    assert study_html(study).count("<details") == 3 * 4


def test_nets_that_diverge_are_shown_as_such(tmp_path: Path) -> None:
    """At once, later, and for one seed of two: what is there is drawn."""
    conditions = replace(INIT, learning_rates=(1e30, 3.0), activations=("relu",), layers=(4,), steps=40)
    study = initial.study_initialization(small.dataset(), Trials(tmp_path, small.dataset()), conditions)
    seeds = [seed for one in study.results["outcomes"] for seed in one["seeds"]]
    assert {seed["failure"] is None for seed in seeds} == {True, False}
    page = study_html(study)
    assert "diverged" in page
    assert "Ended: step" in page
    json.dumps(plain(study.results), allow_nan=False)
    first = study.sections[0].parts[0]
    assert all(card.severity != "well" for card in first)


def test_a_first_loss_that_is_not_finite_is_said(tmp_path: Path) -> None:
    conditions = replace(INIT, activations=("relu",), layers=(80,), seeds=(0,), steps=10)
    study = initial.study_initialization(small.dataset(), Trials(tmp_path, small.dataset()), conditions)
    card = study.sections[0].parts[0][0]
    assert (card.heading, card.severity) == ("N(0, 1): the first loss is not finite", "error")
    assert "N(0, 1): the first loss is not finite" in study_html(study)


def test_curves_of_different_lengths_have_a_mean_where_they_are() -> None:
    series = banded("a", [[(1, 1.0), (2, 2.0)], [(1, 3.0)]], dashed=True)
    assert (series.x, series.y, series.low, series.high) == ([1, 2], [2.0, 2.0], [1.0, 2.0], [3.0, 2.0])
    assert series.dashed
    assert lowest([series, banded("b", [])]) == 2.0
    assert lowest([banded("b", [])]) is None


def test_what_is_not_finite_is_none_in_json() -> None:
    assert plain({"a": [1.0, math.inf, (math.nan, "x")]}) == {"a": [1.0, None, [None, "x"]]}


def test_batch_norm_is_compared_with_and_without(tmp_path: Path) -> None:
    conditions = batchnorm.Conditions((0.1, 1.0), (2, 32), layers=1, hidden=16, seeds=(0,), steps=40)
    study = batchnorm.study_batch_norm(small.dataset(), Trials(tmp_path, small.dataset()), conditions)
    cells = {(one["norm"], one["learning_rate"], one["batch_size"]) for one in study.results["cells"]}
    points = [(0.1, 32), (1.0, 32), (0.1, 2)]
    assert cells == {(norm, *point) for norm in ("none", "batch") for point in points}
    assert study.results["reach"] == pytest.approx(
        fit(small.dataset(), ModelConfig(model="bigram")).evaluate(small.dataset()).loss.nats
    )
    gaps = {one["batch_size"]: one for one in study.results["train_eval"]}
    run = _opened(next(one["seeds"][0]["run"] for one in study.results["cells"] if one["norm"] == "batch"))
    assert gaps[32]["running"] == pytest.approx(run.result()["train"]["nats"], rel=1e-6)
    assert abs(gaps[2]["of_batches"] - gaps[2]["running"]) > abs(gaps[32]["of_batches"] - gaps[32]["running"])
    assert "more than one row" in study.results["refused"]["charloom"]
    assert "more than 1 value per channel" in study.results["refused"]["torch.nn.BatchNorm1d"]


def test_the_loss_by_batches_uses_each_batchs_own_statistics() -> None:
    torch.manual_seed(0)
    loop = small.training({"model": "deep-mlp", "context_length": 2, "embedding": 3, "hidden": 8, "layers": 1})
    contexts = Contexts(small.dataset().encoded("train"), 2)
    before = batchnorm._loss_by_batches(loop.model, contexts, 32)
    with torch.no_grad():
        for name, buffer in loop.model.named_buffers():
            if "running" in name:
                buffer.add_(100.0)
    assert batchnorm._loss_by_batches(loop.model, contexts, 32) == before


def test_samples_are_measured_by_the_unchanged_model(tmp_path: Path) -> None:
    model = fit(small.dataset(), ModelConfig(model="ngram:3"))
    conditions = sampling.Conditions(temperatures=(0.5, 2.0), measured=(1.0,), top_k=3, samples=200)
    study = sampling.study_sampling(small.dataset(), model, conditions)
    measured = {(one["temperature"], one["top_k"]): one for one in study.results["measured"]}
    assert set(measured) == {(t, k) for t in (0.5, 1.0, 2.0) for k in (None, 3)}
    drawn = model.sample(200, temperature=2.0, top_k=3)
    scores = [model.score(one.text) for one in drawn]
    mean = math.fsum(one.nats for one in scores) / sum(len(one.characters) for one in scores)
    assert measured[2.0, 3]["probability"] == pytest.approx(math.exp(-mean), rel=1e-9)
    assert measured[0.5, None]["probability"] > measured[2.0, None]["probability"]
    assert measured[2.0, None]["novel"] > measured[2.0, 3]["novel"]
    shown = {(one["temperature"], one["top_k"]): one["texts"] for one in study.results["samples"]}
    assert shown[2.0, 3] == [one.text for one in model.sample(20, temperature=2.0, top_k=3)]
    known = set(small.dataset().part("train").items)
    starred = [cell for row in study.tables()[0].rows for cell in row if cell.endswith(" *")]
    assert starred
    assert {cell.removesuffix(" *") for cell in starred} <= known


def test_cosines_and_the_principal_plane() -> None:
    rows = np.random.default_rng(0).normal(size=(9, 5)) * [5, 3, 1, 1, 1] + 7
    similar = embeddings.cosines(rows)
    centred = rows - rows.mean(0)
    expected = [[a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in centred] for a in centred]
    np.testing.assert_allclose(similar, expected, atol=1e-12)
    plane, shares = embeddings.principal_plane(rows)
    values, vectors = np.linalg.eigh(np.cov(centred.T))
    np.testing.assert_allclose(np.abs(plane), np.abs(centred @ vectors[:, [-1, -2]]), atol=1e-9)
    np.testing.assert_allclose(shares, values[[-1, -2]] / values.sum(), atol=1e-12)


def test_separation_is_over_pairs_of_different_characters() -> None:
    similar = np.array([[9, 1, 2, 3], [1, 9, 4, 5], [2, 4, 9, 6], [3, 5, 6, 9]], float)
    vowel = np.array([True, True, False, False])
    assert embeddings.separation(similar, vowel) == (1.0, 6.0, 3.5)


def test_the_embedding_is_that_of_the_run(tmp_path: Path) -> None:
    conditions = embeddings.Conditions(embedding=4, context_length=2, hidden=8, steps=20)
    study = embeddings.study_embeddings(small.dataset(), Trials(tmp_path, small.dataset()), conditions)
    (run,) = tmp_path.iterdir()
    table = _opened(str(run)).text_model().model.embedding.weight.detach().numpy()
    ids = [small.dataset().vocabulary.encode(name)[0] for name in study.results["characters"]]
    np.testing.assert_allclose(study.results["embedding"], table[ids], rtol=1e-6)
    assert [
        name for name, is_one in zip(study.results["characters"], study.results["vowels"], strict=True) if is_one
    ] == [name for name in study.results["characters"] if name in "aeiou"]
    names = [part for part in study.sections[0].parts if isinstance(part, Names)]
    assert [len(one.points) for one in names] == [len(ids)] * 2


def test_rare_characters_are_not_compared(tmp_path: Path) -> None:
    dataset = charloom.load_data(["ab", "ba", "abc", "cab", "bca", "ac", "bb", "aab", "bba", "cc", "ca", "cb"])
    with pytest.raises(ConfigError, match="too few to compare"):
        embeddings.common_characters(dataset)


def test_each_context_length_has_its_losses(tmp_path: Path) -> None:
    conditions = context.Conditions(lengths=(1, 3), hidden=8, embedding=4, seeds=(0, 1), steps=20)
    study = context.study_context(small.dataset(), Trials(tmp_path, small.dataset()), conditions)
    for column in study.results["columns"]:
        order = column["context_length"] + 1
        expected = fit(small.dataset(), ModelConfig(model=f"ngram:{order}")).evaluate(small.dataset()).loss.nats
        assert column["ngram"]["dev"] == pytest.approx(expected)
        runs = [_opened(one["run"]) for one in column["mlp"]]
        assert [run.model.context_length for run in runs] == [column["context_length"]] * 2
        assert [run.training.seed for run in runs] == [0, 1]
        assert [one["dev"] for one in column["mlp"]] == [run.result()["dev"]["loss"]["nats"] for run in runs]


HOSTILE = '<script>alert("1")</script>'


def test_the_page_escapes_all_it_is_given(tmp_path: Path) -> None:
    x = [1.0, 2.0]
    parts = [
        Table(HOSTILE, {HOSTILE: "left"}, [[HOSTILE]], HOSTILE),
        Plot(HOSTILE, HOSTILE, HOSTILE, HOSTILE, [Series(HOSTILE, x, x)], note=HOSTILE),
        Names(HOSTILE, HOSTILE, HOSTILE, HOSTILE, [(HOSTILE, 0.0, 1.0, 0), ("b", 1.0, 0.0, 1)], [HOSTILE, HOSTILE]),
        [Card(HOSTILE, "warning", [HOSTILE])],
        HOSTILE,
    ]
    page = study_html(Study("x", HOSTILE, HOSTILE, {}, [Section(HOSTILE, HOSTILE, parts)]))
    assert "<script" not in page
    assert "&lt;script" in page
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")


def test_a_page_that_cannot_be_written_says_so(init: tuple[Study, Path], tmp_path: Path) -> None:
    with pytest.raises(RunError, match="can't be written"):
        write_study(tmp_path / "no" / "page.html", init[0])


def test_the_page_shows_every_figure_of_the_inside(init: tuple[Study, Path]) -> None:
    page = study_html(init[0])
    assert "Which net is sick" in page
    records = {one["variant"]: _opened(one["seeds"][0]["run"]) for one in init[0].results["outcomes"]}
    drawn = figures({label: telltales.read_record(record_path(run)) for label, run in records.items()})
    every = {name: figure for subject in drawn.values() for name, figure in subject.items()}
    assert set(initial.FIGURES) <= set(every)
    for name in initial.FIGURES:
        assert f"<h3>{every[name].title}</h3>" in page
    assert page.count("finding well") == 3
    assert page.count("finding warning") == 1


def test_mean_and_spread() -> None:
    assert mean_and_spread([]) == "–"
    assert mean_and_spread([1234.5], 1) == "1,234.5"
    assert mean_and_spread([1.0, 2.0, 4.5], 2) == f"2.50 ± {np.std([1, 2, 4.5], ddof=1):.2f}"


@pytest.fixture
def invoke(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    (tmp_path / "names.txt").write_text("\n".join(small.names()))

    def run(*arguments: str) -> tuple[int, str, str]:
        status = 0
        with chdir(tmp_path):
            try:
                main(["experiment", *arguments])
            except SystemExit as exit:
                status = int(exit.code or 0)
        captured = capfd.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.mark.parametrize(
    ("arguments", "runs"),
    [
        (["init", "--hidden", "8", "--layers", "1", "--steps", "10", "--seeds", "1"], 4),
        (["batchnorm", "--learning-rates", "0.1", "--batch-sizes", "4", "--hidden", "8", "--steps", "10"], 8),
        (["embeddings", "--embedding", "3", "--hidden", "8", "--steps", "10"], 1),
        (["context", "--lengths", "1,2", "--hidden", "8", "--steps", "10"], 4),
    ],
    ids=["init", "batchnorm", "embeddings", "context"],
)
def test_the_command(
    arguments: list[str], runs: int, invoke: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    status, out, err = invoke(*arguments, "--data", "names.txt", "--json")
    assert status == 0, err
    assert f"of {runs}" in err
    folder = tmp_path / "experiments" / arguments[0]
    assert json.loads(out) == json.loads((folder / "result.json").read_text())
    assert (folder / "report.html").read_text().startswith("<!DOCTYPE html>")
    assert len([path for path in folder.iterdir() if path.is_dir()]) == runs
    status, out, err = invoke(*arguments, "--data", "names.txt", "--html", "other.html")
    assert (status, err) == (0, "")
    assert "other.html" in out
    assert (tmp_path / "other.html").exists()


def test_sampling_takes_a_run(invoke: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    with chdir(tmp_path):
        main(["train", "counted", "--model", "ngram:3", "--data", "names.txt"])
    status, out, _ = invoke("sampling", "counted", "--samples", "50", "--temperatures", "0.5", "--json")
    assert status == 0
    assert "ngram:3" in json.loads(out.partition("{")[1] + out.partition("{")[2])["model"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["init", "--layers", "two"], "no list of numbers"),
        (["init", "--seeds", "0"], "below 1"),
        (["init", "--activation", "cube"], "cube"),
        (["init", "--html", "nowhere/init.html"], "no such folder"),
        (["sampling", "counted", "--data", "names.txt"], "a run has its data and its steps"),
    ],
)
def test_what_cannot_be_is_refused(
    arguments: list[str], said: str, invoke: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    status, _, err = invoke(*arguments)
    assert status in (1, 2)
    assert said in err
    assert not (tmp_path / "experiments").exists()
