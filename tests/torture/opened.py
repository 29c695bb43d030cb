"""Pages of hostile names in a real browser, where nothing may be heard; and that each listener hears what there is."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import telltales
from charloom.cli.drawing import to_svg
from charloom.experiments.page import study_html
from charloom.experiments.study import Card, Names, Plot, Section, Study, Table
from telltales.finding import Finding
from telltales.observation import Observation
from telltales.record import Record
from telltales.report import figure_html, figure_svg, figures, html_report
from telltales.report.picture import picture
from torture.browser import LISTENERS, Browser, program
from torture.infecting import LONG_TEXTS, Draw, infect, made, write_record
from torture.payloads import PAYLOADS, UNESCAPED, Payload
from torture.shown import Effort, Progress, Shown

BARE = "<!DOCTYPE html><html><head><meta charset='utf-8'>{}</head><body>{}</body></html>"
"""A page that protects nothing, as a notebook's is."""
POLICY = "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-none'\">"
CONTROLS = (
    "script",
    "script, odd case and space",
    "script, odd end",
    "script that does not parse",
    "script that opens a window",
    "refresh",
    "link to save",
    "frame from elsewhere",
    "style attribute",
)
"""Payloads that every listener hears between them."""
HELD_BACK = (
    "script",
    "image that fails",
    "svg onload",
    "out of double quotes, click",
    "style attribute",
    "javascript:",
)
"""Payloads that the policy alone keeps from doing anything. It does not keep a page from leading elsewhere."""
HARMLESS = {"Log.entryAdded", "Network.requestWillBeSent"}
"""What is heard of what the policy has held back: a complaint, and that a request was blocked."""


def show(effort: Effort, progress: Progress) -> Iterator[Shown]:
    """A browser opens, hovers and clicks through pages of hostile names."""
    if program() is None:
        yield Shown(12, "pages in a browser", 0, skipped="there is no Chromium or Chrome on PATH")
        return
    whole = effort.texts >= LONG_TEXTS
    with tempfile.TemporaryDirectory(prefix="torture-pages-") as name, Browser() as browser:
        folder = Path(name)
        progress(f"hostile names in {browser.version}")
        yield silent(browser, folder, whole)
        progress("the same names unescaped, which the browser must hear")
        bite = [payload for payload in PAYLOADS if payload.bites != "none" and (whole or payload.name in CONTROLS)]
        yield heard(browser, folder, bite)
        held = [payload for payload in PAYLOADS if payload.name in HELD_BACK]
        yield held_back(browser, folder, held)


def silent(browser: Browser, folder: Path, whole: bool = False) -> Shown:
    """Of the project's own pages nothing is heard."""
    failures, count = [], 0
    for what, path in pages(folder, whole):
        count += 1
        failures += [f"{what}: {noise}" for noise in browser.visit(path)]
    return Shown(12, "pages of hostile names in a browser", count, tuple(failures), f"{len(LISTENERS)} listeners")


def heard(browser: Browser, folder: Path, payloads: list[Payload]) -> Shown:
    """Unescaped, each payload is heard, and between them they are by every listener."""
    failures, every = [], set[str]()
    for payload in payloads:
        path = folder / "bare.html"
        body = BARE.format("", UNESCAPED[payload.bites].format(payload.text))
        path.write_text(body, encoding="utf-8", errors="replace")
        found = {noise.listener for noise in browser.visit(path, _awaited(payload))}
        every |= found
        failures += [] if found else [f"nothing is heard of {payload.name}"]
    failures += [f"nothing is ever heard by {listener}" for listener in LISTENERS.keys() - every]
    return Shown(12, "the same unescaped: the browser hears them", len(payloads), tuple(failures))


def held_back(browser: Browser, folder: Path, payloads: list[Payload]) -> Shown:
    """Unescaped below the policy, they do nothing, and the browser complains."""
    failures = []
    for payload in payloads:
        path = folder / "policy.html"
        path.write_text(BARE.format(POLICY, UNESCAPED[payload.bites].format(payload.text)), encoding="utf-8")
        found = {noise.listener for noise in browser.visit(path, frozenset({"Log.entryAdded"}))}
        if "Log.entryAdded" not in found or found - HARMLESS:
            failures.append(f"below the policy, of {payload.name} is heard: {', '.join(sorted(found)) or 'nothing'}")
    return Shown(12, "the same unescaped below the policy: held back", len(payloads), tuple(failures))


def _awaited(payload: Payload) -> frozenset[str]:
    """What takes a moment."""
    late = {
        "refresh": "Page.frameRequestedNavigation",
        "frame from elsewhere": "Target.targetCreated",
        "link to save": "Page.downloadWillBegin",
        "script that opens a window": "Page.windowOpen",
        "style attribute": "Log.entryAdded",
    }
    return frozenset({late[payload.name]}) if payload.name in late else frozenset()


def pages(folder: Path, whole: bool = False) -> Iterator[tuple[str, Path]]:
    """Every kind of document, with every payload in it, as a file."""
    source = write_record(folder / "made.jsonl", depth=30)
    for start in range(0, len(PAYLOADS), 10 if whole else len(PAYLOADS)):
        draw = Draw(start)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", telltales.TelltalesWarning)
            record = telltales.read_record(infect(source, folder / "hostile.jsonl", draw, "keys"))
            yield "report", _written(folder / "report.html", html_report({draw(): record}, draw()))
            several = {draw(): record, draw() + ".": Record(), "plain": record}
            yield "comparing report", _written(folder / "several.html", html_report(several, draw()))
            every = figures({"": record}).values()
            for place, subject in enumerate(every):
                yield "picture", _written(folder / f"{place}.svg", picture(next(iter(subject.values()))))
            drawn = "".join(figure_svg(figure) for subject in every for figure in subject.values())
            yield "notebook", _written(folder / "notebook.html", BARE.format("", figure_html(record) + drawn))
        yield "findings", _written(folder / "findings.html", _findings(start))
        yield "study", _written(folder / "study.html", _study(start))
        plot = to_svg([1e-3, 1e-2, 1e-1], [3.0, 2.0, 4.0], mark=1e-2, x=draw(), y=draw())
        yield "learning rates", _written(folder / "rates.svg", plot)


def _findings(start: int) -> str:
    record = Record()
    record.append(Observation(0, {"loss": 1.0}, {}))
    every = [made(Finding, Draw(start + place)) for place in range(0, len(PAYLOADS), 2)]
    return html_report({"a": record}, found={"a": every})


def _study(start: int) -> str:
    sections = []
    for place in range(0, len(PAYLOADS), 4):
        draw = Draw(start + place)
        parts = [made(kind, draw) for kind in (Table, Plot, Names)]
        sections.append(Section(draw(), draw(), [*parts, [made(Card, draw)], draw()]))
    return study_html(Study("", PAYLOADS[start].text, PAYLOADS[-start].text, {}, sections))


def _written(path: Path, document: str) -> Path:
    path.write_bytes(document.encode())
    return path
