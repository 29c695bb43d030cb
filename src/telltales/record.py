"""Numbers over time, in bounded memory: what a watched training leaves behind. No torch here.

However long the training, a record holds at most `Limits.rows` observed steps. When it is full, every other one goes,
and of those to come only every other is kept; the first `FIRST_KEPT`, the last and those where the loss, the gradient's
norm or an update was largest or smallest stay. Besides, the extremes that each number ever reached are known with their
steps.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from telltales.errors import RecordError, UsageError
from telltales.observation import COLUMNS, SCALARS, Evaluation, Observation, Picture, Reading
from telltales.series import Evaluations, Losses

HEADLINES = ("loss", "gradient_norm")
FIRST_KEPT = 16
"""So many of the first observed steps stay, as how a training began is what later steps are compared with; of a small
record a quarter."""


@dataclass(frozen=True)
class Limits:
    """The most of each that a record keeps in memory."""

    rows: int = 1024
    pictures: int = 32
    losses: int = 2048
    evaluations: int = 2048
    batches: int = 16

    def __post_init__(self) -> None:
        for name, least in (("rows", 16), ("pictures", 3), ("losses", 2), ("evaluations", 2), ("batches", 1)):
            if getattr(self, name) < least:
                raise UsageError(f"a record can't keep {getattr(self, name)} {name}", remedy=f"{least} are the fewest.")


class Table:
    """The readings of one kind: ``values[row, name, column]``, with the extremes of each number over the whole run."""

    def __init__(self, columns: tuple[str, ...], capacity: int) -> None:
        self.columns = columns
        self.names: list[str] = []
        self._capacity = capacity
        self._values = np.zeros((min(capacity, 16), 0, len(columns)), np.float32)
        self._last_names: tuple[str, ...] = ()
        self._last_places: NDArray[np.intp] = np.zeros(0, np.intp)
        shape = (0, len(columns))
        self.lowest, self.highest = np.full(shape, np.nan, np.float32), np.full(shape, np.nan, np.float32)
        self.lowest_step, self.highest_step = np.full(shape, -1, np.int64), np.full(shape, -1, np.int64)

    def places(self, names: tuple[str, ...]) -> NDArray[np.intp]:
        """Where each name's numbers are; new names get a place."""
        if names != self._last_names:
            known = {name: place for place, name in enumerate(self.names)}
            for name in names:
                if name not in known:
                    known[name] = len(known)
            self._grow(list(known))
            self._last_names, self._last_places = names, np.array([known[name] for name in names], np.intp)
        return self._last_places

    def put(self, row: int, step: int, reading: Reading | None) -> None:
        """Write one step's numbers into a row and let them count for the extremes. Rows are filled in order."""
        if row == len(self._values):
            more = min(row, self._capacity - row)
            self._values = np.pad(self._values, ((0, more), (0, 0), (0, 0)))
        self._values[row] = np.nan
        if reading is None:
            return
        places, values = self.places(reading.names), reading.values
        self._values[row, places] = values
        lower = ~(values >= self.lowest[places]) & ~np.isnan(values)
        higher = ~(values <= self.highest[places]) & ~np.isnan(values)
        self.lowest[places] = np.where(lower, values, self.lowest[places])
        self.highest[places] = np.where(higher, values, self.highest[places])
        self.lowest_step[places] = np.where(lower, step, self.lowest_step[places])
        self.highest_step[places] = np.where(higher, step, self.highest_step[places])

    def move(self, rows: NDArray[np.intp], first: int) -> None:
        """Let ``rows`` be those from ``first`` on."""
        self._values[first : first + len(rows)] = self._values[rows]

    def rows(self, count: int) -> NDArray[np.float32]:
        return self._values[:count]

    def _grow(self, names: list[str]) -> None:
        more = len(names) - len(self.names)
        if more:
            self._values = np.pad(self._values, ((0, 0), (0, more), (0, 0)), constant_values=np.nan)
            self.lowest, self.highest = (
                np.pad(extreme, ((0, more), (0, 0)), constant_values=np.nan) for extreme in (self.lowest, self.highest)
            )
            self.lowest_step, self.highest_step = (
                np.pad(step, ((0, more), (0, 0)), constant_values=-1) for step in (self.lowest_step, self.highest_step)
            )
        self.names = names


