"""The lines of a record's file: JSON objects, each with a checksum of itself and of all lines before.

``docs/record.md`` describes them. Tables are float32, little-endian, in base64: exact, and small.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

VERSION = 1
MARK = "telltales_record"
CHECK = "crc32"
"""The last key of every line: the CRC-32 of the line without it, begun with that of the line before."""
_CHECKED = re.compile(rb',"crc32":"([0-9a-f]{8})"\}\n$')


def encoded(line: Mapping[str, Any]) -> bytes:
    """The line in bytes, without a checksum."""
    return json.dumps(line, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def checked(line: bytes, before: int | None) -> tuple[bytes, int | None]:
    """The line with its checksum, and that; ``before``: that of the line before, or None where lines have none."""
    if before is None:
        return line, None
    check = zlib.crc32(line, before)
    return b'%b,"%b":"%08x"}\n' % (line[:-2], CHECK.encode(), check), check


def plain(line: bytes) -> bytes:
    """The line without its checksum."""
    return _CHECKED.sub(b"}\n", line)


def check_of(line: bytes) -> int | None:
    """The checksum that a line carries; None for none."""
    found = _CHECKED.search(line)
    return int(found[1], 16) if found else None


def parsed(line: bytes) -> Any:
    """The line as JSON. Raises `ValueError` or `RecursionError` for what is none, or has a key twice in an object."""
    return json.loads(line, parse_constant=_finite, parse_float=_finite, object_pairs_hook=_object)


def packed(array: NDArray[Any], dtype: str) -> str:
    """An array in base64."""
    return base64.b64encode(np.ascontiguousarray(array, dtype).tobytes()).decode("ascii")


def unpacked(text: str, dtype: str) -> NDArray[Any]:
    """The inverse of `packed`, flat. Raises `ValueError` or `TypeError`."""
    return np.frombuffer(base64.b64decode(text, validate=True), dtype).astype(np.dtype(dtype).newbyteorder("="))


def _finite(number: str) -> float:
    value = float(number)
    if not np.isfinite(value):
        raise ValueError(f"{number} is not JSON")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice in an object")
    return found
