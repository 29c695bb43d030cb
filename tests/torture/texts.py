"""Malformed text: at random, against the stated policy on every path; and a fixed corpus through the real commands."""

from __future__ import annotations

import gzip
import io
import lzma
import random
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

from charloom import counting, decoding
from charloom.compiled import available
from charloom.config import DataConfig
from charloom.corpus import load
from charloom.counting import count_file, pieces, plain
from charloom.errors import DataError
from torture.policy import DECODED, LONG, NOTHING, Fault, bigrams, read
from torture.shown import Effort, Progress, Shown

ORDINARY = [
    one.encode() for one in ("a", "b", "Z", ".", " ", "é", "E\u0301", "ß", "ΑΣ", "İ", "日", "한", "\u1112\u1161")
]
ENDS = [b"\n", b"\n", b"\n", b"\r", b"\r\n", "\u0085".encode(), "\u2028".encode(), b"\x0b", b"\x0c", b"\n\n"]
ODD = [
    one.encode()
    for one in (
        *("\t", "\xa0", "\u3000", "\ufeff", "\u200d", "👩‍👩‍👧", "\u0301\u0323", "\u202e", "שלום", "\ue000", "\ufdd0"),
        *(
            "\uffff",
            "\U0010ffff",
            "\x85",
            "\x9b",
            "ﬃ",
            "\u1e9e",
            "\u0345",
            "\u200b",
            "ǰ",
            "\u0390",
            "x" * 30,
            "e\u0301" * 9,
        ),
    )
]
CONTROLS = [b"\0", b"\x1b", b"\x7f", b"\x01", b"\x1f"]
BROKEN = [
    b"\xff",
    b"\xfe\xff",
    b"\xc0\x80",
    b"\xe0\x80\xaf",
    b"\xed\xa0\x80",
    b"\xed\xb0\x80",
    b"\xf4\x90\x80\x80",
    b"\x80",
]
CUT = [b"\xe2\x82", b"\xf0\x9f\x91", b"\xc3"]
PLACE = re.compile(r"(?:line|item) (\d+)(?:, character (\d+))?$")


def show(effort: Effort, progress: Progress) -> Iterator[Shown]:
    """Texts made at random on every path, then the corpus through the commands."""
    progress(f"{effort.texts:,} texts made at random")
    yield at_random(effort.texts, effort.seed)
    progress("a fixed corpus through the commands")
    from torture import text_corpus

    with tempfile.TemporaryDirectory(prefix="torture-texts-") as folder:
        yield from text_corpus.tried(Path(folder))


def at_random(count: int, seed: int) -> Shown:
    """Every path gives the items and bigrams that the policy says, or its first fault."""
    failures: list[str] = []
    kinds = {DECODED: 0, LONG: 0, NOTHING: 0, "items": 0}
    engines: list[ModuleType] = [plain, *([_compiled()] if available() else [])]
    with tempfile.TemporaryDirectory(prefix="torture-texts-") as folder:
        for number in range(count):
            chance = random.Random(f"{seed} {number}")
            data, config = random_bytes(chance), random_config(chance)
            wanted = read(data, config)
            kinds[wanted.kind if isinstance(wanted, Fault) else "items"] += 1
            for path, found in outcomes(data, config, Path(folder), chance, engines):
                if found != _as_found(path, wanted, config):
                    failures.append(f"{path} of {data!r} with {config}: {found!r} in place of {wanted!r}")
    said = ", ".join(f"{kind}: {times:,}" for kind, times in kinds.items())
    return Shown(8, "texts made at random, on every path", count, tuple(failures), said)


def _compiled() -> ModuleType:
    from charloom.compiled import counting as compiled

    return compiled


def random_bytes(chance: random.Random) -> bytes:
    """A short text of what is ordinary and what is not."""
    kinds = [ORDINARY] * 6 + [ENDS] * 2 + [ODD] * chance.randint(0, 3) + [CONTROLS, BROKEN] * (chance.random() < 0.3)
    made = b"".join(chance.choice(chance.choice(kinds)) for _ in range(chance.randint(0, 40)))
    mark = b"\xef\xbb\xbf" if chance.random() < 0.2 else b""
    return mark + made + (chance.choice(CUT) if chance.random() < 0.1 else b"")


def random_config(chance: random.Random) -> DataConfig:
    """Settings of how text is read."""
    return DataConfig(
        data="-",
        unit=chance.choice(["line", "line", "text"]),  # type: ignore[arg-type]
        case=chance.choice(["keep", "lower", "fold"]),  # type: ignore[arg-type]
        normalize=chance.choice(["nfc", "none"]),  # type: ignore[arg-type]
        strip=chance.random() < 0.5,
        max_line=chance.choice([10_000, 10_000, 20, 7]),
    )


Found = object
"""The items, the bigrams, or the fault."""


def outcomes(
    data: bytes, config: DataConfig, folder: Path, chance: random.Random, engines: list[ModuleType]
) -> Iterator[tuple[str, Found]]:
    """What each path makes of a text."""
    path = folder / "text.txt"
    path.write_bytes(data)
    of_file = replace(config, data=str(path))
    yield "loading", _items(of_file)
    with patch.object(decoding, "CHUNK", chance.randint(1, 7)):
        yield "loading by bytes", _items(of_file)
    with _standard_input(data):
        yield "standard input", _items(config)
    for name, pack in (("text.gz", gzip.compress), ("text.xz", lzma.compress)):
        packed = folder / name
        if chance.random() < 0.2:
            packed.write_bytes(pack(data))
            yield f"loading {name[-2:]}", _items(replace(config, data=str(packed)))
    for engine in engines:
        cuts = {"PIECE": chance.choice([1, 3, 16, 1 << 19]), "AHEAD": chance.choice([0, 4, 128])}
        with patch.multiple(pieces, **cuts), patch.object(counting, "_kernels", lambda *_, engine=engine: engine):
            threads = chance.choice([1, 2])
            yield f"counting, {engine.__name__.rpartition('.')[2]}, {threads} threads", _bigrams(of_file, threads)


def _as_found(path: str, wanted: list[str] | Fault, config: DataConfig) -> Found:
    return bigrams(wanted, config) if path.startswith("counting") and isinstance(wanted, list) else wanted


def _items(config: DataConfig) -> Found:
    return _found(lambda: load(config).items)


def _bigrams(config: DataConfig, threads: int) -> Found:
    return _found(
        lambda: {gram.characters: gram.count for gram in count_file(config, 2, threads=threads).most_common()}
    )


def _found(path: Callable[[], Found]) -> Found:
    try:
        return path()
    except DataError as error:
        return fault_of(error)
    except Exception as error:  # noqa: BLE001 -- whatever it is, it is not the policy
        return repr(error)


def fault_of(error: DataError) -> Fault | str:
    """The fault that an error tells of; its words where they lack something."""
    place = PLACE.search(error.where or "")
    if "holds only blank" in error.fact or error.fact == "is empty":
        return Fault(NOTHING)
    if place is None or not error.remedy:
        return str(error)
    if "characters; at most" in error.fact:
        return Fault(LONG, int(place[1]))
    named = re.search(r"U\+[0-9A-F]{4}|0x[0-9A-F]{2}|bytes [0-9A-F]{2}", error.fact)
    return Fault(DECODED, int(place[1]), int(place[2])) if named and place[2] else str(error)


@contextmanager
def _standard_input(data: bytes) -> Iterator[None]:
    with patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(data))):
        yield
