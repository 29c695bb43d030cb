"""A process that sees what Python does by its audit hooks, while it reads poisoned files.

As a command: ``python -P -m torture.hooked FOLDER CANARY WHAT EACH``; one JSON object on standard output. WHAT is
``control``, to do what must be seen, or ``read``, to read each so many of the poisons.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import CodeType
from typing import Any

from torture.poisons import MARK, pickled, poisoned_modules, poisons, source

FORBIDDEN = ("pickle.find_class", "marshal.load", "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn")
FORBIDDEN_BEGINNINGS = ("subprocess.", "socket.", "os.spawn", "pty.", "ftplib.", "http.", "urllib.", "webbrowser.")
HARMLESS = ("socket.gethostname",)
"""Said in a lock file."""


class Hook:
    """Notes what must not happen while it is on."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self.on = False
        self.seen: list[str] = []
        sys.addaudithook(self._look)

    def _look(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.on and self._forbids(event, arguments):
            self.on = False  # What is looked at here is not what is looked for.
            self.seen.append(f"{event} {str(arguments)[:200]}")
            self.on = True

    def _forbids(self, event: str, arguments: tuple[Any, ...]) -> bool:
        if event == "compile":
            text = arguments[0]
            return MARK in (text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text))
        if event == "exec":
            code = arguments[0]
            return isinstance(code, CodeType) and (MARK in code.co_consts or code.co_filename.startswith(self._folder))
        if event == "ctypes.dlopen":
            return str(arguments[0]).startswith(self._folder)
        return event not in HARMLESS and (event in FORBIDDEN or event.startswith(FORBIDDEN_BEGINNINGS))

    def during(self, act: Callable[[], Any]) -> list[str]:
        """What it notes while something is done, however that ends."""
        self.seen, self.on = [], True
        try:
            act()
        except (Exception, SystemExit):  # noqa: BLE001 -- what was done is of interest, not how it ended
            pass
        finally:
            self.on = False
        return self.seen


def control(hook: Hook, folder: Path, canary: Path) -> dict[str, Any]:
    """Everything that must be seen, done on purpose; and whether it was seen."""
    poisoned_modules(folder, canary)
    # Not by its name, which is banned here as everywhere.
    unpickle = importlib.import_module("pick" + "le").loads
    code = compile(source(canary), str(folder / "a.py"), "exec")
    acts: dict[str, Callable[[], Any]] = {
        **{f"unpickling, protocol {p}": lambda p=p: unpickle(pickled(canary, p)) for p in range(6)},
        "compiling": lambda: compile(source(canary), "<string>", "exec"),
        "executing": lambda: exec(code, {}),  # noqa: S102
        "evaluating": lambda: eval(f"{MARK!r}"),  # noqa: S307
        "a shell": lambda: os.system("true"),  # noqa: TID251
        "a process": lambda: subprocess.run(["true"], check=False),
        "a socket": lambda: socket.socket().close(),
        "a library": lambda: ctypes.CDLL(str(folder / "_charloom.so")),
        "an import": lambda: _imported(folder),
    }
    seen = {what: bool(hook.during(act)) for what, act in acts.items()}
    return {"seen": seen, "canary": canary.exists()}


def _imported(folder: Path) -> None:
    sys.path.insert(0, str(folder))
    try:
        importlib.import_module("conftest")
    finally:
        sys.path.remove(str(folder))


def read(hook: Hook, folder: Path, canary: Path, each: int) -> dict[str, Any]:
    """Put every poison in the place of every file that is read, and read it; give each as data, too."""
    import charloom.cli
    import telltales.cli
    from torture.damage import OWN
    from torture.victims import victims

    runs = folder / "runs"
    every = list(victims(runs))
    for victim in every:
        victim.uses()
    for place in [runs, *(path for path in runs.iterdir() if path.is_dir())]:
        poisoned_modules(place, canary)
    os.chdir(runs)
    (folder / "home").mkdir()
    answers: Counter[str] = Counter()
    failures: list[str] = []

    def tried(what: str, act: Callable[[], Any]) -> None:
        ended: list[BaseException] = []

        def noting() -> None:
            try:
                act()
            except (Exception, SystemExit) as error:  # noqa: BLE001 -- looked at below
                ended.append(error)

        seen = hook.during(noting)
        end = ended[0] if ended else None
        answers["refused" if end else "read"] += 1
        if seen or canary.exists():
            failures.append(f"{what}: {seen or 'the canary is there'}")
            canary.unlink(missing_ok=True)
        if end is not None and not isinstance(end, (*OWN, SystemExit)):
            failures.append(f"{what}: {end!r}")

    def run(program: Callable[[Sequence[str]], Any], *arguments: str) -> None:
        tried(" ".join(arguments), lambda: program(list(arguments)))

    for what, content in list(poisons(canary))[::each]:
        for victim in every:
            whole = victim.path.read_bytes()
            victim.path.write_bytes(content)
            tried(f"{what} as {victim.what}", victim.uses)
            victim.path.write_bytes(whole)
        data = folder / "data"
        data.write_bytes(content)
        named = ("--runs", str(folder / "new"))
        run(charloom.cli.main, "describe", "--data", str(data), "--json")
        run(charloom.cli.main, "train", "--model", "ngram:2", "--data", str(data), "--json", *named)
        run(charloom.cli.main, "evaluate", "counted", "--data", str(data), "--runs", str(runs), "--samples", "0")
        run(charloom.cli.main, "recall", "--list", "--state", str(data))
        for telling in ("show", "judge"):
            run(telltales.cli.main, telling, str(data))
        run(telltales.cli.main, "report", str(data), "--html", str(folder / "out.html"))
    for arguments in (("runs",), ("sample", "counted"), ("score", "trained", "emma"), ("evaluate", "trained")):
        run(charloom.cli.main, *arguments, "--runs", str(runs))
    strangers = [name for name, one in sys.modules.items() if str(getattr(one, "__file__", "")).startswith(str(folder))]
    failures += [f"{name} was imported from the poisoned folder" for name in strangers]
    return {"answers": answers, "failures": failures}


def main(folder: Path, canary: Path, what: str, each: int) -> None:
    """Do it, and print what was seen."""
    answers = os.dup(1)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    hook = Hook(folder)
    found = control(hook, folder, canary) if what == "control" else read(hook, folder, canary, each)
    os.write(answers, (json.dumps(found) + "\n").encode())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
