"""Where run folders lie: which is meant, and a new one."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from charloom.errors import ConfigError, RunError
from charloom.files import make_folder
from charloom.run_lock import NAME as LOCK
from charloom.run_lock import locked

CONFIG = "config.json"
"""The file that makes a folder a run: the last one of a new run to be written."""
FIRST_FILES = {LOCK, "vocabulary.json", "data.txt"}
"""What may lie in a folder that was to become one."""


def find_folder(name: str | None, root: Path, *, with_weights: bool = False) -> Path:
    """The folder of the run called ``name`` (below ``root``, or a path), or the one written to last.

    Raises `RunError` where there is none.
    """
    if name is not None:
        for folder in (root / name, Path(name)):
            if (folder / CONFIG).is_file():
                return folder
        if (root / name).is_dir():
            raise RunError(
                f"is no run: it has no {CONFIG}", where=str(root / name), remedy="Restore it, or train anew."
            )
        known = ", ".join(sorted(folder.name for folder in _all(root))) or "none yet"
        raise RunError(f"there is no run {name!r}", where=str(root), remedy=f"Runs here: {known}.")
    folders = [folder for folder in _all(root) if not with_weights or (folder / "best.safetensors").exists()]
    if not folders:
        raise RunError("there are no runs yet", where=str(root), remedy="Make one with: charloom train")
    return max(folders, key=_last_written)


def every_folder(root: Path) -> list[Path]:
    """The folders of all runs below ``root``, the one written to last first."""
    return sorted(_all(root), key=_last_written, reverse=True)


@contextmanager
def new_folder(root: Path, name: str | None, stem: str) -> Iterator[Path]:
    """A folder for a new run, held until its first files are written; ``stem`` and a number name it without ``name``.

    One that a killed process has left without its `CONFIG` is used again. Raises `ConfigError` for what is no file
    name, and `RunError` where the name is taken, or nothing can be written.
    """
    if name is not None and (name in ("", ".", "..") or re.search(r"[/\\\0]", name)):
        raise ConfigError(f"{name!r} cannot name a run", remedy="Use letters, digits, - and _.")
    try:
        make_folder(root)
        if name is not None:
            make_folder(root / name)
            folder = root / name
        else:
            folder = _first_free(root, stem)
    except FileExistsError:
        raise _taken(root, name or stem) from None
    except OSError as error:
        raise RunError(f"cannot make a run folder ({error.strerror})", where=str(root), remedy="Try --runs.") from None
    with locked(folder):
        if not _is_free(folder):
            raise _taken(root, folder.name)
        yield folder


def _first_free(root: Path, stem: str) -> Path:
    """Made here, so that two runs that start at once do not share one."""
    for number in itertools.count(1):
        folder = root / f"{stem}-{number}"
        try:
            make_folder(folder, exist_ok=False)
        except FileExistsError:
            continue
        return folder
    raise AssertionError("unreachable")


def _taken(root: Path, name: str) -> RunError:
    return RunError(f"there is a run {name!r} already", where=str(root), remedy="Choose another name, or --resume it.")


def _is_free(folder: Path) -> bool:
    """Whether nothing lies there but what a new run begins with: other files are not ours to write between."""
    return {path.name for path in folder.iterdir()} <= FIRST_FILES


def _all(root: Path) -> list[Path]:
    return [path.parent for path in root.glob(f"*/{CONFIG}")]


def _last_written(folder: Path) -> float:
    return max(path.stat().st_mtime for path in folder.iterdir())
