"""N-grams of files larger than memory: read once, a piece at a time, by all cores.

The counts are exactly those of `charloom.corpus.load`, `Vocabulary.from_items` and `Contexts.all_rows`, and so are the
errors; what is held is a few pieces and the distinct n-grams. Each thread takes a piece (`pieces`), makes characters of
it (`worker`) and counts them in tables of its own (`tables`), which are added up at the end, so that the number of
threads changes nothing.

Text that is ASCII stays bytes. Its bigrams are counted as pairs of bytes whatever these are, line ends and capital
letters too: the table of pairs says afterwards what they were.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

from charloom.compiled import available, cores, listen_to_the_compiler
from charloom.config import DataConfig
from charloom.corpus import check
from charloom.counting import plain
from charloom.counting.pieces import Fault, Pieces, Progress
from charloom.counting.result import Gram, NGramCounts, assembled
from charloom.counting.tables import Alphabet
from charloom.counting.worker import Read, Worker, added_up, lowers
from charloom.errors import ConfigError

__all__ = ["MOST", "Gram", "NGramCounts", "Progress", "SlowCounting", "count_file"]

MOST = 1 << 24
"""How many different n-grams are counted unless told otherwise: half a gigabyte of them in a thread."""
WORTH_COMPILED = 4 << 20
"""Bytes whose n-grams are counted sooner without numba than it takes to get ready."""
PAIRS_FASTER = 16
"""How many times as many it are for bigrams."""


class SlowCounting(UserWarning):
    """A large text is counted without compiled code."""


def count_file(
    config: DataConfig,
    order: int = 2,
    *,
    threads: int | None = None,
    most: int = MOST,
    on_progress: Progress | None = None,
) -> NGramCounts:
    """Count the n-grams of ``order`` characters in the text that ``config`` names.

    ``threads``: all cores if left out. ``on_progress`` is told of bytes read and bytes there are, from the thread that
    called.

    Raises `DataError` as `charloom.corpus.load` does, for more than ``most`` different n-grams, and for an alphabet so
    large that an n-gram does not fit into 63 bits; `ConfigError` for an order or a number of threads below 1.
    """
    if order < 1:
        raise ConfigError(f"there is no n-gram of order {order}", remedy="The order is at least 1.")
    if threads is not None and threads < 1:
        raise ConfigError(f"{threads} threads are too few", remedy="Use at least 1, or leave it out for all cores.")
    alphabet = Alphabet(lines=config.unit == "line", lower=lowers(config), compose=config.normalize == "nfc")
    with Pieces(config, on_progress) as pieces:
        kernels = _kernels(pieces.size, WORTH_COMPILED * (PAIRS_FASTER if order <= 2 else 1))
        workers = [Worker(config, max(order, 2), alphabet, kernels, most) for _ in range(threads or cores())]
        _count_all(workers, pieces)
        pieces.report()
        faults = [worker.fault for worker in workers if worker.fault] + ([pieces.fault] if pieces.fault else [])
        read = sorted((one for worker in workers for one in worker.read), key=lambda one: one.number)
        if faults:
            _tell(min(faults, key=lambda one: one.number), read, config, pieces.head)
    lines = sum(one.lines for one in read) + (config.unit == "text" and bool(read) and read[-1].column > 0)
    keys, counts = added_up(workers, read, alphabet)
    workers[0].grams.check(len(keys))
    return assembled(keys, counts, alphabet, config, order=order, lines=lines, bytes_read=pieces.read)


def _kernels(size: int | None, worth: int) -> ModuleType:
    """What counts a source of so many bytes, if that is known: compiled from ``worth`` bytes on."""
    if size is not None and size < worth:
        return plain
    reason = _why_not_compiled()
    if reason is None:
        from charloom.compiled import counting

        listen_to_the_compiler()
        return counting
    warnings.warn(f"counting is about ten times slower, because {reason}", SlowCounting, stacklevel=3)
    return plain


def _why_not_compiled() -> str | None:
    if not available():
        return "numba is not installed (pip install 'telltales[fast]')"
    if sys.byteorder == "big":
        return "the compiled code is for little-endian machines"
    try:
        from charloom.compiled import counting  # noqa: F401
    except (ImportError, RuntimeError) as error:  # Of another NumPy, or without a folder for what it compiles.
        return f"numba cannot be used ({error})"
    return None


def _count_all(workers: Sequence[Worker], pieces: Pieces) -> None:
    """Give every piece to a worker; the first one works in this thread."""
    with ThreadPoolExecutor(max(1, len(workers) - 1)) as pool:
        try:
            others = [pool.submit(_count, worker, pieces) for worker in workers[1:]]
            _count(workers[0], pieces, report=True)
            for other in others:
                other.result()
        finally:
            pieces.stop()


def _count(worker: Worker, pieces: Pieces, *, report: bool = False) -> None:
    buffer = bytearray()
    try:
        while piece := pieces.take(buffer):
            if not worker.count(piece):
                break
            if report:
                pieces.report()
            buffer = piece.buffer
    finally:
        pieces.stop()  # The source has ended, or something is wrong.


def _tell(fault: Fault, read: Sequence[Read], config: DataConfig, head: bytes) -> None:
    """Raise the error that is in a part of the source, after all that was read before it."""
    line = column = 1
    for one in read[: fault.number]:
        line += one.lines
        column = 1 + one.column if one.lines else column + one.column
    check(fault.chunks, config, line=line, column=column, head=head)
    raise AssertionError("text that cannot be counted can be read")
