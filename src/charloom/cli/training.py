"""`charloom train` and `charloom find-lr`."""

from __future__ import annotations

import math
import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from charloom.cli.console import escape, line, log, number, out, print_json, table, typed
from charloom.cli.options import DataFlags, Json, ModelFlags, RunsFolder, Switch, TrainingFlags, Watch
from charloom.config import DataConfig, ModelConfig, TrainingConfig
from charloom.errors import ConfigError

if TYPE_CHECKING:
    from charloom.dataset import Dataset
    from charloom.observer import Observer
    from charloom.runs import Run
    from charloom.watching import Diagnosis

INTERRUPTED = 130


def train(
    name: Annotated[str | None, Parameter(help="Name of the run. [default: after the data and the model]")] = None,
    *,
    data: DataFlags = None,
    model: ModelFlags = None,
    training: TrainingFlags = None,
    watch: Watch | None = None,
    heal: Annotated[
        bool, Switch, Parameter(help="Then judge the training, change what is at fault, train again and compare.")
    ] = False,
    resume: Annotated[bool, Switch, Parameter(help="Go on with the named or the latest run.")] = False,
    runs: RunsFolder = Path("runs"),
    json: Json = False,
) -> None:
    """Train (or count) a model and keep it in a run folder.

    For example:

        charloom train --data names.txt
        charloom train shallow --data names.txt --model mlp --hidden 300 --steps 50000
        charloom train --model ngram:5
        charloom train --data names.txt --model deep-mlp --watch
        charloom train --data names.txt --init normal --optimizer sgd --heal
        charloom train --resume shallow

    With --json: run, model, protocol, outcome, steps, parameters, seconds, train and dev (nats, bits, perplexity,
    targets, items; dev also for items seen and unseen in training), weights_sha256, history_sha256 (of the file, times
    included), reference;
    of a watched training also findings, the ids of the warnings and errors that are not gone. With --heal: before and
    after (each as above, with findings) and changes (setting, before, after, rule).
    """
    from charloom.dataset import Dataset
    from charloom.fitting import create_run
    from charloom.runs import Run
    from charloom.watching import diagnose_if_watched

    if resume:
        if data or model or training:
            raise ConfigError(
                "--resume takes its settings from the run", remedy="Leave the data, model and training flags out."
            )
        run = Run.open(name, runs)
        dataset = run.dataset()
    else:
        if name is not None and (Path(name).is_file() or Path(name).suffix in (".txt", ".csv", ".gz", ".xz")):
            raise ConfigError(f"{name!r} would only name the run", remedy=f"For the data, write --data {name}")
        model = model or ModelConfig()
        if heal and (model.counted or watch == "off"):
            raise ConfigError("--heal needs a watched training of a neural model", remedy="Leave one of them out.")
        if watch not in (None, "off") and model.counted:
            raise ConfigError(f"{model.model} is counted: nothing goes on inside", remedy="Leave --watch out.")
        dataset = Dataset.load(data or DataConfig())
        run = create_run(dataset, model, training, root=runs, name=name)
    watch = watch or ("standard" if heal and not resume else None)
    result = fit_with_progress(run, dataset, resume=resume, watch=watch)
    if heal:
        from charloom.cli.healing import as_json, show_healing
        from charloom.cli.healing import heal as heal_run

        healing = heal_run(run, dataset, result, partial(fit_with_progress, watch=watch))
        if json:
            print_json(as_json(healing))
        else:
            _show_result(run, dataset, result, None)
            show_healing(healing)
        return
    diagnosis = diagnose_if_watched(run)
    if json:
        print_json(result if diagnosis is None else result | {"findings": diagnosis.there})
    else:
        _show_result(run, dataset, result, diagnosis)


def fit_with_progress(
    run: Run, dataset: Dataset, *, resume: bool = False, watch: str | None = None, place: str = ""
) -> dict[str, Any]:
    """Fit a run with its progress shown; an interrupted one exits with a hint how to go on.

    ``watch``: a preset, or ``off``; None goes on as the run was watched so far. ``place``: ``3 of 12``, where the run
    is one of many, so that the same command goes on with it.
    """
    from charloom.fitting import fit_run

    observers: list[Observer] = []
    if not run.model.counted:
        from charloom.cli.progress import ProgressDisplay, StopOnSignal
        from charloom.watching import Watching, watched_with

        observers = [ProgressDisplay(run.name, place), StopOnSignal()]
        preset = watched_with(run) if watch is None else watch
        if preset not in (None, "off"):
            observers.append(Watching(run, preset))
    result = fit_run(run, dataset, observers, resume=resume)
    if result is None:
        if place:
            log("Stopped. The same command goes on from here.")
            raise SystemExit(INTERRUPTED)
        elsewhere = "" if run.folder.parent == Path("runs") else f" --runs {shlex.quote(str(run.folder.parent))}"
        log(escape(typed(f"Stopped. Go on with: charloom train --resume {shlex.quote(run.name)}{elsewhere}")))
        raise SystemExit(INTERRUPTED)
    return result


