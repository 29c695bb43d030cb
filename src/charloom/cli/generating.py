"""`charloom sample`, `best` and `score`: what a run's model makes, and what it thinks of other text."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from charloom.cli.console import escape, escaped, line, log, out, print_json, raw
from charloom.cli.options import Json, RunName, RunsFolder, SamplingFlags, Switch
from charloom.compiled import available, tell_when_compiling
from charloom.config import SamplingConfig
from charloom.errors import ConfigError

MANY = 100_000
"""Items from which on it is worth saying that they could be drawn faster."""

if TYPE_CHECKING:
    from collections.abc import Iterator

    from charloom.sampling import Sample
    from charloom.text_model import Score


def sample(
    run: RunName = None,
    *,
    n: Annotated[
        int | None, Parameter(name=["--n", "-n"], help="How many. [default: 20; 1 of contiguous text]")
    ] = None,
    sampling: SamplingFlags = None,
    novel: Annotated[bool, Switch, Parameter(help="Only items that are nowhere in the data.")] = False,
    unique: Annotated[bool, Switch, Parameter(help="No item twice.")] = False,
    format: Annotated[
        Literal["text", "tsv", "json"] | None,
        Parameter(help="tsv: text (\\t, \\n, \\\\ escaped), natural-log probability, ended or cut. [default: text]"),
    ] = None,
    threads: Annotated[
        int | None, Parameter(help="Threads for thousands of items and more; changes no item. [default: all cores]")
    ] = None,
    json: Json = False,
    runs: RunsFolder = Path("runs"),
) -> None:
    """Generate new items.

    For example:

        charloom sample
        charloom sample my-run -n 50 --temperature 0.8 --top-k 10 --prefix ma --novel --unique
        charloom sample -n 1000000 > many.txt

    Contiguous text (--unit text) begins as the data did; give a --prefix to begin elsewhere. An item may be empty,
    where the model gives that a chance; with --novel none is.

    The distribution of the next character is changed in this order: temperature, top-k, top-p, min-p. The
    probability of an item is the one that the unchanged model gives it.

    With --json: a list of text, log_probability, complete (false: cut at --max-length).
    """
    from charloom.runs import Run
    from charloom.sampling import sample_filtered

    opened = Run.open(run, runs, with_weights=True)
    if n is None:
        n = 20 if opened.data.unit == "line" else 1
    _at_least_one(n)
    if threads is not None and threads < 1:
        raise ConfigError(f"--threads {threads} is below 1", remedy="Leave it out for all cores.")
    if json and format not in (None, "json"):
        raise ConfigError(f"--json and --format {format} exclude each other", remedy="Leave one of them out.")
    model, settings = opened.text_model(plain=True), sampling or SamplingConfig()
    if format in (None, "text") and not (json or novel or unique):
        if n >= MANY and not available():
            log(escape("numba is not installed (pip install 'telltales[fast]'): several times slower without"))
        tell_when_compiling(lambda: log("Compiling: some seconds, once on this machine."))
        for lines in model.sample_lines(n, settings, threads=threads):
            raw(lines)
        return
    # No item of the data is empty, but a model gives every end a chance, the first one too.
    known = ["", *opened.dataset().corpus.items] if novel else None
    samples = sample_filtered(model.samples(settings), n, known=known, unique=unique)
    _print_samples(samples, "json" if json else format or "text")


def best(
    run: RunName = None,
    *,
    n: Annotated[int, Parameter(name=["--n", "-n"], help="How many.")] = 20,
    prefix: Annotated[str, Parameter(help="Text that every item starts with.")] = "",
    max_length: Annotated[int, Parameter(help="Longest item, in characters.")] = 100,
    json: Json = False,
    runs: RunsFolder = Path("runs"),
) -> None:
    """List the most probable items of a model, exactly, most probable first.

    For example:

        charloom best -n 10 --prefix jo

    With --json: a list of text, log_probability, complete.
    """
    from charloom.runs import Run

    _at_least_one(n)
    opened = Run.open(run, runs, with_weights=True)
    if opened.data.unit == "text":
        raise ConfigError(
            "a model of contiguous text has no most probable items: its text never ends", remedy="Use charloom sample."
        )
    found = opened.text_model(plain=True).best(n, prefix=prefix, max_length=max_length)
    if json:
        print_json([item.to_json() for item in found])
        return
    for rank, item in enumerate(found, 1):
        share = math.exp(item.log_probability)
        line(f"{rank:>4}  {share:.3e}  one in {1 / max(share, 1e-300):>13,.0f}  {item.text or '(empty)'}")


def score(
    *items: str,
    data: Annotated[
        str | None,
        Parameter(help="Also score every line of this file (- for standard input).", allow_leading_hyphen=True),
    ] = None,
    run: RunName = None,
    json: Json = False,
    runs: RunsFolder = Path("runs"),
) -> None:
    """Show how surprising a model finds items, character by character.

    For example:

        charloom score emma xqzt
        charloom score --data candidates.txt --json

    An item is unusual when the model finds it more surprising per character than 95% of the dev items. Surprisal is
    in nats: -ln of the probability of the character, given those before it.

    With --json: a list of text, nats, nats_per_character, percentile, unusual, characters (character, nats, surprising;
    the end of the item is the empty character).
    """
    from charloom.runs import Run

    opened = Run.open(run, runs, with_weights=True)
    model = opened.text_model(plain=True)
    texts = [(item, f"item {position}") for position, item in enumerate(items, 1)]
    if data is not None:
        from charloom.corpus import load

        corpus = load(dataclasses.replace(opened.data, data=data, unit="line"))
        places = (corpus.place(position, 0).rpartition(", ")[0] for position in range(len(corpus.items)))
        texts += list(zip(corpus.items, places, strict=True))
    if not texts:
        raise ConfigError("nothing to score", remedy="Name items, or a file with --data.")
    scores = [model.score(text, where=where) for text, where in texts]
    if json:
        print_json([one.to_json() for one in scores])
        return
    for one in scores:
        _show_score(one)


def _print_samples(samples: Iterator[Sample], format: str) -> None:
    if format == "json":
        print_json([one.to_json() for one in samples])
        return
    for one in samples:
        if format == "text":
            line(one.text)
        else:
            line(f"{escaped(one.text)}\t{one.log_probability:.6f}\t{'ended' if one.complete else 'cut'}")


def _show_score(score: Score) -> None:
    percentile = "" if score.percentile is None else f", more surprising than {score.percentile:.0f}% of dev"
    verdict = "  [bold red]unusual[/]" if score.unusual else ""
    out.print(f"[bold]{escape(score.text)}[/]  {score.nats_per_character:.2f} nats/char{percentile}{verdict}")
    width = max(len(character) or 3 for character, _ in score.characters) if score.characters else 1
    for position, (character, nats) in enumerate(score.characters):
        shown = escape({"": "end", " ": "␣", "\n": "↵"}.get(character, character))
        bar = "█" * min(40, round(nats * 4)) if math.isfinite(nats) else "∞"
        style = "red" if position in score.surprising else "cyan"
        out.print(f"  {shown:<{width}}  {nats:6.2f} [{style}]{bar}[/]")


def _at_least_one(n: int) -> None:
    if n < 1:
        raise ConfigError(f"-n {n} is below 1", remedy="Ask for at least one item.")