@dataclass
class Record:
    """One training as it was watched: numbers per observed step, pictures at some of them, the loss at all of them."""

    about: dict[str, Any] = field(default_factory=dict)
    """What was watched, and how: see ``docs/record.md`` for the keys."""
    modules: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Module name → its type, its activation function if it is one, in the order in which they ran first."""
    parameters: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Parameter name → its shape, whether it is trained, and its other names."""
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        self.outcome: str | None = None
        """``finished`` or the name of the exception that ended it; None while it goes on, and after a crash."""
        self.observed = 0
        """How many steps were observed in all."""
        self.losses = Losses(self.limits.losses)
        self.evaluations = Evaluations(self.limits.evaluations)
        self.pictures: list[Picture] = []
        self.batches: dict[int, tuple[float, list[int]]] = {}
        """Step → (loss, the batch's indices), for the observed steps with the highest losses."""
        self.tables = {kind: Table(columns, self.limits.rows) for kind, columns in COLUMNS.items()}
        self._steps = np.zeros(self.limits.rows, np.int64)
        self._ordinals = np.zeros(self.limits.rows, np.int64)
        self._scalars = np.full((self.limits.rows, len(SCALARS)), np.nan)
        self._headlines = np.full((self.limits.rows, 3), np.nan)
        self._count = 0
        self._stride = 1
        self._picture_ordinals: list[int] = []
        self._pictures_seen = 0
        self._picture_stride = 1

    def __len__(self) -> int:
        return self._count

    @property
    def steps(self) -> NDArray[np.int64]:
        """The observed steps that the record holds, rising."""
        return self._steps[: self._count]

    def scalar(self, name: str) -> NDArray[np.float64]:
        """One of `SCALARS` at each of `steps`; NaN where it was not measured."""
        if name not in SCALARS:
            raise RecordError(f"no scalar is called {name!r}", remedy=f"There are {', '.join(SCALARS)}.")
        return self._scalars[: self._count, SCALARS.index(name)]

    def names(self, kind: str) -> list[str]:
        """The rows of a table, in the order in which they appeared."""
        return list(self._table(kind).names)

    def values(self, kind: str, column: str) -> NDArray[np.float32]:
        """One column of a table, (steps, names); NaN where it was not measured."""
        table = self._table(kind)
        return table.rows(self._count)[:, :, _place(column, table.columns, f"a column of {kind!r}")]

    def series(self, kind: str, name: str, column: str) -> NDArray[np.float32]:
        """One number over time, (steps,); NaN where it was not measured."""
        return self.values(kind, column)[:, _place(name, tuple(self._table(kind).names), f"a row of {kind!r}")]

    def extremes(self, kind: str, name: str, column: str) -> tuple[tuple[int, float], tuple[int, float]]:
        """The lowest and the highest value that a number ever took, each as (step, value); step -1 if it had none."""
        table = self._table(kind)
        row = _place(name, tuple(table.names), f"a row of {kind!r}")
        place = row, _place(column, table.columns, f"a column of {kind!r}")
        return (
            (int(table.lowest_step[place]), float(table.lowest[place])),
            (int(table.highest_step[place]), float(table.highest[place])),
        )

    def append(self, observation: Observation) -> None:
        """Take in one observed step. Steps rise."""
        if self._count and observation.step <= self._steps[self._count - 1]:
            raise RecordError(f"step {observation.step} comes after step {self._steps[self._count - 1]}")
        self._make_room()
        row = self._count
        self._count += 1
        self._steps[row] = observation.step
        self._ordinals[row] = self.observed
        self.observed += 1
        self._scalars[row] = [observation.scalars.get(name, np.nan) for name in SCALARS]
        for kind, table in self.tables.items():
            table.put(row, observation.step, observation.tables.get(kind))
        headlines = [observation.scalars.get(name, np.nan) for name in HEADLINES]
        self._headlines[row] = [*headlines, _largest_update(observation)]
        if observation.picture is not None:
            self._add_picture(observation.picture)
        self.losses.extend(observation.step - len(observation.losses) + 1, observation.losses)
        if observation.indices is not None:
            self._add_batch(observation)

    def evaluate(self, evaluation: Evaluation) -> None:
        """Take in one evaluation."""
        self.evaluations.append(evaluation)

    def _table(self, kind: str) -> Table:
        if kind not in self.tables:
            raise RecordError(f"no table is called {kind!r}", remedy=f"There are {', '.join(self.tables)}.")
        return self.tables[kind]

    def _make_room(self) -> None:
        """Let go of what no longer has to stay, now that the last row is not the last any more."""
        self._thin()
        while self._count == self.limits.rows:
            self._stride *= 2
            self._thin()

    def _thin(self) -> None:
        ordinals = self._ordinals[: self._count]
        stays = (ordinals % self._stride == 0) | (ordinals < min(FIRST_KEPT, self.limits.rows // 4))
        for column in self._headlines[: self._count].T:
            if not np.isnan(column).all():
                stays[[np.nanargmin(column), np.nanargmax(column)]] = True
        if stays.all():
            return
        first = int(np.argmin(stays))
        rows = first + np.flatnonzero(stays[first:])
        self._count = first + len(rows)
        for array in (self._steps, self._ordinals, self._scalars, self._headlines):
            array[first : self._count] = array[rows]
        for table in self.tables.values():
            table.move(rows, first)

    def _add_picture(self, picture: Picture) -> None:
        """Keep the first and the last, and in between every so many that they fit."""
        self._thin_pictures()
        while len(self.pictures) >= self.limits.pictures:
            self._picture_stride *= 2
            self._thin_pictures()
        self.pictures.append(picture)
        self._picture_ordinals.append(self._pictures_seen)
        self._pictures_seen += 1

    def _thin_pictures(self) -> None:
        kept = [i for i, ordinal in enumerate(self._picture_ordinals) if ordinal % self._picture_stride == 0]
        self.pictures = [self.pictures[i] for i in kept]
        self._picture_ordinals = [self._picture_ordinals[i] for i in kept]

    def _add_batch(self, observation: Observation) -> None:
        loss = float(observation.scalars.get("loss", np.nan))
        self.batches[observation.step] = (loss, list(observation.indices or ()))
        if len(self.batches) > self.limits.batches:
            # A loss that is not a number is the last to be forgotten.
            del self.batches[min(self.batches, key=lambda step: np.nan_to_num(self.batches[step][0], nan=np.inf))]


def _place(name: str, names: tuple[str, ...], what: str) -> int:
    try:
        return names.index(name)
    except ValueError:
        some = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
        raise RecordError(f"{name!r} is not {what}", remedy=f"There are {some or 'none'}.") from None


def _largest_update(observation: Observation) -> float:
    reading = observation.tables.get("update")
    if reading is None or not len(reading.names):
        return np.nan
    ratios = reading.values[:, COLUMNS["update"].index("ratio")]
    return float(np.fmax.reduce(ratios))
