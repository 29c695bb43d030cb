"""Real processes of the command line: started afresh, or forked from one that has everything imported.

A process of its own takes seconds until it trains, which is importing. A child of a `ForkServer` takes milliseconds,
and is otherwise the same: it is alone in its memory, runs `charloom.cli.main`, and can be killed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import charloom
from torture.operations import Fate, meet

KILLED = -signal.SIGKILL
WAIT = 120.0


@dataclass(frozen=True)
class Ended:
    """How a process has ended."""

    status: int
    """Its exit status; of one that a signal has killed, minus the signal's number."""
    output: str
    messages: str

    @property
    def sound(self) -> bool:
        """Whether it has ended in its own words, without a traceback."""
        return "Traceback" not in self.messages and self.status >= 0


def environment(**more: str) -> dict[str, str]:
    """For processes that run the code that runs here, on one core."""
    places = [str(Path(__file__).parents[1]), str(Path(charloom.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    path = os.pathsep.join(place for place in places if place)
    return os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "COLUMNS": "100", "TERM": "dumb"} | more


class ForkServer:
    """Forks a child for each command. Only on systems that fork."""

    def __init__(self, *, within: Sequence[str] = (), compiled: bool = False) -> None:
        """``within``: a command to start the server with, such as ``unshare -m``. ``compiled``: with the compiled loop
        loaded, which takes some ten seconds where it was never compiled.
        """
        self._files = tempfile.TemporaryDirectory()
        command = [*within, sys.executable, "-P", "-m", "torture.processes", *["compiled"] * compiled]
        self._server = subprocess.Popen(
            command, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        if self._answer() != {"ready": True}:
            raise RuntimeError("the fork server has not come up")

    def __enter__(self) -> ForkServer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait(WAIT)
        self._server.stdout.close()
        self._files.cleanup()

    @property
    def pid(self) -> int:
        """The server's own number."""
        return self._server.pid

    def run(
        self,
        *arguments: str,
        cwd: Path,
        program: str = "charloom",
        fate: Fate | None = None,
        kill_after: float | None = None,
        environment: Mapping[str, str] | None = None,
        typed: str = "",
    ) -> Ended:
        """Run a command to its end. ``kill_after``: kill it after so many seconds, unless it has ended by then.

        ``typed`` is what it reads from standard input.
        """
        given, output, messages = (Path(self._files.name) / name for name in ("given", "output", "messages"))
        given.write_text(typed)
        request = {
            "program": program,
            "arguments": arguments,
            "cwd": str(cwd),
            "given": str(given),
            "output": str(output),
            "messages": str(messages),
            "fate": None if fate is None else asdict(fate),
            "environment": dict(environment or {}),
        }
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        child = self._answer()["pid"]
        if kill_after is not None:
            time.sleep(kill_after)
            # The server waits for the child only when told to, so that the number is still the child's.
            os.kill(child, signal.SIGKILL)
        self._server.stdin.write("wait\n")
        self._server.stdin.flush()
        status = self._answer()["status"]
        return Ended(status, output.read_text(errors="replace"), messages.read_text(errors="replace"))

    def _answer(self) -> dict[str, Any]:
        assert self._server.stdout is not None
        line = self._server.stdout.readline()
        if not line:
            raise RuntimeError(f"the fork server has ended with status {self._server.wait(WAIT)}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def start(*arguments: str, cwd: Path, **surroundings: str) -> subprocess.Popen[str]:
    """A process of its own, as a user starts it; ``surroundings`` are variables of its environment."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "charloom", *arguments],
        cwd=cwd,
        env=environment(**surroundings),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def ended(process: subprocess.Popen[str]) -> Ended:
    """How it ends."""
    output, messages = process.communicate(timeout=WAIT)
    return Ended(process.returncode, output, messages)


def _serve() -> None:
    """Answer requests on standard input, one at a time."""
    import gc

    answers = os.dup(1)
    os.dup2(2, 1)
    _import_everything("compiled" in sys.argv)
    gc.collect()
    gc.freeze()

    def answer(**content: Any) -> None:
        os.write(answers, (json.dumps(content) + "\n").encode())

    answer(ready=True)
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if not child:
            os.close(answers)
            _run(request)
        answer(pid=child)
        sys.stdin.readline()  # Until then a child that has ended keeps its number.
        status = os.waitpid(child, 0)[1]
        answer(status=os.waitstatus_to_exitcode(status))


def _import_everything(compiled: bool) -> None:
    """What commands import late, and the compiled loop, which is loaded when it is first called."""
    import charloom.cli
    import charloom.fitting
    import charloom.ladder
    import charloom.learning_rate
    import charloom.training
    import charloom.watching
    import telltales.cli
    import telltales.report.html  # noqa: F401

    names = [f"{first}{second}a" for first in "bcdfghjk" for second in "aeiou"]
    for engine in ("torch", "compiled") if compiled else ("torch",):
        for batches in ("rows", "distinct"):
            data = charloom.load_data(names)
            charloom.train(data, hidden=4, embedding=2, steps=2, batch_size=2, engine=engine, batches=batches)


def _run(request: dict[str, Any]) -> None:
    """The child: it ends here."""
    import traceback

    status = 1
    try:
        for number, path in ((1, request["output"]), (2, request["messages"])):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        os.dup2(os.open(request["given"], os.O_RDONLY), 0)
        sys.stdin = open(0, encoding="utf-8")  # noqa: SIM115 -- the server has read from its own
        os.chdir(request["cwd"])
        os.environ.update(request["environment"])
        tempfile.tempdir = None
        if request["fate"] is not None:
            meet(Fate(**request["fate"]))
        main = _program(request["program"])
        returned = main(request["arguments"])
        status = int(returned or 0)
        sys.stdout.flush()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 -- as the interpreter does at its end
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _program(name: str) -> Any:
    import charloom.cli
    import telltales.cli

    return {"charloom": charloom.cli.main, "telltales": telltales.cli.main}[name]


if __name__ == "__main__":
    _serve()
