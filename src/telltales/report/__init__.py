"""Draws records: what a figure shows is described once, as data, and drawn as SVG, in HTML or on matplotlib axes.

`html_report` and `write_report` make a report of one file, `figure_html` what a notebook shows; `figures` describes
all figures of one or several records, `figure_svg` draws one, and `telltales.report.axes` draws it with matplotlib.
No torch here: a saved record can be drawn anywhere.
"""

from __future__ import annotations

from telltales.report.figures import figures
from telltales.report.html import html_report, write_report
from telltales.report.marks import figure_svg
from telltales.report.notebook import figure_html

__all__ = ["figure_html", "figure_svg", "figures", "html_report", "write_report"]
