"""Hostile names in documents: the parts' short forms, each place where a name is escaped, and that the checks bite."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import telltales
from charloom.cli.drawing import to_svg
from charloom.experiments.page import study_html
from charloom.experiments.study import Section, Study
from telltales.finding import Finding
from telltales.record import Record
from telltales.report.html import document
from telltales.report.svg import element, text
from telltales.verdicts.sarif import sarif
from torture import opened, pages
from torture.browser import Browser, program
from torture.inert import faults, terminal_faults
from torture.infecting import LONG_TEXTS, Draw, held, infect, made, strings, unreached, write_record
from torture.payloads import PAYLOADS, UNESCAPED, Payload
from torture.shown import SHORT, Effort

BROWSER = pytest.mark.skipif(program() is None, reason="there is no Chromium or Chrome on PATH")
MARKUP = [payload for payload in PAYLOADS if payload.bites not in ("none", "link")]


def quiet(_: str) -> None:
    """No progress is shown."""


def test_hostile_names_are_inert_in_all_documents_and_lines_and_in_a_browser() -> None:
    for shown in pages.show(SHORT, quiet):
        assert shown.count > 5 or shown.skipped
        assert shown.failures == ()


@BROWSER
def test_a_browser_that_hears_something_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("telltales.report.svg.escape", lambda content: content)
    with Browser() as browser:
        assert browser.visit(next(opened.pages(tmp_path))[1])


def test_there_are_forty_payloads_and_more() -> None:
    assert len({payload.text for payload in PAYLOADS}) == len({payload.name for payload in PAYLOADS}) - 1 >= 40
    assert {payload.bites for payload in PAYLOADS} == {*UNESCAPED, "none"}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Record:
    folder = tmp_path_factory.mktemp("hostile")
    return telltales.read_record(infect(write_record(folder / "a"), folder / "b", Draw(0), "keys"))


def test_every_string_that_a_record_holds_is_hostile(hostile: Record) -> None:
    assert unreached(hostile) == []
    fields = {place for place, text in strings(hostile) if held(text)}
    wanted = {".about[…]", ".about{key}", ".modules{key}", ".modules[…][…]", ".parameters{key}", ".outcome"}
    wanted |= {".parameters[…][…][]", ".evaluations._all[].split", ".evaluations._all[].classes{key}"}
    assert wanted <= fields | {re.sub(r"\[\w+\]", "[…]", field) for field in fields}


def test_a_string_that_is_not_reached_is_told_of() -> None:
    record = Record()
    record.note = ["of a field that is new"]  # type: ignore[attr-defined]
    assert unreached(record) == [".note[]: 'of a field that is new'"]


def test_a_field_without_a_payload_to_make_is_an_error() -> None:
    assert all(held(text) for _, text in strings(made(Finding, Draw(0))))
    with pytest.raises(TypeError, match="no payload is known"):
        made(bytes, Draw(0))


@pytest.mark.parametrize("payload", MARKUP, ids=lambda payload: payload.name)
def test_what_is_unescaped_is_no_inert_document(payload: Payload) -> None:
    body = UNESCAPED[payload.bites].format(payload.text)
    assert faults(f"<div><style>p{{}}</style>{body}</div>", "fragment")


@pytest.mark.parametrize(
    ("whole", "broken", "fault"),
    [
        ("style-src &#x27;sha256-", "style-src &#x27;unsafe-inline&#x27; &#x27;sha256-", "the policy is not"),
        ("default-src &#x27;none&#x27;", "default-src *", "the policy is not"),
        ('<meta charset="utf-8"/>', '<meta http-equiv="refresh" content="0"/>', "another meta"),
        ("<head>", '<head><meta charset="utf-8"/>', "the policy is not"),
        ("</style>", "a{}</style>", "the policy is not"),
        ("</style>", "a{background:url(x)}</style>", "a style loads something"),
        ("</style>", "</style><style>a{}</style>", "2 style sheets"),
        ("<h1>", '<h1 onclick="x()">', "an attribute onclick"),
        ("<h1>", '<h1 style="color:red">', "an attribute style"),
        ("<h1>", '<h1 href="#x">', "an attribute href"),
        ("<h1>", "<h1><!-- x -->", "a comment"),
        ("<h1>", "<h1><a>x</a>", "an element <a>"),
        ("<h1>", "<h1>\x9b", "the character U+009B"),
        ("<h1>", "<h1>\u202e", "the character U+202E"),
        ("<h1>", "<h1><p>", "it is not well-formed"),
    ],
)
def test_what_is_broken_is_no_inert_page(whole: str, broken: str, fault: str) -> None:
    page = document("A title", "what is said")
    assert faults(page, "page") == []
    assert whole in page
    assert any(found.startswith(fault) for found in faults(page.replace(whole, broken, 1), "page"))


@pytest.mark.parametrize("payload", PAYLOADS, ids=lambda payload: payload.name)
class TestPlaces:
    """Each place of a document at which a name can stand."""

    def test_text_of_an_element(self, payload: Payload) -> None:
        assert faults(element("p", None, element("style", None, "p{}"), payload.text), "fragment") == []

    def test_attribute(self, payload: Payload) -> None:
        assert faults(element("p", {"title": payload.text}, element("style", None, "p{}")), "fragment") == []

    def test_text_of_a_picture(self, payload: Payload) -> None:
        for width in (None, 60.0):
            drawn = text(0, 0, payload.text, width=width)
            assert faults(element("svg", None, element("style", None, "p{}"), drawn), "svg") == []

    def test_title_and_heading_of_a_page(self, payload: Payload) -> None:
        page = document(payload.text, payload.text)
        assert faults(page, "page") == []

    def test_study(self, payload: Payload) -> None:
        study = Study("", payload.text, payload.text, {}, [Section(payload.text, payload.text, [payload.text])])
        assert faults(study_html(study), "page") == []

    def test_plot_of_learning_rates(self, payload: Payload) -> None:
        drawn = to_svg([1e-3, 1e-2], [3.0, 2.0], mark=1e-2, x=payload.text, y=payload.text)
        assert faults(drawn, "svg") == []

    def test_printed_finding(self, payload: Payload) -> None:
        finding = Finding(payload.text, "error", payload.text, 0, payload.text, payload.text, payload.text)
        assert terminal_faults(str(finding)) == []

    def test_sarif(self, payload: Payload) -> None:
        finding = Finding(payload.text, "error", payload.text, 0, payload.text, f"]({payload.text})", payload.text)
        log = json.dumps(sarif({f"runs/{payload.text}": [finding]}, "0"), ensure_ascii=False)
        assert terminal_faults(log) == []
        (result,) = json.loads(log)["runs"][0]["results"]
        assert "](" not in result["message"]["text"]
        address = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        assert re.fullmatch(r"(file://)?[\w./~%-]+", address)


def test_a_terminal_s_faults_are_found() -> None:
    assert terminal_faults("plain text, Zoë, می‌خواهم 👩‍👩‍👧\n") == []
    assert terminal_faults("\x1b[31mred\x1b[0m", coloured=True) == []
    for character in "\x1b\r\x07\x08\x7f\x9b\u202e\u200b\u2028\ufeff\ud800\uffff":
        assert len(terminal_faults(f"a{character}b", coloured=True)) == 1


def test_the_long_form_tries_every_payload_everywhere() -> None:
    assert Effort().texts >= LONG_TEXTS > SHORT.texts
