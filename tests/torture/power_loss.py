"""A disk as a journal of file operations leaves it: when the process dies, and when the power goes.

When a process dies, the system still has all that was done. When the power goes, there is only what was flushed, and
anything of the rest: of a file, what it held at its last fsync, with all that was written since, or half of that; of
one that was overwritten or cut since, what it holds or held, half of it, or nothing at all; of the names in a folder,
those at its last fsync, with any of the later changes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations, product
from pathlib import Path
from typing import cast

from torture.operations import Operation

LOSSES = ("all is kept", "half is kept", "nothing is kept", "emptied")
State = dict[str, bytes | None]
"""What lies below a folder, by relative path: the content of a file, or None for a folder."""


@dataclass
class _File:
    now: bytes = b""
    flushed: bytes = b""

    def after(self, loss: str) -> bytes:
        """What is in it after a loss of power that is one of `LOSSES`."""
        if loss == "all is kept" or self.now == self.flushed:
            return self.now
        if self.now.startswith(self.flushed):
            appended = self.now[len(self.flushed) :]
            return self.flushed + (appended[: len(appended) // 2] if loss == "half is kept" else b"")
        half = self.now[: len(self.now) // 2]
        return {"half is kept": half, "nothing is kept": self.flushed, "emptied": b""}[loss]


@dataclass
class _Folder:
    names: dict[str, _File | _Folder] = field(default_factory=dict)
    flushed: dict[str, _File | _Folder] = field(default_factory=dict)
    changes: list[tuple[str, str, _File | _Folder | None]] = field(default_factory=list)
    """Since the last fsync: name that goes (or nothing), name that comes (or nothing), what it is of."""

    def change(self, goes: str, comes: str, of: _File | _Folder | None) -> None:
        self.changes.append((goes, comes, of))
        _apply(self.names, goes, comes, of)

    def listings(self) -> Iterator[dict[str, _File | _Folder]]:
        """What may be in it after a loss of power."""
        for many in range(len(self.changes) + 1):
            for some in combinations(self.changes, many):
                names = dict(self.flushed)
                for change in some:
                    _apply(names, *change)
                yield names


def _apply(names: dict[str, _File | _Folder], goes: str, comes: str, of: _File | _Folder | None) -> None:
    names.pop(goes, None)
    if comes and of is not None:
        names[comes] = of


class Disk:
    """What lies below a folder, as a journal goes on."""

    def __init__(self, root: Path) -> None:
        """``root`` is there, and empty, and flushed."""
        self._root = str(root)
        self._top = _Folder()
        self._open: dict[int, _File] = {}

    def do(self, operation: Operation) -> None:
        """Take in the next operation of the journal."""
        done, path = operation, operation.path
        match done.kind:
            case "fsync":
                self._flush(path, done.file)
            case "write":
                file = self._open[done.file]
                file.now = file.now[: done.at].ljust(done.at, b"\0") + done.data + file.now[done.at + len(done.data) :]
            case "truncate":
                file = self._file(path)
                file.now = file.now[: done.at].ljust(done.at, b"\0")
            case "mkdir":
                self._parent(path).change("", os.path.basename(path), _Folder())
            case "open":
                parent, name = self._parent(path), os.path.basename(path)
                if name not in parent.names:
                    parent.change("", name, _File())
                self._open[done.file] = self._file(path)
                if done.at:
                    self._open[done.file].now = b""
            case "replace":
                folder, name = self._parent(path), os.path.basename(path)
                folder.change(name, os.path.basename(done.to), folder.names[name])
            case "unlink" | "rmdir":
                self._parent(path).change(os.path.basename(path), "", None)

    def left_by_death(self) -> State:
        """What is there when the process dies now."""
        return dict(_state(self._top.names, LOSSES[0]))

    def left_by_power_loss(self) -> Iterator[State]:
        """All that may be there when the power goes now; what becomes of contents becomes of those of all files."""
        for tree in _trees(self._top):
            for loss in LOSSES:
                yield dict(_state(tree, loss))

    def _flush(self, path: str, number: int) -> None:
        found = self._find(path)
        if isinstance(found, _Folder):
            found.flushed, found.changes = dict(found.names), []
        elif number in self._open:
            self._open[number].flushed = self._open[number].now

    def _parent(self, path: str) -> _Folder:
        found = self._find(os.path.dirname(path))
        assert isinstance(found, _Folder), path
        return found

    def _file(self, path: str) -> _File:
        found = self._find(path)
        assert isinstance(found, _File), path
        return found

    def _find(self, path: str) -> _File | _Folder | None:
        found: _File | _Folder | None = self._top
        relative = os.path.relpath(path, self._root)
        for part in () if relative == "." else relative.split(os.sep):
            found = found.names.get(part) if isinstance(found, _Folder) else None
        return found


def _trees(folder: _Folder) -> Iterator[dict[str, _File | _Folder]]:
    """All listings of a folder, with all of those of the folders in it."""
    for listing in folder.listings():
        inner = [name for name, found in listing.items() if isinstance(found, _Folder)]
        for trees in product(*(_trees(cast(_Folder, listing[name])) for name in inner)):
            yield listing | {name: _Folder(tree) for name, tree in zip(inner, trees, strict=True)}


def _state(names: dict[str, _File | _Folder], loss: str, below: str = "") -> Iterator[tuple[str, bytes | None]]:
    for name, found in sorted(names.items()):
        if isinstance(found, _Folder):
            yield below + name, None
            yield from _state(found.names, loss, f"{below}{name}/")
        else:
            yield below + name, found.after(loss)
