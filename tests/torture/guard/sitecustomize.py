"""Refuses every process that is started with this folder on PYTHONPATH the network, and notes what was tried.

A line of each attempt is added to the file that GUARD_LOG names. GUARD_LOOPBACK=1 lets this machine talk to itself.
Python's own calls are seen, not those of compiled libraries: a network namespace is for these.
"""

import os
import sys

GUARDED = frozenset(
    {
        *("socket.bind", "socket.connect", "socket.sendto", "socket.sendmsg"),
        *("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo"),
        *("ftplib.connect", "http.client.connect", "imaplib.open", "poplib.connect", "smtplib.connect"),
        *("urllib.Request", "webbrowser.open"),
    }
)
LOCAL = ("127.0.0.1", "::1", "localhost", "")


def refuse(event: str, arguments: tuple[object, ...]) -> None:
    """The audit hook."""
    if event not in GUARDED or _is_local(event, arguments):
        return
    told = f"{event} {arguments[1:] if event.startswith('socket.') else arguments!r}"
    log = os.environ.get("GUARD_LOG")
    if log:
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(file, f"{told}\n".encode())
        os.close(file)
    raise PermissionError(f"no network here: {told}")


def _is_local(event: str, arguments: tuple[object, ...]) -> bool:
    target = arguments[1] if event in ("socket.bind", "socket.connect", "socket.sendto", "socket.sendmsg") else None
    if isinstance(target, (str, bytes)):
        return True  # A socket that is a file.
    if os.environ.get("GUARD_LOOPBACK") != "1":
        return False
    host = target[0] if isinstance(target, tuple) else arguments[0]
    return host is None or host in LOCAL


sys.addaudithook(refuse)
