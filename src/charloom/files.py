"""Files and folders that are there as a whole or not at all, also when the process dies or the power goes."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write to that is at ``path`` when all has been written: until then what was there stands.

    It lies beside ``path`` meanwhile, as ``.NAME.PROCESS.tmp``: a rename between two file systems is no single act. A
    link is followed, and what is no file, such as a pipe, is written to as it is. Raises `OSError`, on a full disk for
    example.
    """
    if path.exists() and not path.is_file():
        with open(path, "wb") as file:
            yield file
        return
    path = Path(os.path.realpath(path))
    temporary = path.with_name(f".{path.name[:200]}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        flush_folder(path.parent)
    finally:
        with suppress(OSError):  # On a disk that can only be read there is none, and yet it can't be deleted.
            temporary.unlink(missing_ok=True)


def make_folder(path: Path, *, exist_ok: bool = True) -> None:
    """A folder, with those that it lies in.

    Raises `OSError`: `FileExistsError` where a file has the name, or a folder and ``exist_ok`` is false.
    """
    if not path.parent.is_dir():
        make_folder(path.parent)
    path.mkdir(exist_ok=exist_ok)
    flush_folder(path.parent)


def flush_folder(folder: Path) -> None:
    """Make the names in a folder durable, where the system lets a folder be opened and flushed."""
    if os.name != "posix":
        return
    with suppress(PermissionError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno != errno.EINVAL:  # As some network file systems say.
                raise
        finally:
            os.close(descriptor)
