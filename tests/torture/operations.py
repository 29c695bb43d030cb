"""What a process does to the files below a folder: counted, written down, and brought to a bad end at the n-th.

A process that is killed leaves what its last file operation left: nothing else that it does can be seen from outside.
So to die before the first, the second, … operation, and in the middle of each write, is to die at every moment.
"""

from __future__ import annotations

import base64
import builtins
import errno
import io
import json
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

OPENING = os.O_CREAT | os.O_TRUNC


@dataclass(frozen=True)
class Fate:
    """What becomes of the operations below a folder."""

    folder: str
    """Which are meant: those of what lies in this folder, or becomes it."""
    at: int = 0
    """The number of the operation, from 1 on, that ``how`` is about; 0: none."""
    how: Literal["die", "die halfway", "fail"] = "die"
    """``die``: before the operation. ``die halfway``: with half of the bytes written, if it is a write. ``fail``: this
    one and all that follow, but for the deletion of files, raise ``error``; a write comes half as far first."""
    error: int = errno.ENOSPC
    after: str = ""
    """Operations are counted from when a file of this name is replaced for the first time, if one is named."""
    journal: str = ""
    """A file to write all operations down in: a JSON object a line, of what `Operation` has."""


@dataclass(frozen=True)
class Operation:
    """One file operation that was carried out."""

    kind: str
    """open, write, fsync, replace, truncate, unlink, mkdir or rmdir."""
    path: str
    file: int = 0
    """Number of the file, whatever its name (open, write, fsync)."""
    data: bytes = b""
    """What was written."""
    at: int = 0
    """Where in the file it was written; of ``truncate``, where it was cut; of ``open``, 1 where it was emptied."""
    to: str = ""
    """The new name (replace)."""

    def __str__(self) -> str:
        return f"{self.kind} {Path(self.path).name}"


def read_journal(path: Path) -> list[Operation]:
    """The operations that a process has written down."""
    lines = (json.loads(line) for line in path.read_text().splitlines())
    return [Operation(**line | {"data": base64.b64decode(line["data"])}) for line in lines]


def meet(fate: Fate) -> None:
    """From now on, let the file operations of this process meet their fate. There is no way back."""
    _Operations(fate).install()


