"""`charloom describe`: what the data is like."""

from __future__ import annotations

from typing import TYPE_CHECKING

from charloom.cli.console import escape, out, print_json, table
from charloom.cli.options import DataFlags, Json
from charloom.config import DataConfig

if TYPE_CHECKING:
    from charloom.describe import Description, SplitSizes

BAR = 40
ALPHABET_SHOWN = 60


def describe(*, data: DataFlags = None, json: Json = False) -> None:
    """Describe the data: items, duplicates, alphabet, lengths, and both protocols' splits with their overlap.

    For example:

        charloom describe
        charloom describe --data names.txt --case lower --json

    With --json: see `charloom.describe.Description`; overlap is the share of a part's items that also stand in train.
    """
    from charloom.corpus import load
    from charloom.describe import describe as measure

    data = data or DataConfig()
    description = measure(load(data), seed=data.split_seed)
    if json:
        print_json(description.to_json())
    else:
        _show(description)


def _show(d: Description) -> None:
    out.print(f"[bold]{escape(d.name)}[/]  {d.lines:,} lines read, {d.blank_lines:,} blank ones dropped")
    what = "items" if d.unit == "line" else "text (one item)"
    repeated = f", {d.distinct:,} distinct, {d.duplicates:,} repeated" if d.unit == "line" else ""
    out.print(f"{d.items:,} {what}{repeated}; {d.characters:,} characters, {d.targets:,} to predict")
    out.print(
        f"{len(d.alphabet):,} different characters and the marker: V = {d.vocabulary_size:,},"
        f" ln V = {d.uniform_loss:.4f} nats/char for a model that knows nothing\n"
    )
    commonest = sorted(d.alphabet, key=lambda one: -one.count)[:ALPHABET_SHOWN]
    shown = "  ".join(f"{escape(_visible(one.character, one.code_point))} {one.count:,}" for one in commonest)
    more = len(d.alphabet) - len(commonest)
    out.print(f"Characters, commonest first: {shown}{f'  and {more:,} more' if more else ''}\n")
    if d.unit == "line":
        tallest = max(one.items for one in d.lengths.histogram)
        out.print(f"Length: {d.lengths.min} to {d.lengths.max}, mean {d.lengths.mean:.2f}, median {d.lengths.median:g}")
        for one in d.lengths.histogram:
            span = f"{one.least}" if one.least == one.most else f"{one.least}-{one.most}"
            bar = "█" * max(round(BAR * one.items / tallest), 1 if one.items else 0)
            out.print(f"{span:>9}  [cyan]{bar}[/] {one.items:,}")
        out.print()
    for protocol, sizes in d.splits.items():
        if sizes is None:
            out.print(f"Protocol {protocol}: {escape(d.problems[protocol])}")
        else:
            _show_split(protocol, sizes)


def _show_split(protocol: str, sizes: SplitSizes) -> None:
    rows = [
        [name, f"{part.items:,}", f"{part.targets:,}", "" if part.overlap is None else f"{part.overlap:.1%}"]
        for name, part in (("train", sizes.train), ("dev", sizes.dev), ("test", sizes.test))
    ]
    columns = {"": "left", "items": "right", "targets": "right", "also in train": "right"}
    table(f"Protocol {protocol}", columns, rows)


def _visible(character: str, code_point: str) -> str:
    return character if character.isprintable() and not character.isspace() else code_point
