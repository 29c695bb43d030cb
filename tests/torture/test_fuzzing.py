"""The short form of `torture.fuzzing`; and that inputs which something was wrong with once are read well."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

import pytest

from torture import fuzzing, targets
from torture.shown import SHORT
from torture.targets import TARGETS


def test_nothing_is_found_by_chance() -> None:
    effort = replace(SHORT, fuzz_seconds=1)
    shown = list(fuzzing.show(effort, lambda line: None))
    assert [one.failures for one in shown] == [()] * (len(TARGETS) + 1)
    assert all(one.count >= 50 for one in shown[1:])


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_and_what_was_found_once_are_read_well(name: str) -> None:
    for content in [*TARGETS[name].seeds(), *(path.read_bytes() for path in fuzzing.known(name)), b"", b"\0"]:
        TARGETS[name].run(content)


def test_every_folder_of_the_corpus_is_a_targets() -> None:
    assert {path.name for path in fuzzing.CORPUS.iterdir()} <= set(TARGETS)


def test_a_planted_fault_is_found_by_chance() -> None:
    count, _, failures = fuzzing.by_chance(targets.CONTROL, 30, 0)
    assert count > 0
    assert failures[0].startswith("control: KeyError: 'planted'")


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed")
def test_a_planted_fault_is_found_by_coverage() -> None:
    count, _, failures = fuzzing.by_coverage(targets.CONTROL, 20, 0)
    assert count > 0
    assert "planted" in failures[0]
