"""Items are drawn a block at a time: small blocks by NumPy, large ones by compiled code on several threads.

Which of these it is changes nothing: both draw the same, and a block's size depends on where it stands alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, Protocol

import numpy as np

from charloom import drawing
from charloom.compiled import available, cores, listen_to_the_compiler
from charloom.drawing import ID_BITS, Block, Rows, stream_of
from charloom.models import LanguageModel
from charloom.tables import Shape, Table, waiting_items

if TYPE_CHECKING:
    from jaxtyping import Float, Int, UInt64

LARGEST_SLOTS = 1 << 23
"""Most ids that a block may have room for."""
COMPILED_FROM = 1 << 15
"""Characters from which on compiled code draws, if there are a hundred different ones: to load that takes as long as to
draw so many without. Of more, fewer: a row takes longer to make."""


class Hand(Protocol):
    """What draws: the functions of `charloom.drawing`, or their compiled twins."""

    def alias_cells(self, shares: Float[np.ndarray, "rows vocab"]) -> UInt64[np.ndarray, "rows vocab"]: ...

    def advance(self, rows: Rows, block: Block, stream: np.uint64, items: Int[np.ndarray, " waiting"]) -> None: ...

    def spell(self, block: Block, codes: Int[np.ndarray, " vocab"]) -> bytes: ...


def draw_blocks(
    model: LanguageModel,
    shape: Shape,
    prefix: Int[np.ndarray, " prefix"],
    longest: int,
    seed: int,
    *,
    first_size: int,
    typical: int,
    logs: bool,
    threads: int | None = None,
) -> Iterator[tuple[Block, Hand]]:
    """Blocks of finished items without end, each twice as large as the one before up to a limit; and what drew them.

    A block is good until the next is asked for.

    ``shape`` turns logits into what is drawn from; ``longest`` counts the prefix; an item has ``typical`` characters.
    With ``logs``, a block's totals are the ln of the probability that the model gives what was drawn. ``threads``: as
    many as there are cores, if left out.
    """
    stream = stream_of(seed)
    table = Table(model, shape, logs=logs)
    largest = max(1, min(LARGEST_SLOTS // longest, max(first_size, table.at_once)))
    first, size = 0, min(first_size, largest)
    block: Block | None = None
    while True:
        work = (first + size) * typical * (1 + model.vocabulary_size // 100)
        hand: Hand = drawing if work < COMPILED_FROM else compiled_hand(threads) or drawing
        if block is None or len(block.slots) != size:
            block = _room(size, longest, model.vocabulary_size)
        block.begin(first, prefix)
        if size == largest:
            table.complete(hand.alias_cells)
        table.admit(block, np.zeros(1, dtype=np.int64), hand.alias_cells)
        block.states[:] = block.states[0]  # All items begin alike.
        hand.advance(table.rows, block, stream, np.arange(size))
        while len(waiting := waiting_items(block)):
            admitted = table.admit(block, waiting, hand.alias_cells)
            hand.advance(table.rows, block, stream, admitted)
        yield block, hand
        first, size = first + size, min(2 * size, largest)


def _room(size: int, longest: int, vocabulary_size: int) -> Block:
    return Block(
        first=0,
        states=np.empty(size, dtype=np.int64),
        slots=np.empty((size, longest), dtype=np.min_scalar_type(vocabulary_size - 1)),
        lengths=np.empty(size, dtype=np.int64),
        totals=np.empty(size),
    )


@cache
def compiled_hand(threads: int | None = None) -> Hand | None:
    """What draws compiled; None where numba is missing or cannot be used."""
    if not available():
        return None
    try:
        return _CompiledHand(threads or cores())
    except (ImportError, RuntimeError):  # Of another NumPy, or without a folder for what it compiles.
        return None


class _CompiledHand:
    def __init__(self, threads: int) -> None:
        from charloom.compiled import drawing as kernels

        listen_to_the_compiler()
        self._kernels = kernels
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None

    def alias_cells(self, shares: Float[np.ndarray, "rows vocab"]) -> UInt64[np.ndarray, "rows vocab"]:
        cells = np.empty(shares.shape, dtype=np.uint64)
        self._in_parts(len(shares), lambda part: self._kernels.alias_cells(shares[part], cells[part], ID_BITS))
        return cells

    def advance(self, rows: Rows, block: Block, stream: np.uint64, items: Int[np.ndarray, " waiting"]) -> None:
        def one(part: slice) -> None:
            self._kernels.advance(
                rows.cells,
                ID_BITS,
                rows.base,
                rows.step,
                rows.following,
                rows.logs,
                stream,
                block.first,
                items[part],
                block.states,
                block.slots,
                block.lengths,
                block.totals,
            )

        self._in_parts(len(items), one)

    def spell(self, block: Block, codes: Int[np.ndarray, " vocab"]) -> bytes:
        letters = [chr(code).encode() for code in codes]  # UTF-8 takes four bytes at most.
        sizes = np.array([len(letter) for letter in letters])
        padded = np.frombuffer(b"".join(letter.ljust(4, b"\0") for letter in letters), dtype=np.uint8).reshape(-1, 4)
        room = int(block.lengths.sum()) * int(sizes.max()) + len(block.lengths)
        out = np.empty(room, dtype=np.uint8)
        return out[: self._kernels.spell(block.slots, block.lengths, padded, sizes, out)].tobytes()

    def _in_parts(self, n: int, work: Callable[[slice], None]) -> None:
        if self._pool is None:
            work(slice(0, n))
            return
        bounds = [n * part // self._threads for part in range(self._threads + 1)]
        list(self._pool.map(work, map(slice, bounds[:-1], bounds[1:])))
