"""Is an answer right? The truth is what the question's check has just computed."""

from __future__ import annotations

import random

from charloom.recall.checks import Measured
from charloom.recall.expressions import parse_number, parse_shape
from charloom.recall.questions import Question


def measured_number(measured: Measured) -> float:
    """The truth of a question of kind number."""
    if isinstance(measured.answer, bool) or not isinstance(measured.answer, int | float):
        raise TypeError("the check gives no number")
    return float(measured.answer)


def is_right(
    question: Question, given: str, options: list[tuple[str, str, str]], measured: Measured
) -> tuple[bool, str]:
    """Whether an answer to a number, shape or choice is right, and as what it was read.

    ``options``: as they were offered. Raises `ValueError` for what cannot be read.
    """
    match question.kind:
        case "number":
            value = parse_number(given)
            return abs(value - measured_number(measured)) <= question.tolerance, f"{value:.6g}"
        case "shape":
            return shape_is_right(given, measured.answer), str(parse_shape(given))
        case _:
            key = chosen_key(options, given)
            return key == measured.answer, dict(question.options)[key].rstrip(".")


def stated(question: Question) -> str:
    """The answer as the file states it, a formula with its value; of a sketch, nothing."""
    match question.kind:
        case "number":
            value = f"{parse_number(question.answer):.6g}"
            return value if value == question.answer else f"{question.answer} = {value}"
        case "choice":
            return dict(question.options)[question.answer]
        case _:
            return question.answer


def shape_is_right(given: str, truth: object) -> bool:
    """The very shape. Raises `ValueError` for what is no shape."""
    return parse_shape(given) == truth


def box_truth(measured: Measured, name: str) -> tuple[int, ...]:
    """The shape of one box of a sketch."""
    if not isinstance(measured.answer, dict):
        raise TypeError("the check gives no shapes by name")
    return measured.answer[name]


def shuffled_options(question: Question, seed: int) -> list[tuple[str, str, str]]:
    """The options of a choice as (letter, key, text), in an order that ``seed`` and the question decide."""
    options = list(question.options)
    random.Random(f"{seed} {question.id}").shuffle(options)
    return [(chr(ord("a") + place), key, text) for place, (key, text) in enumerate(options)]


def chosen_key(options: list[tuple[str, str, str]], given: str) -> str:
    """The key of the option whose letter was given. Raises `ValueError` for another letter."""
    letter = given.strip().strip("().").lower()
    for offered, key, _ in options:
        if letter == offered:
            return key
    raise ValueError(f"{given.strip()!r} is none of {', '.join(offered for offered, _, _ in options)}")
