"""The report: one file, nothing loaded, nothing run, whatever the names."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest
from synthetic import HOSTILE, economy, hostile, mlp, transformer

from telltales.errors import RecordError
from telltales.record import Record
from telltales.report import figure_html, html_report, write_report
from telltales.report import html as html_module
from telltales.report.style import DARK, LIGHT
from telltales.report.words import visible

REFERRING = {"href", "src", "xlink:href", "action", "srcset", "data", "formaction", "background", "poster"}


class Page(HTMLParser):
    """What a browser would see."""

    def __init__(self, document: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.policy = ""
        self.text: list[str] = []
        self.styles: list[str] = []
        self.feed(document)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attributes]
        if tag == "meta" and ("http-equiv", "Content-Security-Policy") in attributes:
            self.policy = dict(attributes)["content"] or ""

    def handle_data(self, data: str) -> None:
        (self.styles if self.tags and self.tags[-1] == "style" and "{" in data else self.text).append(data)


@pytest.fixture(scope="module")
def hostile_page() -> str:
    return html_report({name: hostile() for name in HOSTILE[:3]}, title=HOSTILE[0])


def assert_inert(document: str) -> None:
    page = Page(document)
    assert not {"script", "iframe", "object", "embed", "link", "base", "form", "img", "image", "use"} & set(page.tags)
    assert not [found for found in page.attributes if found[1].startswith("on") or found[1] in REFERRING | {"style"}]
    assert page.tags.count("style") == 1
    (style,) = page.styles
    assert not re.search(r"url\(|@import|expression|https?:|<", style)


@pytest.mark.parametrize("single", [True, False])
def test_hostile_names_stay_text(single: bool, hostile_page: str) -> None:
    document = html_report({HOSTILE[0]: hostile()}) if single else hostile_page
    assert_inert(document)
    root = ET.fromstring(document)
    shown = "".join(root.itertext())
    for name in HOSTILE:
        assert visible(name)[:2] in shown
    titles = [node.get("title") for node in root.iter("span") if node.get("title")]
    assert any('"' in title and "<" in title for title in titles)
    assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", document)
    document.encode()


def test_hostile_names_in_a_notebook_stay_text() -> None:
    fragment = figure_html(hostile())
    assert_inert(fragment)
    ET.fromstring(fragment)


@pytest.mark.parametrize("field", ["type", "activation", "shape", "module"])
def test_facts_of_any_type_are_drawn(field: str) -> None:
    record = mlp(steps=8)
    for value in (None, 3, [], ["<b>"], {"a": 1}, "\x00</td>", True):
        for facts in (*record.modules.values(), *record.parameters.values()):
            facts[field] = value
        record.about = {"model": value, "unfired": value, "<i>": value}
        assert_inert(html_report({"a": record}))


def test_the_policy_allows_the_style_sheet_and_nothing_else() -> None:
    page = Page(html_report({"a": economy()}))
    digest = base64.b64encode(hashlib.sha256(page.styles[0].encode()).digest()).decode()
    assert page.policy == f"default-src 'none'; style-src 'sha256-{digest}'"


def test_every_colour_and_class_that_is_used_is_in_the_style_sheet() -> None:
    page = Page(html_report({"a": mlp("dead", steps=20), "b": transformer(blocks=4, steps=8), "c": mlp(steps=8)}))
    classes = {name for _, key, value in page.attributes if key == "class" for name in (value or "").split()}
    missing = {name for name in classes if f".{name}" not in page.styles[0]}
    # The wrapper's words for readers of the source.
    assert missing == set()
    assert LIGHT.keys() == DARK.keys()


def test_the_page_has_headings_and_headed_tables() -> None:
    root = ET.fromstring(html_report({"net": mlp(steps=20)}, title="A title"))
    assert [node.text for node in root.iter("h1")] == ["A title"]
    assert [node.text for node in root.iter("h2")][:3] == ["Findings", "Overview", "Loss and updates"]
    assert [node.get("open") for node in root.iter("details")] == ["", "", None, None]
    for table in root.iter("table"):
        assert table.find("caption") is not None
        assert {node.get("scope") for node in table.iter("th")} == {"col", "row"}
    for svg in root.iter("{http://www.w3.org/2000/svg}svg"):
        assert svg.get("role") == "img"
        assert svg.get("aria-label")


def test_the_overview_says_what_was_watched_and_how_it_went() -> None:
    record = mlp(steps=20)
    record.about["unfired"] = ["head.spare"]
    text = " ".join(ET.fromstring(html_report({"net": record})).itertext())
    for said in ("17 modules", "2.13.0", "finished", "1 module never ran", "head.spare", "hidden.3.activation", "Tanh"):
        assert said in text


def test_a_loss_that_ended_as_nan_says_so() -> None:
    text = " ".join(ET.fromstring(html_report({"net": mlp("broken", steps=60)})).itertext())
    assert "→ NaN" in text
    assert "Not finite" in text


def test_several_records_stand_side_by_side() -> None:
    root = ET.fromstring(html_report({"one": mlp(steps=20), "two": mlp("saturated", steps=40), "three": Record()}))
    table = next(root.iter("table"))
    assert [node.text for node in table.iter("th") if node.get("scope") == "col"] == ["one", "two", "three"]
    assert "Layers of two" in [node.text for node in root.iter("h2")]


@pytest.mark.parametrize("record", [Record(), economy(1), economy()])
def test_little_is_reported_too(record: Record) -> None:
    assert_inert(html_report({"a": record}))
    ET.fromstring(html_report({"a": record}))
    ET.fromstring(figure_html(record))


def test_of_no_record_there_is_no_report() -> None:
    with pytest.raises(RecordError, match="no record"):
        html_report({})


def test_the_report_on_720_modules_stays_below_two_megabytes() -> None:
    document = html_report({"a": transformer(blocks=60, steps=1000)})
    assert len(document.encode()) <= 2_000_000
    ET.fromstring(document)


def test_a_report_replaces_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("before")
    write_report(path, {"a": economy()})
    assert path.read_text(encoding="utf-8") == html_report({"a": economy()})
    assert os.listdir(tmp_path) == ["report.html"]
    new = tmp_path / "new.html"
    new.touch()
    assert path.stat().st_mode == new.stat().st_mode


def test_a_report_that_cannot_be_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RecordError, match=r"nowhere.*No such file"):
        write_report(tmp_path / "nowhere" / "report.html", {"a": economy()})
    path = tmp_path / "report.html"
    path.write_text("before")

    def refuse(source: str, target: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(html_module.os, "replace", refuse)
    with pytest.raises(RecordError, match="Permission denied"):
        write_report(path, {"a": economy()})
    assert os.listdir(tmp_path) == ["report.html"]
    assert path.read_text() == "before"
