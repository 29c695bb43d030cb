"""The one style sheet, and the colours that it and matplotlib share.

The ramps are even steps in OKLCH: lightness always rises or always falls, so that their order survives colour
blindness and grey print. Each has one form for a light page and one for a dark page, where more is brighter.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from types import MappingProxyType

SEQUENTIAL = 16
DIVERGING = 15

# First to last: light, then dark.
_RAMPS = {
    "d": (
        "2b2a8e 452a96 5e2a99 762998 8d2992 a32888 b82d78 c93965 d64950 de5c39 e1701c df870c",
        "6c7ae5 8878e7 a276e5 ba74de d073d3 e373c5 f878b0 fe8d9a ffa38f feb68b ffc886 ffda74",
    ),
    "q": (
        "f3f5e6 dce8ce c1ddba a1d2ab 7bc7a3 4abba1 21ada3 099da2 0b8c9e 067c9a 016c96 045b8d 0a4b84 163b75 1a2c66 "
        "1a1e56",
        "1d2130 212940 243150 243b60 214571 194f81 05618b 077390 068496 0c969a 03a99b 46bc98 76cc94 a3db92 cde894 "
        "f5f59c",
    ),
    "v": (
        "0b4c92 2a69a9 4887c1 67a5d9 8dbde2 b3d4ea dceaf4 f3f3f3 f2e5db ebc9b2 e4ad8a dc9064 c56f46 ae4d29 96290a",
        "7ac8f5 66afe1 5396cd 437eb9 3e6895 375373 2f3e52 2b2b2b 50362d 704433 915237 b36139 cc7b4b e5955d fdb171",
    ),
    "c": ("1f6fb4 c2410c 0f7b5f 8a4fbf 8a6d00 b8336a", "6bb1f0 fb9a5a 4fc9a4 c39bf0 d9bd4c f58bb0"),
}
_NAMED = {
    "page": ("f4f5f7", "101216"),
    "card": ("ffffff", "191c22"),
    "ink": ("1b1f27", "e7eaf0"),
    "muted": ("5b6472", "9aa4b2"),
    "faint": ("b4bcc8", "545d6b"),
    "grid": ("e6e9ee", "2a2f38"),
    "edge": ("d9dde4", "2f3540"),
    "alarm": ("b3261e", "ff8a80"),
}

CATEGORIES = len(_RAMPS["c"][0].split())


def _palette(form: int) -> Mapping[str, str]:
    colours = {name: f"#{pair[form]}" for name, pair in _NAMED.items()}
    for letter, pair in _RAMPS.items():
        colours |= {f"{letter}{i}": f"#{colour}" for i, colour in enumerate(pair[form].split())}
    return MappingProxyType(colours)


LIGHT, DARK = _palette(0), _palette(1)
"""Colour name → ``#rrggbb``."""


def _variables(palette: Mapping[str, str]) -> str:
    return "".join(f"--{name}:{colour};" for name, colour in palette.items())


_STROKES = "".join(f".telltales .s-{name}{{stroke:var(--{name})}}" for name in LIGHT)
_FILLS = "".join(f".telltales .f-{name}{{fill:var(--{name})}}" for name in LIGHT)

_DRAWING = """
.telltales{color:var(--ink);font:14px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
.telltales svg{display:block;max-width:100%;height:auto;overflow:visible}
.telltales svg.natural{max-width:none}
.telltales svg text{font-size:11px;fill:var(--ink);font-variant-numeric:tabular-nums;unicode-bidi:isolate}
.telltales svg .tick,.telltales svg .detail{fill:var(--muted)}
.telltales svg .axis{fill:var(--muted)}
.telltales svg .title{font-weight:600;font-size:12px}
.telltales .grid{stroke:var(--grid);fill:none}
.telltales .base{stroke:var(--faint);fill:none}
.telltales .guide{stroke:var(--muted);stroke-dasharray:4 4;fill:none}
.telltales svg .on{paint-order:stroke;stroke:var(--card);stroke-width:3px;stroke-linejoin:round}
.telltales .lead{stroke:var(--faint);fill:none}
.telltales .line{fill:none;stroke-width:1.6;stroke-linejoin:round;stroke-linecap:round}
.telltales .thin{fill:none;stroke-width:.8;opacity:.5;stroke-linejoin:round;stroke-linecap:round}
.telltales .dash{fill:none;stroke-width:1.6;stroke-dasharray:5 3}
.telltales .band{opacity:.18;stroke:none}
.telltales .body{opacity:.28;stroke:none}
.telltales .dot{stroke:var(--card);stroke-width:.8}
.telltales .cells{shape-rendering:crispEdges;fill:none;stroke-width:1}
.telltales .frame{fill:none;stroke:var(--edge)}
.telltales .paper{fill:var(--page)}
"""

_NOTEBOOK = """
.telltales.cell{background:var(--card);border:1px solid var(--edge);border-radius:8px;padding:14px 16px}
.telltales.cell .name{font-weight:600;margin:12px 0 0}
.telltales.cell .name:first-of-type{margin-top:0}
.telltales.cell .said{color:var(--muted);font-size:12.5px;margin:0 0 8px}
.telltales.cell .pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(400px,1fr));gap:12px 24px}
.telltales.cell .pair .wide{grid-column:1/-1}
"""

