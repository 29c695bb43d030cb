"""How Sphinx makes the documentation site; `docs/site.py` stages the sources and calls it."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx

import telltales

project = "telltales"
author = "telltales contributors"
copyright = "telltales contributors; MIT licence"
version = release = telltales.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx_copybutton"]
root_doc = "index"
exclude_patterns = ["docs/site"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
nb_execution_mode = "off"
html_theme = "furo"
html_title = "telltales"
html_math_renderer = "mathml"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False
templates_path: list[str] = []
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False
autodoc_preserve_defaults = True
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_typehints = "signature"
default_role = "literal"
copybutton_prompt_text = r"\$ "
suppress_warnings = ["myst.header"]
"""A page that begins with a level other than the first is one that was written for GitHub."""


def setup(app: Sphinx) -> None:
    """Formulas as MathML, which browsers draw by themselves; docstrings, which are plain text, as they look."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    app.connect("autodoc-process-docstring", _as_rst)
    app.connect("autodoc-process-signature", _parsable)


def _inline(writer: Any, node: nodes.math) -> None:
    writer.body.append(convert(node.astext()))
    raise nodes.SkipNode


def _block(writer: Any, node: nodes.math_block) -> None:
    writer.body.append(f'<div class="formula">{convert(node.astext(), display="block")}</div>')
    raise nodes.SkipNode


def _parsable(
    app: Sphinx, what: str, name: str, obj: object, options: object, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """A default that a factory makes as dots: Sphinx shows what it can't read as it is, with its own marks."""
    return signature and signature.replace("<factory>", "..."), returned


def _as_rst(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    made: list[str] = []
    inside = False
    for line in lines:
        indented = line.startswith("    ")
        if indented and not inside and (not made or not made[-1].strip()):
            made += ["::", ""]
            inside = True
        elif line.strip() and not indented:
            if inside:
                made.append("")
            inside = False
        made.append(line if inside else _escaped(line))
    lines[:] = made


def _escaped(line: str) -> str:
    """Backquotes mean code; nothing else is markup."""
    parts = re.split(r"(``[^`]+``|`[^`]+`)", line)
    return "".join(
        f"``{part.strip('`')}``" if part.startswith("`") else re.sub(r"([*|_\\])", r"\\\1", part) for part in parts
    )
