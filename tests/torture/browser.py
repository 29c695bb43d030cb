"""A real browser without a window, and all that it says of a page: what runs, what is fetched, what opens.

It is driven over two pipes by the protocol that browsers have for their own developer tools: JSON between NULs.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--no-first-run",
    "--no-default-browser-check",
    "--remote-debugging-pipe",
)
ANSWER_SECONDS, PATIENCE, MOMENT = 60.0, 5.0, 0.15
OURS = "poking.js"
"""What the script of this file is called, so that it is told from those of a page."""

LISTENERS = {
    "Debugger.scriptParsed": "a script runs",
    "Debugger.scriptFailedToParse": "a script is read",
    "Runtime.consoleAPICalled": "the console is written to",
    "Runtime.exceptionThrown": "a script fails",
    "Page.javascriptDialogOpening": "a dialog opens",
    "Page.frameRequestedNavigation": "the page leads elsewhere",
    "Page.windowOpen": "a window opens",
    "Page.downloadWillBegin": "a file is downloaded",
    "Network.requestWillBeSent": "something is fetched",
    "Log.entryAdded": "the browser complains",
    "Target.targetCreated": "another page appears",
}
"""Events that an inert page does not give rise to."""

POKE = (
    """
(() => {
  for (const one of document.querySelectorAll("details")) one.open = true;
  const kinds = ["mouseover", "mouseenter", "mousemove", "pointerover", "pointerenter", "mousedown", "mouseup", "focus",
    "focusin", "keydown", "keyup", "input", "change", "wheel", "dblclick", "contextmenu", "toggle", "animationend"];
  const all = document.querySelectorAll("*");
  for (const one of all) {
    for (const kind of kinds) one.dispatchEvent(new Event(kind, {bubbles: false, cancelable: true}));
    if (one.focus) one.focus();
    if (one.click) one.click(); else one.dispatchEvent(new MouseEvent("click", {bubbles: false, cancelable: true}));
  }
  for (const one of document.querySelectorAll("details")) one.open = true;
  return JSON.stringify([...document.querySelectorAll("summary, a, button, [title], svg text, svg a")].slice(0, 40)
    .map(one => one.getBoundingClientRect()).filter(box => box.width).map(box => [box.x + box.width / 2,
      box.y + box.height / 2]).concat([[innerWidth, Math.max(document.documentElement.scrollHeight, all.length)]]));
})()
"""
    + f"//# sourceURL={OURS}"
)
"""Opens, hovers, focuses and clicks everything; gives the places for a real mouse."""


def program() -> str | None:
    """The browser, if there is one."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


@dataclass(frozen=True)
class Noise:
    """One event that an inert page does not give rise to."""

    listener: str
    detail: str

    def __str__(self) -> str:
        return f"{LISTENERS[self.listener]} ({self.detail[:200]})"