_PAGE = """
body.telltales{margin:0;background:var(--page)}
.telltales main,.telltales header{max-width:1168px;margin:0 auto;padding:0 16px}
.telltales header{padding-top:28px}
.telltales h1{font-size:24px;line-height:1.25;margin:0;letter-spacing:-.01em;overflow-wrap:anywhere}
.telltales h2{font-size:17px;margin:0;display:inline}
.telltales h3{font-size:14px;margin:0;overflow-wrap:anywhere}
.telltales p{margin:0}
.telltales .said{color:var(--muted);font-size:12.5px;max-width:125ch}
.telltales .note{color:var(--muted);font-size:12px;margin-top:8px;max-width:125ch}
.telltales section,.telltales details{margin:22px 0}
.telltales summary{cursor:pointer;padding:6px 0;border-bottom:1px solid var(--edge);margin-bottom:14px}
.telltales summary .said{margin-left:10px}
.telltales summary:focus-visible{outline:2px solid var(--c0);outline-offset:2px;border-radius:4px}
.telltales .grid2{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:16px}
.telltales .card{background:var(--card);border:1px solid var(--edge);border-radius:10px;padding:14px 16px;min-width:0}
.telltales .part{margin:16px 0}
.telltales .wide{grid-column:1/-1}
.telltales .wide svg{min-width:680px}
.telltales .card>.said{margin-bottom:10px}
.telltales .scroll{overflow:auto;max-width:100%}
.telltales .tall{max-height:440px}
.telltales dl{margin:14px 0}
.telltales .figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px}
.telltales .figures div{background:var(--card);border:1px solid var(--edge);border-radius:10px;padding:10px 12px}
.telltales .figures dt{color:var(--muted);font-size:12px}
.telltales .figures dd{margin:0;font-size:16px;font-weight:600;font-variant-numeric:tabular-nums;line-height:1.35}
.telltales .figures .said{font-weight:400;display:block;line-height:1.35}
.telltales .watched{display:flex;flex-wrap:wrap;gap:8px 28px;font-size:12.5px}
.telltales .watched dt{color:var(--muted);font-size:12px}
.telltales .watched dd{margin:0;overflow-wrap:anywhere}
.telltales section .card{margin:14px 0}
.telltales table{border-collapse:collapse;width:100%;font-size:12.5px;font-variant-numeric:tabular-nums}
.telltales caption{text-align:left;font-weight:600;font-size:14px;padding-bottom:6px}
.telltales th,.telltales td{padding:4px 10px 4px 0;border-bottom:1px solid var(--grid);text-align:left}
.telltales td{overflow-wrap:anywhere}
.telltales th{font-weight:600}
.telltales thead th{color:var(--muted);vertical-align:bottom;line-height:1.3}
.telltales thead th{position:sticky;top:0;background:var(--card)}
.telltales thead .n{white-space:normal;min-width:62px}
.telltales td.type{white-space:nowrap}
.telltales tbody th{font-weight:500;white-space:nowrap}
.telltales .n{text-align:right;white-space:nowrap}
.telltales .spark{min-width:84px}
.telltales .facts{width:auto}
.telltales .facts th{color:var(--muted);font-weight:400;padding-right:24px}
.telltales .facts thead th{color:var(--ink);font-weight:600}
.telltales .findings .said{margin:4px 0}
.telltales .finding{border-left:4px solid var(--muted)}
.telltales .finding.error{border-left-color:var(--alarm)}
.telltales .finding.warning{border-left-color:var(--c1)}
.telltales .finding.well{border-left-color:var(--c2)}
.telltales .finding.gone{opacity:.7}
.telltales .finding details{margin:8px 0 0;font-size:12.5px}
.telltales .finding summary{border:0;margin:0;padding:2px 0}
.telltales .finding ul{margin:4px 0;padding-left:20px}
.telltales .never{columns:3 220px;margin:8px 0 0;padding-left:18px;font-size:12.5px}
.telltales .names{overflow-wrap:anywhere}
@media (max-width:860px){.telltales .grid2{grid-template-columns:minmax(0,1fr)}}
@media print{body.telltales{background:none;font-size:12px}.telltales .card,.telltales .figures div{break-inside:avoid}
.telltales .tall{max-height:none}.telltales .scroll{overflow:visible}.telltales thead th{position:static}}
"""


def _sheet(*parts: str) -> str:
    # Print is always on white; a notebook's own theme counts for more than the system's.
    themes = (
        f".telltales{{color-scheme:light dark;{_variables(LIGHT)}}}"
        f"@media screen and (prefers-color-scheme:dark){{.telltales{{{_variables(DARK)}}}}}"
        f'[data-jp-theme-light="true"] .telltales,.vscode-light .telltales{{{_variables(LIGHT)}}}'
        f'[data-jp-theme-light="false"] .telltales,.vscode-dark .telltales{{{_variables(DARK)}}}'
    )
    return (themes + "".join(parts) + _STROKES + _FILLS).replace("\n", "")


PAGE_STYLE = _sheet(_DRAWING, _PAGE)
NOTEBOOK_STYLE = _sheet(_DRAWING, _NOTEBOOK)


def content_security_policy() -> str:
    """Nothing may be loaded and nothing run; of styles, `PAGE_STYLE` only."""
    digest = base64.b64encode(hashlib.sha256(PAGE_STYLE.encode()).digest()).decode("ascii")
    return f"default-src 'none'; style-src 'sha256-{digest}'"
