"""`charloom evaluate`, `ladder` and `runs`: how good models are, one by one and side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from charloom.cli.console import escape, number, out, print_json, table
from charloom.cli.options import DataFlags, Json, RunName, RunsFolder, SamplingFlags, Switch, TrainingFlags
from charloom.config import DataConfig, SamplingConfig, TrainingConfig
from charloom.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from charloom.dataset import PartName
    from charloom.ladder import Rung

Final = Annotated[bool, Switch, Parameter(help="Also read the test part. Do this once, when all is decided.")]


def evaluate(
    run: RunName = None,
    *,
    data: Annotated[
        str | None,
        Parameter(
            help="Judge every item of this file (- for standard input) instead of the run's dev part.",
            allow_leading_hyphen=True,
        ),
    ] = None,
    final: Final = False,
    samples: Annotated[int, Parameter(help="Samples to judge for novelty; 0 for none.")] = 1000,
    sampling: SamplingFlags = None,
    json: Json = False,
    runs: RunsFolder = Path("runs"),
) -> None:
    """Measure a model: its loss on dev, seen and unseen items apart, and how new its samples are.

    For example:

        charloom evaluate
        charloom evaluate my-run --data other.txt --samples 0 --json

    With --json: run, model, protocol, parts (dev, test or the file: loss, seen, unseen, each with nats, bits,
    perplexity, targets, items), samples (samples, novel, unique, duplicated, mean_length, data_mean_length).
    """
    from charloom.runs import Run

    if data is not None and final:
        raise ConfigError("--final and --data exclude each other", remedy="Leave one of them out.")
    if samples < 0:
        raise ConfigError(f"--samples {samples} is below 0", remedy="Use 0 for none.")
    opened = Run.open(run, runs, with_weights=True)
    model, dataset = opened.text_model(), opened.dataset()
    if data is None:
        names: tuple[PartName, ...] = ("dev", "test") if final else ("dev",)
        parts: dict[str, Any] = {name: model.evaluate(dataset, name).to_json() for name in names}
    else:
        parts = {data: model.evaluate_file(dataset, data).to_json()}
    result: dict[str, Any] = {
        "run": opened.name,
        "model": opened.model.model,
        "protocol": opened.data.protocol,
        "parts": parts,
        "samples": None,
    }
    if samples:
        from charloom.evaluation import sample_quality
        from charloom.sampling import sample_filtered

        drawn = sample_filtered(model.samples(sampling or SamplingConfig()), samples)
        quality = sample_quality([one.text for one in drawn], dataset.part("train").items)
        result["samples"] = quality.to_json()
    if json:
        print_json(result)
        return
    rows = []
    for name, part in parts.items():
        for apart, label in (("loss", name), ("seen", "  seen in training"), ("unseen", "  not seen")):
            loss = part[apart]
            if loss and (apart == "loss" or (part["seen"] and part["unseen"])):
                cells = [number(loss["nats"]), number(loss["bits"]), number(loss["perplexity"], 2)]
                rows.append([escape(label), *cells, f"{loss['items']:,}"])
    columns = {"": "left", "nats/char": "right", "bits/char": "right", "perplexity": "right", "items": "right"}
    table(f"{opened.name} ({opened.model.model}, {opened.data.protocol} protocol)", columns, rows)
    if result["samples"]:
        q = result["samples"]
        out.print(
            f"Of {q['samples']:,} samples {q['novel']:.1%} are not in the training data and {q['duplicated']:.1%} came"
            f" more than once; they have {q['mean_length']:.2f} characters on average, the data"
            f" {q['data_mean_length']:.2f}."
        )


def ladder(
    *,
    models: Annotated[
        str, Parameter(help="Models to climb, with settings as in mlp:hidden=300:context-length=8.")
    ] = "unigram,bigram,ngram:5,mlp",
    data: DataFlags = None,
    training: TrainingFlags = None,
    final: Final = False,
    json: Json = False,
    runs: RunsFolder = Path("runs"),
) -> None:
    """Fit several models on one data set and compare them, each against the best of those before it.

    For example:

        charloom ladder --data names.txt
        charloom ladder --models bigram,ngram:5,ngram:6 --protocol classic --json

    With --json: a list of model, run, params, train, dev, dev_seen, dev_unseen, test, bar, seconds, protocol, seed.
    Losses are in nats per character; params of a counted model is its number of stored counts.
    """
    from charloom.ladder import climb, parse_models

    configs = parse_models(models)
    rungs = list(climb(configs, data or DataConfig(), training or TrainingConfig(), fit_rung, final=final, root=runs))
    if json:
        print_json([rung.to_json() for rung in rungs])
    else:
        show_ladder(rungs)


def fit_rung(run: Any, dataset: Any, watch: str | None = None) -> dict[str, Any]:
    """Fit one model of a ladder with its progress shown; a neural one watched, if so asked."""
    from charloom.cli.training import fit_with_progress

    return fit_with_progress(run, dataset, watch=watch)


def show_ladder(rungs: Iterable[Rung]) -> None:
    """The ladder as a table."""
    rungs = list(rungs)
    final = any(rung.test is not None for rung in rungs)
    columns = {"model": "left", "params": "right", "train": "right", "dev": "right", "against the bar": "right"}
    columns |= {"test": "right"} if final else {}
    columns |= {"seconds": "right"}
    rows = []
    for rung in rungs:
        row = [escape(rung.model), f"{rung.params:,}", number(rung.train), number(rung.dev), _against(rung)]
        rows.append([*row, *([number(rung.test)] if final else []), f"{rung.seconds:.2f}"])
    table(
        f"Loss in nats per character ({rungs[0].protocol} protocol): lower is better",
        columns,
        rows,
        caption="The bar is the lowest dev loss of the rows above. Params of a counted model are its stored counts.",
    )


def _against(rung: Rung) -> str:
    if rung.bar is None or rung.dev is None:
        return ""
    difference = rung.dev - rung.bar
    return f"[green]{difference:+.4f}[/]" if difference < 0 else f"[yellow]{difference:+.4f}[/]"


def runs(*, json: Json = False, runs: RunsFolder = Path("runs")) -> None:
    """List the runs, the latest first.

    For example:

        charloom runs

    With --json: a list of run, model, data, protocol, finished, dev (nats per character), parameters.
    """
    from charloom.runs import all_runs

    listed = [run.to_json() for run in all_runs(runs)]
    if json:
        print_json(listed)
        return
    rows = [
        [
            escape(one["run"]),
            escape(one["model"]),
            escape(Path(one["data"]).name),
            one["protocol"],
            number(one["dev"]) if one["finished"] else "unfinished",
            f"{one['parameters']:,}" if one["finished"] else "",
        ]
        for one in listed
    ]
    columns = {"run": "left", "model": "left", "data": "left", "protocol": "left", "dev": "right", "params": "right"}
    table(f"Runs in {runs}", columns, rows)
