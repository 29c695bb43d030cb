"""`charloom count`: the n-grams of a file, however large."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

from cyclopts import Parameter
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

from charloom.characters import code_point
from charloom.cli.console import err, escape, escaped, log, out, print_json, table
from charloom.cli.options import DataFlags, Json
from charloom.compiled import tell_when_compiling
from charloom.config import BUILTIN_DATA, DataConfig
from charloom.errors import ConfigError, DataError
from charloom.files import replacing

if TYPE_CHECKING:
    from charloom.counting import NGramCounts

_SHOWN = {" ": "␣", "\n": "↵"}
_MARKER = "\\."


def count(
    file: Annotated[
        str | None,
        Parameter(allow_leading_hyphen=True, help="The text, in place of --data; - for standard input."),
    ] = None,
    *,
    order: Annotated[int, Parameter(help="Characters in an n-gram.")] = 2,
    top: Annotated[int, Parameter(help="How many of the commonest to show.")] = 20,
    out: Annotated[
        Path | None,
        Parameter(
            help="Write all n-grams there, commonest first: text (\\t, \\n, \\\\ escaped, \\. the marker), tab, count."
        ),
    ] = None,
    threads: Annotated[int | None, Parameter(help="How many cores to use. [default: all]")] = None,
    most: Annotated[
        int | None, Parameter(help="Give up at more different n-grams than so many. [default: 16777216]")
    ] = None,
    data: DataFlags = None,
    json: Json = False,
) -> None:
    """Count the n-grams of a text, which may be larger than memory: it is read once, a piece at a time.

    For example:

        charloom count names.txt
        charloom count dump.txt.gz --order 5 --case fold --unit text --out grams.tsv

    An item is counted with order - 1 markers before it, and one after it; contiguous text (--unit text) with none after
    it.

    With --json: order, items, lines, blank_lines, characters, targets, vocabulary_size, distinct, bytes, seconds, and
    most_common (characters, the marker as an empty string; count; share of all targets).
    """
    from charloom.counting import MOST, count_file

    if file is not None and data is not None and data.data != BUILTIN_DATA:
        raise ConfigError("the text is named twice", remedy="Name it with --data, or without.")
    if top < 0:
        raise ConfigError(f"--top {top} is below 0", remedy="Use 0 for none.")
    config, usual = data or DataConfig(), DataConfig()
    if (config.protocol, config.split_seed) != (usual.protocol, usual.split_seed):
        raise ConfigError("all items are counted, none is left out", remedy="Leave out --protocol and --split-seed.")
    if file is not None:
        config = dataclasses.replace(config, data=file)
    with _written(out) as destination:
        started = time.perf_counter()
        tell_when_compiling(lambda: log("Compiling: some seconds, once on this machine."))
        with _bar() as progress:
            found = count_file(
                config, order, threads=threads, most=MOST if most is None else most, on_progress=progress
            )
        seconds = time.perf_counter() - started
        if destination:
            for gram in found.most_common():
                text = "".join(escaped(one) or _MARKER for one in gram.characters)
                destination.write(f"{text}\t{gram.count}\n".encode())
    if json:
        print_json(_as_json(found, seconds, top))
    else:
        _show(found, seconds, top)


def _show(found: NGramCounts, seconds: float, top: int) -> None:
    lines = found.data.unit == "line"
    what = f"{found.items:,} items, {found.blank_lines:,} blank lines dropped" if lines else f"{found.lines:,} lines"
    out.print(f"{what}; {found.characters:,} characters, {len(found.vocabulary) - 1:,} different ones")
    speed = found.bytes_read / max(seconds, 1e-9) / 1e6
    out.print(f"{len(found):,} different n-grams of {found.order}, in {seconds:.2f} s ({speed:,.0f} MB/s)")
    if not top:
        return
    marker = _MARKER if "." in found.vocabulary else "."
    grams = found.most_common(top)
    rows = [
        [
            "".join(f"[cyan]{marker}[/]" if not one else escape(_visible(one)) for one in gram.characters),
            f"{gram.count:,}",
            f"{gram.share:.2%}",
        ]
        for gram in grams
    ]
    columns = {"n-gram": "left", "count": "right", "share": "right"}
    edge = "the start or end of an item" if lines else "the start of the text"
    marked = any("" in gram.characters for gram in grams)
    table("", columns, rows, f"{marker} is {edge}." if marked else None)


def _as_json(found: NGramCounts, seconds: float, top: int) -> dict[str, Any]:
    return {
        "order": found.order,
        "items": found.items,
        "lines": found.lines,
        "blank_lines": found.blank_lines,
        "characters": found.characters,
        "targets": found.total,
        "vocabulary_size": len(found.vocabulary),
        "distinct": len(found),
        "bytes": found.bytes_read,
        "seconds": seconds,
        "most_common": [gram.to_json() for gram in found.most_common(top)],
    }


def _visible(character: str) -> str:
    if character in _SHOWN:
        return _SHOWN[character]
    return character if character.isprintable() else f"<{code_point(character)}>"


@contextmanager
def _bar() -> Iterator[Callable[[int, int | None], None]]:
    """A bar of the bytes read, on a terminal."""
    with Progress(
        BarColumn(bar_width=20),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(compact=True),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    ) as bar:
        task = bar.add_task("", total=None)
        yield lambda read, total: bar.update(task, completed=read, total=total)


@contextmanager
def _written(path: Path | None) -> Iterator[BinaryIO | None]:
    """A file that is at ``path`` when all has been written, and not before. Raises `DataError` where it cannot be."""
    if path is None:
        yield None
        return
    try:
        with replacing(path) as file:
            yield file
    except OSError as error:
        fact = f"cannot be written ({error.strerror})"
        raise DataError(fact, where=str(path), remedy="Name another place with --out.") from None
