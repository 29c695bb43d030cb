"""Odd terminals: the part's short form, each guard of the command line by itself, and that the checks bite."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import small
from charloom.characters import harmless, harmless_json
from charloom.cli import main
from charloom.cli.console import err, log, out, print_json, table
from charloom.cli.progress import StopOnSignal
from charloom.cli.streams import open_missing
from charloom.observer import Observer
from torture import terminals
from torture.inert import terminal_faults
from torture.infecting import write_record
from torture.payloads import PAYLOADS, Payload
from torture.shown import SHORT
from torture.surroundings import Ended, closed, command

LINUX = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="this system is not Linux")


@LINUX
def test_commands_and_trainings_in_odd_surroundings() -> None:
    for shown in terminals.show(SHORT, lambda _: None):
        assert shown.count
        assert shown.failures == ()


@pytest.mark.parametrize("payload", PAYLOADS, ids=lambda payload: payload.name)
def test_no_name_moves_the_cursor(payload: Payload, capsys: pytest.CaptureFixture[str]) -> None:
    from charloom.cli.console import escape

    name = escape(payload.text)
    out.print(f"[bold]{name}[/]")
    log(f"[red]{name}[/]")
    table(payload.text, {"a": "left"}, [[name]], payload.text)
    print_json([payload.text])
    printed, messages = capsys.readouterr()
    assert terminal_faults(printed, coloured=True) == []
    assert terminal_faults(messages, coloured=True) == []


def test_what_is_not_escaped_by_name_moves_no_cursor_either(capsys: pytest.CaptureFixture[str]) -> None:
    out.print("a\x1b[2Jb\x9bc\u202ed :smile:")
    assert capsys.readouterr().out == "a\\x1b[2Jb\\x9bc\\u202ed :smile:\n"


def test_json_of_odd_characters_is_read_as_what_it_was() -> None:
    for payload in PAYLOADS:
        written = harmless_json(json.dumps(payload.text, ensure_ascii=False))
        assert json.loads(written) == payload.text
        assert terminal_faults(written) == []


def test_samples_are_harmless_on_a_terminal_and_as_they_are_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    from charloom.cli.console import line

    for is_terminal, shown in ((True, "é\\x9b2J\n"), (False, "é\x9b2J\n")):
        stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
        monkeypatch.setattr(stream, "isatty", lambda is_terminal=is_terminal: is_terminal, raising=False)
        monkeypatch.setattr(sys, "stdout", stream)
        line("é\x9b2J")
        assert stream.buffer.getvalue().decode() == shown  # type: ignore[attr-defined]
    assert harmless("می‌خواهم\t👩‍👩‍👧\n") == "می‌خواهم\t👩‍👩‍👧\n"


@pytest.mark.parametrize("error", [OSError(5, "gone"), BrokenPipeError(32, "gone"), ValueError("closed")])
def test_messages_that_nobody_reads_end_nothing(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: str) -> int:
        raise error

    stream = io.StringIO()
    monkeypatch.setattr(stream, "write", refuse)
    monkeypatch.setattr(sys, "stderr", stream)
    log("lost")
    err.print("lost, too")


def test_results_that_nobody_reads_end_a_command_quietly(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text(terminals.NAMES)
    done = closed(command("charloom", "describe", "--data", "names.txt"), "| true", tmp_path)
    assert done == Ended(0, "", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_full_disk_below_the_results_is_told(form: list[str], tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text(terminals.NAMES)
    done = closed(command("charloom", "describe", "--data", "names.txt", *form), ">/dev/full", tmp_path)
    assert done == Ended(1, "", "Error: standard output: No space left on device\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_telltales_ends_well_though_nobody_reads_its_messages(tmp_path: Path) -> None:
    write_record(tmp_path / "record.jsonl")
    done = closed(command("telltales", "report", "record.jsonl", "--html", "report.html"), "2>/dev/full", tmp_path)
    assert done == Ended(0, "", "")
    assert (tmp_path / "report.html").stat().st_size


def test_closed_descriptors_are_taken_by_nothing(tmp_path: Path) -> None:
    script = (
        "import os, sys; from charloom.cli.streams import open_missing; open_missing();"
        "file = open('data', 'w'); print(1); print(2, file=sys.stderr); os.write(2, b'3'); os.write(1, b'4')"
    )
    assert closed([sys.executable, "-P", "-c", script], "<&- >&- 2>&-", tmp_path).status == 0
    assert (tmp_path / "data").read_text() == ""


def test_what_is_open_stays_as_it_is() -> None:
    before = sys.stdin, sys.stdout, sys.stderr
    open_missing()
    assert (sys.stdin, sys.stdout, sys.stderr) == before


def stopped_by(*numbers: int) -> tuple[bool, Any]:
    """Whether a training was asked to stop by signals, and what handles hang-ups just then."""
    seen: list[Any] = []

    class Signals(Observer):
        def advanced(self, training: Any, loss: Any) -> None:
            if training.step == 5:
                for number in numbers:
                    signal.raise_signal(number)
                seen.append(signal.getsignal(signal.SIGHUP))

    training = small.training(small.SMALL_MLP, steps=40, engine="torch")
    outcome = training.run([StopOnSignal(), Signals()])
    return outcome == "interrupted", seen[0]


def unheard(number: int, frame: object) -> None:
    """What handles hang-ups outside of a training, in place of the system's way, which would end the tests."""


@pytest.fixture
def hang_ups() -> Iterator[None]:
    before = signal.signal(signal.SIGHUP, unheard)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="there are no hang-ups on this system")
@pytest.mark.usefixtures("hang_ups")
class TestHangUp:
    def test_it_ends_a_training_with_a_checkpoint_however_often_it_comes(self) -> None:
        assert stopped_by(signal.SIGHUP, signal.SIGHUP) == (True, signal.SIG_IGN)
        assert signal.getsignal(signal.SIGHUP) == unheard

    def test_it_does_not_where_it_was_ignored(self) -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        assert stopped_by(signal.SIGHUP) == (False, signal.SIG_IGN)

    def test_the_word_that_cannot_be_said_is_left_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(number: int, content: bytes) -> int:
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(os, "write", refuse)
        assert stopped_by(signal.SIGHUP)[0]


def test_a_name_is_no_markup_in_a_list_of_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    (tmp_path / "[red]x[-].txt").write_text(terminals.NAMES)
    main(["train", "[red]\x1b[2J", "--model", "bigram", "--data", "[red]x[-].txt"])
    capsys.readouterr()
    main(["runs"])
    printed, messages = capsys.readouterr()
    assert terminal_faults(printed) == []
    assert "[red]x[-].txt" in printed
    assert "[red]\\x1b[2J" in printed
    assert messages == ""


def test_a_traceback_or_another_status_is_a_fault() -> None:
    assert Ended(0, "fine", "").fault(0) == ""
    assert "status 1" in Ended(1, "", "why").fault(0)
    assert "a traceback" in Ended(1, "", "Traceback (most recent call last):").fault(1)
