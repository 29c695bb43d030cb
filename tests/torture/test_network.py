"""No command and no import asks the network for anything; and what watches over that does bite."""

from __future__ import annotations

from torture import network, offline
from torture.shown import SHORT


def test_nothing_asks_the_network() -> None:
    shown = list(network.show(SHORT, lambda line: None))
    assert [failure for one in shown for failure in one.failures] == []
    assert shown[-1].count > 20


def test_every_command_is_tried() -> None:
    names = network._names()
    assert set(offline.COMMANDS) <= set(names)
    assert {"imports", "charloom train", "telltales report"} <= set(names)
