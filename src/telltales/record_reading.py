"""A record from its file. What is damaged is refused with its line, and never asks for more than it is worth."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from telltales.bins import BINS
from telltales.errors import RecordError
from telltales.observation import (
    COLUMNS,
    HISTOGRAMS,
    MAP_EXAMPLES,
    MAP_UNITS,
    SCALARS,
    Evaluation,
    Histogram,
    Observation,
    Picture,
    Reading,
)
from telltales.record import Limits, Record
from telltales.record_lines import CHECK, MARK, VERSION, checked, parsed, plain, unpacked
from telltales.record_schema import ABOUT, DEEPEST, MODULE, PARAMETER, is_deep, misfit

LONGEST_LINE = 1 << 28
"""In bytes."""
MOST_CELLS = 1 << 28
"""So many numbers of a table are held: a gibibyte. A file may ask for a million times more than it holds."""
LARGEST_STEP = 1 << 53
Kind = TypeVar("Kind")


def read_record(path: str | os.PathLike[str], limits: Limits | None = None) -> Record:
    """The record in a file, as it was in memory when it was written.

    A last line that was cut off, as by a crash, is left out. Raises `RecordError`, with the line, for a file that is
    not a record, is of another version, or is damaged anywhere else.
    """
    return _Reader(Path(path), limits or Limits()).read()


class _Reader:
    def __init__(self, path: Path, limits: Limits) -> None:
        self._path = path
        self._limits = limits
        self._number = 0
        self._check: int | None = 0
        self._names: dict[str, tuple[str, ...]] = {}
        self._known: dict[str, set[str]] = {kind: set() for kind in COLUMNS}

    def read(self) -> Record:
        try:
            with self._path.open("rb") as file:
                record = self._header(file.readline(LONGEST_LINE))
                while line := file.readline(LONGEST_LINE):
                    self._number += 1
                    if not line.endswith(b"\n"):
                        if len(line) == LONGEST_LINE:
                            raise self._error(f"the line is damaged: it is longer than {LONGEST_LINE:,} bytes")
                        break
                    self._verify(line)
                    self._take(record, self._object(line))
        except OSError as error:
            raise RecordError(error.strerror or str(error), where=str(self._path)) from error
        return record

    def _header(self, line: bytes) -> Record:
        self._number = 1
        if not line:
            raise self._error("the file is empty")
        try:
            header = parsed(line)
            version = header[MARK]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise self._error("this is not a record of telltales") from None
        if is_deep(header):
            raise self._error("this is not a record of telltales")
        if type(version) is not int or version != VERSION:
            raise self._error(
                f"this is a record of version {version!r}; this telltales reads version {VERSION}",
                "Read it with the telltales that wrote it, or a newer one.",
            )
        columns = {kind: list(names) for kind, names in COLUMNS.items()}
        if header.get("columns") != columns:
            raise self._error("the header is damaged: its columns are not those of version 1")
        if CHECK not in header:
            self._check = None  # Records of an earlier telltales have no checksums.
        self._verify(line)
        return Record(limits=self._limits)

    def _verify(self, line: bytes) -> None:
        """See that the line, and all before it, are as they were written."""
        expected, self._check = checked(plain(line), self._check)
        if expected != line:
            raise self._error("the line is damaged, or one before it is missing: its checksum does not match")

    def _object(self, line: bytes) -> dict[str, Any]:
        try:
            found = parsed(line)
        except (ValueError, RecursionError):
            raise self._error("the line is damaged: it is not JSON") from None
        if not isinstance(found, dict):
            raise self._error("the line is damaged: it is not an object")
        if is_deep(found):
            raise self._error(f"the line is damaged: it has more than {DEEPEST} levels")
        return found

    def _take(self, record: Record, line: dict[str, Any]) -> None:
        try:
            if "step" in line:
                record.append(self._observation(line, record))
            elif "evaluation" in line:
                record.evaluate(_evaluation(line))
            elif "first" in line:
                losses = unpacked(line["losses"], "<f4")
                record.losses.extend(_following(_whole(line["first"]), losses, record), losses)
            elif "outcome" in line:
                record.outcome = _of(str, line["outcome"])
            else:
                self._describe(record, line)
        except RecordError as error:
            raise self._error(error.fact) from None
        except (KeyError, ValueError, TypeError, AttributeError, OverflowError) as error:
            raise self._error(f"the line is damaged: {type(error).__name__} {str(error)[:200]}") from None

    def _describe(self, record: Record, line: dict[str, Any]) -> None:
        for what, known, kind in (
            ("about", record.about, ABOUT),
            ("modules", record.modules, dict[str, MODULE]),  # type: ignore[valid-type]
            ("parameters", record.parameters, dict[str, PARAMETER]),  # type: ignore[valid-type]
        ):
            wrong = misfit(line.get(what, {}), kind)
            if wrong is not None:
                raise RecordError(f"the line is damaged: {what}{wrong}")
            known.update(line.get(what, {}))
        wrong = misfit(line.get("rows", {}), dict[str, list[str]])
        if wrong is not None:
            raise RecordError(f"the line is damaged: rows{wrong}")
        for kind, rows in line.get("rows", {}).items():
            if len(set(rows)) < len(rows):
                raise RecordError(f"the line is damaged: a name stands twice among the rows of {kind!r}")
            self._names[kind] = tuple(rows)
            self._known.setdefault(kind, set()).update(rows)

    def _observation(self, line: dict[str, Any], record: Record) -> Observation:
        tables = {}
        for kind, packed in line["tables"].items():
            names = self._names[kind]
            cells = min(len(record) + 1, self._limits.rows) * len(self._known[kind]) * len(COLUMNS[kind])
            if cells > MOST_CELLS:
                raise RecordError(f"the table {kind!r} would hold more than {MOST_CELLS:,} numbers")
            values = unpacked(packed, "<f4").reshape(len(names), len(COLUMNS[kind]))
            tables[kind] = Reading(names, values)
        step = _whole(line["step"])
        picture = None
        if "histograms" in line:
            histograms = {
                kind: {name: _histogram(packed) for name, packed in rows.items()}
                for kind, rows in line["histograms"].items()
                if kind in HISTOGRAMS
            }
            maps = {name: _map(*packed) for name, packed in line["maps"].items()}
            picture = Picture(step, histograms, maps)
        scalars = {name: _value(line[name]) for name in SCALARS if name in line}
        indices = [_of(int, index) for index in line["indices"]] if "indices" in line else None
        losses = unpacked(line["losses"], "<f4")
        if losses.size:
            _following(step - losses.size + 1, losses, record)
        return Observation(step, scalars, tables, picture, losses, indices)

    def _error(self, fact: str, remedy: str | None = None) -> RecordError:
        return RecordError(fact, where=f"{self._path}, line {self._number}", remedy=remedy)


def _evaluation(line: Mapping[str, Any]) -> Evaluation:
    training = _of(bool, line["training"]) if "training" in line else None
    classes = None
    if "classes" in line:
        classes = {name: (_whole(count), _whole(wrong)) for name, (count, wrong) in line["classes"].items()}
    return Evaluation(_whole(line["evaluation"]), _of(str, line["split"]), _value(line["loss"]), training, classes)


def _following(first: int, losses: NDArray[np.float32], record: Record) -> int:
    """The step of the first of ``losses``, which must come after those that are known."""
    if not record.losses.last_step < first <= LARGEST_STEP - losses.size:
        raise RecordError(f"the loss of step {first} comes after that of step {record.losses.last_step}")
    return first


def _value(number: Any) -> float:
    if number is None or number in ("inf", "-inf"):
        return float("nan" if number is None else number)
    return float(_of(float if isinstance(number, float) else int, number))


def _whole(number: Any) -> int:
    """A step or a count."""
    if not 0 <= _of(int, number) <= LARGEST_STEP:
        raise ValueError(f"{number} is out of range")
    return int(number)


def _of(kind: type[Kind], value: Any) -> Kind:
    if type(value) is not kind:
        raise TypeError(f"{value!r} is not of type {kind.__name__}")
    return value


def _histogram(packed: list[Any]) -> Histogram:
    first, size, text = packed
    if _whole(first) >= BINS or _of(int, size) not in (1, 2, 4):
        raise ValueError(f"a histogram from bin {first} in counts of {size} bytes")
    counts = unpacked(text, f"<u{size}").astype(np.uint32)
    if not 0 <= first <= first + len(counts) <= BINS:
        raise ValueError(f"a histogram reaches from bin {first} to {first + len(counts)} of {BINS}")
    return Histogram(first, counts)


def _map(examples: int, units: int, packed: str) -> NDArray[np.bool_]:
    if not (0 <= _whole(examples) <= MAP_EXAMPLES and 0 <= _whole(units) <= MAP_UNITS):
        raise ValueError(f"a map of {examples} by {units}")
    packed_bits = unpacked(packed, "u1")
    if packed_bits.size != -(-examples * units // 8):
        raise ValueError(f"a map of {examples} by {units} in {packed_bits.size} bytes")
    return np.unpackbits(packed_bits, count=examples * units).reshape(examples, units).astype(bool)
