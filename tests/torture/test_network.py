"""No command and no import asks the network for anything; and what watches over that does bite."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from torture import network, offline
from torture.shown import SHORT


def test_nothing_asks_the_network() -> None:
    shown = list(network.show(SHORT, lambda line: None))
    assert [failure for one in shown for failure in one.failures] == []
    assert shown[-1].count > 20


def test_a_training_and_its_report_ask_nothing() -> None:
    outcomes, attempts = network.offline(["charloom train", "telltales report"])
    assert ([one.status for one in outcomes], attempts) == ([0, 0], [])


def test_every_command_is_tried() -> None:
    names = network._names()
    assert set(offline.COMMANDS) <= set(names)
    assert {"imports", "charloom train", "telltales report"} <= set(names)


def test_a_new_command_can_not_be_forgotten() -> None:
    """One that is there, and is not said what to give to, fails."""
    (outcome,), _ = network.offline(["charloom new"])
    assert (outcome.status, outcome.said) == (1, "it is not said here what to give it")


WAYS = {
    "socket.connect": 'socket.socket().connect(("192.0.2.1", 9))',
    "socket.bind": 'socket.socket().bind(("0.0.0.0", 0))',
    "socket.sendto": 'socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"", ("192.0.2.1", 9))',
    "socket.sendmsg": 'socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendmsg([b""], [], 0, ("192.0.2.1", 9))',
    "socket.getaddrinfo": 'socket.getaddrinfo("nobody.invalid", 80)',
    "socket.gethostbyname": 'socket.gethostbyname("nobody.invalid")',
    "http.client.connect": 'http.client.HTTPConnection("192.0.2.1").connect()',
    "urllib.Request": 'urllib.request.urlopen("http://192.0.2.1/")',
}
"""To the network, by the event that the hook sees."""


@pytest.mark.parametrize("event", WAYS)
def test_the_hook_refuses_each_way(event: str, tmp_path: Path) -> None:
    """In a process of its own: a hook stays. The address is one that nobody has."""
    program = (
        "import http.client, socket, urllib.request, sitecustomize\n"
        "assert sitecustomize.GUARDED\n"
        f"try:\n    {WAYS[event]}\nexcept PermissionError as error:\n    print(error)\n"
    )
    log = tmp_path / "attempts.txt"
    ended = network.run([sys.executable, "-P", "-c", program], tmp_path, log)
    assert f"no network here: {event} " in ended.stdout, ended.stderr
    assert log.read_text().startswith(f"{event} ")


@pytest.mark.parametrize(("loopback", "refused"), [("0", ["socket.connect"]), ("1", [])])
def test_only_this_machine_itself_is_exempt(loopback: str, refused: list[str], tmp_path: Path) -> None:
    program = (
        "import contextlib, socket\n"
        "with contextlib.suppress(ConnectionRefusedError, PermissionError):\n"
        '    socket.socket().connect(("127.0.0.1", 9))\n'
        "a, b = socket.socketpair()\n"
        "a.sendall(b'x')\n"
    )
    log = tmp_path / "attempts.txt"
    ended = network.run([sys.executable, "-P", "-c", program], tmp_path, log, GUARD_LOOPBACK=loopback)
    assert ended.returncode == 0, ended.stderr
    assert [line.split()[0] for line in (log.read_text().splitlines() if log.exists() else [])] == refused
