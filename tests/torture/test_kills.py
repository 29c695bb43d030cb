"""Killed trainings come to the same bits; `tests/test_fitting.py` kills processes that a user would start."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from charloom.compiled import available
from torture.kills import CASES, KILLS, Case, Victim, at_random
from torture.processes import ForkServer
from torture.shown import SHORT

Make = Callable[[Case], Victim]


@pytest.fixture(scope="module")
def compiled_server() -> Iterator[ForkServer]:
    """One that has the compiled loop loaded."""
    if not hasattr(os, "fork"):
        pytest.skip("this system has no fork")
    with ForkServer(compiled=True) as running:
        yield running


@pytest.fixture(scope="module")
def victim(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """A case with its whole run, made once."""
    made: dict[Case, Victim] = {}

    def make(case: Case) -> Victim:
        if case.compiled and not available():
            pytest.skip("numba is not installed")
        if case not in made:
            server = request.getfixturevalue("compiled_server" if case.compiled else "server")
            made[case] = Victim(server, tmp_path_factory.mktemp("case"), case)
        return made[case]

    return make


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_run_that_is_killed_five_times_comes_to_the_same_bits(victim: Make, case: Case) -> None:
    kills, failures = victim(case).killed_at_operations("killed", KILLS)
    assert not failures
    assert kills == KILLS


def test_kills_at_random_times(victim: Make) -> None:
    shown = at_random([victim(case) for case in CASES if not case.compiled], SHORT, lambda _: None)
    assert not shown.failures
    assert shown.count >= SHORT.kills


def test_two_different_trainings_differ(victim: Make) -> None:
    """What is compared can differ at all: another seed comes to other weights."""
    case = next(case for case in CASES if case.name == "mlp, torch, rows")
    other = Case(case.name, (*case.flags, "--seed", "1"))
    failures = victim(case).compared_with(victim(other))
    assert any("result.json differs in" in one and "weights_sha256" in one for one in failures)
    assert any("history.jsonl" in one for one in failures)
