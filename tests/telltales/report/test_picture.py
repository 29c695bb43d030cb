"""Pictures: whole SVG documents that need nothing but themselves."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import made
import numpy as np
import pytest

from telltales.report import figures
from telltales.report.description import Axis, Figure, Line, LinePanel
from telltales.report.picture import MARGIN, picture
from telltales.report.scales import Range
from telltales.report.style import DARK, LIGHT

SVG = "{http://www.w3.org/2000/svg}"


def simple(title: str = "Title", subtitle: str = "", note: str = "") -> Figure:
    line = Line(np.arange(3.0), np.arange(3.0), "a line")
    panel = LinePanel(Axis("x", Range(0, 2)), Axis("y", Range(0, 2)), (line,))
    return Figure("simple", title, ((panel,),), subtitle, note)


def parsed(figure: Figure, width: int = 1100) -> ElementTree.Element:
    return ElementTree.fromstring(picture(figure, width).encode())


def heights(root: ElementTree.Element) -> tuple[float, float]:
    """Of the whole, and of the figure in it."""
    (drawn,) = root.findall(f"{SVG}svg")
    return float(root.attrib["height"]), float(drawn.attrib["height"])


@pytest.mark.parametrize("records", [{"one": made.mlp()}, {"one": made.mlp(), "<b>&": made.mlp(5)}], ids=["one", "two"])
def test_every_figure_is_a_document_of_its_own(records):
    drawn = [figure for subject in figures(records).values() for figure in subject.values()]
    assert len(drawn) >= 8
    for figure in drawn:
        text = picture(figure)
        root = ElementTree.fromstring(text.encode())
        assert root.tag == f"{SVG}svg"
        assert {element.tag.removeprefix(SVG) for element in root.iter()} <= {
            *("svg", "style", "rect", "text", "title", "path", "g", "circle"),
        }
        # Nothing but the name of the format looks like an address, and nothing runs.
        assert set(re.findall(r"\w+://[^\"\s]+", text)) == {"http://www.w3.org/2000/svg"}
        assert not re.search(r"@import|url\(|\son\w+=|href|javascript:", text)


def test_titles_notes_and_labels_stand_in_it():
    root = parsed(simple("A title", "And what it shows.", "A note."))
    texts = [(element.text, element.attrib.get("class")) for element in root.findall(f"{SVG}text")]
    assert texts == [("A title", "heading"), ("And what it shows.", "said"), ("A note.", "said")]
    assert root.attrib["aria-label"] == "A title"
    assert "a line" in "".join(root.itertext())


def test_what_is_written_gets_room():
    bare, drawn = heights(parsed(simple("")))
    assert bare == pytest.approx(drawn + 2 * MARGIN, abs=0.1)
    titled, _ = heights(parsed(simple("Title")))
    noted, _ = heights(parsed(simple("Title", note="A note.")))
    assert bare < titled < noted
    root = parsed(simple("Title", "Subtitle", "note " * 300))
    (place,) = root.findall(f"{SVG}svg")
    top, bottom = float(place.attrib["y"]), float(place.attrib["y"]) + float(place.attrib["height"])
    lines = [(float(element.attrib["y"]), element.text or "") for element in root.findall(f"{SVG}text")]
    notes = [y for y, line in lines if line.startswith("note")]
    assert len(notes) > 3
    assert all(y < top for y, line in lines if not line.startswith("note"))
    assert all(bottom < y < float(root.attrib["height"]) for y in notes)


def test_long_lines_are_broken_at_words():
    words = [f"word{number}" for number in range(120)]
    root = parsed(simple("Title", " ".join(words)), 600)
    lines = [element.text or "" for element in root.findall(f"{SVG}text")][1:]
    assert " ".join(lines).split() == words
    assert max(map(len, lines)) < 110


def test_it_is_as_wide_as_asked_for_with_a_margin():
    root = parsed(simple(), 700)
    assert float(root.attrib["width"]) == 700 + 2 * MARGIN
    assert root.attrib["viewBox"].split()[2:] == [root.attrib["width"], root.attrib["height"]]
    (drawn,) = root.findall(f"{SVG}svg")
    assert drawn.attrib["style"] == f"height:{drawn.attrib['height']}px"


def test_it_brings_a_background_and_both_themes():
    root = parsed(simple())
    style = root.findtext(f"{SVG}style") or ""
    light, _, dark = style.partition("prefers-color-scheme:dark")
    assert f"--card:{LIGHT['card']}" in light
    assert f"--card:{DARK['card']}" in dark
    (back,) = root.findall(f"{SVG}rect")
    assert back.attrib["class"] == "back"
    assert ".back{fill:var(--card)" in style
    assert root.attrib["class"] == "telltales"


def test_what_would_break_out_is_escaped():
    hostile = '</text><script>alert("1")</script>\x00\u202e'
    root = parsed(simple(hostile, hostile, hostile))
    assert not list(root.iter(f"{SVG}script"))
    assert "<script>alert" in "".join(root.itertext())
