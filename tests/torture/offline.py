"""Every command, the notebooks' code and every module, run in a process that was denied the network.

    python -m torture.offline OUTCOMES [NAME...]    a line of JSON for each, appended to OUTCOMES; all, if none is named

It works in the folder it is started in, where `names.txt` lies. What the commands are is asked of the commands.
"""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
import socket
import sys
import traceback
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

DATA = ("--data", "names.txt")
MLP = (*DATA, "--model", "mlp", "--hidden", "8", "--steps", "20", "--evaluate-every", "10")
STUDY = (*DATA, "--steps", "5", "--seeds", "1")
COMMANDS: dict[str, tuple[str, ...]] = {
    "charloom train": ("net", *MLP, "--watch", "full"),
    "charloom describe": (),
    "charloom count": ("names.txt",),
    "charloom quickstart": DATA,
    "charloom check": MLP,
    "charloom find-lr": (*MLP, "--trial-steps", "20"),
    "charloom sample": ("net", "--novel"),
    "charloom best": ("net", "-n", "3"),
    "charloom score": ("--run", "net", "anna"),
    "charloom evaluate": ("net", "--samples", "10"),
    "charloom ladder": (*DATA, "--models", "unigram,bigram"),
    "charloom experiment init": (*STUDY, "--hidden", "8", "--layers", "1"),
    "charloom experiment batchnorm": (*STUDY, "--hidden", "4"),
    "charloom experiment sampling": ("net", "--samples", "20"),
    "charloom experiment embeddings": (*DATA, "--steps", "5", "--hidden", "8"),
    "charloom experiment context": STUDY,
    "charloom recall": ("--list",),
    "charloom runs": (),
    "telltales show": ("runs/net",),
    "telltales judge": ("runs/net", "--sarif", "net.sarif"),
    "telltales compare": ("runs/net", "runs/net/record.jsonl", "--html", "compared.html"),
    "telltales report": ("runs/net", "--html", "net.html"),
}
"""What each command is given. One that is missing here is an outcome of its own, and a failure."""
WORST_FINDING = (3, 4)
"""What `check` and `judge` exit with where a training could be better."""


def main(arguments: Sequence[str]) -> None:
    """Run what is named, or all."""
    outcomes, *named = arguments
    with Path(outcomes).open("a", encoding="utf-8") as file:
        for name in named or names():
            status, said = _run(name)
            file.write(json.dumps({"name": name, "status": status} | ({"said": said} if said else {})) + "\n")
            file.flush()


def names() -> list[str]:
    """All that can be run: the commands as they are, in an order in which they can be run, and the imports."""
    there = [*_commands_of_charloom(), *_commands_of_telltales()]
    return ["imports", *sorted(there, key=lambda name: [*COMMANDS, name].index(name))]


def _run(name: str) -> tuple[int, str]:
    """Exit status, and why if it is not 0."""
    try:
        if name == "imports":
            return _import_everything()
        if name == "network":
            return _reach_out()
        if name.endswith(".py"):
            exec(compile(Path(name).read_text(encoding="utf-8"), name, "exec"), {"__name__": "__main__"})  # noqa: S102
            return 0, ""
        if name not in COMMANDS:
            return 1, "it is not said here what to give it"
        program, *command = name.split()
        main_of: Callable[[list[str]], int | None] = importlib.import_module(f"{program}.cli").main
        return _status(main_of([*command, *COMMANDS[name]])), ""
    except SystemExit as end:
        return _status(end.code), ""
    except Exception:  # noqa: BLE001 -- whatever it is, it is an outcome
        return 1, traceback.format_exc()


def _status(code: Any) -> int:
    status = code if isinstance(code, int) else int(code is not None)
    return 0 if status in WORST_FINDING else status


def _commands_of_charloom() -> Iterator[str]:
    app = importlib.import_module("charloom.cli").app
    for name in (one for one in app if not one.startswith("-")):
        inner = [one for one in app[name] if not one.startswith("-")]
        yield from [f"charloom {name} {one}" for one in inner] or [f"charloom {name}"]


def _commands_of_telltales() -> Iterator[str]:
    parser = importlib.import_module("telltales.cli")._parser()
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from (f"telltales {name}" for name in action.choices)


def _import_everything() -> tuple[int, str]:
    for package in ("charloom", "telltales"):
        path = importlib.import_module(package).__path__
        for module in pkgutil.walk_packages(path, f"{package}."):
            if not module.name.endswith(".__main__"):
                importlib.import_module(module.name)
    return 0, ""


def _reach_out() -> tuple[int, str]:
    """The control: what is denied here. The address is one that nobody has, and the name one that nobody gives."""
    reached = []
    for attempt in (
        lambda: socket.create_connection(("192.0.2.1", 9), timeout=1).close(),
        lambda: socket.getaddrinfo("nobody.invalid", 80),
        lambda: urllib.request.urlopen("http://192.0.2.1:9/", timeout=1).close(),
        lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"", ("192.0.2.1", 9)),
    ):
        try:
            attempt()
        except OSError as error:
            reached.append(type(error).__name__)
        else:
            return 1, "the network is there"
    return 0, " ".join(reached)


if __name__ == "__main__":
    main(sys.argv[1:])
