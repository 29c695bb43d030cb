"""`charloom experiment`: several trainings that differ in one thing, compared in one report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from charloom.cli.console import escape, out, print_json, table
from charloom.cli.options import DataFlags, Json, RunsFolder
from charloom.config import DataConfig
from charloom.errors import ConfigError, RunError

if TYPE_CHECKING:
    from charloom.dataset import Dataset
    from charloom.experiments import Study, Trials
    from charloom.runs import Run

Folder = Annotated[
    Path | None, Parameter(help="Where the runs and the report lie. [default: experiments/ and the study's name]")
]
Html = Annotated[Path | None, Parameter(help="Write the report here. [default: report.html in the folder]")]
Reach = Annotated[
    float | None, Parameter(help="Compare the steps to this dev loss. [default: that of a table of pairs]")
]
Seeds = Annotated[int, Parameter(help="How many seeds: 0, 1, and so on.")]
Steps = Annotated[int, Parameter(help="Optimizer steps of every training.")]

experiment = App(
    name="experiment",
    help=(
        "Train several models that differ in one thing, and compare them in one report.\n\n"
        "For example:\n\n    charloom experiment init --html init.html"
    ),
    help_epilogue=(
        "Each writes report.html and result.json into its folder, beside its runs. Asked again, it trains only what is"
        " missing: after Ctrl-C it goes on where it stopped."
    ),
    help_format="plaintext",
)


@experiment.command
def init(
    *,
    data: DataFlags = None,
    activation: Annotated[str, Parameter(help="Activation functions, separated by commas.")] = "tanh",
    layers: Annotated[str, Parameter(help="Numbers of hidden layers, separated by commas.")] = "3",
    hidden: Annotated[str, Parameter(help="Widths of the hidden layers, separated by commas.")] = "200",
    learning_rate: Annotated[str, Parameter(help="Learning rates, separated by commas.")] = "0.1",
    reach: Reach = None,
    steps: Steps = 3_000,
    seeds: Seeds = 3,
    folder: Folder = None,
    html: Html = None,
    json: Json = False,
) -> None:
    """How weights begin: N(0, 1), Kaiming's scale, batch norm, or nothing chosen, on the same batches.

    For example:

        charloom experiment init --html init.html
        charloom experiment init --activation tanh,relu --layers 3,6 --seeds 1

    Several values of a setting give every combination. With --json: uniform (ln V), reach, outcomes (condition,
    variant, settings, and for every seed: run, dev, dev_curve, steps_to_reach, first_loss, loss_curve, layers,
    update_ratios, findings). Losses are in nats per character.
    """
    from charloom.experiments.initial import Conditions, study_initialization

    conditions = Conditions(
        activations=_listed("activation", activation, str),
        layers=_listed("layers", layers, int),
        hidden=_listed("hidden", hidden, int),
        learning_rates=_listed("learning-rate", learning_rate, float),
        seeds=_seeds(seeds),
        steps=steps,
        reach=reach,
    )
    _run("init", data, folder, html, json, lambda dataset, trials: study_initialization(dataset, trials, conditions))


@experiment.command
def batchnorm(
    *,
    data: DataFlags = None,
    learning_rates: Annotated[str, Parameter(help="Learning rates, separated by commas.")] = "0.01,0.1,1,3",
    batch_sizes: Annotated[str, Parameter(help="Batch sizes, separated by commas.")] = "2,4,8,32,128",
    layers: Annotated[int, Parameter(help="Hidden layers.")] = 3,
    hidden: Annotated[int, Parameter(help="Units of each.")] = 200,
    reach: Reach = None,
    steps: Steps = 2_000,
    seeds: Seeds = 2,
    folder: Folder = None,
    html: Html = None,
    json: Json = False,
) -> None:
    """Batch norm, with and without: learning rates, batch sizes, training against evaluation.

    For example:

        charloom experiment batchnorm
        charloom experiment batchnorm --learning-rates 0.1,1 --batch-sizes 2,32 --seeds 1

    Learning rates are compared at batch size 32, batch sizes at learning rate 0.1. With --json: reach, cells (norm,
    learning_rate, batch_size, and for every seed: run, dev, steps_to_reach, failure, dev_curve), train_eval
    (batch_size, of_batches, running, recalibrated), refused. Losses are in nats per character.
    """
    from charloom.experiments.batchnorm import Conditions, study_batch_norm

    conditions = Conditions(
        learning_rates=_listed("learning-rates", learning_rates, float),
        batch_sizes=_listed("batch-sizes", batch_sizes, int),
        layers=layers,
        hidden=hidden,
        seeds=_seeds(seeds),
        steps=steps,
        reach=reach,
    )
    _run("batchnorm", data, folder, html, json, lambda dataset, trials: study_batch_norm(dataset, trials, conditions))


@experiment.command
def sampling(
    run: Annotated[str | None, Parameter(help="A run's name or folder. [default: train an mlp]")] = None,
    *,
    data: DataFlags = None,
    temperatures: Annotated[str, Parameter(help="Of which samples are shown, separated by commas.")] = "0.5,1,2",
    top_k: Annotated[int, Parameter(help="How many characters top-k keeps.")] = 5,
    samples: Annotated[int, Parameter(help="How many are measured at each temperature.")] = 2_000,
    steps: Annotated[int | None, Parameter(help="Steps of the mlp, if no run is named.")] = None,
    seed: Annotated[int, Parameter(help="Seed of the samples.")] = 0,
    folder: Folder = None,
    html: Html = None,
    json: Json = False,
    runs: RunsFolder = Path("runs"),
) -> None:
    """Temperature and top-k: twenty samples at each, and how new, different and probable two thousand are.

    For example:

        charloom experiment sampling
        charloom experiment sampling my-run --temperatures 0.3,0.8,1.5 --top-k 3

    With --json: model, samples (temperature, top_k, texts), measured (temperature, top_k, novel, unique, duplicated,
    mean_length, data_mean_length, probability, distinct_characters).
    """
    from charloom.config import ModelConfig, TrainingConfig
    from charloom.experiments.sampling import Conditions, study_sampling
    from charloom.experiments.trials import Trial
    from charloom.runs import Run

    if run is not None and (data is not None or steps is not None):
        raise ConfigError("a run has its data and its steps", remedy="Leave them out, or the run.")
    opened = None if run is None else Run.open(run, runs, with_weights=True)
    if opened is not None and opened.data.unit == "text":
        raise ConfigError("the run makes one contiguous text, no items to compare", remedy="Name a run of --unit line.")
    conditions = Conditions(
        temperatures=_listed("temperatures", temperatures, float), top_k=top_k, samples=samples, seed=seed
    )

    def study(dataset: Dataset, trials: Trials) -> Study:
        model = (
            opened.text_model()
            if opened is not None
            else trials.fit([Trial("mlp", ModelConfig(), TrainingConfig(steps=steps))])[0].run.text_model()
        )
        return study_sampling(dataset, model, conditions)

    _run("sampling", data, folder, html, json, study, opened.dataset() if opened is not None else None)


@experiment.command
def embeddings(
    *,
    data: DataFlags = None,
    embedding: Annotated[int, Parameter(help="Width of the embedding.")] = 10,
    context_length: Annotated[int, Parameter(help="Characters of context.")] = 3,
    hidden: Annotated[int, Parameter(help="Hidden units.")] = 200,
    steps: Annotated[int | None, Parameter(help="Optimizer steps. [default: as charloom train]")] = None,
    seed: Annotated[int, Parameter(help="Seed of the training.")] = 0,
    folder: Folder = None,
    html: Html = None,
    json: Json = False,
) -> None:
    """What an embedding has learnt: its plane, neighbours, vowels against consonants, and the bigram's view.

    For example:

        charloom experiment embeddings --embedding 2

    With --json: dev (nats per character), characters, vowels, embedding, plane, neighbours, separation (mean cosine
    of two vowels, two consonants, one of each; null without vowels), agreement.
    """
    from charloom.experiments.embeddings import Conditions, study_embeddings

    conditions = Conditions(embedding, context_length, hidden, steps, seed)
    _run("embeddings", data, folder, html, json, lambda dataset, trials: study_embeddings(dataset, trials, conditions))


@experiment.command
def context(
    *,
    data: DataFlags = None,
    lengths: Annotated[str, Parameter(help="Context lengths, separated by commas.")] = "1,2,3,4,5,6,8",
    hidden: Annotated[int, Parameter(help="Hidden units.")] = 200,
    embedding: Annotated[int, Parameter(help="Width of the embedding.")] = 16,
    steps: Annotated[int | None, Parameter(help="Optimizer steps. [default: as charloom train]")] = None,
    seeds: Seeds = 1,
    folder: Folder = None,
    html: Html = None,
    json: Json = False,
) -> None:
    """How far back to look: the loss by context length, of an MLP and of counted n-grams.

    For example:

        charloom experiment context --lengths 1,3,5

    With --json: columns (context_length, ngram and mlp: run, train, dev, parameters). Losses in nats per character.
    """
    from charloom.experiments.context import Conditions, study_context

    conditions = Conditions(_listed("lengths", lengths, int), hidden, embedding, _seeds(seeds), steps)
    _run("context", data, folder, html, json, lambda dataset, trials: study_context(dataset, trials, conditions))


def _run(
    name: str,
    data: DataConfig | None,
    folder: Path | None,
    html: Path | None,
    json: bool,
    study: Callable[[Dataset, Trials], Study],
    dataset: Dataset | None = None,
) -> None:
    from charloom.checkpoint import write_json
    from charloom.dataset import Dataset
    from charloom.experiments import Trials
    from charloom.experiments.page import write_study
    from charloom.experiments.study import plain

    folder = folder or Path("experiments") / name
    html = html or folder / "report.html"
    if not html.parent.is_dir() and html.parent != folder:
        raise RunError("there is no such folder", where=str(html.parent), remedy="Make it, or write elsewhere.")
    dataset = dataset or Dataset.load(data or DataConfig())
    made = study(dataset, Trials(folder, dataset, _fit))
    folder.mkdir(parents=True, exist_ok=True)
    results = plain(made.results)
    write_json(folder / "result.json", results)
    write_study(html, made)
    if json:
        print_json(results)
    else:
        out.print(escape(made.said), style="dim")
        for one in made.tables():
            table(one.title, dict(one.columns), [[escape(cell) for cell in row] for row in one.rows], one.caption)
        out.print(f"The whole of it: {escape(html)}", soft_wrap=True)


def _fit(run: Run, dataset: Dataset, resume: bool, watch: str | None, place: str) -> None:
    from charloom.cli.training import fit_with_progress

    fit_with_progress(run, dataset, resume=resume, watch=watch or "off", place=place)


def _listed(name: str, text: str, kind: Callable[[str], Any]) -> tuple[Any, ...]:
    try:
        return tuple(kind(part.strip()) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--{name} {text!r} is no list of numbers", remedy="Write 3,6, for example.") from None


def _seeds(count: int) -> tuple[int, ...]:
    if count < 1:
        raise ConfigError(f"--seeds {count} is below 1", remedy="Ask for at least one.")
    return tuple(range(count))
