"""A record on disk: one JSON object a line, written as it happens, so that a crash loses at most one line."""

from __future__ import annotations

import contextlib
import copy
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from telltales.errors import RecordError
from telltales.files import replacing
from telltales.observation import COLUMNS, Evaluation, Observation
from telltales.record import Record
from telltales.record_lines import MARK, VERSION, check_of, checked, encoded, packed, parsed, plain, unpacked
from telltales.record_reading import read_record

__all__ = ["MARK", "VERSION", "RecordWriter", "cut_record", "read_record"]


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
            self._check = _last_check(self.path) if append else 0
            self._file: IO[bytes]
            if not append:
                # A record begins with what is known of the training, or not at all.
                with replacing(self.path) as self._file:
                    self._write({MARK: VERSION, "columns": {kind: list(columns) for kind, columns in COLUMNS.items()}})
                    self._describe({})
            self._file = self.path.open("ab", buffering=0)
            try:
                self._describe({})
            except BaseException:
                self.abandon()
                raise
        except OSError as error:
            raise RecordError(error.strerror or str(error), where=str(path)) from error

    def observe(self, observation: Observation) -> None:
        self._describe({kind: reading.names for kind, reading in observation.tables.items()})
        line: dict[str, Any] = {"step": observation.step}
        line |= {name: _number(value) for name, value in observation.scalars.items()}
        line["tables"] = {kind: packed(reading.values, "<f4") for kind, reading in observation.tables.items()}
        line["losses"] = packed(observation.losses, "<f4")
        if observation.indices is not None:
            line["indices"] = list(observation.indices)
        if observation.picture is not None:
            line["histograms"] = {
                kind: {name: [histogram.first, *_packed_counts(histogram.counts)] for name, histogram in rows.items()}
                for kind, rows in observation.picture.histograms.items()
            }
            line["maps"] = {
                name: [*cells.shape, packed(np.packbits(cells), "u1")]
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
        with contextlib.suppress(Exception):
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
        content, self._check = checked(encoded(line), self._check)
        rest = memoryview(content)
        while rest:
            # A disk that is nearly full takes a part, and says no more than how much.
            rest = rest[self._file.write(rest) :]


def cut_record(path: str | os.PathLike[str], step: int) -> None:
    """Take from a record's file what belongs to ``step`` and later ones, as a training that is resumed there needs it.

    The file is replaced as a whole. Raises `RecordError` as `read_record` does.
    """
    read_record(path)
    target = Path(path)
    kept = []
    for written in target.read_bytes().splitlines(keepends=True):
        line = plain(written)
        found: dict[str, Any] = parsed(line) if line.endswith(b"\n") else {}
        last = found.get("step", step - 1)
        if "losses" in found and (last >= step or "first" in found):
            losses = unpacked(found["losses"], "<f4")
            first = found.get("first", last - len(losses) + 1)
            if first < step:
                kept.append(encoded(_losses_line(first, losses[: step - first])))
        elif found and "outcome" not in found and last < step and found.get("evaluation", 0) <= step:
            kept.append(line)
    check: int | None = 0
    try:
        with replacing(target) as file:
            for line in kept:
                content, check = checked(line, check)
                file.write(content)
    except OSError as error:
        raise RecordError(error.strerror or str(error), where=str(path)) from error


def _losses_line(first_step: int, losses: NDArray[np.float32]) -> dict[str, Any]:
    return {"first": first_step, "losses": packed(losses, "<f4")}


def _number(value: float) -> float | str | None:
    """JSON knows no NaN and no infinity: null and a string stand for them."""
    if np.isnan(value):
        return None
    return float(value) if np.isfinite(value) else ("inf" if value > 0 else "-inf")


def _packed_counts(counts: NDArray[np.uint32]) -> tuple[int, str]:
    """How many bytes a count takes, and the counts."""
    highest = int(counts.max(initial=0))
    size = 1 if highest < 1 << 8 else 2 if highest < 1 << 16 else 4
    return size, packed(counts, f"<u{size}")


def _last_check(path: Path) -> int | None:
    """The checksum of the last line; None where lines have none."""
    last = b""
    with path.open("rb") as file:
        for line in file:
            last = line
    return check_of(last)
