"""Arrays and a little JSON in one safetensors file: written atomically, checked when read, nothing ever unpickled.

Files that are JSON alone are sealed: their last entry is a checksum of the others.

The safetensors header carries one metadata entry, ``charloom``: a JSON object of ``format`` (an integer), ``state``
(any JSON) and ``sha256`` over the arrays and the state.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from charloom.errors import CheckpointError
from charloom.files import replacing

FORMAT = 1
SEAL = "sha256"
LARGEST_JSON = 1 << 26
"""Most bytes of a JSON file. A vocabulary of all characters has a tenth of that."""
DEEPEST = 32
"""Most levels of lists and objects within one another. What is written here has five."""
RESTORE = "Restore it from a copy, or train anew."
REMEDY = "What was saved before still stands. Free some space or choose another folder with --runs."
Arrays = dict[str, np.ndarray[Any, Any]]


def save_checkpoint(path: Path, arrays: Mapping[str, np.ndarray[Any, Any]], state: Any) -> None:
    """Write ``arrays`` and the JSON-like ``state`` to ``path`` so that either the old file stands or the new one."""
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    header = {"format": FORMAT, "state": state, "sha256": _digest(contiguous, state)}
    write_atomically(path, save(contiguous, metadata={"charloom": json.dumps(header, allow_nan=False)}))


def load_checkpoint(path: Path) -> tuple[Arrays, Any]:
    """The arrays and the state of `save_checkpoint`.

    Raises `CheckpointError` when the file is missing, damaged, foreign or of another format.
    """
    _assert_plain(path)
    try:
        with safe_open(path, framework="numpy") as opened:
            metadata = opened.metadata() or {}
            arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 -- not a mapping
    except FileNotFoundError:
        raise CheckpointError("there is no such checkpoint", where=str(path), remedy=RESTORE) from None
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        fact = f"not a readable safetensors file ({error})"
        raise CheckpointError(fact, where=str(path), remedy=RESTORE) from None
    header = _parse_json(metadata.get("charloom", ""), path)
    if not isinstance(header, dict) or set(header) != {"format", "state", "sha256"}:
        raise CheckpointError("not a charloom checkpoint", where=str(path))
    if header["format"] != FORMAT:
        raise CheckpointError(
            f"format {header['format']!r} instead of {FORMAT}",
            where=str(path),
            remedy="It was written by another version of charloom; read it with that one.",
        )
    if header["sha256"] != _digest(arrays, header["state"]):
        raise CheckpointError("the checksum does not match: the file is damaged", where=str(path), remedy=RESTORE)
    return arrays, header["state"]


def write_json(path: Path, content: Any) -> None:
    """Write readable JSON atomically."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    # A lone surrogate, as in the name of a file that is no UTF-8, becomes the escape that JSON has for it.
    write_atomically(path, text.encode("utf-8", "backslashreplace"))


def write_sealed(path: Path, content: Mapping[str, Any]) -> None:
    """`write_json` with a checksum of ``content`` as one more entry, for `read_json`."""
    write_json(path, {**content, SEAL: _seal(content)})


def read_json(path: Path) -> Any:
    """Read JSON; what `write_sealed` wrote comes back without its checksum.

    Raises `CheckpointError` when it is missing, not JSON, or no longer what was sealed. An object without a checksum is
    taken as it is: older files have none, and who changes one by hand takes it out.
    """
    _assert_plain(path)
    try:
        with open(path, "rb") as file:
            content = file.read(LARGEST_JSON + 1)
        if len(content) > LARGEST_JSON:
            raise CheckpointError(f"has more than {LARGEST_JSON:,} bytes", where=str(path))
        text = content.decode()
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else error
        raise CheckpointError(f"cannot be read ({said})", where=str(path), remedy=RESTORE) from None
    read = _parse_json(text, path)
    if isinstance(read, dict) and SEAL in read:
        seal = read.pop(SEAL)
        if seal != _seal(read):
            raise CheckpointError(
                "the checksum does not match: the file is damaged, or was changed",
                where=str(path),
                remedy=f"Restore it. If the change is meant, take the entry {SEAL!r} out.",
            )
    return read


def write_atomically(path: Path, content: bytes, remedy: str = REMEDY) -> None:
    """Write to a temporary file beside ``path``, flush it to the disk, and rename it over ``path``.

    Raises `CheckpointError` when that fails, on a full disk for example; the old file stands then.
    """
    with _writing(path, remedy), replacing(path) as file:
        file.write(content)


def append(path: Path, content: bytes) -> None:
    """Write to the end of a file, and flush it to the disk. Raises `CheckpointError` when that fails."""
    with _writing(path), open(path, "ab") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def cut(path: Path, size: int) -> None:
    """Leave the first ``size`` bytes of a file. Raises `CheckpointError` when that fails."""
    with _writing(path):
        os.truncate(path, size)


@contextmanager
def _writing(path: Path, remedy: str = REMEDY) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CheckpointError(f"cannot be written ({error.strerror})", where=str(path), remedy=remedy) from error


def digest_of_arrays(arrays: Mapping[str, np.ndarray[Any, Any]]) -> str:
    """SHA-256 over names, types, shapes and bytes of ``arrays``, whatever their order."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.asarray(arrays[name], order="C")
        digest.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _assert_plain(path: Path) -> None:
    """Raise `CheckpointError` for what would be waited for without end, such as a named pipe in a run that was sent."""
    if path.exists() and not path.is_file():
        raise CheckpointError("is no file", where=str(path), remedy=RESTORE)


def _seal(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _digest(arrays: Mapping[str, np.ndarray[Any, Any]], state: Any) -> str:
    text = json.dumps(state, sort_keys=True, allow_nan=False)
    return hashlib.sha256((digest_of_arrays(arrays) + text).encode()).hexdigest()


def _parse_json(text: str, path: Path) -> Any:
    try:
        parsed = json.loads(text, parse_float=_finite, parse_constant=_finite, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"holds no valid JSON ({error})", where=str(path), remedy=RESTORE) from None
    level = [parsed]
    for _ in range(DEEPEST):
        level = [inner for outer in level for inner in _inner(outer)]
    if level:
        raise CheckpointError(f"holds JSON of more than {DEEPEST} levels", where=str(path))
    return parsed


def _inner(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for key, value in pairs:
        if key in content:
            raise ValueError(f"an object has the key {key!r} twice")
        content[key] = value
    return content


def _finite(number: str) -> float:
    """Nothing that is written here is infinite or NaN; a damaged exponent may be."""
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(f"{number} is not a finite number")
    return value
