"""What a terminal shows: the summary at any width, and the live table."""

from __future__ import annotations

import io
import math
import os
import pty
import subprocess
import sys
from typing import Any

import made
import numpy as np
import pytest

from telltales.catalogue import made as finding_of
from telltales.errors import UsageError
from telltales.observation import Evaluation, Observation, Reading
from telltales.record import Record
from telltales.report.layer_table import exponent, layer_table, short_names
from telltales.report.layers import layers
from telltales.report.summary import NonFinite
from telltales.report.terminal import LiveTable, first_nonfinite, summary_text

NAN = math.nan


def deep(blocks: int = 60) -> Record:
    """720 modules, whose numbers all differ, one of them not finite."""
    parts = ["norm", "query", "key", "value", "out", "norm2", "up", "act", "down", "drop", "gate", "scale"]
    names = tuple(f"transformer.blocks.{block}.{part}" for block in range(blocks) for part in parts)
    values = np.full((len(names), 10), NAN, np.float32)
    values[:, 1] = np.linspace(0.5, 1, len(names))
    values[:, 6] = 0
    values[400, 6] = 0.5
    record = Record({"model": "GPT"}, {name: {"type": "Linear"} for name in names})
    record.append(Observation(0, {"loss": 3.0}, {"activation": Reading(names, values)}))
    return record


def short() -> Record:
    """Names that are shorter than their heading."""
    record = Record({"model": "Sequential"}, {str(i): {"type": "Linear"} for i in range(3)})
    numbers = {"mean": -0.00123, "std": 0.123, "saturated": 0.5, "saturated_units": 0.5}
    tables = {
        "activation": {str(i): numbers for i in range(3)},
        "activation_gradient": {str(i): {"rms": 0.00123} for i in range(3)},
        "weight": {f"{i}.weight": {"std": 0.123} for i in range(3)},
        "gradient": {f"{i}.weight": {"ratio": 0.00123} for i in range(3)},
        "update": {f"{i}.weight": {"ratio": 0.00123} for i in range(3)},
    }
    record.append(made.observation(0, tables))
    return record


def lines_of(text: str) -> list[str]:
    return text.splitlines()


def test_the_summary_says_what_was_watched_and_how_it_went() -> None:
    record = made.mlp(depth=2, steps=40, optimizer="SGD", device="cpu", note=None, unfired=["a.b", "c"])
    record.evaluate(Evaluation(20, "dev", 1.25))
    text = summary_text(record)
    assert lines_of(text)[:9] == [
        "MLP: 5 modules, 6 parameters of 216 values",
        "optimizer SGD, device cpu",
        "steps          40 (0 to 39) in 3.9 s, 40 observed; finished",
        "loss           3.000 at step 0, 1.043 at step 39 (mean of 2 steps)",
        "               ██▇▆▆▅▅▄▄▄▃▃▃▃▂▂▂▂▂▂▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁",
        "dev loss       lowest 1.250 after 20 steps, last 1.250 (1 evaluation)",
        "gradient norm  median 2, highest 2 at step 0; clipped at 0% of the observed steps",
        "never ran      a.b, c",
        "",
    ]


def test_the_table_has_a_line_for_each_layer_under_its_headings() -> None:
    groups, headings, *rows = layer_table(layers(made.mlp(depth=2)), 120)
    assert headings.split() == ["layer", "type", "mean", "std", "satur.", "units", "RMS", "std", "ratio", "log10"]
    assert [line.split() for line in rows[1:4]] == [
        ["hidden.0.activation", "Tanh", "0", "0.5", "0%", "0%", "0.001", "–", "–", "–"],
        ["hidden.1.linear", "Linear", "0.01", "1.1", "–", "–", "0.002", "0.3", "0.2", "−2.7"],
        ["hidden.1.activation", "Tanh", "0", "0.6", "10%", "5.0%", "0.002", "–", "–", "–"],
    ]
    # The numbers end where their headings do, and the groups' names end with their last columns.
    for heading in ("mean", "satur.", "log10"):
        end = headings.index(heading) + len(heading)
        assert all(line[end - 1 : end + 1].strip() for line in rows)
        assert all(line[end : end + 1] in ("", " ") for line in rows)
    assert groups.index("weight") + len("weight") == headings.rindex("std") + 3
    assert len(groups) == len(headings)


def test_a_column_that_was_not_measured_is_left_out() -> None:
    record = Record(modules={"a": {"type": "Linear"}})
    record.append(made.observation(0, {"activation": {"a": {"mean": 1, "std": 2}}}))
    assert layer_table(layers(record), 80)[1].split() == ["layer", "type", "mean", "std"]


@pytest.mark.parametrize("width", [*range(60, 100), 160])
@pytest.mark.parametrize("record", [made.mlp(5), deep(), short(), Record()], ids=["mlp", "deep", "short", "empty"])
def test_the_summary_keeps_to_the_width(record: Record, width: int) -> None:
    assert max(map(len, lines_of(summary_text(record, width)))) <= width


