"""Odd terminals, closed descriptors, readers that leave, hang-ups: what happens to commands, and to a training."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from torture import text_corpus
from torture.inert import terminal_faults
from torture.infecting import LONG_TEXTS, write_record
from torture.shown import Effort, Progress, Shown
from torture.surroundings import Ended, Terminal, closed, command, is_stopped, left_early, wait_for

NAMES = text_corpus.TEXT
SMALL = ("--model", "mlp", "--hidden", "8", "--data", "names.txt", "--evaluate-every", "100", "--batch-size", "8")
ENDLESS = (*SMALL, "--steps", "100000000")
HOSTILE_RUN = "[red]é日[-]\x1b[2J\u202e\x9b"
"""A name that a folder can have."""

Arguments = tuple[str, ...]
READERS: tuple[Arguments, ...] = (
    ("charloom", "describe", "--data", "names.txt"),
    ("charloom", "count", "names.txt"),
    ("charloom", "sample", "net", "-n", "200"),
    ("charloom", "best", "net"),
    ("charloom", "score", "emma", "--run", "net"),
    ("charloom", "evaluate", "net"),
    ("charloom", "runs"),
    ("charloom", "--help"),
    ("charloom", "recall", "--list"),
    ("telltales", "show", "runs/net"),
    ("telltales", "judge", "runs/net"),
    ("telltales", "compare", "runs/net", "runs/net"),
    ("telltales", "--help"),
)
WRITERS: tuple[Arguments, ...] = (
    ("telltales", "report", "runs/net", "--html", "report.html"),
    ("charloom", "find-lr", "--trial-steps", "40", *SMALL),
    ("charloom", "check", "--time-limit", "2", *SMALL[:6]),
    ("charloom", "ladder", "--models", "unigram,bigram", "--data", "names.txt"),
)
FEW = (READERS[0], READERS[6], READERS[9])
"""For the short form: one that reads text, one that reads runs, one that reads a record."""
FINE = (0, 3, 4)
"""`judge` and `check` tell with 3 and 4 what they found."""


def show(effort: Effort, progress: Progress) -> Iterator[Shown]:
    """Every command in every surrounding (in the short form a few), then trainings."""
    if os.name != "posix" or not Path("/proc/self/stat").exists():
        yield Shown(13, "odd terminals", 0, skipped="this system is not Linux")
        return
    whole = effort.texts >= LONG_TEXTS
    with tempfile.TemporaryDirectory(prefix="torture-terminals-") as name:
        folder = prepared(Path(name))
        commands = (*READERS, *WRITERS) if whole else FEW
        progress(f"{len(commands)} commands with closed, full and leaving streams, on narrow terminals")
        for what, tried in SURROUNDINGS.items():
            failures = [f"{' '.join(one)}: {fault}" for one in commands for fault in tried(one, folder, whole) if fault]
            yield Shown(8, f"commands {what}", len(commands), tuple(failures))
        progress("trainings whose terminal goes away")
        for what, training in list(TRAININGS.items())[: None if whole else 2]:
            fault = training(folder)
            yield Shown(13, what, 1, (fault,) if fault else ())
        progress("line ends of Windows")
        found = list(itertools.islice(line_ends(folder), None if whole else 2))
        yield Shown(8, "files with line ends of Windows", len(found), tuple(filter(None, found)))


def prepared(folder: Path) -> Path:
    """A folder with data and two runs: ``net``, with a record of some training, and one whose name is hostile."""
    (folder / "names.txt").write_text(NAMES * 4 + "Zoë\n日本\nمی‌خواهم\n", encoding="utf-8")
    for name in ("net", "counted"):
        made = closed(command("charloom", "train", name, "--model", "bigram", "--data", "names.txt"), "", folder)
        assert made.status == 0, made
    write_record(folder / "runs" / "net" / "record.jsonl")
    (folder / "runs" / "counted").rename(folder / "runs" / HOSTILE_RUN)
    return folder


def without_streams(arguments: Arguments, folder: Path, whole: bool) -> Iterator[str]:
    """Each of the three streams closed, or all; what is left says what it always says."""
    for streams in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-") if whole else ("<&- >&- 2>&-",):
        yield closed(command(*arguments), streams, folder).fault(*FINE)


def without_room(arguments: Arguments, folder: Path, whole: bool) -> Iterator[str]:
    """On a full disk it fails, with a message."""
    ended = closed(command(*arguments), ">/dev/full", folder)
    # The one says what it wrote on the other stream; of the other's help, argparse takes care, or does not.
    writes = arguments not in (WRITERS[0], READERS[-1])
    yield ended.fault(1) if writes else ended.fault(0)
    yield "" if "No space left" in ended.messages or not writes else f"no message: {ended.messages!r}"
    if whole:
        yield closed(command(*arguments), "2>/dev/full", folder).fault(*FINE)


def with_leaving_reader(arguments: Arguments, folder: Path, whole: bool) -> Iterator[str]:
    """As with ``| head -1``: it ends quietly."""
    ended = left_early(command(*arguments), folder, "stdout")
    yield ended.fault(*FINE) or ("" if "roken" not in ended.messages else ended.messages)
    if whole:
        yield left_early(command(*arguments), folder, "stderr", lines=0).fault(*FINE)


def on_narrow_terminals(arguments: Arguments, folder: Path, whole: bool) -> Iterator[str]:
    """Of twenty columns, and of one; no name moves the cursor."""
    for columns in (1, 20) if whole else (20 if arguments[0] == "charloom" else 1,):
        ended = Terminal(command(*arguments), folder, columns).end()
        yield ended.fault(*FINE)
        shown = ended.output.replace("\r\n", "\n").replace("\r", "").replace("\x1b[?25l", "").replace("\x1b[?25h", "")
        live = {"\x1b[2K", "\x1b[1A"}
        for code in live:
            shown = shown.replace(code, "")
        yield "; ".join(terminal_faults(shown, coloured=True))


def in_ascii(arguments: Arguments, folder: Path, whole: bool) -> Iterator[str]:
    """A system that knows no letters but ASCII's, and a terminal that can do nothing."""
    plain = {"LANG": "C", "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    yield closed(command(*arguments), "", folder, plain | {"TERM": "dumb"}).fault(*FINE)


SURROUNDINGS: dict[str, Callable[[Arguments, Path, bool], Iterator[str]]] = {
    "without streams": without_streams,
    "on full disks": without_room,
    "with readers that leave": with_leaving_reader,
    "on terminals of 20 columns and of one": on_narrow_terminals,
    "where only ASCII is known": in_ascii,
}


def goes_on_without_reader(folder: Path) -> str:
    """Below nohup, with a reader of the messages that leaves: neither that nor a hang-up ends a training."""
    train = ("charloom", "train", "left", *SMALL, "--steps", "2000")
    ignoring = ["/bin/sh", "-c", "trap '' HUP; exec \"$@\"", "sh", *command(*train)]
    process = subprocess.Popen(
        ignoring, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    process.stderr.readline()
    process.stderr.close()
    wait_for(lambda: _has_evaluated(folder, "left"), process)
    process.send_signal(signal.SIGHUP)
    status = process.wait(120)
    return "" if status == 0 and _result(folder, "left")["steps"] == 2000 else f"status {status}"


def stops_without_streams(folder: Path) -> str:
    """With every stream closed, a training writes into no file but its own, and SIGTERM ends it with a checkpoint."""
    shell = ["/bin/sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command("charloom", "train", "closed", *ENDLESS)]
    process = subprocess.Popen(shell, cwd=folder)
    wait_for(lambda: _has_evaluated(folder, "closed"), process)
    process.send_signal(signal.SIGTERM)
    return _stopped(Ended(process.wait(120), "", ""), folder, "closed")


def stops_with_terminal(folder: Path) -> str:
    """Ctrl-Z and going on change nothing; when the window is closed, twice told, it ends with a checkpoint."""
    terminal = Terminal(command("charloom", "train", "hung", *ENDLESS), folder, 40)
    wait_for(lambda: _has_evaluated(folder, "hung"), terminal.process)
    terminal.read(lambda text: "steps/s" in text)
    # As Ctrl-Z does, which a process without a shell never hears of.
    terminal.process.send_signal(signal.SIGSTOP)
    wait_for(lambda: is_stopped(terminal.process), terminal.process)
    terminal.process.send_signal(signal.SIGCONT)
    terminal.hang_up()
    terminal.process.send_signal(signal.SIGHUP)
    return _stopped(terminal.end(), folder, "hung")


def stops_at_once(folder: Path) -> str:
    """Ctrl-C twice on a terminal: one line each, no traceback, and a run that can be gone on with."""
    terminal = Terminal(command("charloom", "train", "twice", *ENDLESS), folder, 100)
    wait_for(lambda: _has_evaluated(folder, "twice"), terminal.process)
    terminal.type(b"\x03")
    terminal.type(b"\x03")
    ended = terminal.end()
    words = "Stopping after this step, with a checkpoint." in ended.output
    return ended.fault(130) or ("" if words else f"it says {ended.output[-300:]!r}")


TRAININGS: dict[str, Callable[[Path], str]] = {
    "a training below nohup whose messages nobody reads": goes_on_without_reader,
    "a training stopped by Ctrl-Z, gone on with, and hung up": stops_with_terminal,
    "a training without streams, ended by SIGTERM": stops_without_streams,
    "a training ended by Ctrl-C twice": stops_at_once,
}
"""The first two are the short form."""


def line_ends(folder: Path) -> Iterator[str]:
    """The same with line ends of Windows, of every text that is read; what is wrong with it, or nothing."""
    (folder / "windows.txt").write_bytes((folder / "names.txt").read_bytes().replace(b"\n", b"\r\n"))
    for arguments in (("describe", "--json", "--data"), ("score", "--json", "--run", "net", "--data")):
        unix, windows = (
            closed(command("charloom", *arguments, name), "", folder) for name in ("names.txt", "windows.txt")
        )
        fault = windows.fault(0) or ("" if _unnamed(unix.output) == _unnamed(windows.output) else "another result")
        yield f"{arguments[0]}: {fault}" if fault else ""
    (folder / "answers.txt").write_bytes(b"\r\n" * 4)
    asked = closed(command("charloom", "recall", "-n", "2", "--seed", "0", "--json"), "<answers.txt", folder)
    yield f"recall: {fault}" if (fault := asked.fault(0)) else ""
    for name in ("config.json", "vocabulary.json", "record.jsonl"):
        path = folder / "runs" / "net" / name
        before = path.read_bytes()
        path.write_bytes(before.replace(b"\n", b"\r\n"))
        which = ("telltales", "show", "runs/net") if name == "record.jsonl" else ("charloom", "sample", "net")
        fault = closed(command(*which), "", folder).fault(0, 1)
        path.write_bytes(before)
        yield f"{name}: {fault}" if fault else ""


def _unnamed(output: str) -> str:
    return output.replace("windows", "names")


def _stopped(ended: Ended, folder: Path, run: str) -> str:
    """What is wrong with a training that was to end with a checkpoint."""
    if fault := ended.fault(130):
        return fault
    if not (folder / "runs" / run / "last.safetensors").exists() or (folder / "runs" / run / "result.json").exists():
        return f"there is no checkpoint, but {sorted(os.listdir(folder / 'runs' / run))}"
    return closed(command("charloom", "sample", run, "-n", "2"), "", folder).fault(0)


def _has_evaluated(folder: Path, run: str) -> bool:
    path = folder / "runs" / run / "history.jsonl"
    return path.exists() and path.stat().st_size > 0


def _result(folder: Path, run: str) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / "runs" / run / "result.json").read_text())
    return found
