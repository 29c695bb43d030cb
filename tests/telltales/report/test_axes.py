"""The figures on matplotlib's axes."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest
from synthetic import economy, hostile, mlp, transformer

from telltales.errors import UsageError
from telltales.record import Record
from telltales.report import figures
from telltales.report.axes import draw_figure, draw_panel
from telltales.report.description import LinePanel, MissingPanel
from telltales.report.figures_over_time import update_ratios


@pytest.mark.filterwarnings("ignore:Glyph")
@pytest.mark.parametrize(
    "records",
    [
        {"a": mlp(steps=20)},
        {"a": mlp("broken", steps=20), "b": economy()},
        {"a": transformer(blocks=12, steps=6)},
        {"$x$": hostile()},
    ],
)
def test_every_figure_can_be_drawn(records: dict[str, Record]) -> None:
    pytest.importorskip("matplotlib")
    for shown in figures(records).values():
        for figure in shown.values():
            draw_figure(figure).savefig(io.BytesIO(), format="svg")


def test_a_panel_draws_the_numbers_on_axes_that_are_there() -> None:
    axes = pytest.importorskip("matplotlib.figure").Figure().subplots()
    figure = update_ratios({"a": mlp(steps=20)})
    assert figure is not None
    panel = figure.panels[0][0]
    assert isinstance(panel, LinePanel)
    draw_panel(panel, axes)
    assert np.array_equal(axes.lines[0].get_ydata(), panel.lines[0].y)
    assert axes.get_yscale() == "log"


def test_without_matplotlib_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    for part in ("matplotlib", "matplotlib.axes"):
        monkeypatch.setitem(sys.modules, part, None)
    with pytest.raises(UsageError, match="pip install matplotlib"):
        draw_panel(MissingPanel(), None)


def test_drawing_needs_neither_torch_nor_matplotlib() -> None:
    code = (
        "import sys; sys.modules['torch'] = sys.modules['matplotlib'] = sys.modules['rich'] = None; "
        "import telltales.report, telltales.report.axes; from telltales.record import Record; "
        "print(len(telltales.report.html_report({'a': Record()})) > 1000)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("True\n", "")
