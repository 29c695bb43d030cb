"""What a learner types becomes a number or a shape. Nothing is ever evaluated as Python.

A number is a small formula: ``3.2958``, ``ln 27``, ``√(2/200)``, ``2 ln 2 / 5``, ``30·200 + 200``, ``0.999^1000``,
``37%``. A shape is integers in any brackets, or none: ``(32, 30)``, ``[32 30]``, ``32x30``.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable

LONGEST = 100
"""Characters that an answer may have; it bounds the depth of its brackets too."""

_FUNCTIONS: dict[str, Callable[[float], float]] = {
    "ln": math.log,
    "log": math.log,
    "log2": math.log2,
    "log10": math.log10,
    "exp": math.exp,
    "sqrt": math.sqrt,
    "√": math.sqrt,
    "tanh": math.tanh,
    "atanh": math.atanh,
}
_CONSTANTS = {"e": math.e, "pi": math.pi, "π": math.pi}
_OPERATORS: dict[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}
_SAME = str.maketrans({"−": "-", "–": "-", "×": "*", "·": "*", "⋅": "*", "÷": "/", "[": "(", "]": ")"})
_NUMBER = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_TOKEN = re.compile(rf"\s*(?:({_NUMBER})|([A-Za-zπ]+(?:10|2)?)|(√)|(\*\*|[-+*/^()%]))", re.ASCII)


def parse_number(text: str) -> float:
    """The value of a formula; `log` is natural, as `ln`. Raises `ValueError`, which says what cannot be read."""
    if len(text) > LONGEST:
        raise ValueError(f"more than {LONGEST} characters")
    parser = _Parser(_tokens(text.translate(_SAME)))
    try:
        value = parser.sum()
    except OverflowError:
        raise ValueError("the result is too large") from None
    except ZeroDivisionError:
        raise ValueError("it divides by zero") from None
    if parser.next is not None:
        raise ValueError(f"{parser.next!r} is not expected there")
    if not math.isfinite(value):
        raise ValueError("the result is not a finite number")
    return value


def parse_shape(text: str) -> tuple[int, ...]:
    """The lengths of the axes; ``()`` or ``scalar`` has none. Raises `ValueError` for anything else."""
    if len(text) > LONGEST:
        raise ValueError(f"more than {LONGEST} characters")
    inside = re.sub(r"^(torch\.)?size\b", "", text.strip().lower()).strip()
    if inside in ("scalar", "()", "[]", "{}", "(())", "([])"):
        return ()
    if not re.fullmatch(r"[\[({]*\s*\d+(?:\s*[,x×*·;]\s*\d+|\s+\d+)*\s*,?\s*[\])}]*", inside, re.ASCII):
        raise ValueError("that is no shape")
    return tuple(int(digits) for digits in re.findall(r"\d+", inside, re.ASCII))


def _tokens(text: str) -> list[str]:
    tokens = []
    position = 0
    text = text.strip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise ValueError(f"{text[position:].split()[0]!r} is not a number, a function or an operator")
        tokens.append(match[0].strip())
        position = match.end()
    return tokens


def _is_number(token: str) -> bool:
    return token[0] in "0123456789."


class _Parser:
    """Recursive descent: a sum of products of powers. A factor before a name or a bracket is multiplied with it."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._position = 0

    @property
    def next(self) -> str | None:
        return self._tokens[self._position] if self._position < len(self._tokens) else None

    def _take(self) -> str:
        token = self.next
        if token is None:
            raise ValueError("something is missing at the end")
        self._position += 1
        return token

    def sum(self) -> float:
        value = self._product()
        while self.next in ("+", "-"):
            value = _OPERATORS[self._take()](value, self._product())
        return value

    def _product(self) -> float:
        value = self._signed()
        while self.next is not None and self.next not in ("+", "-", ")"):
            if self.next in ("*", "/"):
                value = _OPERATORS[self._take()](value, self._signed())
            elif _is_number(self.next):
                raise ValueError(f"an operator is missing before {self.next!r}")
            else:
                value *= self._signed()
        return value

    def _signed(self) -> float:
        if self.next in ("+", "-"):
            return -self._signed() if self._take() == "-" else self._signed()
        return self._power()

    def _power(self) -> float:
        base = self._atom()
        while self.next == "%":
            self._take()
            base /= 100
        if self.next in ("^", "**"):
            self._take()
            value = base ** self._signed()
            if isinstance(value, complex):
                raise ValueError("a root of a negative number")
            return float(value)
        return base

    def _atom(self) -> float:
        token = self._take()
        if token == "(":
            value = self.sum()
            if self.next != ")":
                raise ValueError("a bracket is not closed")
            self._take()
            return value
        name = token.lower()
        if name in _CONSTANTS:
            return _CONSTANTS[name]
        if name in _FUNCTIONS:
            argument = self._atom() if self.next == "(" else self._signed()  # ln(27)^2 squares the logarithm.
            try:
                return _FUNCTIONS[name](argument)
            except ValueError:
                raise ValueError(f"{name} of {argument:g} is not defined") from None
        if _is_number(token):
            return float(token.replace(",", ""))
        raise ValueError(f"{token!r} is not expected there")
