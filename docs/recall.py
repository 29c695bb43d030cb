"""Writes docs/recall.md: every question of `charloom recall` with its worked answer and what its check computes.

python docs/recall.py
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from charloom.recall import CHECKS, Question, read_questions
from charloom.recall.answers import stated

PAGE = Path(__file__).parent / "recall.md"
INTRODUCTION = """\
# Recall: questions and worked answers

`charloom recall` asks these in the terminal, eight at a time, and what was wrong comes back; read this page afterwards.
Each answer has its derivation, and below it the numbers that [its check](../src/charloom/recall/checks) computes anew
whenever it is asked, with NumPy, torch or charloom's own models. This page is written by `python docs/recall.py`.
"""


def as_markdown(questions: list[Question]) -> str:
    """The page, by topic in the order of the file."""
    parts = [INTRODUCTION]
    for topic, group in groupby(questions, key=lambda question: question.topic):
        parts.append(f"## {topic.capitalize()}\n")
        parts += [_section(question) for question in group]
    return "\n".join(parts)


def _section(question: Question) -> str:
    lines = [f"### {question.id}", "", question.ask, ""]
    lines += [f"- {text}" for _, text in question.options]
    if question.boxes:
        lines += ["| box | | shape |", "|---|---|---|"]
        lines += [f"| {box.name} | {box.ask} | `{box.answer}` |" for box in question.boxes]
    elif question.kind in ("number", "shape"):
        lines.append(f"**Answer:** `{stated(question)}`")
    else:
        lines += [*([""] if question.options else []), f"**Answer:** {stated(question)}"]
    if question.points:
        lines += ["", *(f"- {point}" for point in question.points)]
    lines += ["", question.explain, "", "```text", *CHECKS[question.check]().lines, "```", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(as_markdown(read_questions()), encoding="utf-8")
