"""One session: which questions, in which order, and those answered wrong until they are right."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any

from charloom.recall.memory import Memory, read_memory, write_memory
from charloom.recall.questions import Question


class Session:
    """The questions still to be asked. Every first answer is written to the file at once."""

    def __init__(self, questions: list[Question], state: Path, *, n: int | None, seed: int | None = None) -> None:
        """``n``: how many questions (None: all). ``seed``: of the order; by default another in each session.

        Raises `StateError` for a file that cannot be used.
        """
        self.memory: Memory = read_memory(state)
        self.number = self.memory.sessions + 1
        self.seed = self.number if seed is None else seed
        self.attempts: dict[str, int] = {}
        self.right: dict[str, bool] = {}
        """The first answer to each question that was asked."""
        self._state = state
        self.chosen = self.memory.order(questions, self.seed)[:n]
        self._waiting = deque(self.chosen)

    @property
    def current(self) -> Question | None:
        """The question to be asked now; None when all are right."""
        return self._waiting[0] if self._waiting else None

    @property
    def asked_before(self) -> bool:
        """Whether the current question was answered wrong earlier in this session."""
        return bool(self._waiting) and self._waiting[0].id in self.right

    @property
    def left(self) -> int:
        """Questions that are not yet right."""
        return len(self._waiting)

    def record(self, right: bool) -> None:
        """The answer to the current question. A wrong one sends it to the end of the queue."""
        question = self._waiting.popleft()
        if not right:
            self._waiting.append(question)
        self.attempts[question.id] = self.attempts.get(question.id, 0) + 1
        if question.id not in self.right:
            self.right[question.id] = right
            self.memory.record(question.id, right, self.number)
            write_memory(self._state, self.memory)

    def to_json(self) -> dict[str, Any]:
        """``session``; ``answers`` (id, right at first, attempts, resolved); ``left``: the ids of those not right."""
        left = [question.id for question in self._waiting]
        answers = [
            {"id": id, "right_at_first": right, "attempts": self.attempts[id], "resolved": id not in left}
            for id, right in self.right.items()
        ]
        return {"session": self.number, "answers": answers, "left": left}