def test_columns_make_room_for_names_one_after_another() -> None:
    def headings(width: int, record: Record) -> str:
        return " ".join(layer_table(layers(record), width)[1].split())

    assert headings(100, made.mlp(2)) == "layer type mean std satur. units RMS std ratio log10"
    assert headings(84, made.mlp(2)) == "layer mean std satur. units RMS std ratio log10"
    assert headings(77, made.mlp(2)) == "layer std satur. units RMS std ratio log10"
    assert headings(70, made.mlp(2)) == "layer std satur. units RMS ratio log10"
    assert headings(79, short()) == "layer type std satur. units RMS std ratio log10"


def test_the_update_ratio_is_shown_at_any_width() -> None:
    for width in (20, 40, 60, 200):
        assert layer_table(layers(made.mlp(2)), width)[1].split()[-1] == "log10"


def test_of_many_layers_the_most_telling_are_shown_and_the_rest_counted() -> None:
    text = summary_text(deep())
    shown = [line for line in lines_of(text) if " Linear " in line]
    assert len(shown) == 20
    assert "700 of 720 layers are left out" in text
    assert any("blocks.0.norm " in line for line in shown)
    assert any("blocks.59.scale" in line for line in shown)
    assert "not finite  first activation of transformer.blocks.33.out at step 0" in text
    assert "Not finite in 1 layer: transformer.blocks.33.out." in text
    assert any("33.out" in line for line in shown)


def test_what_all_names_begin_with_goes_into_the_heading_where_they_are_too_long() -> None:
    names = ["net.blocks.0.a", "net.blocks.10.b"]
    assert short_names(names, 20) == ["layer", *names]
    assert short_names(names, 14) == ["layer in net.blocks", "0.a", "10.b"]
    assert short_names(["abcdef", "ghijkl"], 3) == ["layer", "abcdef", "ghijkl"]


def test_a_loss_that_is_nan_is_said_to_be() -> None:
    record = Record()
    record.append(made.observation(0, losses=[1.0]))
    record.append(made.observation(1, losses=[NAN]))
    assert "1.000 at step 0, NaN at step 1" in summary_text(record)
    assert "not finite  first loss at step 1" in summary_text(record)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (NonFinite("activation_gradient", 1200, "a", 3), "activation gradient of a and 2 more at step 1,200"),
        (NonFinite("loss", 8, "loss", 1, 4), "loss at steps 8 to 11"),
    ],
)
def test_where_something_was_first_not_finite(found: NonFinite, words: str) -> None:
    assert first_nonfinite(found) == words


@pytest.mark.parametrize(("ratio", "text"), [(1e-3, "−3.0"), (0.0, "zero"), (NAN, "–"), (math.inf, "∞"), (20.0, "1.3")])
def test_exponents(ratio: float, text: str) -> None:
    assert exponent(ratio) == text


def test_names_can_do_no_harm() -> None:
    evil = "a\x1b[31m\u202e\r\n"
    record = Record({"model": evil, evil: evil, "unfired": [evil]}, {evil: {"type": evil, "activation": evil}})
    tables = {"activation": {evil: {"std": 1, "saturated": 0.5, "nonfinite": 0.5}}, "weight": {f"{evil}.w": {"std": 1}}}
    record.append(made.observation(0, tables, losses=[1.0]))
    record.evaluate(Evaluation(1, evil, 1.0))
    record.outcome = evil
    for text in (summary_text(record, 80), live(record)[-1]):
        assert not set(text) & {"\x1b", "\u202e", "\r"}
    assert "a\\x1b[31m\\u202e\\x0d\\x0a" in summary_text(record, 120)


class Stream(io.StringIO):
    """A standard error that is no terminal, or says so."""

    encoding = "utf-8"


def live(*records: Record, seconds: float = 0.0) -> list[str]:
    """The lines that are printed where there is no terminal, with so many seconds between two updates."""
    stream, now = Stream(), [0.0]
    with LiveTable(stream, lambda: now[0]) as table:
        for record in records:
            table.update(record)
            now[0] += seconds
    return lines_of(stream.getvalue())


def test_without_a_terminal_a_line_says_where_the_training_is() -> None:
    (line,) = live(made.mlp())
    assert line == "step 39  loss 1.043  learning rate 0.1  gradient norm 2"


def test_without_a_terminal_lines_come_at_ever_longer_intervals() -> None:
    stream, now = Stream(), [0.0]
    record = Record()
    with LiveTable(stream, lambda: now[0]) as table:
        for step in range(100):
            now[0] = float(step)
            record.append(made.observation(step, losses=[2.0]))
            table.update(record)
        before = len(lines_of(stream.getvalue()))
    steps = [int(line.split()[1]) for line in lines_of(stream.getvalue())]
    assert steps == [0, 1, 3, 7, 15, 31, 63, 99]
    assert before == 7


