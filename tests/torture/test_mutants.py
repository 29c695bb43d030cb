"""Every mutant can be applied, and names a test that is there; the runner tells caught from not caught."""

from __future__ import annotations

import ast

import pytest

from torture.mutants import Mutant
from torture.mutants.running import PROJECT, every_mutant, try_all

MUTANTS = every_mutant()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.what)
def test_every_mutant_fits_the_code_and_names_a_test(mutant: Mutant) -> None:
    code = (PROJECT / mutant.file).read_text(encoding="utf-8")
    assert code.count(mutant.old) == 1
    assert mutant.new != mutant.old
    if mutant.file.endswith(".py"):
        ast.parse(code.replace(mutant.old, mutant.new))
    path, *names = mutant.test.split("::")
    tests = (PROJECT / path).read_text(encoding="utf-8")
    assert all(f" {name.partition('[')[0]}" in tests for name in names)


def test_no_two_mutants_are_the_same() -> None:
    assert len({(mutant.file, mutant.old, mutant.new) for mutant in MUTANTS}) == len(MUTANTS)


def test_the_runner_tells_caught_from_not_caught() -> None:
    test, file = "tests/test_characters.py::test_printable", "src/charloom/characters.py"
    escapes = "ascii(character)[1:-1]"
    mutants = [
        Mutant("caught", 1, file, escapes, "character", test),
        Mutant("does nothing", 1, file, escapes, f"{escapes}[:]", test),
        Mutant("does not apply", 1, file, "text that is not there", "", test),
        Mutant("has no test", 1, file, escapes, "character", f"{test}_at_all"),
    ]
    tried = list(try_all(mutants))
    assert [one.caught for one in tried] == [True, False, False, False]
    assert [one.said for one in tried[1:]] == [
        "its test passes",
        f"its text stands 0 times in {file}",
        "its test does not pass without it",
    ]
    assert escapes in (PROJECT / file).read_text(encoding="utf-8")
