"""The questions: read from a TOML file, and every fault of it told with the file and the question.

A file is a list of ``[[question]]`` tables. All have ``id``, ``topic``, ``kind``, ``ask``, ``explain`` and ``check``
(a name in `charloom.recall.checks.CHECKS`), some ``core = true``; the rest depends on the kind.

- ``number``: ``answer``, a formula, and ``tolerance``, absolute.
- ``shape``: ``answer``, such as ``(32, 30)``.
- ``choice``: ``options``, a table of key = text, and ``answer``, one of the keys.
- ``text``: ``answer``, a model answer, and ``points``, what it has to say.
- ``sketch``: ``boxes``, an array of tables of ``name``, ``ask`` and ``answer``, a shape.
"""

from __future__ import annotations

import math
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from charloom.errors import CharloomError
from charloom.recall.expressions import parse_number, parse_shape

Kind = Literal["number", "shape", "choice", "text", "sketch"]

QUESTIONS = Path(__file__).parent / "questions.toml"
_COMMON = {"id", "topic", "kind", "ask", "explain", "check"}
_SPECIAL: dict[str, set[str]] = {
    "number": {"answer", "tolerance"},
    "shape": {"answer"},
    "choice": {"answer", "options"},
    "text": {"answer", "points"},
    "sketch": {"boxes"},
}


class QuestionError(CharloomError):
    """A file of questions that cannot be used, or a question that is not in it."""


@dataclass(frozen=True)
class Box:
    """One box of a sketch."""

    name: str
    ask: str
    answer: str
    """A shape."""


@dataclass(frozen=True)
class Question:
    """One question with its answer as the file states it; the check that it names computes the answer anew."""

    id: str
    topic: str
    kind: Kind
    ask: str
    explain: str
    check: str
    answer: str = ""
    """A formula, a shape, an option's key or a model answer; empty for a sketch."""
    tolerance: float = 0.0
    """By how much a number may be off."""
    options: tuple[tuple[str, str], ...] = ()
    """Keys and texts of a choice."""
    points: tuple[str, ...] = ()
    """What an answer in words has to say."""
    boxes: tuple[Box, ...] = ()
    core: bool = False
    """Asked before others while it is new."""


def read_questions(path: Path = QUESTIONS) -> list[Question]:
    """The questions of a file, in its order. Raises `QuestionError` for any fault of it."""
    from charloom.recall.checks import CHECKS

    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise QuestionError(f"cannot be read ({error})", where=str(path)) from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise QuestionError(f"holds no valid TOML ({error})", where=str(path)) from None
    entries = content.get("question")
    if set(content) != {"question"} or not isinstance(entries, list) or not entries:
        raise QuestionError("holds something else than [[question]] tables", where=str(path))
    questions: dict[str, Question] = {}
    for number, entry in enumerate(entries, start=1):
        given = entry.get("id") if isinstance(entry, dict) else None
        where = f"{path}, question {given!r}" if isinstance(given, str) else f"{path}, question number {number}"
        try:
            question = _question(entry)
            if question.id in questions:
                raise ValueError("another question has this id")
            if question.check not in CHECKS:
                raise ValueError(f"there is no check {question.check!r}")
        except ValueError as error:
            raise QuestionError(str(error), where=where) from None
        questions[question.id] = question
    return list(questions.values())


def find(questions: list[Question], id: str) -> Question:
    """The question of that id. Raises `QuestionError` where there is none."""
    for question in questions:
        if question.id == id:
            return question
    raise QuestionError(f"there is no question {id!r}", remedy="charloom recall --list shows them all.")


def of_topic(questions: list[Question], topic: str) -> list[Question]:
    """Those of one topic. Raises `QuestionError` where there is none."""
    chosen = [question for question in questions if question.topic == topic]
    if not chosen:
        topics = ", ".join(dict.fromkeys(question.topic for question in questions))
        raise QuestionError(f"there is no topic {topic!r}", remedy=f"Topics: {topics}.")
    return chosen


def _question(entry: Any) -> Question:
    if not isinstance(entry, dict):
        raise ValueError("it is no table")
    kind: Any = entry.get("kind")
    if kind not in get_args(Kind):
        raise ValueError(f"kind {kind!r} is none of {', '.join(get_args(Kind))}")
    _check_keys(entry, _COMMON | _SPECIAL[kind])
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", _text(entry, "id")):
        raise ValueError("an id is small letters and digits, joined by hyphens")
    question = Question(
        kind=kind,
        **{key: _text(entry, key) for key in _COMMON - {"kind"}},
        answer=_text(entry, "answer") if "answer" in entry else "",
        tolerance=_tolerance(entry.get("tolerance", 0.0)),
        options=_options(entry.get("options", {})),
        points=_points(entry.get("points", [])),
        boxes=_boxes(entry.get("boxes", [])),
        core=_core(entry.get("core", False)),
    )
    _check_answer(question)
    return question


def _check_keys(entry: dict[str, Any], wanted: set[str]) -> None:
    if missing := sorted(wanted - set(entry)):
        raise ValueError(f"it lacks {', '.join(missing)}")
    if unknown := sorted(set(entry) - wanted - {"core"}):
        raise ValueError(f"{', '.join(unknown)} does not belong there")


def _text(entry: dict[str, Any], key: str) -> str:
    value = entry[key]
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{key} is no text")
    return " ".join(value.split())


def _tolerance(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise ValueError("tolerance is no number of at least 0")
    return float(value)


def _options(table: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(table, dict):
        raise ValueError("options is no table of key = text")
    return tuple((key, _text(table, key)) for key in table)


def _points(points: Any) -> tuple[str, ...]:
    if not isinstance(points, list):
        raise ValueError("points is no list of texts")
    return tuple(_text({"a point": point}, "a point") for point in points)


def _core(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("core is neither true nor false")
    return value


def _boxes(boxes: Any) -> tuple[Box, ...]:
    if not isinstance(boxes, list):
        raise ValueError("boxes is no list of tables")
    return tuple(_box(box) for box in boxes)


def _box(box: Any) -> Box:
    if not isinstance(box, dict):
        raise ValueError("a box is no table")
    _check_keys(box, {"name", "ask", "answer"})
    return Box(_text(box, "name"), _text(box, "ask"), _text(box, "answer"))


def _check_answer(question: Question) -> None:
    """A stated answer is one that a learner could have given."""
    match question.kind:
        case "number":
            parse_number(question.answer)
            if question.tolerance == 0:
                raise ValueError("tolerance is 0: no rounded answer would be right")
        case "shape":
            parse_shape(question.answer)
        case "choice":
            if len(question.options) < 2 or question.answer not in dict(question.options):
                raise ValueError("the answer is the key of one of two or more options")
        case "text":
            if not question.points:
                raise ValueError("points is empty")
        case "sketch":
            if len({box.name for box in question.boxes}) != len(question.boxes) or not question.boxes:
                raise ValueError("boxes are one or more, each with a name of its own")
            for box in question.boxes:
                parse_shape(box.answer)
