"""The short form of `torture.writers`."""

from __future__ import annotations

from torture import writers
from torture.shown import SHORT


def test_writers_do_not_disturb_each_other_and_runs_go_on_wherever_and_whenever_they_are() -> None:
    shown = list(writers.show(SHORT, lambda line: None))
    assert [one.failures for one in shown] == [()] * len(shown)
    assert [one.count for one in shown] == [2, 4, 1]