class _Operations:
    def __init__(self, fate: Fate) -> None:
        self._fate = fate
        self._folder = os.path.realpath(fate.folder)
        self._count = 0
        self._failing = False
        self._counting = not fate.after
        self._journal = os.open(fate.journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND) if fate.journal else None

    def install(self) -> None:
        for name in ("open", "fsync", "replace", "truncate", "unlink", "mkdir", "rmdir"):
            setattr(os, name, getattr(self, f"_{name}")(getattr(os, name)))
        os.rename, os.remove = os.replace, os.unlink
        real = builtins.open
        builtins.open = io.open = self._file(real)  # type: ignore[assignment]

    def _below(self, path: Any, folder: int | None = None) -> str | None:
        """The path, if it is one that is meant."""
        if isinstance(path, int):
            path = os.readlink(f"/proc/self/fd/{path}")
        elif folder is not None:
            path = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), os.fsdecode(path))
        parent, name = os.path.split(os.path.abspath(os.fsdecode(path)))
        whole = os.path.join(os.path.realpath(parent), name)
        return whole if whole == self._folder or whole.startswith(self._folder + os.sep) else None

    def begin(self, kind: str, path: str, half: Callable[[], object] | None = None) -> None:
        """Die or raise, if this is the operation to do so; ``half`` does half of it."""
        self._count += self._counting
        fate = self._fate
        due = self._count == fate.at
        if due and fate.how != "fail":
            if half is not None and fate.how == "die halfway":
                half()
            os.kill(os.getpid(), signal.SIGKILL)
        if due or (self._failing and (kind not in ("unlink", "rmdir") or fate.error == errno.EROFS)):
            first, self._failing = not self._failing, True
            if half is not None and first and fate.error == errno.ENOSPC:
                half()
            raise OSError(fate.error, os.strerror(fate.error), path)

    def note(self, kind: str, path: str, data: bytes = b"", **more: Any) -> None:
        if self._journal is not None:
            line = {"kind": kind, "path": path, "data": base64.b64encode(data).decode(), **more}
            os.write(self._journal, (json.dumps(line) + "\n").encode())

    def _open(self, real: Any) -> Any:
        def opened(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
            below = self._below(path, dir_fd) if flags & OPENING else None
            if below is not None and (flags & os.O_EXCL if os.path.lexists(below) else not flags & os.O_CREAT):
                below = None  # That fails by itself, and changes nothing.
            if below is not None:
                self.begin("open", below)
            descriptor: int = real(path, flags, mode, dir_fd=dir_fd)
            if below is not None:
                emptied = int(bool(flags & os.O_TRUNC))
                self.note("open", below, file=os.fstat(descriptor).st_ino, at=emptied)
            return descriptor

        return opened

    def _file(self, real: Any) -> Any:
        def opened(file: Any, mode: str = "r", buffering: int = -1, *text: Any, **named: Any) -> Any:
            below = self._below(file) if set(mode) & set("wax+") else None
            if below is None:
                return real(file, mode, buffering, *text, **named)
            if not isinstance(file, int):
                self.begin("open", below)
            traced = _Traced(self, file, "".join(sorted(set(mode) - set("bt"))), named.pop("closefd", True))
            if not isinstance(file, int):
                self.note("open", below, file=os.fstat(traced.fileno()).st_ino, at=int("w" in mode))
            if buffering == 0:
                return traced
            buffered = io.BufferedRandom(traced) if "+" in mode else io.BufferedWriter(traced)
            return buffered if "b" in mode else io.TextIOWrapper(buffered, *text, **named)

        return opened

    def _fsync(self, real: Any) -> Any:
        def flushed(descriptor: Any) -> None:
            number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
            below = self._below(number)
            if below is not None:
                self.begin("fsync", below)
            real(number)
            if below is not None:
                self.note("fsync", below, file=os.fstat(number).st_ino)

        return flushed

    def _replace(self, real: Any) -> Any:
        def replaced(source: Any, target: Any, **folders: Any) -> None:
            below, to = self._below(source), self._below(target)
            path = to or below
            if path is not None:
                self.begin("replace", path)
            real(source, target, **folders)
            self._counting = self._counting or os.path.basename(os.fsdecode(target)) == self._fate.after
            if path is not None:
                self.note("replace", os.path.realpath(os.fsdecode(source)), to=path)

        return replaced

    def _truncate(self, real: Any) -> Any:
        def cut(path: Any, length: int) -> None:
            below = self._below(path)
            if below is not None:
                self.begin("truncate", below)
            real(path, length)
            if below is not None:
                self.note("truncate", below, at=length)

        return cut

    def _unlink(self, real: Any) -> Any:
        return self._on_name("unlink", real)

    def _rmdir(self, real: Any) -> Any:
        return self._on_name("rmdir", real)

    def _mkdir(self, real: Any) -> Any:
        return self._on_name("mkdir", real)

    def _on_name(self, kind: str, real: Any) -> Any:
        def done(path: Any, *more: Any, dir_fd: int | None = None, **named: Any) -> None:
            below = self._below(path, dir_fd)
            there = below is not None and os.path.lexists(below)
            if below is not None and there != (kind == "mkdir"):
                self.begin(kind, below)
            real(path, *more, dir_fd=dir_fd, **named)
            if below is not None:
                self.note(kind, below)

        return done


class _Traced(io.FileIO):
    """A file whose writes are operations."""

    def __init__(self, operations: _Operations, file: Any, mode: str, closefd: bool) -> None:
        super().__init__(file, mode, closefd)
        self._operations = operations

    def write(self, data: Any) -> int:
        content = bytes(data)
        path = os.readlink(f"/proc/self/fd/{self.fileno()}")
        at = self.tell()
        half = len(content) // 2
        try:
            self._operations.begin("write", path, lambda: super(_Traced, self).write(content[:half]))
        except OSError as error:
            if error.errno == errno.ENOSPC and self.tell() > at:
                return self.tell() - at  # As the system has it: less than was asked for, and an error next time.
            raise
        written = super().write(content)
        self._operations.note("write", path, content[:written], file=os.fstat(self.fileno()).st_ino, at=at)
        return written

    def truncate(self, size: int | None = None) -> int:
        path = os.readlink(f"/proc/self/fd/{self.fileno()}")
        self._operations.begin("truncate", path)
        length = super().truncate(size)
        self._operations.note("truncate", path, at=length)
        return length
