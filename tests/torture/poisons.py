"""Files that would run something if whoever reads them unpickled, evaluated or imported them.

What they run is harmless: it makes a file, the canary. They are put together by hand, as nothing here may pickle.
"""

from __future__ import annotations

import base64
import io
import json
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

MARK = "poison-7c1f2b"
"""In everything that would be run."""
MODULES = (
    *("charloom", "telltales", "torch", "numpy", "safetensors", "rich", "cyclopts", "numba", "filelock", "matplotlib"),
    *("json", "typing", "random", "hashlib", "sitecustomize", "usercustomize", "conftest", "setup"),
)
"""Names that are imported somewhere, by us or by Python."""


def command(canary: Path) -> str:
    """For a shell."""
    return f"touch '{canary}' # {MARK}"


def source(canary: Path) -> str:
    """For Python."""
    return f"open({str(canary)!r}, 'w').close()  # {MARK}\nMARK = {MARK!r}\n"


def pickled(canary: Path, protocol: int) -> bytes:
    """``os.system(command)`` when it is unpickled."""
    text = command(canary).encode()
    if protocol == 0:
        return b"cos\nsystem\n(V" + text + b"\ntR."
    function = b"\x8c\x02os\x8c\x06system\x93" if protocol >= 4 else b"cos\nsystem\n"
    start = b"\x80" + bytes([protocol]) if protocol >= 2 else b""
    return start + function + b"(X" + struct.pack("<I", len(text)) + text + b"tR."


def poisons(canary: Path) -> Iterator[tuple[str, bytes]]:
    """What it is called, and its bytes."""
    for protocol in range(6):
        yield f"a pickle, protocol {protocol}", pickled(canary, protocol)
    evaluated = source(canary).splitlines()[0].encode()
    yield "a pickle of eval", b"cbuiltins\neval\n(V" + evaluated + b"\ntR."
    bad = pickled(canary, 2)
    yield (
        "a torch archive",
        _archive({"a/data.pkl": bad, "a/version": b"3\n", "a/byteorder": b"little", "a/data/0": b""}),
    )
    yield (
        "a scripted torch archive",
        _archive({"a/data.pkl": bad, "a/constants.pkl": bad, "a/code/a.py": source(canary).encode()}),
    )
    yield "a torch file of old", pickled(canary, 2) * 4
    yield "a zip with a __main__", _archive({"__main__.py": source(canary).encode()})
    array = _array(bad)
    yield "an array of objects", array
    yield "arrays of objects", _archive({"weight.npy": array, "counts.npy": array})
    yield from _safetensors(canary)
    yield "a safetensors file of a pickle", struct.pack("<Q", len(bad)) + bad
    yield "YAML with a tag", f"a: !!python/object/apply:os.system [{command(canary)!r}]\n".encode()
    yield from _json(canary)
    yield "Python", source(canary).encode()
    yield "a script", f"#!/bin/sh\n{command(canary)}\n".encode()
    yield "a line of a .pth file", f"import os; os.system({command(canary)!r})\n".encode()
    yield (
        "a template",
        f"${{{command(canary)}}} $({command(canary)}) `{command(canary)}` {{{{7*7}}}} {{0.__class__}}\n".encode(),
    )


def _archive(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return made.getvalue()


def _array(content: bytes) -> bytes:
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content


def _safetensors(canary: Path) -> Iterator[tuple[str, bytes]]:
    """Sound files whose metadata is poisoned."""
    inert = base64.b64encode(pickled(canary, 2)).decode()
    reduce = json.dumps({"__reduce__": ["os.system", [command(canary)]], "format": 1, "state": inert, "sha256": ""})
    for what, metadata in (
        ("a pickle", {"charloom": pickled(canary, 0).decode(), "format": "pt", "pickle": inert}),
        ("__reduce__", {"charloom": reduce, "__reduce__": reduce, "format": "pt"}),
        ("an expression", {"charloom": f"__import__('os').system({command(canary)!r})"}),
    ):
        header = {"__metadata__": metadata, "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
        text = json.dumps(header).encode()
        yield f"safetensors with {what}", struct.pack("<Q", len(text)) + text + bytes(4)


def _json(canary: Path) -> Iterator[tuple[str, bytes]]:
    """Objects that careless readers make live, with the keys of ours as well."""
    expression = f"__import__('os').system({command(canary)!r})"
    live = {"py/object": "os.system", "py/reduce": [{"py/function": "os.system"}, [command(canary)]]}
    ours = {"format": expression, "data": live, "model": expression, "characters": expression, "step": expression}
    ours |= {"telltales_record": expression, "training": live, "questions": {expression: live}}
    yield "JSON that jsonpickle would run", json.dumps(live).encode() + b"\n"
    yield "JSON with expressions in our keys", json.dumps(ours).encode() + b"\n"
    yield "an expression", expression.encode() + b"\n"


def poisoned_modules(folder: Path, canary: Path) -> None:
    """Modules, and a package and an extension, that lie where they could be imported from."""
    for name in MODULES:
        (folder / f"{name}.py").write_text(source(canary), encoding="utf-8")
    (folder / "torch").mkdir(exist_ok=True)
    (folder / "torch" / "__init__.py").write_text(source(canary), encoding="utf-8")
    (folder / "_charloom.so").write_bytes(b"\x7fELF" + MARK.encode())
