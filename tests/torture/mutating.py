"""Ways to damage bytes, JSON and safetensors: blindly, and with knowledge of how they are made up."""

from __future__ import annotations

import copy
import json
import random
import struct
from collections.abc import Callable, Iterator
from typing import Any

Damage = Callable[[bytes, random.Random], bytes]

RAW = {
    "huge integer": "1" + "0" * 400,
    "absurd integer": "1" + "0" * 5000,
    "huge float": "1e999",
    "NaN": "NaN",
    "infinity": "-Infinity",
    "deep lists": "[" * 100_000 + "]" * 100_000,
    "deep objects": '{"a":' * 20_000 + "1" + "}" * 20_000,
    "forty levels": "[" * 40 + "]" * 40,
}
"""JSON that `json.dumps` does not make."""
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**31, 2**53, 2**63, 2**64, -(2**63), 1.5, -0.0, 1e308, 5e-324),
    *("", "a", "\ud800", "\0", "../../etc/passwd", "[red]", "\x1b[2J", "x" * 5000, "1", "null"),
    *([], {}, [[]], [1, 2], {"a": 1}, [None] * 200),
)
_MARK = "raw-json-stands-here-"


def blind(content: bytes, draw: random.Random) -> bytes:
    """One damage that knows nothing of the content: what disks, transfers and editors do."""
    return draw.choice(_BLIND)(content, draw)


def _place(content: bytes, draw: random.Random) -> int:
    return draw.randrange(len(content)) if content else 0


def _flip(content: bytes, draw: random.Random) -> bytes:
    place = _place(content, draw)
    return content[:place] + bytes([content[place] ^ (1 << draw.randrange(8))]) + content[place + 1 :]


def _overwrite(content: bytes, draw: random.Random) -> bytes:
    place, size = _place(content, draw), draw.choice((1, 2, 8, 64))
    return content[:place] + draw.randbytes(size) + content[place + size :]


def _digit(content: bytes, draw: random.Random) -> bytes:
    """Another digit for one: the damage that leaves everything well-formed."""
    digits = [place for place, byte in enumerate(content[:20_000]) if chr(byte).isdigit()]
    place = draw.choice(digits or [0])
    return content[:place] + draw.choice("0123456789").encode() + content[place + 1 :]


def _cut(content: bytes, draw: random.Random) -> bytes:
    return content[: _place(content, draw)]


def _behead(content: bytes, draw: random.Random) -> bytes:
    return content[_place(content, draw) :]


def _insert(content: bytes, draw: random.Random) -> bytes:
    place = _place(content, draw)
    more = draw.choice((draw.randbytes(draw.choice((1, 7, 300))), b"\0" * 512, b"\n", b"\xef\xbb\xbf", b"\x80", b'"'))
    return content[:place] + more + content[place:]


def _stretch(content: bytes, draw: random.Random) -> tuple[int, int]:
    first, last = sorted((_place(content, draw), _place(content, draw)))
    return first, last


def _take_out(content: bytes, draw: random.Random) -> bytes:
    first, last = _stretch(content, draw)
    return content[:first] + content[last:]


def _double(content: bytes, draw: random.Random) -> bytes:
    first, last = _stretch(content, draw)
    return content[:last] + content[first:last] + content[last:]


def _swap(content: bytes, draw: random.Random) -> bytes:
    one, two, three = sorted(_place(content, draw) for _ in range(3))
    return content[:one] + content[two:three] + content[one:two] + content[three:]


def _zeros(content: bytes, draw: random.Random) -> bytes:
    first, last = _stretch(content, draw)
    return content[:first] + bytes(last - first) + content[last:]


def _lines(content: bytes, draw: random.Random) -> bytes:
    """A whole line is missing, twice there, or somewhere else."""
    lines = content.splitlines(keepends=True)
    place = draw.randrange(len(lines))
    line = lines.pop(place)
    for _ in range(draw.randrange(3)):
        lines.insert(draw.randrange(len(lines) + 1), line)
    return b"".join(lines)


