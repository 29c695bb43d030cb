"""What was answered when, in one small JSON file, and when it is asked again (Leitner's boxes).

A question is in box 1 to 5. Right at the first try, it goes up a box; wrong, back to box 1. From box b it is due
2^(b-1) sessions later: 1, 2, 4, 8, 16.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from charloom.errors import CharloomError, CheckpointError
from charloom.recall.questions import Question

FORMAT = 1
BOXES = 5
MOST_SESSIONS = 1 << 32


class StateError(CharloomError):
    """A file of earlier answers that is damaged, foreign or cannot be written."""


@dataclass
class Card:
    """What is remembered of one question."""

    box: int
    """1 to 5."""
    last: int
    """The session that it was last asked in."""
    asked: int
    """How many sessions asked it."""
    wrong: int
    """In how many the first answer was wrong."""

    @property
    def due(self) -> int:
        """The session that should ask it again."""
        return int(self.last + 2 ** (self.box - 1))


@dataclass
class Memory:
    """All that is remembered. ``sessions`` counts those in which something was answered."""

    sessions: int = 0
    cards: dict[str, Card] = field(default_factory=dict)

    def record(self, id: str, right: bool, session: int) -> None:
        """Note the first answer of a session to a question."""
        self.sessions = session
        card = self.cards.setdefault(id, Card(box=0, last=0, asked=0, wrong=0))
        card.box = min(card.box + 1, BOXES) if right else 1
        card.last = session
        card.asked += 1
        card.wrong += not right

    def order(self, questions: Iterable[Question], seed: int) -> list[Question]:
        """What was wrong last time, then what is due, what is new (core ones first), the rest; each drawn."""
        session = self.sessions + 1
        draw = random.Random(seed)

        def rank(question: Question) -> tuple[int, float, float]:
            card = self.cards.get(question.id)
            if card is None:
                return 2, float(not question.core), draw.random()
            if card.box == 1 and card.wrong:
                return 0, 0.0, draw.random()
            return (1, 0.0, draw.random()) if card.due <= session else (3, float(card.due), draw.random())

        return sorted(questions, key=rank)

    def boxes(self, questions: Iterable[Question]) -> dict[str, int]:
        """How many questions are new, and how many in each box."""
        counts = dict.fromkeys(["new", *map(str, range(1, BOXES + 1))], 0)
        for question in questions:
            card = self.cards.get(question.id)
            counts["new" if card is None else str(card.box)] += 1
        return counts


def read_memory(path: Path) -> Memory:
    """What a file remembers; nothing where there is no file. Raises `StateError` for any fault of it."""
    from charloom.checkpoint import read_json

    if not path.exists():
        return Memory()
    try:
        content = read_json(path)
        return _memory(content)
    except (CheckpointError, ValueError) as error:
        fact = error.fact if isinstance(error, CheckpointError) else str(error)
        remedy = "It is left as it is. Mend it, delete it to begin anew, or name another file with --state."
        raise StateError(fact, where=str(path), remedy=remedy) from None


def write_memory(path: Path, memory: Memory) -> None:
    """Write so that either the old file stands or the new one. Raises `StateError` when that fails."""
    from charloom.checkpoint import write_sealed

    content = {
        "format": FORMAT,
        "sessions": memory.sessions,
        "questions": {id: asdict(card) for id, card in memory.cards.items()},
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_sealed(path, content)
    except (CheckpointError, OSError) as error:
        fact = error.fact if isinstance(error, CheckpointError) else f"cannot be written ({error.strerror})"
        raise StateError(fact, where=str(path), remedy="Name another file with --state.") from None


def _memory(content: Any) -> Memory:
    if not isinstance(content, dict) or set(content) != {"format", "sessions", "questions"}:
        raise ValueError("not a file of charloom recall")
    if type(content["format"]) is not int or content["format"] != FORMAT:
        raise ValueError(f"format {content['format']!r} instead of {FORMAT}")
    sessions = _integer(content, "sessions", "the file", 0, MOST_SESSIONS)
    if not isinstance(content["questions"], dict):
        raise ValueError("questions is no object")
    cards = {id: _card(id, card, sessions) for id, card in content["questions"].items()}
    return Memory(sessions, cards)


def _card(id: str, content: Any, sessions: int) -> Card:
    names = {one.name for one in fields(Card)}
    if not isinstance(content, dict) or set(content) != names:
        raise ValueError(f"question {id!r} has not the fields {', '.join(sorted(names))}")
    asked = _integer(content, "asked", f"question {id!r}", 1, sessions)
    return Card(
        box=_integer(content, "box", f"question {id!r}", 1, BOXES),
        last=_integer(content, "last", f"question {id!r}", asked, sessions),
        asked=asked,
        wrong=_integer(content, "wrong", f"question {id!r}", 0, asked),
    )


def _integer(content: dict[str, Any], name: str, where: str, least: int, most: float) -> int:
    value = content[name]
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"{name} of {where} is {value!r}, not a whole number from {least} to {most:g}")
    return value
