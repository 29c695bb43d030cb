"""Plain text in columns."""

from __future__ import annotations

import math

import pytest

from telltales.report.plain import aligned, columns, cut, duration, loss_words, precise, wrapped

NAN = math.nan


@pytest.mark.parametrize(("text", "width"), [("abc", 3), ("层一", 4), ("e\u0301", 1), ("", 0), ("▁█", 2)])
def test_columns_of_a_terminal(text: str, width: int) -> None:
    assert columns(text) == width


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("blocks.12.mlp.act", 17, "blocks.12.mlp.act"),
        ("blocks.12.mlp.act", 9, "bloc….act"),
        ("a\x1b[31mb", 20, "a\\x1b[31mb"),
        ("层层层层层", 6, "层…层"),
        (12, 5, "12"),
    ],
)
def test_cutting_keeps_both_ends(text: str, width: int, shown: str) -> None:
    assert cut(text, width) == shown
    assert columns(cut(text, width)) <= width


def test_cells_stand_under_one_another() -> None:
    assert aligned([["name", "n"], ["层", "10"], ["abcdef", "3"]], "lr") == [
        "name     n",
        "层      10",
        "abcdef   3",
    ]


def test_parts_are_wrapped_and_never_broken() -> None:
    assert wrapped(["one", "two", "three and more", "x"], 10) == ["one, two,", "three and more,", "x"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(2.3, "2.300"), (0.123456, "0.1235"), (-23.456, "−23.46"), (999.96, "1000"), (1e-5, "1e−5"), (NAN, "–")],
)
def test_four_digits(value: float, text: str) -> None:
    assert precise(value) == text


def test_a_loss_that_is_nan_is_not_one_that_was_not_measured() -> None:
    assert loss_words(NAN) == "NaN"
    assert loss_words(2.0) == "2.000"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.521, "0.52 s"),
        (12.4, "12 s"),
        (119.6, "2 min 0 s"),
        (200, "3 min 20 s"),
        (18180, "5 h 3 min"),
        (NAN, "–"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
