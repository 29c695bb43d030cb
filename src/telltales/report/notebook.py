"""A record in a notebook: its loss, its activations and its updates at a glance."""

from __future__ import annotations

from telltales.record import Record
from telltales.report.figures_densities import activation_histograms
from telltales.report.figures_over_time import update_ratios
from telltales.report.figures_training import loss
from telltales.report.html_tables import headline
from telltales.report.marks import figure_svg
from telltales.report.style import NOTEBOOK_STYLE
from telltales.report.svg import Markup, element, raw

WIDE, HALF = 900, 438


def figure_html(record: Record) -> str:
    """A fragment of HTML with its own style, for ``_repr_html_``: no script, nothing loaded."""
    records = {"": record}
    parts: list[Markup] = [element("p", {"class": "said"}, headline(records))]
    overall = loss(records)
    if overall is not None:
        parts += [element("p", {"class": "name"}, overall.title), figure_svg(overall, WIDE)]
    pair = [figure for figure in (activation_histograms(records), update_ratios(records)) if figure is not None]
    halves = []
    for figure in pair:
        width = WIDE if figure.wide or len(pair) == 1 else HALF
        name, said = element("p", {"class": "name"}, figure.title), element("p", {"class": "said"}, figure.subtitle)
        halves.append(
            element("div", {"class": "wide" if width == WIDE else None}, name, said, figure_svg(figure, width))
        )
    parts.append(element("div", {"class": "pair"}, *halves))
    return element("div", {"class": "telltales cell"}, element("style", None, raw(NOTEBOOK_STYLE)), *parts)
