"""Puts payloads wherever a string can be, in records and in any dataclass; found by walking, so none is missed."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch

import telltales
from telltales.observation import COLUMNS, HISTOGRAMS, SCALARS
from telltales.record import Record
from torture.payloads import PAYLOADS, Payload

T = TypeVar("T")
Mode = Literal["replaced", "appended", "keys"]
MODES: tuple[Mode, ...] = ("replaced", "appended", "keys")
"""A payload in a string's place; after it, so that what depends on the string still happens; and for the keys of free
objects, too."""

LONG_TEXTS = 10_000
"""From so many texts on it is the long form: every payload in every field, in every mode."""
FREE = ("about", "modules", "parameters")
"""The keys of a record's line under which anything can stand."""
SCHEMA = frozenset(
    {"telltales_record", "columns", "step", "tables", "losses", "indices", "histograms", "maps", "rows", "first"}
    | {"evaluation", "split", "loss", "training", "classes", "outcome", *FREE, *SCALARS, *COLUMNS, *HISTOGRAMS}
    | {column for columns in COLUMNS.values() for column in columns}
)
"""What a record's reader knows by name; all other strings of a record are whatever its writer chose."""


class Draw:
    """Payloads in turn."""

    def __init__(self, start: int) -> None:
        self._next = itertools.count(start)
        self._named: dict[str, str] = {}

    def __call__(self, of: str = "") -> str:
        """The next payload, or that of a name."""
        return self._named.get(of) or PAYLOADS[next(self._next) % len(PAYLOADS)].text

    def name(self, of: str) -> str:
        """The payload of a name: always the same, and no two names have the same."""
        if of not in self._named:
            payload = self()
            self._named[of] = payload + f".{len(self._named)}" if payload in self._named.values() else payload
        return self._named[of]


class Net(torch.nn.Module):
    """A classifier with what makes a record say much: shared and unused layers, functions that are called, groups.

    No layer is called as a record calls something.
    """

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(9, 6)
        self.entry = torch.nn.Linear(6, 12)
        self.shared = self.entry
        self.bend = torch.nn.ReLU()
        self.even = torch.nn.BatchNorm1d(12)
        self.dropout = torch.nn.Dropout(0.1)
        self.deep = torch.nn.Sequential(*(torch.nn.Linear(12, 12) for _ in range(depth)))
        self.output = torch.nn.Linear(12, 5)
        self.unused = torch.nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.dropout(self.even(self.bend(self.entry(self.embedding(x)))))
        return self.output(torch.tanh(self.deep(hidden)))


