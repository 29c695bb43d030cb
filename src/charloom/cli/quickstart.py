"""`charloom quickstart`: the main job in one command."""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich import markup

from charloom.cli.console import escape, out, table, typed
from charloom.cli.options import DataFlags, RunsFolder, Watch
from charloom.config import DataConfig, ModelConfig, TrainingConfig

if TYPE_CHECKING:
    from charloom.text_model import TextModel

TEMPERATURES = (0.5, 1.0, 2.0)
NAMES = 20


def quickstart(*, data: DataFlags = None, watch: Watch = "standard", runs: RunsFolder = Path("runs")) -> None:
    """Climb from a unigram to a neural network on the built-in names (or your own), and print new ones.

    For example:

        charloom quickstart
        charloom quickstart --data names.txt
    """
    from charloom.cli.judging import fit_rung, show_ladder
    from charloom.ladder import climb
    from charloom.runs import Run

    data = data or DataConfig()
    models = [ModelConfig(model="unigram"), ModelConfig(model="bigram"), ModelConfig(model="ngram:5"), ModelConfig()]
    source = "the built-in names" if data == DataConfig() else escape(data.data)
    out.print(f"Four models of {source}, each better informed:\n")
    rungs = list(climb(models, data, TrainingConfig(), partial(fit_rung, watch=watch), root=runs))
    show_ladder(rungs)
    lowest = min(rungs, key=lambda rung: rung.dev if rung.dev is not None else float("inf"))
    out.print(f"\nNew ones, from the {lowest.model}; * stands in the training data. Low temperatures play safe:\n")
    run = Run.open(lowest.run)
    train = run.dataset().part("train").items
    _show_samples(run.text_model(), frozenset(train))
    for rung in rungs:
        if (Path(rung.run) / "report.html").exists():
            where = escape(f"{rung.run}/report.html")
            out.print(f"\nWhat went on inside the {rung.model} while it trained: {where}", soft_wrap=True)
    elsewhere = "" if runs == Path("runs") else f" --runs {shlex.quote(str(runs))}"
    where = f"The runs lie in {escape(runs)}; the one that these came from is {escape(run.name)}."
    out.print(f"\n{where} What to try next:\n")
    name = shlex.quote(run.name)
    hints = [
        (f"charloom sample {name} --temperature 0.8{elsewhere}", "more"),
        (f"charloom sample {name} --prefix {shlex.quote(train[0][:2])}{elsewhere}", "that start as you like"),
        ("charloom quickstart --data FILE", "the same on your own list"),
    ]
    if data.unit == "line":
        hints[1:1] = [
            (f"charloom sample {name} --novel --unique{elsewhere}", "only new ones, none twice"),
            (f"charloom best {name}{elsewhere}", "the most probable ones of all"),
            (f"charloom score {shlex.quote(train[0])} --run {name}{elsewhere}", "how usual one is, and where not"),
        ]
    for command, purpose in hints:
        out.print(f"  {escape(typed(command))}  [dim]# {purpose}[/]", soft_wrap=True)


def _show_samples(model: TextModel, known: frozenset[str]) -> None:
    if model.data.unit == "text":
        for temperature in TEMPERATURES:
            out.print(f"[bold]temperature {temperature}[/]")
            out.print(markup.escape(model.sample(1, temperature=temperature)[0].text) + "\n")
        return
    columns = []
    for temperature in TEMPERATURES:
        samples = model.sample(NAMES, temperature=temperature)
        columns.append([escape(f"{one.text}{' *' if one.text in known else ''}") for one in samples])
    width = max(len(text) for column in columns for text in column)
    headings = {f"temperature {temperature}": "left" for temperature in TEMPERATURES}
    if len(columns) * (width + 3) < out.width:
        table("", headings, [list(row) for row in zip(*columns, strict=True)])
        return
    for heading, column in zip(headings, columns, strict=True):
        out.print(f"[bold]{heading}[/]\n" + "\n".join(column) + "\n")
