"""Hostile names in every field of every document, and of all that is printed: taken apart by parsers."""

from __future__ import annotations

import io
import json
import tempfile
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import telltales
from charloom.cli.drawing import to_svg
from charloom.experiments.page import study_html
from charloom.experiments.study import Card, Inside, Names, Part, Plot, Section, Study, Table
from telltales.finding import Finding
from telltales.observation import Observation
from telltales.record import Record
from telltales.report import figure_html, figures, html_report
from telltales.report.comparing import compare, comparison_text
from telltales.report.findings import findings_text
from telltales.report.picture import picture
from telltales.report.terminal import LiveTable, summary_text
from telltales.verdicts.sarif import sarif
from torture import opened
from torture.inert import Kind, faults, terminal_faults
from torture.infecting import LONG_TEXTS, MODES, Draw, Mode, held, infect, made, strings, write_record
from torture.payloads import PAYLOADS
from torture.shown import Effort, Progress, Shown

LEAST_PAYLOADS = 40
"""So many different ones reach every field, at least."""
Documents = Iterator[tuple[str, Kind, str]]
"""What it is, how it is read, and the document."""


def show(effort: Effort, progress: Progress) -> Iterator[Shown]:
    """Pages, pictures, logs and lines for a terminal."""
    whole = effort.texts >= LONG_TEXTS
    with tempfile.TemporaryDirectory(prefix="torture-pages-") as name, warnings.catch_warnings():
        # A rule that can't read a fact says so, and is left out.
        warnings.simplefilter("ignore", telltales.TelltalesWarning)
        folder = Path(name)
        progress("hostile names in every document, parsed")
        yield from parsed(folder, whole)
    yield from opened.show(effort, progress)


def parsed(folder: Path, whole: bool) -> Iterator[Shown]:
    """Every document that can be made of hostile records, findings and studies, taken apart by parsers."""
    count: Counter[str] = Counter()
    failures: list[str] = []
    reached: dict[str, set[str]] = defaultdict(set)
    for what, kind, document in _all(folder, whole, reached):
        count[what] += 1
        failures += [f"{what}: {fault}" for fault in faults(document, kind)]
    fewest = min(reached, key=lambda field: len(reached[field]))
    failures += [
        f"only {len(found)} payloads reach {field}" for field, found in reached.items() if len(found) < LEAST_PAYLOADS
    ]
    yield Shown(
        12,
        "documents of hostile names, parsed",
        count.total(),
        tuple(failures),
        f"{len(PAYLOADS)} payloads, {len(reached)} fields, at least {len(reached[fewest])} payloads in each",
    )
    lines = 0
    failures = []
    for what, text in printed(folder, whole):
        lines += text.count("\n")
        failures += [f"{what}: {fault}" for fault in terminal_faults(text)]
    yield Shown(12, "lines for a terminal with hostile names", lines, tuple(failures))


def _all(folder: Path, whole: bool, reached: dict[str, set[str]]) -> Documents:
    source, few = write_record(folder / "made.jsonl"), folder / "few.jsonl"
    few.write_bytes(b"".join(_without_tables(source)))
    for mode in MODES if whole else MODES[:1]:
        for start in range(0, len(PAYLOADS), 1 if whole else 4):
            record = hostile_record(folder, source, start, mode, reached)
            yield "report", "page", html_report({PAYLOADS[start].text: record}, PAYLOADS[-start].text)
    for mode in MODES:
        for start in range(0, len(PAYLOADS), 3 if whole else 60 if mode == "replaced" else len(PAYLOADS)):
            yield from of_record(hostile_record(folder, source, start, mode), start)
    for mode in MODES:
        for start in range(0, len(PAYLOADS), 1 if whole or mode == "replaced" else 9):
            record = hostile_record(folder, few, start, mode, reached)
            yield "report of few facts", "page", html_report({PAYLOADS[start].text: record}, PAYLOADS[-start].text)
    for start in range(0, len(PAYLOADS), 1 if whole else 2):
        yield from of_findings(start, reached)
        yield from of_study(start, folder / "hostile.jsonl", reached)


