"""At every crash point a run can be gone on with, to the same bits."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from charloom.checkpoint import append, write_atomically
from charloom.files import flush_folder, make_folder
from telltales import Record, read_record
from telltales.record_file import RecordWriter
from torture.crash_points import CASES, MLP, NGRAM, WATCHED, Case, Trial, deaths, states
from torture.operations import Fate, Operation, meet, read_journal
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


def operations(tmp_path: Path, act: Callable[[Path], None]) -> tuple[Path, list[Operation]]:
    """A folder, and what a forked child does below it."""
    root = tmp_path / "root"
    root.mkdir()
    child = os.fork()
    if not child:
        status = 1
        try:
            meet(Fate(str(root), journal=str(tmp_path / "journal")))
            act(root)
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    return root, read_journal(tmp_path / "journal")


def journal(tmp_path: Path, act: Callable[[Path], None]) -> Disk:
    """The disk after what a forked child does below a folder."""
    root, done = operations(tmp_path, act)
    disk = Disk(root)
    for operation in done:
        disk.do(operation)
    return disk


def contents(tmp_path: Path, act: Callable[[Path], None], name: str) -> list[set[bytes | None]]:
    """What a file may hold when the power goes, after each operation; None where there is no such file."""
    root, done = operations(tmp_path, act)
    disk, found = Disk(root), []
    for operation in done:
        disk.do(operation)
        found.append({state.get(name) for state in disk.left_by_power_loss()})
    return found


def lost(disk: Disk) -> list[State]:
    return [dict(state) for state in {tuple(state.items()) for state in disk.left_by_power_loss()}]


def test_what_was_never_flushed_may_be_lost(tmp_path: Path) -> None:
    disk = journal(tmp_path, lambda root: (root / "a").write_bytes(b"abcd") and None)
    assert disk.left_by_death() == {"a": b"abcd"}
    assert sorted(map(str, lost(disk))) == sorted(map(str, [{}, {"a": b""}, {"a": b"ab"}, {"a": b"abcd"}]))


def test_what_was_flushed_with_its_folder_stays(tmp_path: Path) -> None:
    def act(root: Path) -> None:
        write_atomically(root / "a", b"abcd")
        write_atomically(root / "a", b"efgh")
        append(root / "a", b"ij")

    assert lost(journal(tmp_path, act)) == [{"a": b"efghij"}]


def test_at_every_moment_the_old_file_stands_or_the_new_one(tmp_path: Path) -> None:
    assert_old_or_new(tmp_path, write_atomically)


def test_without_the_rename_it_would_not(tmp_path: Path) -> None:
    def in_place(path: Path, content: bytes) -> None:
        with open(path, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        flush_folder(path.parent)

    with pytest.raises(AssertionError):
        assert_old_or_new(tmp_path, in_place)


def assert_old_or_new(tmp_path: Path, write: Callable[[Path, bytes], None]) -> None:
    def act(root: Path) -> None:
        write(root / "a", b"abcd")
        write(root / "a", b"efgh")

    found = contents(tmp_path, act, "a")
    first = next(place for place, held in enumerate(found) if held == {b"abcd"})
    assert all(held <= {None, b"abcd"} for held in found[:first])
    assert all(held <= {b"abcd", b"efgh"} for held in found[first:])
    assert found[-1] == {b"efgh"}


def test_a_record_begins_whole_or_not_at_all(tmp_path: Path) -> None:
    def act(root: Path) -> None:
        for preset in ("full", "economy"):
            record = Record()
            record.about["preset"] = preset
            RecordWriter(root / "a", record)

    def preset(content: bytes | None) -> object:
        if content is None:
            return None
        (tmp_path / "a").write_bytes(content)
        return read_record(tmp_path / "a").about["preset"]

    found = [{preset(content) for content in held} for held in contents(tmp_path, act, "a")]
    first = next(place for place, held in enumerate(found) if held == {"full"})
    assert all(held <= {"full", "economy"} for held in found[first:])
    assert found[-1] == {"economy"}


def test_a_new_folder_stays_with_those_it_lies_in(tmp_path: Path) -> None:
    assert lost(journal(tmp_path, lambda root: make_folder(root / "runs/new"))) == [{"runs": None, "runs/new": None}]


def test_a_file_that_is_written_in_place_may_be_lost(tmp_path: Path) -> None:
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