def _show_result(run: Run, dataset: Dataset, result: dict[str, Any], diagnosis: Diagnosis | None) -> None:
    dev = result["dev"]
    steps = f"{result['steps']:,} steps, " if result["steps"] else ""
    rows = [["train", *_loss_cells(result["train"])], ["dev", *_loss_cells(dev["loss"])]]
    if dev["seen"] and dev["unseen"]:
        rows += [[f"  {part}", *_loss_cells(dev[part])] for part in ("seen", "unseen")]
    columns = {"": "left", "nats/char": "right", "bits/char": "right", "perplexity": "right", "items": "right"}
    table(f"{run.model.model} on {dataset.corpus.name} ({run.data.protocol} protocol)", columns, rows)
    out.print(f"{result['parameters']:,} parameters, {steps}{result['seconds']:.1f} s, {result['outcome']}")
    out.print(f"weights sha256 {result['weights_sha256'][:16]}", highlight=False)
    line(f"{run.folder}")
    if diagnosis is not None:
        line(f"\n{diagnosis.text.strip()}\n" if diagnosis.there else "telltales found nothing wrong in the training.")
    if (run.folder / "report.html").exists():
        out.print(f"What went on inside: {escape(run.folder / 'report.html')}", soft_wrap=True)
    uniform = math.log(len(dataset.vocabulary))
    if dev["loss"]["nats"] is None or dev["loss"]["nats"] > uniform:
        log(
            f"[yellow]Note:[/] on dev the model is worse than a uniform guess ({uniform:.2f} nats/char):"
            f" {result['train']['items']:,} items are too few for it. Try --model ngram:3."
        )
    commands = ["charloom sample", "charloom score TEXT"]
    if run.data.unit == "line":
        commands.insert(1, "charloom best")
    out.print(typed(f"Next: {', '.join(commands)}"), style="dim", soft_wrap=True)


def _loss_cells(loss: dict[str, Any]) -> list[str]:
    return [number(loss["nats"]), number(loss["bits"]), number(loss["perplexity"], 2), f"{loss['items']:,}"]


def find_lr(
    *,
    data: DataFlags = None,
    model: ModelFlags = None,
    training: TrainingFlags = None,
    lowest: Annotated[float, Parameter(help="Learning rate of the first step.")] = 1e-5,
    highest: Annotated[float, Parameter(help="Learning rate of the last step.")] = 10.0,
    trial_steps: Annotated[int, Parameter(help="Steps from the lowest to the highest rate.")] = 400,
    svg: Annotated[Path | None, Parameter(help="Also draw the plot into this SVG file.")] = None,
    json: Json = False,
) -> None:
    """Find a learning rate: raise it step by step, watch the loss, stop where it explodes (Smith 2017).

    For example:

        charloom find-lr --data names.txt --model mlp --optimizer sgd

    With --json: suggestion, lowest, learning_rates, losses (smoothed, nats/char).
    """
    from charloom.checkpoint import write_atomically
    from charloom.cli.drawing import plot, to_svg
    from charloom.dataset import Dataset
    from charloom.learning_rate import find_learning_rate

    model = model or ModelConfig()
    if model.counted:
        raise ConfigError(f"{model.model} is counted and has no learning rate", remedy="Try --model mlp.")
    dataset = Dataset.load(data or DataConfig())
    found = find_learning_rate(
        dataset, model, training or TrainingConfig(), lowest=lowest, highest=highest, steps=trial_steps
    )
    labels: Any = {"mark": found.suggestion, "x": "learning rate", "y": "loss, nats/char"}
    if svg:
        drawn = to_svg(found.learning_rates, found.losses, **labels)
        write_atomically(svg, drawn.encode(), remedy="Free some space or name another place with --svg.")
        log(f"Wrote {escape(svg)}")
    if json:
        print_json(found.to_json())
        return
    plot(found.learning_rates, found.losses, **labels)
    out.print(f"Suggested: [bold]--learning-rate {found.suggestion:.2g}[/], half of where the loss was lowest.")
