"""Full and read-only disks: what was saved before stands, and nobody claims success."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from torture.disks import COMMANDS, Command, Disks
from torture.processes import ForkServer
from torture.small_disk import SmallDisk, why_none


@pytest.fixture(scope="module")
def disks(server: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> Disks:
    """With one finished run."""
    return Disks(server, tmp_path_factory.mktemp("disks"))


@pytest.fixture
def small_disk(tmp_path_factory: pytest.TempPathFactory, disks: Disks) -> Iterator[SmallDisk]:
    """A file system that can be full."""
    if reason := why_none():
        pytest.skip(reason)
    with SmallDisk(disks.folder / "disk") as disk:
        yield disk


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_a_command_whose_disk_fails_says_so_and_leaves_what_there_was(disks: Disks, command: Command) -> None:
    tried, said = disks.failures_of(command, {"experiment": 6, "train": 3}.get(command.name, 1))
    assert not said
    assert tried > 0
    assert not disks.elsewhere()


def test_a_training_whose_disk_fails_goes_on_later_to_the_bit(disks: Disks) -> None:
    tried, said = disks.failures_of_training(7)
    assert not said
    assert tried > 5


def test_full_and_read_only_disks(disks: Disks, small_disk: SmallDisk) -> None:
    """Of a real file system."""
    tried, said = disks.full(small_disk, 8)
    assert not said
    assert tried > 1
    tried, said = disks.read_only(small_disk)
    assert not said
