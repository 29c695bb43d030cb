"""What makes a document, or a line on a terminal, inert: checked by parsing, against what is allowed."""

from __future__ import annotations

import base64
import hashlib
import re
import unicodedata
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from typing import Literal

Kind = Literal["page", "fragment", "svg"]
"""A page with a policy of its own; what a notebook shows inside its page; a picture."""

_ELEMENTS = """
html head meta title style body header main section div h1 h2 h3 p span b details summary ul li dl dt dd
table caption thead tbody tr th td svg g path rect circle text line polyline
"""
_ATTRIBUTES = """
aria-label charset class content cx cy d fill font-family font-size height http-equiv lang name open points r role rx
scope stroke stroke-dasharray stroke-width tabindex text-anchor title transform viewbox width x x1 x2 xmlns y y1 y2
"""
ELEMENTS, ATTRIBUTES = frozenset(_ELEMENTS.split()), frozenset(_ATTRIBUTES.split())
"""All that is used; what leads or loads, and what begins with `on`, is not among them."""
POLICY = "http-equiv", "Content-Security-Policy"
HEIGHT = re.compile(r"height:[\d.]+px")
LOADING = re.compile(r"url\(|@import|@charset|expression|-moz-|behavior|https?:|//|data:|[<\\]", re.IGNORECASE)
JOINERS = "\u200c\u200d"
COLOURS = re.compile(r"\x1b\[[\d;]*m")


class _Page(HTMLParser):
    """A document as a browser's parser would take it apart."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.starts: list[tuple[str, dict[str, str | None]]] = []
        self.styles: list[str] = []
        self.faults: list[str] = []
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        if len(set(names)) != len(names):
            self.faults.append(f"<{tag}> has an attribute twice")
        self.starts.append((tag, dict(attrs)))
        self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.faults.append(f"</{tag}> closes nothing")

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "style":
            self.styles.append(data)

    def handle_comment(self, data: str) -> None:
        self.faults.append(f"a comment: {data[:60]!r}")

    def handle_decl(self, decl: str) -> None:
        if decl != "DOCTYPE html":
            self.faults.append(f"a declaration: {decl[:60]!r}")

    def unknown_decl(self, data: str) -> None:
        self.faults.append(f"a section: {data[:60]!r}")

    def handle_pi(self, data: str) -> None:
        if data != 'xml version="1.0" encoding="UTF-8"?':
            self.faults.append(f"an instruction: {data[:60]!r}")


def faults(document: str, kind: Kind) -> list[str]:
    """What is in a document that could run, load, lead elsewhere or deceive; nothing where it is inert."""
    page = _Page()
    page.feed(document)
    page.close()
    found = list(page.faults)
    for tag, attributes in page.starts:
        if tag not in ELEMENTS:
            found.append(f"an element <{tag}>")
        for name, value in attributes.items():
            of_picture = kind == "svg" and name == "style" and HEIGHT.fullmatch(value or "")
            if name not in ATTRIBUTES and not of_picture:
                found.append(f"an attribute {name} of <{tag}>: {(value or '')[:60]!r}")
            if name in ("fill", "stroke", "transform", "d", "points") and LOADING.search(value or ""):
                found.append(f"{name} of <{tag}> loads something: {(value or '')[:60]!r}")
    found += _style_faults(page, kind)
    found += _policy_faults(page) if kind == "page" else []
    found += [f"the character U+{ord(one):04X}" for one in unseen(document, "\n")]
    try:
        document.encode()
        ET.fromstring(document)
    except (UnicodeEncodeError, ET.ParseError) as error:
        found.append(f"it is not well-formed: {error}")
    return found


def _style_faults(page: _Page, kind: Kind) -> list[str]:
    tags = [tag for tag, _ in page.starts]
    found = [] if tags.count("style") == len(page.styles) == 1 else [f"{tags.count('style')} style sheets"]
    return found + [f"a style loads something: {match[0]!r}" for one in page.styles if (match := LOADING.search(one))]


def _policy_faults(page: _Page) -> list[str]:
    """The policy comes before all else in the head, and allows the one style sheet alone."""
    tags = [tag for tag, _ in page.starts]
    digest = base64.b64encode(hashlib.sha256("".join(page.styles).encode()).digest()).decode()
    wanted = {"http-equiv": POLICY[1], "content": f"default-src 'none'; style-src 'sha256-{digest}'"}
    found = []
    if tags[:2] != ["html", "head"] or page.starts[2] != ("meta", wanted):
        found.append(f"the policy is not the first thing in the head: {page.starts[2]}")
    others = [one for tag, one in page.starts[3:] if tag == "meta" and "http-equiv" in one]
    return found + [f"another meta element: {one}" for one in others]


def unseen(text: str, allowed: str = "\n") -> list[str]:
    """The characters of a text that move a cursor, turn the reading direction, or can't be seen or encoded."""
    return [one for one in dict.fromkeys(text) if _is_unseen(one) and one not in JOINERS and one not in allowed]


def _is_unseen(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") or ord(character) & 0xFFFE == 0xFFFE


def terminal_faults(written: str, coloured: bool = False) -> list[str]:
    """What is in a terminal's output that could do more than be read. ``coloured``: colours of ours are no fault."""
    text = COLOURS.sub("", written) if coloured else written
    return [f"the character U+{ord(one):04X} is printed" for one in unseen(text)]