def _without_tables(source: Path) -> Iterator[bytes]:
    """The lines of a record, of which those of observed steps say no more than losses."""
    for line in map(json.loads, source.read_bytes().splitlines()):
        if "step" in line:
            line["tables"] = {}
            line.pop("histograms", None)
            line.pop("maps", None)
        line.pop("crc32", None)
        yield json.dumps(line).encode() + b"\n"


def hostile_record(
    folder: Path, source: Path, start: int, mode: Mode, reached: dict[str, set[str]] | None = None
) -> Record:
    """A record as it is read from an infected file; ``reached`` notes which field holds which payload."""
    record = telltales.read_record(infect(source, folder / "hostile.jsonl", Draw(start), mode))
    if reached is not None:
        _note(record, reached)
    return record


def of_record(record: Record, start: int) -> Documents:
    """What is drawn of one record, and of several."""
    label, title = PAYLOADS[start].text, PAYLOADS[-start].text
    yield "comparing report", "page", html_report({label: record, f"{title}.": record, "plain": Record()})
    yield "notebook", "fragment", figure_html(record)
    for subject in figures({label: record}).values():
        for figure in subject.values():
            yield "picture", "svg", picture(figure)


def of_findings(start: int, reached: dict[str, set[str]]) -> Documents:
    """A report of findings whose every string is hostile, as a rule of somebody else's may make them."""
    finding = made(Finding, Draw(start))
    _note(finding, reached)
    record = Record()
    record.append(Observation(0, {"loss": 1.0}, {}))
    yield "findings", "page", html_report({"a": record}, found={"a": [finding]})


def printed(folder: Path, whole: bool) -> Iterator[tuple[str, str]]:
    """What is written to a terminal, or for other programs that show it, of hostile records and findings."""
    source = folder / "made.jsonl"
    for mode in MODES:
        for start in range(0, len(PAYLOADS), 1 if whole else 30):
            record = hostile_record(folder, source, start, mode)
            label, other = PAYLOADS[start].text, PAYLOADS[start - 1].text + "."
            for width in (1, 20, 100):
                yield f"summary, {width} columns", summary_text(record, width)
                found = telltales.judge(record)
                yield f"findings, {width} columns", findings_text(found, record, label, width)
                compared = compare({label: record, other: hostile_record(folder, source, start + 1, mode)})
                yield f"comparison, {width} columns", comparison_text(compared, width)
            yield from _live(record)
    for start in range(len(PAYLOADS)):
        finding = made(Finding, Draw(start))
        yield "a finding", str(finding)
        yield "SARIF", json.dumps(sarif({PAYLOADS[start].text: [finding]}, "0"), ensure_ascii=False)


def _live(record: Record) -> Iterator[tuple[str, str]]:
    """What a live display writes where there is no terminal."""
    stream = io.StringIO()
    with LiveTable(stream) as live:
        for finding in telltales.judge(record):
            live.tell(finding)
        live.update(record)
    yield "lines of a live display", stream.getvalue()


def of_study(start: int, record: Path, reached: dict[str, set[str]]) -> Documents:
    """A study's page, and the plot of learning rates, with every string hostile."""
    draw = Draw(start)
    given = {Path: lambda: record}
    parts: list[Part] = [made(kind, draw, given) for kind in (Table, Plot, Names)]
    drawn = next(iter(figures({"": telltales.read_record(record)}).values()))
    parts += [[made(Card, draw)], draw(), Inside({draw(): record}, list(drawn))]
    study = Study(draw(), draw(), draw(), {}, [Section(draw(), draw(), parts), Section(draw(), draw(), [draw()], True)])
    _note(study, reached)
    yield "study", "page", study_html(study)
    yield "learning rates", "svg", to_svg([1e-3, 1e-2, 1e-1], [3.0, 2.0, 4.0], mark=1e-2, x=draw(), y=draw())


def _note(value: object, reached: dict[str, set[str]]) -> None:
    for place, text in strings(value):
        if (payload := held(text)) is not None:
            reached[f"{type(value).__name__}{place}"].add(payload.name)
