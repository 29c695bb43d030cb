"""The short form of `torture.determinism`."""

from __future__ import annotations

from torture import determinism
from torture.shown import SHORT


def test_weights_are_the_same_in_every_process_and_changed_conditions_are_warned_of() -> None:
    shown = list(determinism.show(SHORT, lambda line: None))
    assert [one.failures for one in shown] == [()] * len(shown)
    assert sum(one.count for one in shown) == 4