class Browser:
    """A browser of its own, with an empty profile; a context manager."""

    def __init__(self) -> None:
        found = program()
        if found is None:
            raise FileNotFoundError("no browser is on PATH")
        self._profile = tempfile.TemporaryDirectory(prefix="torture-browser-", ignore_cleanup_errors=True)
        to_browser, self._to = os.pipe()
        self._from, from_browser = os.pipe()
        # The browser reads from descriptor 3 and writes to 4; a shell puts the pipes there.
        start = f'exec "$0" "$@" 3<&{to_browser} 4>&{from_browser}'
        self._process = subprocess.Popen(
            ["/bin/bash", "-c", start, found, *FLAGS, f"--user-data-dir={self._profile.name}", "about:blank"],
            pass_fds=(to_browser, from_browser),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._read = b""
        self._number = 0
        self._events: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        self.version = str(self._call("Browser.getVersion")["product"])
        self._call("Target.setDiscoverTargets", {"discover": True})
        self._call("Browser.setDownloadBehavior", {"behavior": "deny", "eventsEnabled": True})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._to)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._from)
        self._profile.cleanup()

    def visit(self, path: Path, expected: frozenset[str] = frozenset(), seconds: float = PATIENCE) -> list[Noise]:
        """What is heard of a file while it is opened, hovered and clicked through.

        ``expected``: listeners that are waited for, up to ``seconds``; without any, all get a moment.
        """
        target = self._call("Target.createTarget", {"url": "about:blank"})["targetId"]
        session = self._call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log", "Debugger"):
            self._call(f"{domain}.enable", session=session)
        self._events.clear()
        url = path.absolute().as_uri()
        try:
            self._call("Page.navigate", {"url": url}, session)
            self._listen(lambda: any(one["method"] == "Page.loadEventFired" for one in self._events), ANSWER_SECONDS)
            self._poke(session)
            self._listen(lambda: bool(expected) and expected <= self._heard(url), seconds if expected else MOMENT)
            return self._noises(url, target)
        finally:
            self._call("Target.closeTarget", {"targetId": target})
            others = {
                one["params"]["targetInfo"]["targetId"]
                for one in self._events
                if one["method"] == "Target.targetCreated"
            }
            for other in others - {target}:
                self._call("Target.closeTarget", {"targetId": other}, failing=True)

    def _poke(self, session: str) -> None:
        asked = {"expression": POKE, "returnByValue": True, "silent": False}
        answer = self._call("Runtime.evaluate", asked, session, failing=True)
        places = json.loads(answer.get("result", {}).get("value", "[]"))
        for x, y in places:
            for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
                button = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
                event = {"type": kind, "x": x, "y": y, **button}
                self._send("Input.dispatchMouseEvent", event, session)
        self._call("Runtime.evaluate", {"expression": f"0//# sourceURL={OURS}"}, session, failing=True)

    def _heard(self, url: str) -> frozenset[str]:
        return frozenset(noise.listener for noise in self._noises(url, ""))

    def _noises(self, url: str, own: str) -> list[Noise]:
        noises = []
        for event in self._events:
            method, said = event["method"], event["params"]
            if method not in LISTENERS:
                continue
            if method.startswith("Debugger.") and said.get("url") == OURS:
                continue
            if method == "Network.requestWillBeSent" and said["request"]["url"] == url and said["type"] == "Document":
                continue
            if method == "Target.targetCreated" and said["targetInfo"]["targetId"] == own:
                continue
            if method == "Page.frameRequestedNavigation" and said["url"] == url:
                continue
            noises.append(Noise(method, json.dumps(said)))
        return noises

    def _call(
        self, method: str, parameters: Mapping[str, Any] | None = None, session: str = "", failing: bool = False
    ) -> dict[str, Any]:
        """The answer to one call; with ``failing`` an error is an empty one."""
        number = self._send(method, parameters, session)
        answers: list[dict[str, Any]] = []

        def answered() -> bool:
            answers.extend(one for one in self._events if one.get("id") == number)
            return bool(answers)

        self._listen(answered, ANSWER_SECONDS)
        self._events = [one for one in self._events if "id" not in one]
        if not answers:
            raise TimeoutError(f"the browser does not answer to {method}")
        if "error" in answers[0] and not failing:
            raise RuntimeError(f"{method}: {answers[0]['error']['message']}")
        result: dict[str, Any] = answers[0].get("result", {})
        return result

    def _send(self, method: str, parameters: Mapping[str, Any] | None = None, session: str = "") -> int:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters or {}}
        message |= {"sessionId": session} if session else {}
        os.write(self._to, json.dumps(message).encode() + b"\0")
        return self._number

    def _listen(self, enough: Any, seconds: float) -> None:
        """Take in what the browser says until it is enough, or the time is over."""
        end = time.monotonic() + seconds
        while not enough():
            left = end - time.monotonic()
            if left <= 0 or not select.select([self._from], [], [], left)[0]:
                return
            piece = os.read(self._from, 1 << 20)
            if not piece:
                raise ConnectionError("the browser is gone")
            *messages, self._read = (self._read + piece).split(b"\0")
            for message in map(json.loads, messages):
                self._events.append({"params": {}, "method": "", **message})
                # A dialog holds everything up until it is answered.
                if message.get("method") == "Page.javascriptDialogOpening":
                    self._send("Page.handleJavaScriptDialog", {"accept": True}, message["sessionId"])