_BLIND: tuple[Damage, ...] = (
    *(_flip, _flip, _overwrite, _digit, _digit, _cut, _behead, _insert, _take_out, _double, _swap, _zeros, _lines),
)


def json_text(value: Any, draw: random.Random) -> str:
    """A JSON value with one thing in it changed: a type, a number, a key; or made into what no writer would write."""
    value = copy.deepcopy(value)
    places = list(_places(value))
    raw: dict[str, str] = {}
    if not places:
        return json.dumps(draw.choice(VALUES))
    parent, key = draw.choice(places)
    what = draw.randrange(7)
    if what == 0:
        name = draw.choice(list(RAW))
        parent[key], raw[_MARK + name] = _MARK + name, RAW[name]
    elif what == 1:
        del parent[key]
    elif what == 2 and isinstance(parent, dict):
        parent[draw.choice((str(key) + " ", "more", "__class__", "", "\ud800"))] = draw.choice(VALUES)
    elif what == 3 and isinstance(parent, dict):
        parent[str(key).upper()] = parent.pop(key)
    elif what == 4:
        other, place = draw.choice(places)
        parent[key], other[place] = copy.deepcopy(other[place]), copy.deepcopy(parent[key])
    elif what == 5 and isinstance(parent, dict):
        # The same key once more: the last one wins in most readers.
        parent[_MARK + "twice"] = draw.choice(VALUES)
        raw[_MARK + "twice"] = str(key)
    else:
        parent[key] = _near(parent[key], draw) if draw.random() < 0.5 else draw.choice(VALUES)
    text = json.dumps(value)
    for mark, stands in raw.items():
        text = text.replace(json.dumps(mark), json.dumps(stands) if mark.endswith("twice") else stands)
    return text


def _near(value: Any, draw: random.Random) -> Any:
    """Another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + draw.choice((-1, 1, 10**6, -(10**6), 10**12))
    if isinstance(value, float):
        return draw.choice((-value, value * 2, value + 1e-9, 0.0))
    if isinstance(value, str):
        return draw.choice((value + "a", value[1:], value[::-1], value.upper()))
    return value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) in a JSON value."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def json_damage(content: bytes, draw: random.Random) -> bytes:
    """`json_text` on a file that is one JSON value."""
    return json_text(json.loads(content), draw).encode("utf-8", "surrogatepass")


def line_damage(content: bytes, draw: random.Random) -> bytes:
    """`json_text` on one line of a file of JSON lines."""
    lines = content.splitlines(keepends=True)
    place = draw.randrange(len(lines))
    lines[place] = json_text(json.loads(lines[place]), draw).encode("utf-8", "surrogatepass") + b"\n"
    return b"".join(lines)


def safetensors_damage(content: bytes, draw: random.Random) -> bytes:
    """One damage to the header of a safetensors file: its length, its JSON, or what it says of an array."""
    (length,) = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    what = draw.randrange(5)
    if what == 0:
        wrong = (0, 1, length - 1, length + 1, 2**32, 2**63, 2**64 - 1, len(content), 100 << 20)
        return struct.pack("<Q", draw.choice(wrong)) + content[8:]
    if what == 1:
        return _packed(json_text(header, draw), data)
    array = header[draw.choice([name for name in header if name != "__metadata__"])]
    if what == 2:
        array["dtype"] = draw.choice(("F64", "F32", "F16", "BF16", "F8_E4M3", "I64", "I8", "U16", "BOOL", "C64", "X"))
    elif what == 3:
        sizes = ([10**15], [2**63, 2], [2**32, 2**32], [-1], [0], [*array["shape"], 1], array["shape"][::-1], [1.5])
        array["shape"] = draw.choice(sizes)
    else:
        first, last = array["data_offsets"]
        offsets = ([first + 1, last + 1], [0, last - first], [first, last - 1], [last, first], [first, 2**63], [0, 0])
        array["data_offsets"] = draw.choice(offsets)
    return _packed(json.dumps(header), data)


def _packed(header: str, data: bytes) -> bytes:
    text = header.encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(text)) + text + data
