"""A model becomes rows of alias cells, one for each context that is met, made when it is first needed.

What is done to a distribution before it is drawn from (temperature, filters) is done once a context, not once a
character. Where all contexts together are few enough, a context's row is its number in base V, oldest character first;
otherwise rows are numbered as they come, and where no more fit into memory the younger half is dropped, and made again
as needed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from charloom.drawing import OPEN, START, Block, Rows
from charloom.errors import SamplingError
from charloom.evaluation import LOGITS_AT_ONCE
from charloom.loss import log_softmax
from charloom.models import LanguageModel
from charloom.vocabulary import MARKER

if TYPE_CHECKING:
    from jaxtyping import Float, Int, UInt64

NUMBERED_CELLS = 1 << 24
"""Most cells a table of all contexts may have: 128 MiB, of which the rows that are met take real memory."""
COMPLETED_ROWS = 1 << 15
"""Rows of a table of all contexts that are made at once before the largest blocks are drawn."""
LARGEST = 1 << 14
"""Most items that may wait for rows at once."""
LISTED_BYTES = 1 << 27
"""Memory for rows that are numbered as they come."""


Shape: TypeAlias = "Callable[[Float[np.ndarray, 'batch vocab']], Float[np.ndarray, 'batch vocab']]"
"""What turns logits into the distributions that are drawn from."""
AliasCells: TypeAlias = "Callable[[Float[np.ndarray, 'rows vocab']], UInt64[np.ndarray, 'rows vocab']]"
"""What turns distributions into cells."""


class Table:
    """The rows of one model under one way of shaping its distributions."""

    def __init__(self, model: LanguageModel, shape: Shape, *, logs: bool) -> None:
        """With ``logs``, rows hold ln p of the unchanged model too."""
        self._model = model
        self._shape = shape
        self._logs = logs
        self._size, self._length = model.vocabulary_size, model.context_length
        self._numbered = self._size ** (self._length + 1) <= NUMBERED_CELLS
        cell_bytes = 8 + (8 if logs else 0) + (0 if self._numbered else 4)
        listed = max(1, LISTED_BYTES // (self._size * cell_bytes))
        self._capacity = self._size**self._length if self._numbered else listed
        self._place_values = self._size ** np.arange(self._length - 1, -1, -1) if self._numbered else None
        self._known: dict[bytes, int] = {}
        self.rows = self._empty(self._capacity if self._numbered else min(self._capacity, 256))

    @property
    def at_once(self) -> int:
        """How many items can go on at once, whatever their contexts."""
        return LARGEST if self._numbered else self._capacity

    def admit(
        self, block: Block, waiting: Int[np.ndarray, " waiting"], alias_cells: AliasCells
    ) -> Int[np.ndarray, " admitted"]:
        """Make the rows that items wait for, as many as fit; returns the items that can go on."""
        contexts = self._contexts(block, waiting)
        if self._numbered:
            numbers = contexts @ self._place_values
            self._number(np.unique(numbers[self.rows.base[numbers] < 0]), alias_cells)
            block.states[waiting] = numbers
            return waiting
        return self._admit_listed(block, waiting, contexts, alias_cells)

    def complete(self, alias_cells: AliasCells) -> None:
        """Make all rows that are missing, where they are so few that looking for some now and then takes longer."""
        if self._numbered and self._capacity <= COMPLETED_ROWS:
            self._number(np.flatnonzero(self.rows.base < 0), alias_cells)

    def _number(self, missing: Int[np.ndarray, " rows"], alias_cells: AliasCells) -> None:
        self._fill(missing, missing[:, None] // self._place_values % self._size, alias_cells)
        # The context's number without its oldest character, one place up.
        self.rows.base[missing] = missing % max(1, self._size ** (self._length - 1)) * self._size

    def _admit_listed(
        self,
        block: Block,
        waiting: Int[np.ndarray, " waiting"],
        contexts: Int[np.ndarray, "waiting context"],
        alias_cells: AliasCells,
    ) -> Int[np.ndarray, " admitted"]:
        packed = np.ascontiguousarray(contexts, dtype=np.int32)
        keys: list[Any] = packed.view(np.dtype((np.void, 4 * self._length))).ravel().tolist()  # bytes
        fresh = {key: at for at, key in enumerate(keys) if key not in self._known}
        if len(self._known) + len(fresh) > self._capacity:
            room = self._make_room()
            block.states[waiting] = START  # The rows that they came from may be gone.
            waiting, keys, contexts = waiting[:room], keys[:room], contexts[:room]
            fresh = {key: at for at, key in enumerate(keys) if key not in self._known}
        held = len(self._known)
        self._grow(held + len(fresh))
        numbers = np.arange(held, held + len(fresh))
        self._fill(numbers, contexts[list(fresh.values())], alias_cells)
        self.rows.base[numbers] = 0
        self._known.update(zip(fresh, numbers.tolist(), strict=True))
        row = np.array([self._known[key] for key in keys])
        before = OPEN - block.states[waiting]
        linked = before >= 0
        newest = block.slots[waiting[linked], block.lengths[waiting[linked]] - 1]
        self.rows.following[before[linked], newest] = row[linked]
        block.states[waiting] = row
        return waiting

    def _make_room(self) -> int:
        """Drop the younger half of the rows: those that were met first are met most. Returns how many fit then."""
        kept = self._capacity // 2
        self._known = {key: number for key, number in self._known.items() if number < kept}
        self.rows.following[self.rows.following >= kept] = -1
        self.rows.following[kept:] = -1
        return self._capacity - kept

    def _contexts(self, block: Block, items: Int[np.ndarray, " items"]) -> Int[np.ndarray, "items context"]:
        at = block.lengths[items][:, None] - np.arange(self._length, 0, -1)
        ids: Int[np.ndarray, "items context"] = np.where(
            at >= 0, block.slots[items[:, None], np.maximum(at, 0)], MARKER
        ).astype(np.int64)
        return ids

    def _fill(
        self, numbers: Int[np.ndarray, " rows"], contexts: Int[np.ndarray, "rows context"], alias_cells: AliasCells
    ) -> None:
        at_once = max(1, LOGITS_AT_ONCE // self._size)
        for first in range(0, len(numbers), at_once):
            part = slice(first, first + at_once)
            logits = self._model.next_logits(contexts[part])
            shares = self._shape(logits)
            if not np.isfinite(shares).all():
                raise SamplingError(
                    "the model gives no probabilities: its logits are not numbers",
                    remedy="Its training has diverged; train it again with a lower --learning-rate.",
                )
            self.rows.cells[numbers[part]] = alias_cells(shares)
            if self._logs:
                self.rows.logs[numbers[part]] = log_softmax(logits)

    def _empty(self, rows: int) -> Rows:
        size = self._size
        return Rows(
            cells=np.empty((rows, size), dtype=np.uint64),
            base=np.full(rows, -1, dtype=np.int32),
            step=min(1, self._length),
            following=np.full((0 if self._numbered else rows, size), -1, dtype=np.int32),
            logs=np.empty((rows if self._logs else 0, size)),
        )

    def _grow(self, rows: int) -> None:
        have = len(self.rows.cells)
        if rows <= have:
            return
        old, self.rows = self.rows, self._empty(min(self._capacity, max(rows, 2 * have)))
        self.rows.cells[:have] = old.cells
        self.rows.base[:have] = old.base
        self.rows.following[:have] = old.following
        self.rows.logs[: len(old.logs)] = old.logs


def waiting_items(block: Block) -> Int[np.ndarray, " waiting"]:
    """The items that are neither ended nor cut."""
    return np.flatnonzero((block.states >= 0) | (block.states == START) | (block.states <= OPEN))
