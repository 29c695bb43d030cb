"""At every crash point a run can be gone on with, to the same bits."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from torture.crash_points import CASES, MLP, NGRAM, WATCHED, Case, Trial, deaths, states
from torture.operations import Fate, read_journal
from torture.power_loss import Disk, State
from torture.processes import KILLED, ForkServer

Make = Callable[[Case], Trial]


@pytest.fixture(scope="module")
def trial(server: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """A case with its whole run, made once."""
    made: dict[str, Trial] = {}

    def make(case: Case) -> Trial:
        if case.name not in made:
            made[case.name] = Trial(server, tmp_path_factory.mktemp("case"), case)
        return made[case.name]

    return make


@pytest.mark.parametrize(("case", "every"), [(MLP, 1), (WATCHED, 9), (NGRAM, 1)], ids=str)
def test_what_a_death_or_a_loss_of_power_leaves_is_gone_on_from_to_the_bit(trial: Make, case: Case, every: int) -> None:
    shown = states(trial(case), every)
    assert not shown.failures
    assert shown.count > 2 * len(trial(case).operations)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_real_deaths_at_file_operations(trial: Make, case: Case) -> None:
    shown = deaths(trial(case), 2)
    assert not shown.failures
    assert shown.count >= 2


def test_what_a_real_death_leaves_is_what_was_foreseen(server: ForkServer, trial: Make, tmp_path: Path) -> None:
    """By names; the content of some files tells the time or the process."""
    number = next(n for n, one in enumerate(trial(NGRAM).operations) if one.to.endswith("best.safetensors")) + 1
    assert trial(NGRAM).train(tmp_path, Fate(str(tmp_path), number, "die")).status == KILLED
    there = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    (foreseen,) = {
        tuple(sorted(point.state))
        for point in trial(NGRAM).points()
        if point.number == number - 1 and not point.power_lost
    }
    stems = [
        {Path(name).name.split(".")[1 if Path(name).name[0] == "." else 0] for name in names}
        for names in (there, foreseen)
    ]
    assert stems[0] == stems[1]
    assert len(there) == len(foreseen)


def journal(tmp_path: Path, act: Callable[[Path], None]) -> Disk:
    """The disk after what a forked child does below a folder."""
    root = tmp_path / "root"
    root.mkdir()
    child = os.fork()
    if not child:
        from torture.operations import meet

        meet(Fate(str(root), journal=str(tmp_path / "journal")))
        act(root)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    disk = Disk(root)
    for operation in read_journal(tmp_path / "journal"):
        disk.do(operation)
    return disk


def lost(disk: Disk) -> list[State]:
    return [dict(state) for state in {tuple(state.items()) for state in disk.left_by_power_loss()}]


def test_what_was_never_flushed_may_be_lost(tmp_path: Path) -> None:
    disk = journal(tmp_path, lambda root: (root / "a").write_bytes(b"abcd") and None)
    assert disk.left_by_death() == {"a": b"abcd"}
    assert sorted(map(str, lost(disk))) == sorted(map(str, [{}, {"a": b""}, {"a": b"ab"}, {"a": b"abcd"}]))


def test_what_was_flushed_with_its_folder_stays(tmp_path: Path) -> None:
    from charloom.checkpoint import append, write_atomically

    def act(root: Path) -> None:
        write_atomically(root / "a", b"abcd")
        write_atomically(root / "a", b"efgh")
        append(root / "a", b"ij")

    assert lost(journal(tmp_path, act)) == [{"a": b"efghij"}]


def test_a_file_that_is_written_in_place_may_be_lost(tmp_path: Path) -> None:
    from charloom.checkpoint import write_atomically

    def act(root: Path) -> None:
        write_atomically(root / "a", b"abcd")
        (root / "a").write_bytes(b"efgh")

    assert {state["a"] for state in lost(journal(tmp_path, act))} == {b"abcd", b"", b"ef", b"efgh"}


def test_a_rename_before_the_flush_of_its_folder_is_taken_either_way(tmp_path: Path) -> None:
    def act(root: Path) -> None:
        with open(root / "b", "wb") as file:
            file.write(b"abcd")
            file.flush()
            os.fsync(file.fileno())
        (root / "b").replace(root / "a")

    found = lost(journal(tmp_path, act))
    assert {tuple(state.items()) for state in found} >= {(), (("a", b"abcd"),), (("b", b"abcd"),)}


def test_a_failing_disk_fails_at_the_named_operation_and_from_then_on(tmp_path: Path) -> None:
    from torture.operations import meet

    read, write = os.pipe()
    child = os.fork()
    if not child:
        meet(Fate(str(tmp_path), 3, "fail", errno.ENOSPC))
        (tmp_path / "a").write_bytes(b"abcd")
        try:
            (tmp_path / "b").write_bytes(b"abcd")
        except OSError as error:
            os.write(write, str(error.errno).encode())
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert int(os.read(read, 99)) == errno.ENOSPC
    assert (tmp_path / "a").read_bytes() == b"abcd"
    assert not (tmp_path / "b").exists()
