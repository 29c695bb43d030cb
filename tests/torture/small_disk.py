"""A real file system of a few pages, which only a fork server and its children see."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from torture.processes import ForkServer

PAGE = 4096
ROOM = 1 << 22
"""Bytes of a disk that has room."""


def why_none() -> str:
    """What keeps one from being mounted here; nothing if nothing does."""
    if shutil.which("unshare") is None or shutil.which("nsenter") is None:
        return "there is no unshare and nsenter here"
    # In a name space of its own, the mount goes with the process.
    tried = subprocess.run(
        ["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, text=True, check=False
    )
    return "" if tried.returncode == 0 else f"no file system can be mounted here: {tried.stderr.strip()}"


class SmallDisk:
    """A file system in memory at ``path``, empty at first."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        self.server = ForkServer(within=("unshare", "-m"))

    def __enter__(self) -> SmallDisk:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.server.__exit__(kind, error, at)

    @property
    def seen(self) -> Path:
        """Where this process sees it."""
        return Path(f"/proc/{self.server.pid}/root{self.path}")

    def begin(self, content: Path) -> None:
        """A new file system with room, and a copy of a folder in it."""
        if os.path.ismount(self.seen):
            self._call("umount", str(self.path))
        self._call("mount", "-t", "tmpfs", "-o", f"size={ROOM}", "none", str(self.path))
        shutil.copytree(content, self.seen, dirs_exist_ok=True)

    def leave(self, pages: int) -> None:
        """Room for so many pages more than it holds."""
        held = os.statvfs(self.seen)
        used = (held.f_blocks - held.f_bfree) * held.f_bsize
        self._remount(f"size={used + pages * PAGE}")

    def lock(self) -> None:
        """From now on it can only be read."""
        self._remount("ro")

    def open(self) -> None:
        """From now on it can be written to, and has room."""
        self._remount(f"rw,size={ROOM}")

    def _remount(self, options: str) -> None:
        self._call("mount", "-o", f"remount,{options}", str(self.path))

    def _call(self, *command: str) -> None:
        inside: Sequence[str] = ("nsenter", "-t", str(self.server.pid), "-m", *command)
        subprocess.run(inside, check=True, capture_output=True)
