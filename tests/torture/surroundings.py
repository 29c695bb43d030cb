"""Commands as real processes in odd surroundings: closed descriptors, full disks, readers that leave, terminals."""

from __future__ import annotations

import os
import select
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torture.processes import environment

SECONDS = 120.0
PATIENCE = 0.02


@dataclass(frozen=True)
class Ended:
    """How a process ended and what it wrote, as far as somebody read it."""

    status: int
    output: str
    messages: str

    def fault(self, *statuses: int) -> str:
        """What is wrong with that in any surroundings, or with another status than these."""
        if "Traceback" in self.messages + self.output:
            return f"a traceback: …{(self.messages + self.output)[-300:]}"
        return "" if self.status in statuses else f"status {self.status}: {self.messages[-300:]!r}"


def command(*arguments: str) -> list[str]:
    """``telltales`` or ``charloom`` with arguments, as a process is started."""
    return [sys.executable, "-P", "-m", *arguments]


def variables(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of such a process, which knows nothing of the terminal that the torture runs in."""
    kept = {name: value for name, value in environment().items() if name not in ("COLUMNS", "LINES", "TERM")}
    return kept | dict(more or {})


def closed(arguments: Sequence[str], redirections: str, cwd: Path, more: Mapping[str, str] | None = None) -> Ended:
    """Run below a shell with redirections such as ``<&- 2>&-``, and read what is left of its output."""
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {redirections}', "sh", *arguments],
        cwd=cwd,
        env=variables(more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=SECONDS,
        check=False,
    )
    return Ended(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


def left_early(arguments: Sequence[str], cwd: Path, stream: str, lines: int = 1) -> Ended:
    """Run with a reader of ``stdout`` or ``stderr`` that leaves after so many lines."""
    process = subprocess.Popen(
        arguments,
        cwd=cwd,
        env=variables(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    pipes = {"stdout": process.stdout, "stderr": process.stderr}
    reader = pipes.pop(stream)
    (other,) = pipes.values()
    assert reader is not None
    assert other is not None
    read = b"".join(reader.readline() for _ in range(lines))
    reader.close()
    rest = other.read()
    other.close()
    status = process.wait(SECONDS)
    texts = (read.decode(errors="replace"), rest.decode(errors="replace"))
    return Ended(status, *(texts if stream == "stdout" else reversed(texts)))


class Terminal:
    """A process on a terminal of its own, which can be narrow, and go away."""

    def __init__(
        self, arguments: Sequence[str], cwd: Path, columns: int, more: Mapping[str, str] | None = None
    ) -> None:
        import fcntl
        import termios

        self._ours, self._theirs = os.openpty()
        fcntl.ioctl(self._theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        # The first terminal that is opened in a session of its own is the one whose end it is told of.
        shell = f'exec "$@" <>{os.ttyname(self._theirs)} >&0 2>&0'
        self.process = subprocess.Popen(
            ["/bin/sh", "-c", shell, "sh", *arguments],
            cwd=cwd,
            env=variables({"TERM": "xterm-256color"} | dict(more or {})),
            start_new_session=True,
        )
        self._written = b""

    def read(self, enough: Callable[[str], bool] = lambda _: False, seconds: float = SECONDS) -> str:
        """What it has written, as soon as it is enough, or the process has ended."""
        end = time.monotonic() + seconds
        while not enough(self._text()) and time.monotonic() < end:
            ended = self.process.poll() is not None
            if select.select([self._ours], [], [], PATIENCE)[0]:
                self._written += os.read(self._ours, 1 << 16)
            elif ended:
                break
        return self._text()

    def type(self, keys: bytes) -> None:
        """Press keys, such as Ctrl-C."""
        os.write(self._ours, keys)

    def hang_up(self) -> None:
        """Close the terminal's window."""
        os.close(self._ours)
        os.close(self._theirs)
        self._ours = -1

    def end(self) -> Ended:
        """Read to the end."""
        text = self.read() if self._ours >= 0 else self._text()
        status = self.process.wait(SECONDS)
        if self._ours >= 0:
            self.hang_up()
        return Ended(status, text, text)

    def _text(self) -> str:
        return self._written.decode(errors="replace")


def wait_for(happened: Callable[[], bool], process: subprocess.Popen[bytes]) -> bool:
    """Whether something comes true before the process ends."""
    end = time.monotonic() + SECONDS
    while not happened():
        if process.poll() is not None or time.monotonic() > end:
            return happened()
        time.sleep(PATIENCE)
    return True


def is_stopped(process: subprocess.Popen[bytes]) -> bool:
    """Whether it is stopped, as by Ctrl-Z; on Linux."""
    state = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]
    return state == "T"
