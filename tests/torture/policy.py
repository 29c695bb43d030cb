"""The stated policy for text, spelled a second time as plainly as can be: from bytes to items, or to a first fault."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

from charloom.config import DataConfig

CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f]")
DECODED, LONG, NOTHING = "a byte or character that is refused", "a line that is too long", "no item"


@dataclass(frozen=True)
class Fault:
    """Why a text is refused, and where; line 0 is the text as a whole, column 0 the line as a whole."""

    kind: str
    line: int = 0
    column: int = 0


def read(data: bytes, config: DataConfig) -> list[str] | Fault:
    """The items of a text, or what is wrong with it first."""
    text, fault = _decoded(data)
    if config.unit == "text":
        return fault or ([_treated(text, config)] if text.strip() else Fault(NOTHING))
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        if max(len(line), len(_treated(line, config)) if fault is None or number < len(lines) else 0) > config.max_line:
            return Fault(LONG, number)
    treated = [_treated(line, config) for line in lines]
    items = [line.strip() if config.strip else line for line in treated]
    return fault or [item for item in items if item] or Fault(NOTHING)


def bigrams(items: list[str], config: DataConfig) -> Counter[tuple[str, ...]]:
    """All pairs of an item's characters, the empty one being the marker at its edges."""
    found: Counter[tuple[str, ...]] = Counter()
    for item in items:
        characters = ["", *item, *([""] if config.unit == "line" else [])]
        found.update(pairwise(characters))
    return found


def _decoded(data: bytes) -> tuple[str, Fault | None]:
    """The text up to the first fault, its lines ended by LF, and the fault."""
    sound, broken = data, False
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        broken, sound = True, data[: error.start]
        text = sound.decode()
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    control = CONTROL.search(text)
    if control:
        text = text[: control.start()]
    if not control and not broken:
        return text, None
    return text, Fault(DECODED, text.count("\n") + 1, len(text) - text.rfind("\n"))


def _treated(text: str, config: DataConfig) -> str:
    change = {"keep": str, "lower": str.lower, "fold": str.casefold}[config.case]
    return _composed(change(_composed(text, config)), config)


def _composed(text: str, config: DataConfig) -> str:
    return unicodedata.normalize("NFC", text) if config.normalize == "nfc" else text