def test_a_warning_is_said_at_once_and_a_note_is_not() -> None:
    stream = Stream()
    with LiveTable(stream) as table:
        table.tell(finding_of("dead-relu", "98% of\x1b[2J them", "blocks.1", step=20))
        table.tell(finding_of("plateau", "nothing moves", severity="note"))
    assert lines_of(stream.getvalue()) == ["warning: dead-relu at blocks.1 (since step 20)", "  98% of\\x1b[2J them"]


def test_nothing_new_is_not_said_twice() -> None:
    record = made.mlp()
    assert len(live(record, record, record, seconds=1000.0)) == 1


def test_no_update_no_line() -> None:
    assert live() == []


def test_a_line_fits_the_encoding() -> None:
    stream = Stream()
    stream.encoding = "ascii"
    record = Record()
    record.append(made.observation(0, losses=[-2.0]))
    with LiveTable(stream) as table:
        table.update(record)
    assert "loss -2.000" in stream.getvalue()


def test_a_stream_that_is_gone_does_not_end_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = Stream()
    closed.close()
    monkeypatch.setattr(sys, "stderr", None)
    for stream in (Closed(), None):
        with LiveTable(stream) as table:
            table.update(made.mlp())


class Closed(Stream):
    """A pipe that nobody reads any more."""

    def write(self, _text: str) -> int:
        raise BrokenPipeError


class Terminal(Stream):
    def isatty(self) -> bool:
        return True


def test_a_terminal_needs_rich(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich.console", None)
    monkeypatch.setenv("TERM", "xterm")
    with pytest.raises(UsageError, match="needs rich") as raised:
        LiveTable(Terminal())
    assert raised.value.remedy == 'pip install "telltales[report]"'
    monkeypatch.setenv("TERM", "dumb")
    LiveTable(Terminal())


def drawn(monkeypatch: pytest.MonkeyPatch, records: list[Record], columns: int = 90, **settings: Any) -> list[str]:
    """What is shown on a terminal of that size, one frame after another; the last is drawn anew at the end."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("LINES", str(settings.get("lines", 30)))
    stream, now = Terminal(), [0.0]
    with LiveTable(stream, lambda: now[0]) as table:
        for record in records:
            table.update(record)
            now[0] += settings.get("seconds", 1.0)
    return stream.getvalue().split("step ")[1:]


def test_on_a_terminal_a_table_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    text = drawn(monkeypatch, [made.mlp(depth=2)])[-1]
    assert "39  loss 1.043  learning rate 0.1  gradient norm 2  █▇" in text
    (row,) = [line for line in lines_of(text) if line.startswith("hidden.1.linear")]
    assert row.split() == ["hidden.1.linear", "1.1", "–", "−2.7", "▄" * 30]
    (row,) = [line for line in lines_of(text) if line.startswith("hidden.1.activation")]
    assert row.split() == ["hidden.1.activation", "0.6", "10%", "–"]


def test_on_a_terminal_as_many_layers_are_shown_as_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    text = drawn(monkeypatch, [deep()], lines=20)[-1]
    assert len([line for line in lines_of(text) if line.startswith("transformer.")]) == 15


def test_a_terminal_is_not_drawn_on_more_often_than_twice_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    records = [made.mlp(steps=steps) for steps in range(1, 9)]
    # The last record is drawn when it ends, if it was not before, and Live draws the last frame once more.
    assert [int(frame.split()[0]) for frame in drawn(monkeypatch, records, seconds=0.25)] == [0, 2, 4, 6, 7, 7]
    assert [int(frame.split()[0]) for frame in drawn(monkeypatch, records)] == [*range(8), 7]


def test_names_are_not_taken_for_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    record = Record(modules={"[red]x[/red]": {"type": "Linear"}})
    record.append(made.observation(0, {"activation": {"[red]x[/red]": {"std": 1}}}, losses=[1.0]))
    assert "[red]x[/red]" in drawn(monkeypatch, [record])[-1]


def test_what_goes_to_a_file_goes_there_while_the_table_is_on_a_terminal() -> None:
    """A print in the training loop whose output is redirected must not end up on the terminal."""
    code = (
        "import sys; sys.path[:0] = sys.argv[1:]\n"
        "import made\n"
        "from telltales.report.terminal import LiveTable\n"
        "with LiveTable() as table:\n"
        "    table.update(made.mlp())\n"
        "    print('printed')\n"
    )
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, *sys.path],
            stdout=subprocess.PIPE,
            stderr=theirs,
            env=os.environ | {"TERM": "xterm"},
            check=True,
        )
        shown = os.read(ours, 100_000).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.stdout == b"printed\n"
    assert "hidden.0.linear" in shown
    assert "printed" not in shown