def write_record(path: Path, depth: int = 0) -> Path:
    """The record of a small real training, with evaluations, classes, baselines and indices."""
    torch.manual_seed(0)
    model = Net(depth)
    groups = [
        {"params": [*model.entry.parameters(), *model.deep.parameters()]},
        {"params": model.output.parameters(), "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-2)
    with telltales.watch(model, optimizer, path=path, preset="full") as watch:
        watch.baseline("guess", 1.6)
        for _ in range(3):
            x = torch.randint(0, 9, (32,))
            loss = torch.nn.functional.cross_entropy(model(x), x % 5)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            watch.step(loss, x, x % 5, indices=range(32))
        watch.evaluation(2.0, "dev", predicted=model(x), targets=x % 5)
        watch.evaluation(1.9, "test")
    return path


def infect(source: Path, target: Path, draw: Draw, mode: Mode) -> Path:
    """A record's file with payloads for all strings but those that its reader knows."""
    lines = [json.loads(line) for line in source.read_bytes().splitlines()]
    written = [lines[0], *({key: _infected(key, one, draw, mode) for key, one in line.items()} for line in lines[1:])]
    for line in written:
        # Whoever writes a hostile record leaves out what protects it from accidents.
        line.pop("crc32", None)
    target.write_text("".join(json.dumps(line) + "\n" for line in written), encoding="ascii")
    return target


def _infected(key: str, value: Any, draw: Draw, mode: Mode) -> Any:
    """The value of one key of a line."""
    match key:
        case "about" | "modules" | "parameters":
            return _free(value, draw, mode, named=key != "about")
        case "rows":
            return {kind: [_name(name, draw, mode) for name in names] for kind, names in value.items()}
        case "histograms":
            return {
                kind: {_name(name, draw, mode): packed for name, packed in of.items()} for kind, of in value.items()
            }
        case "maps" | "classes":
            return {_name(name, draw, mode): packed for name, packed in value.items()}
        case "tables" | "losses":
            return value
        case _:
            return _free(value, draw, "replaced")


def _name(name: str, draw: Draw, mode: Mode) -> str:
    return name + draw.name(name) if mode == "appended" else draw.name(name)


def _free(value: Any, draw: Draw, mode: Mode, named: bool = False) -> Any:
    """Anything under a free key. ``named``: its keys are names."""
    match value:
        case str():
            return value + draw(value) if mode == "appended" else draw(value)
        case dict():
            made = {}
            for key, inner in value.items():
                made[_name(key, draw, mode) if named or mode == "keys" else key] = _free(inner, draw, mode)
            # And what no version of telltales has ever written.
            return made if named or not made else made | {draw(): next(reversed(made.values()))}
        case list():
            return [_free(inner, draw, mode) for inner in value]
        case _:
            return value


def strings(value: object, place: str = "", seen: set[int] | None = None) -> Iterator[tuple[str, str]]:
    """All strings that can be reached from an object, with how: ``.modules[…]``, ``.modules{key}``."""
    seen = set() if seen is None else seen
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from strings(key, f"{place}{{key}}", seen)
            yield from strings(inner, f"{place}[{key if key in SCHEMA else '…'}]", seen)
    elif isinstance(value, list | tuple | set | frozenset):
        for inner in value:
            yield from strings(inner, f"{place}[]", seen)
    elif _is_walked(value) and id(value) not in seen:
        seen.add(id(value))
        for name, inner in vars(value).items():
            yield from strings(inner, f"{place}.{name}", seen)


def _is_walked(value: object) -> bool:
    return hasattr(value, "__dict__") and not isinstance(value, type | types.ModuleType | np.ndarray)


def made(kind: type[T], draw: Draw, given: Mapping[type, Callable[[], Any]] | None = None) -> T:
    """A dataclass whose strings, however deep, are payloads. ``given``: how values of other types are made."""
    return typing.cast(T, _made(kind, draw, given or {}, 0))


def _made(kind: Any, draw: Draw, given: Mapping[type, Callable[[], Any]], depth: int) -> Any:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if kind in given:
        return given[kind]()
    if kind is str or origin is Literal or kind is Any:
        return draw()
    if kind in (int, float, bool, type(None)):
        return {int: 3, float: 0.5, bool: False, type(None): None}[kind]
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        values = {
            one.name: _made(hints[one.name], draw, given, depth + (hints[one.name] is kind))
            for one in dataclasses.fields(kind)
        }
        return typing.cast(Any, kind)(**values)
    if origin in (types.UnionType, typing.Union):
        return _made(inner[0], draw, given, depth)
    if origin is tuple and inner[-1] is not Ellipsis:
        return tuple(_made(one, draw, given, depth) for one in inner)
    if origin in (Sequence, list, tuple):
        # What holds itself does so once.
        again = dataclasses.is_dataclass(inner[0])
        return tuple(_made(inner[0], draw, given, depth + again) for _ in range(2 if depth < 4 else 0))
    if origin in (Mapping, dict):
        return {_made(inner[0], draw, given, depth): _made(inner[1], draw, given, depth) for _ in range(2)}
    raise TypeError(f"no payload is known for {kind}: say how one is made")


def unreached(record: Record) -> list[str]:
    """Strings of an infected record that hold no payload and are none that the reader knows."""
    return [f"{place}: {text[:60]!r}" for place, text in strings(record) if text not in SCHEMA and not held(text)]


def held(text: str) -> Payload | None:
    """The payload that a text is or ends with, but for what makes it unlike others."""
    text = re.sub(r"\.\d+$", "", text)
    return _EXACT.get(text) or next((one for one in PAYLOADS if one.text and text.endswith(one.text)), None)


_EXACT = {one.text: one for one in PAYLOADS}
