"""A record on disk: one JSON object a line, written as it happens, so that a crash loses at most one line.

``docs/record.md`` describes the format. Tables are float32, little-endian, in base64: exact, and small.
"""

from __future__ import annotations

import base64
import contextlib
import copy
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

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

VERSION = 1
MARK = "telltales_record"


class RecordWriter:
    """Appends to a file what a record takes in. Each line reaches the system before the call returns."""

    def __init__(self, path: str | os.PathLike[str], record: Record, *, append: bool = False) -> None:
        """Starts a new file, in place of one that is there, or goes on with the one that `record` was read from.

        Raises `RecordError` when it can't be written.
        """
        self.path = Path(path)
        self._names: dict[str, tuple[str, ...]] = {}
        self._described: dict[str, dict[str, Any]] = {"about": {}, "modules": {}, "parameters": {}}
        self._record = record
        try:
            self._file: IO[bytes] = self.path.open("ab" if append else "wb", buffering=0)
            if not append:
                self._write({MARK: VERSION, "columns": {kind: list(columns) for kind, columns in COLUMNS.items()}})
            self._describe({})
        except OSError as error:
            raise RecordError(error.strerror or str(error), where=str(path)) from error

    def observe(self, observation: Observation) -> None:
        self._describe({kind: reading.names for kind, reading in observation.tables.items()})
        line: dict[str, Any] = {"step": observation.step}
        line |= {name: _number(value) for name, value in observation.scalars.items()}
        line["tables"] = {kind: _packed(reading.values, "<f4") for kind, reading in observation.tables.items()}
        line["losses"] = _packed(observation.losses, "<f4")
        if observation.indices is not None:
            line["indices"] = list(observation.indices)
        if observation.picture is not None:
            line["histograms"] = {
                kind: {name: [histogram.first, *_packed_counts(histogram.counts)] for name, histogram in rows.items()}
                for kind, rows in observation.picture.histograms.items()
            }
            line["maps"] = {
                name: [*cells.shape, _packed(np.packbits(cells), "u1")]
                for name, cells in observation.picture.maps.items()
            }
        self._write(line)

    def evaluate(self, evaluation: Evaluation) -> None:
        line = {"evaluation": evaluation.step, "split": evaluation.split, "loss": _number(evaluation.loss)}
        line |= {} if evaluation.training is None else {"training": evaluation.training}
        line |= {} if evaluation.classes is None else {"classes": evaluation.classes}
        self._write(line)

    def add_losses(self, first_step: int, losses: NDArray[np.float32]) -> None:
        self._write(_losses_line(first_step, losses))

    def close(self, outcome: str) -> None:
        self._describe({})
        self._write({"outcome": outcome})
        self._file.close()

    def abandon(self) -> None:
        """Close the file after a failure, as far as that goes."""
        with contextlib.suppress(OSError):
            self._file.close()

    def _describe(self, names: Mapping[str, tuple[str, ...]]) -> None:
        """If need be, a line with what is new about the training, and with the names of the rows to come."""
        line: dict[str, Any] = {}
        for what, described in self._described.items():
            now: dict[str, Any] = getattr(self._record, what)
            new = {name: facts for name, facts in now.items() if name not in described or described[name] != facts}
            if new:
                line[what] = new
                described |= copy.deepcopy(new)
        changed = {kind: list(rows) for kind, rows in names.items() if self._names.get(kind) != rows}
        self._names |= names
        if changed:
            line["rows"] = changed
        if line:
            self._write(line)

    def _write(self, line: Mapping[str, Any]) -> None:
        self._file.write(_encoded(line))


def read_record(path: str | os.PathLike[str], limits: Limits | None = None) -> Record:
    """The record in a file, as it was in memory when it was written.

    A last line that was cut off, as by a crash, is left out. Raises `RecordError`, with the line, for a file that is
    not a record, is of another version, or is damaged anywhere else.
    """
    return _Reader(Path(path), limits or Limits()).read()


def cut_record(path: str | os.PathLike[str], step: int) -> None:
    """Take from a record's file what belongs to ``step`` and later ones, as a training that is resumed there needs it.

    The file is replaced as a whole. Raises `RecordError` as `read_record` does.
    """
    read_record(path)
    target = Path(path)
    kept = []
    for line in target.read_bytes().splitlines(keepends=True):
        found: dict[str, Any] = json.loads(line) if line.endswith(b"\n") else {}
        last = found.get("step", step - 1)
        if "losses" in found and (last >= step or "first" in found):
            losses = _unpacked(found["losses"], "<f4")
            first = found.get("first", last - len(losses) + 1)
            if first < step:
                kept.append(_encoded(_losses_line(first, losses[: step - first])))
        elif found and "outcome" not in found and last < step and found.get("evaluation", 0) <= step:
            kept.append(line)
    new = target.with_name(target.name + ".new")
    try:
        new.write_bytes(b"".join(kept))
        new.replace(target)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise RecordError(error.strerror or str(error), where=str(path)) from error


