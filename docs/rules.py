"""Writes a page for each rule, docs/rules/<id>.md with its picture, and the list of them all, docs/rules/README.md.

    python docs/rules.py [ID…]

Each fault is put into a small training of docs/examples, which is run without it and with it. A page shows the code,
the finding as it was told, and the numbers that it rests on, side by side. Two minutes for all of them.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import torch
from examples import EXAMPLES, Example
from references import REFERENCES
from rule_figures import figure_of
from rule_thresholds import thresholds_of

from telltales.catalogue import CATALOGUE, Entry
from telltales.causes import CAUSES
from telltales.checks.checking import RULES as CHECKED
from telltales.finding import Finding
from telltales.report.picture import picture
from telltales.verdicts import RULES

FOLDER = Path(__file__).parent / "rules"
WITHOUT_EXAMPLE = {
    "ranks-diverge": "It takes several processes, each watching with `ranks=True`; two of them go apart in "
    "[a test](../../tests/telltales/data_parallel.py).",
}
"""What does not fit into one small training, and where it is shown in its place."""
HEADINGS = ("without the fault", "with it")


def page(entry: Entry, example: Example | None) -> tuple[str, str | None]:
    """A rule's page, and the picture that it shows."""
    drawn = None
    lines = [f"# {entry.rule}", "", f"**{entry.title}.** Severity: {entry.severity}.", ""]
    lines += [entry.why, "", f"**Try:** {entry.remedy}", ""]
    if example is None:
        lines += [WITHOUT_EXAMPLE[entry.rule], ""]
    else:
        seen, drawn = _seen(example)
        lines += seen
    lines += _looked_at(entry.rule) + _relations(entry.rule)
    lines += ["## Source", "", *(f"- {one}." for one in REFERENCES[entry.rule]), ""] if entry.rule in REFERENCES else []
    lines += [f'Mute it with `mute=["{entry.rule}"]`, at one place with `mute=["{entry.rule}@PLACE"]`.', ""]
    return "\n".join(lines), drawn


def _seen(example: Example) -> tuple[list[str], str | None]:
    healthy, sick = example.seen(False), example.seen(True)
    root, finding = _found(example.rule, sick.findings)
    lines = [
        "## Seen in a small training",
        "",
        f"{example.said} The nets and the loop are in [docs/examples](../examples).",
        "",
    ]
    lines += ["```python", example.code, "```", "", "With `sick` telltales says:", ""]
    lines += ["```text", *str(finding).splitlines()[:4], "```", ""]
    if root.rule != example.rule:
        lines += [f"It stands under {_link(root.rule)}, its cause.", ""]
    under = [one.rule for one in finding.symptoms]
    lines += [f"Under it, as what follows: {_links(under)}.", ""] if under else []
    if healthy.named():
        raise ValueError(f"{example.rule}: without the fault, too, there is {healthy.named()}")
    notes = [one.rule for one in healthy.findings]
    lines += [f"Without: {f'no more than a note, {_links(notes)}' if notes else 'nothing'}.", ""]
    if not len(sick.record):
        return lines, None
    figure = figure_of(example.shows, dict(zip(HEADINGS, (healthy.record, sick.record), strict=True)))
    lines += [f"![{figure.title}, without the fault and with it](pictures/{example.rule}.svg)", ""]
    return lines, picture(figure, 900)


def _found(rule: str, findings: list[Finding]) -> tuple[Finding, Finding]:
    """The root, and the finding of the rule at or under it."""
    return next((root, one) for root in findings for one in root.every() if one.rule == rule)


def _looked_at(rule: str) -> list[str]:
    """When it is looked for, and the thresholds."""
    when = [name for name, some in (("before training", CHECKED), ("while training", _live())) if rule in some]
    lines = ["## How it is found", "", f"Looked for {' and '.join(when)}.", ""] if when else []
    rows = [f"| `{name}` | {float(value):.4g} | {value.source} |" for name, value in thresholds_of(rule)]
    return [*lines, "| threshold | value | source |", "|---|---|---|", *rows, ""] if rows else lines


def _live() -> set[str]:
    return {one.entry.rule for one in RULES}


def _relations(rule: str) -> list[str]:
    effects = [effect for effect, causes in CAUSES.items() if rule in causes]
    lines = []
    for heading, some in (("It may follow from", CAUSES.get(rule, ())), ("From it may follow", effects)):
        lines += [f"{heading} {_links(some)}.", ""] if some else []
    return ["## Causes and effects", "", *lines] if lines else []


def _link(rule: str) -> str:
    return f"[{rule}]({rule}.md)"


def _links(rules: list[str] | tuple[str, ...]) -> str:
    return ", ".join(_link(rule) for rule in dict.fromkeys(rules))


def index() -> str:
    """The list of all rules."""
    lines = [
        "# Rules",
        "",
        "What telltales looks for. Each page shows the fault in a small training, what was told,",
        "",
    ]
    lines[-1:] = ["the numbers behind it, healthy and sick, the thresholds and where they come from.", ""]
    lines += [
        "An error will not train; a warning trains badly; a note is worth knowing. *Before*: one batch is enough",
        "",
    ]
    lines[-1:] = ["(`telltales.preflight`, `charloom check`); *while*: from the record of a training.", ""]
    lines += ["| rule | what it says | severity | before | while |", "|---|---|---|---|---|"]
    for entry in CATALOGUE.values():
        marks = " | ".join("✓" if entry.rule in some else "" for some in (CHECKED, _live()))
        lines.append(f"| {_link(entry.rule)} | {entry.title} | {entry.severity} | {marks} |")
    return "\n".join([*lines, ""])


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    wanted = sys.argv[1:] or list(CATALOGUE)
    (FOLDER / "pictures").mkdir(parents=True, exist_ok=True)
    for rule in wanted:
        text, drawn = page(CATALOGUE[rule], EXAMPLES.get(rule))
        (FOLDER / f"{rule}.md").write_text(text, encoding="utf-8")
        if drawn is not None:
            (FOLDER / "pictures" / f"{rule}.svg").write_text(drawn, encoding="utf-8")
        print(rule, flush=True)
    (FOLDER / "README.md").write_text(index(), encoding="utf-8")


if __name__ == "__main__":
    main()
