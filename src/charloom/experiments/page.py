"""A study as one HTML file, drawn as telltales draws its reports: no script, nothing loaded."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

import telltales
from charloom.errors import RunError
from charloom.experiments.study import Card, Inside, Names, Part, Plot, Section, Study, Table
from telltales.report.description import Axis, Figure, Line, LinePanel, NamesPanel, Point
from telltales.report.figures import figures
from telltales.report.html import details, document, figure_cards, write_document
from telltales.report.scales import range_of
from telltales.report.style import CATEGORIES
from telltales.report.svg import Markup, element, joined


def study_html(study: Study) -> str:
    """The whole document."""
    return document(study.title, study.said, *(_section(section) for section in study.sections))


def write_study(path: str | os.PathLike[str], study: Study) -> None:
    """Write `study_html` to a file, all or nothing. Raises `RunError` if it can't be written."""
    document = study_html(study)
    try:
        write_document(path, document)
    except telltales.RecordError as error:
        raise RunError(f"the report can't be written ({error.fact})", where=str(path)) from None


def _section(section: Section) -> Markup:
    drawn = joined(*(element("div", {"class": "part"}, _part(part)) for part in section.parts))
    return details(section.heading, section.said, drawn, is_open=not section.folded)


def _part(part: Part) -> Markup:
    match part:
        case str():
            return element("p", None, part)
        case Table():
            return _table(part)
        case Plot():
            return figure_cards([_lines(part)])
        case Names():
            return figure_cards([_names(part)])
        case Inside():
            return _inside(part)
        case _:
            return element("div", {"class": "grid2"}, *(_card(card) for card in part))


def _card(card: Card) -> Markup:
    lines = (element("p", None, line) for line in card.lines)
    return element("div", {"class": f"card finding {card.severity}"}, element("h3", None, card.heading), *lines)


def _table(table: Table) -> Markup:
    sides = [None if side == "left" else "n" for side in table.columns.values()]
    heads = (element("th", {"class": side}, name) for name, side in zip(table.columns, sides, strict=True))
    rows = (
        element("tr", None, *(element("td", {"class": side}, cell) for cell, side in zip(row, sides, strict=True)))
        for row in table.rows
    )
    body = element(
        "table",
        None,
        element("caption", None, table.title),
        element("thead", None, element("tr", None, *heads)),
        element("tbody", None, *rows),
    )
    note = [element("p", {"class": "note"}, table.caption)] if table.caption else []
    return element("div", {"class": "card"}, element("div", {"class": "scroll"}, body), *note)


def _lines(plot: Plot) -> Figure:
    lines = tuple(
        Line(
            np.asarray(series.x, np.float64),
            np.asarray(series.y, np.float64),
            series.label,
            f"c{(place if series.colour is None else series.colour) % CATEGORIES}",
            "dashed" if series.dashed else "line",
            None if series.low is None else np.asarray(series.low, np.float64),
            None if series.high is None else np.asarray(series.high, np.float64),
        )
        for place, series in enumerate(plot.series)
    )
    heights = [values for line in lines for values in (line.y, line.low, line.high) if values is not None]
    if plot.highest is not None:
        heights = [np.minimum(values, plot.highest) for values in heights]
    x = range_of([line.x for line in lines], log=plot.log_x, pad=0.0)
    y = range_of(heights, log=plot.log_y, include=plot.guides)
    panel = LinePanel(Axis(plot.x, x), Axis(plot.y, y), lines, tuple(plot.guides), height=260)
    return Figure(plot.title, plot.title, ((panel,),), plot.said, plot.note, wide=True)


def _names(names: Names) -> Figure:
    points = tuple(Point(name, x, y, f"c{group % CATEGORIES}") for name, x, y, group in names.points)
    across, up = range_of([[point.x for point in points]]), range_of([[point.y for point in points]])
    panel = NamesPanel(Axis(names.x, across), Axis(names.y, up), points, _groups(names.groups))
    return Figure(names.title, names.title, ((panel,),), names.said, names.note, wide=True)


def _groups(groups: Sequence[str]) -> tuple[tuple[str, str], ...]:
    return tuple((f"c{place % CATEGORIES}", group) for place, group in enumerate(groups))


def _inside(part: Inside) -> Markup:
    records = {label: telltales.read_record(path) for label, path in part.records.items()}
    every = {name: figure for subject in figures(records).values() for name, figure in subject.items()}
    return figure_cards([every[name] for name in part.figures if name in every])