class _Reader:
    def __init__(self, path: Path, limits: Limits) -> None:
        self._path = path
        self._limits = limits
        self._number = 0
        self._names: dict[str, tuple[str, ...]] = {}

    def read(self) -> Record:
        try:
            with self._path.open("rb") as file:
                record = self._header(file.readline())
                for self._number, line in enumerate(file, start=2):
                    if not line.endswith(b"\n"):
                        break
                    self._take(record, self._object(line))
        except OSError as error:
            raise RecordError(error.strerror or str(error), where=str(self._path)) from error
        return record

    def _header(self, line: bytes) -> Record:
        self._number = 1
        if not line:
            raise self._error("the file is empty")
        try:
            header = json.loads(line)
            version = header[MARK]
        except (ValueError, KeyError, TypeError):
            raise self._error("this is not a record of telltales") from None
        if version != VERSION:
            raise self._error(
                f"this is a record of version {version!r}; this telltales reads version {VERSION}",
                "Read it with the telltales that wrote it, or a newer one.",
            )
        columns = {kind: list(names) for kind, names in COLUMNS.items()}
        if header.get("columns") != columns:
            raise self._error("the header is damaged: its columns are not those of version 1")
        return Record(limits=self._limits)

    def _object(self, line: bytes) -> dict[str, Any]:
        try:
            parsed = json.loads(line, parse_constant=_refuse)
        except (ValueError, RecursionError):
            raise self._error("the line is damaged: it is not JSON") from None
        if not isinstance(parsed, dict):
            raise self._error("the line is damaged: it is not an object")
        return parsed

    def _take(self, record: Record, line: dict[str, Any]) -> None:
        try:
            if "step" in line:
                record.append(self._observation(line))
            elif "evaluation" in line:
                record.evaluate(_evaluation(line))
            elif "first" in line:
                record.losses.extend(int(line["first"]), _unpacked(line["losses"], "<f4"))
            elif "outcome" in line:
                record.outcome = str(line["outcome"])
            else:
                record.about |= line.get("about", {})
                for what, known in (("modules", record.modules), ("parameters", record.parameters)):
                    known.update({name: dict(facts) for name, facts in line.get(what, {}).items()})
                self._names |= {kind: tuple(map(str, rows)) for kind, rows in line.get("rows", {}).items()}
        except RecordError as error:
            raise self._error(error.fact) from None
        except (KeyError, ValueError, TypeError, AttributeError, OverflowError) as error:
            raise self._error(f"the line is damaged: {type(error).__name__} {error}") from None

    def _observation(self, line: dict[str, Any]) -> Observation:
        tables = {}
        for kind, packed in line["tables"].items():
            names = self._names[kind]
            values = _unpacked(packed, "<f4").reshape(len(names), len(COLUMNS[kind]))
            tables[kind] = Reading(names, values)
        step = int(line["step"])
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
        indices = [int(index) for index in line["indices"]] if "indices" in line else None
        return Observation(step, scalars, tables, picture, _unpacked(line["losses"], "<f4"), indices)

    def _error(self, fact: str, remedy: str | None = None) -> RecordError:
        return RecordError(fact, where=f"{self._path}, line {self._number}", remedy=remedy)


def _evaluation(line: Mapping[str, Any]) -> Evaluation:
    training = line.get("training")
    if training is not None:
        training = bool(training)
    classes = line.get("classes")
    if classes is not None:
        classes = {str(name): (int(count), int(wrong)) for name, (count, wrong) in classes.items()}
    return Evaluation(int(line["evaluation"]), str(line["split"]), _value(line["loss"]), training, classes)


def _losses_line(first_step: int, losses: NDArray[np.float32]) -> dict[str, Any]:
    return {"first": first_step, "losses": _packed(losses, "<f4")}


def _encoded(line: Mapping[str, Any]) -> bytes:
    return json.dumps(line, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def _number(value: float) -> float | str | None:
    """JSON knows no NaN and no infinity: null and a string stand for them."""
    if np.isnan(value):
        return None
    return float(value) if np.isfinite(value) else ("inf" if value > 0 else "-inf")


def _value(number: Any) -> float:
    return float("nan") if number is None else float(number)


def _packed(array: NDArray[Any], dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(array, dtype).tobytes()).decode("ascii")


def _packed_counts(counts: NDArray[np.uint32]) -> tuple[int, str]:
    """How many bytes a count takes, and the counts."""
    highest = int(counts.max(initial=0))
    size = 1 if highest < 1 << 8 else 2 if highest < 1 << 16 else 4
    return size, _packed(counts, f"<u{size}")


def _unpacked(text: str, dtype: str) -> NDArray[Any]:
    return np.frombuffer(base64.b64decode(text, validate=True), dtype).astype(np.dtype(dtype).newbyteorder("="))


def _histogram(packed: list[Any]) -> Histogram:
    first, size, text = packed
    if not isinstance(first, int) or size not in (1, 2, 4):
        raise ValueError(f"a histogram from bin {first} in counts of {size} bytes")
    counts = _unpacked(text, f"<u{size}").astype(np.uint32)
    if not 0 <= first <= first + len(counts) <= BINS:
        raise ValueError(f"a histogram reaches from bin {first} to {first + len(counts)} of {BINS}")
    return Histogram(first, counts)


def _map(examples: int, units: int, packed: str) -> NDArray[np.bool_]:
    if not (0 <= examples <= MAP_EXAMPLES and 0 <= units <= MAP_UNITS):
        raise ValueError(f"a map of {examples} by {units}")
    bits = np.unpackbits(_unpacked(packed, "u1"), count=examples * units)
    return bits.reshape(examples, units).astype(bool)


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")
