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


def number_is_right(question: Question, given: str, measured: Measured) -> bool:
    """Within the tolerance of what was computed. Raises `ValueError` for what is no number."""
    return abs(parse_number(given) - measured_number(measured)) <= question.tolerance


def shape_is_right(given: str, truth: object) -> bool:
    """The very shape. Raises `ValueError` for what is no shape."""
    return parse_shape(given) == truth


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
