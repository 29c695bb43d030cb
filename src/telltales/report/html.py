"""The report as one HTML file: no script, nothing loaded, safe whatever the record's names hold."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import telltales
from telltales.errors import RecordError
from telltales.files import replacing
from telltales.finding import Finding
from telltales.record import Record
from telltales.report.description import Figure
from telltales.report.figures import figures
from telltales.report.html_findings import findings_section
from telltales.report.html_tables import facts, headline, layers_table, never_ran
from telltales.report.marks import figure_svg
from telltales.report.style import PAGE_STYLE, content_security_policy
from telltales.report.svg import Markup, element, joined, raw
from telltales.report.words import counted

WIDE, HALF = 1100, 524
"""How many pixels a figure gets that has the page's width, and one that shares it."""
OPEN = 2
"""How many of the subjects show their figures without being asked."""


Found = Mapping[str, Sequence[Finding]] | None


def html_report(records: Mapping[str, Record], title: str | None = None, found: Found = None) -> str:
    """The report on one record, or on several side by side, as a whole HTML document.

    ``records``: label → record. ``found``: label → findings; left out, the rules of telltales are asked.

    Raises `RecordError` if there is no record.
    """
    if not records:
        raise RecordError("there is no record to report on", remedy="Give at least one.")
    title = title or f"Training: {', '.join(map(str, records))}"
    return document(title, headline(records), *_sections(records, found))


def document(title: str, said: str, *sections: Markup) -> str:
    """A whole HTML document that loads nothing and runs nothing, with what is said below its title."""
    head = element(
        "head",
        None,
        # The policy first: it holds for what comes after it.
        element("meta", {"http-equiv": "Content-Security-Policy", "content": content_security_policy()}),
        element("meta", {"charset": "utf-8"}),
        element("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        element("meta", {"name": "color-scheme", "content": "light dark"}),
        element("meta", {"name": "generator", "content": f"telltales {telltales.__version__}"}),
        element("title", None, title),
        element("style", None, raw(PAGE_STYLE)),
    )
    header = element("header", None, element("h1", None, title), element("p", {"class": "said"}, said))
    body = element("body", {"class": "telltales"}, header, element("main", None, *sections))
    return f"<!DOCTYPE html>\n{element('html', {'lang': 'en'}, head, body)}\n"


def write_report(
    path: str | os.PathLike[str], records: Mapping[str, Record], title: str | None = None, found: Found = None
) -> None:
    """Write `html_report` to a file, all or nothing. Raises `RecordError` if it can't be written."""
    write_document(path, html_report(records, title, found))


def write_document(path: str | os.PathLike[str], written: str) -> None:
    """Write a document to a file, all or nothing. Raises `RecordError` if it can't be written."""
    try:
        with replacing(Path(path)) as file:
            file.write(written.encode())
    except OSError as error:
        raise RecordError(error.strerror or str(error), where=str(path)) from error


def _sections(records: Mapping[str, Record], found: Found) -> Iterable[Markup]:
    yield from findings_section(records, found)
    yield element(
        "section",
        None,
        element("h2", None, "Overview"),
        *facts(records),
        *never_ran(records),
        *(layer_cards(records).values() if len(records) == 1 else ()),
    )
    for place, (subject, shown) in enumerate(figures(records).items()):
        yield details(subject, counted(len(shown), "figure"), figure_cards(shown.values()), place < OPEN)
    if len(records) > 1:
        for label, card in layer_cards(records).items():
            yield details(f"Layers of {label}", "the last numbers of each", card, is_open=False)


def layer_cards(records: Mapping[str, Record]) -> dict[str, Markup]:
    """Label → the table of its layers, of the records that have numbers for them."""
    tables = {label: layers_table(record) for label, record in records.items()}
    return {label: element("div", {"class": "card"}, table) for label, table in tables.items() if table is not None}


def details(heading: str, said: str, content: Markup, is_open: bool) -> Markup:
    """A part of a page that folds."""
    summary = element("summary", None, element("h2", None, heading), element("span", {"class": "said"}, said))
    return element("details", {"open": "" if is_open else None}, summary, content)


def figure_cards(shown: Iterable[Figure]) -> Markup:
    """Figures below each other, narrow ones in pairs; one that finds no partner is as wide as the page."""
    cards: list[Markup] = []
    waiting: Figure | None = None
    for figure in shown:
        wide = figure.wide or figure.columns > 1
        if waiting is not None and not wide:
            cards += [_card(waiting, HALF), _card(figure, HALF)]
            waiting = None
            continue
        if waiting is not None:
            cards.append(_card(waiting, WIDE))
        waiting = None if wide else figure
        if wide:
            cards.append(_card(figure, WIDE))
    if waiting is not None:
        cards.append(_card(waiting, WIDE))
    return element("div", {"class": "grid2"}, *cards)


def _card(figure: Figure, width: int) -> Markup:
    parts = [
        element("h3", None, figure.title),
        element("p", {"class": "said"}, figure.subtitle),
        element("div", {"class": "scroll"}, figure_svg(figure, width)),
    ]
    if figure.note:
        parts.append(element("p", {"class": "note"}, figure.note))
    return element("div", {"class": "card wide" if width == WIDE else "card"}, joined(*parts))
