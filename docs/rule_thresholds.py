"""Which thresholds a rule rests on, read from its code."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

from telltales import thresholds
from telltales.checks import training_checks
from telltales.checks.checking import CHECKS, TRAININGS
from telltales.thresholds import Threshold
from telltales.verdicts import RULES

NAMED = {name: value for name, value in vars(thresholds).items() if isinstance(value, Threshold)}


def thresholds_of(rule: str) -> list[tuple[str, Threshold]]:
    """Name and value of each, in the order in which the code asks for them."""
    names = [name for function in _functions(rule) for name in _names(function, set())]
    return [(name, NAMED[name]) for name in dict.fromkeys(names) if name in NAMED]


def _functions(rule: str) -> Iterator[Callable[..., Any]]:
    if rule in CHECKS:
        yield CHECKS[rule]
    if rule in TRAININGS:
        yield training_checks.memorising
    for one in RULES:
        if one.entry.rule == rule:
            yield one.look


def _names(function: Callable[..., Any], seen: set[str]) -> Iterator[str]:
    """The names in a function and in those of its own package that it calls."""
    for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function)))):
        name = node.id if isinstance(node, ast.Name) else ""
        if name and name not in seen:
            seen.add(name)
            yield name
            other = function.__globals__.get(name)
            if inspect.isfunction(other) and other.__module__.startswith(("telltales.verdicts", "telltales.checks")):
                yield from _names(other, seen)
