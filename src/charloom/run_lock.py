"""One process at a time writes to a run folder.

The lock is the system's, on the file ``.lock``: it ends with the process that holds it, however that ends, so a lock
file that is left behind locks nothing.
"""

from __future__ import annotations

import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from charloom.errors import RunError

NAME = ".lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold ``folder`` for writing, and take away the temporary files that a killed writer has left there.

    Raises `RunError` where another process (or this one, already) holds it, and where nothing can be written. Where
    the file system knows no locks, a warning says so.
    """
    from filelock import FileLock, Timeout

    path = folder / NAME
    lock = FileLock(path, thread_local=False)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise RunError(
            f"another process is writing to this run{_holder(path)}",
            where=str(folder),
            remedy="Let it end, or end it; a lock ends with the process that holds it.",
        ) from None
    except OSError as error:
        if not os.access(folder, os.W_OK):
            raise RunError(f"cannot be written ({error.strerror})", where=str(folder), remedy="Try --runs.") from None
        warnings.warn(
            f"{folder} cannot be locked ({error.strerror}): see that no other process writes to it", stacklevel=3
        )
    try:
        if lock.is_locked:
            with suppress(OSError):  # A full disk; the name is for people only.
                path.write_text(f"{os.getpid()} on {socket.gethostname()}\n", encoding="utf-8")
            remove_temporary_files(folder)
        yield
    finally:
        lock.release()


def remove_temporary_files(folder: Path) -> None:
    """Delete what a writer that was killed has left: nobody else writes here now."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


def _holder(path: Path) -> str:
    """Who holds the lock, as it said itself: ``: process 12 on host``."""
    with suppress(OSError, UnicodeDecodeError):
        said = path.read_text(encoding="utf-8")[:200].strip()
        if said.split(" ")[0].isdecimal():
            return f": process {said}"
    return ""
