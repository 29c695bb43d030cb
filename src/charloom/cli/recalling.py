"""`charloom recall`: questions on how these models work, asked without peeking."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.console import Console

from charloom.cli.console import err, out, print_json, table, typed
from charloom.cli.options import Json
from charloom.errors import ConfigError

if TYPE_CHECKING:
    from charloom.recall import Measured, Question, Session

STATE = Path("runs") / "recall.json"
HINTS = {
    "number": "A number or a formula, such as 3.3, ln 27 or sqrt(2/200).",
    "shape": "A shape, such as (32, 30).",
    "choice": "A letter.",
    "text": "A line in your words; you mark it yourself.",
    "sketch": "A shape for each box, such as (32, 30); a scalar is ().",
}
UNKNOWN = "Not known: it comes back."


def recall(
    *,
    n: Annotated[int, Parameter(name=["--n", "-n"], help="How many questions.")] = 8,
    topic: Annotated[str | None, Parameter(help="Questions of one topic only.")] = None,
    every: Annotated[bool, Parameter(name="--all", negative="", help="Ask all of them.")] = False,
    listed: Annotated[bool, Parameter(name="--list", negative="", help="List the questions, and ask none.")] = False,
    show: Annotated[str | None, Parameter(help="Show this question with its worked answer, and ask none.")] = None,
    seed: Annotated[
        int | None, Parameter(help="Of the order of questions and options. [default: another in each session]")
    ] = None,
    state: Annotated[Path, Parameter(help="The file that remembers your answers.")] = STATE,
    json: Json = False,
) -> None:
    """Ask what you know of these models, without peeking: eight questions, ten minutes.

    For example:

        charloom recall
        charloom recall --topic batch-norm --all
        charloom recall --show kaiming

    Each answer is followed by its derivation and by numbers computed on the spot. What was wrong is asked again until
    it is right, and first in the next session; what was right comes back 1, 2, 4, 8, 16 sessions later. An empty line
    means that you don't know; Ctrl-C or Ctrl-D ends, and keeps what was answered.

    With --json the questions go to standard error, and at the end come session, answers (id, right_at_first, attempts,
    resolved), left, ended, boxes. With --list --json: questions (id, topic, kind, ask, box, due).
    """
    from charloom.recall import Session, find, of_topic, read_questions

    questions = read_questions()
    if show is not None:
        _show(find(questions, show), json)
        return
    if topic is not None:
        questions = of_topic(questions, topic)
    if listed:
        _list(questions, state, json)
        return
    if n < 1:
        raise ConfigError(f"-n {n} is below 1", remedy="Ask for at least one.")
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    session = Session(questions, state, n=None if every else n, seed=seed)
    desk = _Desk(err if json else out)
    ended = "done"
    try:
        while session.current is not None:
            session.record(_ask(desk, session, session.current))
    except (EOFError, KeyboardInterrupt) as end:
        ended = "interrupted" if isinstance(end, KeyboardInterrupt) else "end of input"
    boxes = session.memory.boxes(questions)
    if json:
        print_json(session.to_json() | {"ended": ended, "boxes": boxes})
    else:
        _summarize(desk, session, boxes, state)
    if ended == "interrupted":
        raise KeyboardInterrupt


class _Desk:
    """Where questions are put and answers are read: a terminal, or a pipe whose answers are echoed."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, text: str = "", style: str | None = None) -> None:
        """A paragraph, wrapped to the width of the terminal."""
        self._console.print(text, style=style, markup=False)

    def ask(self, prompt: str = "") -> str:
        """One line of the learner's. Raises `EOFError` at the end of the input."""
        self._console.print(f"{prompt}> ", end="", markup=False)
        self._console.file.flush()
        line = sys.stdin.readline()
        if not line or not sys.stdin.isatty():
            self.say(line.strip())
        if not line:
            raise EOFError
        return line.strip()


def _ask(desk: _Desk, session: Session, question: Question) -> bool:
    """Put the question, and show the worked answer. Whether the answer was right."""
    from charloom.recall import CHECKS

    again = ", again" if session.asked_before else ""
    desk.say()
    desk.say(f"{question.topic}{again} ({session.left} to go)", style="bold")
    desk.say(question.ask)
    desk.say(HINTS[question.kind], style="dim")
    measured = CHECKS[question.check]()
    if question.kind == "text":
        return _ask_in_words(desk, question, measured)
    if question.kind == "sketch":
        right = _ask_sketch(desk, question, measured)
    else:
        options = _offer(desk, question, session.seed) if question.kind == "choice" else []
        right = _ask_once(desk, question, options, measured)
    _work_out(desk, question, measured)
    return right


def _ask_once(desk: _Desk, question: Question, options: list[tuple[str, str, str]], measured: Measured) -> bool:
    """Ask until the answer can be read; an empty one is wrong."""
    from charloom.recall.answers import is_right

    while given := desk.ask():
        try:
            right, read = is_right(question, given, options, measured)
        except ValueError as error:
            desk.say(f"That can't be read: {error}. {HINTS[question.kind]}")
            continue
        desk.say(_verdict(right, read), style=_style(right))
        return right
    desk.say(UNKNOWN, style=_style(False))
    return False


def _offer(desk: _Desk, question: Question, seed: int) -> list[tuple[str, str, str]]:
    from charloom.recall.answers import shuffled_options

    options = shuffled_options(question, seed)
    for letter, _, text in options:
        desk.say(f"  {letter}) {text}")
    return options


def _ask_sketch(desk: _Desk, question: Question, measured: Measured) -> bool:
    """Each box asked and checked; right if all are."""
    from charloom.recall.answers import box_truth, shape_is_right

    filled: dict[str, str] = {}
    _draw(desk, question, filled)
    wrong = 0
    for box in question.boxes:
        truth = box_truth(measured, box.name)
        desk.say(f"{box.name}: {box.ask}")
        while given := desk.ask():
            try:
                right = shape_is_right(given, truth)
            except ValueError as error:
                desk.say(f"That can't be read: {error}. {HINTS['shape']}")
                continue
            break
        else:
            right = False
        desk.say("Right." if right else f"No: {truth}.", style=_style(right))
        wrong += not right
        filled[box.name] = f"{truth}" + ("" if right else "  (was wrong)")
    _draw(desk, question, filled)
    desk.say(_verdict(not wrong, f"{len(filled) - wrong} of {len(filled)} boxes"), style=_style(not wrong))
    return not wrong


def _draw(desk: _Desk, question: Question, filled: dict[str, str]) -> None:
    width = max(len(box.name) for box in question.boxes)
    for box in question.boxes:
        desk.say(f"  [ {box.name:<{width}} ]  {filled.get(box.name, '?')}")


def _ask_in_words(desk: _Desk, question: Question, measured: Measured) -> bool:
    """The learner writes, reads the model answer, and marks each point."""
    given = desk.ask()
    _work_out(desk, question, measured)
    if not given:
        desk.say(UNKNOWN, style=_style(False))
        return False
    desk.say("Did your answer say so? y or n for each.")
    said = 0
    for point in question.points:
        desk.say(f"- {point}")
        while (mark := desk.ask("y/n").lower()) not in ("y", "yes", "n", "no"):
            desk.say("y or n, please.")
        said += mark.startswith("y")
    right = said == len(question.points)
    desk.say(_verdict(right, f"{said} of {len(question.points)} points"), style=_style(right))
    return right


def _work_out(desk: _Desk, question: Question, measured: Measured) -> None:
    from charloom.recall.answers import stated

    if answer := stated(question):
        desk.say(f"Answer: {answer}")
    desk.say(question.explain)
    desk.say("Measured:", style="dim")
    for line in measured.lines:
        desk.say(f"  {line}", style="dim")


def _verdict(right: bool, read: str) -> str:
    return f"{'Right' if right else 'Wrong, it comes back'}: {read}."


def _style(right: bool) -> str:
    return "green" if right else "red"


def _summarize(desk: _Desk, session: Session, boxes: dict[str, int], state: Path) -> None:
    right = [id for id, first in session.right.items() if first]
    wrong = [id for id, first in session.right.items() if not first]
    desk.say()
    if not session.right:
        desk.say("Nothing answered; nothing is written.")
        return
    desk.say(f"Session {session.number}: {len(right)} of {len(session.right)} right at the first try.", style="bold")
    if wrong:
        desk.say(f"First next time: {', '.join(wrong)}.")
    desk.say("Boxes: " + ", ".join(f"{name}: {count}" for name, count in boxes.items()) + f". Kept in {state}.")


def _list(questions: list[Question], state: Path, json: bool) -> None:
    from charloom.recall import read_memory

    cards = read_memory(state).cards
    if json:
        print_json(
            {
                "questions": [
                    {"id": one.id, "topic": one.topic, "kind": one.kind, "ask": one.ask}
                    | {"box": card.box if card else None, "due": card.due if card else None}
                    for one, card in ((one, cards.get(one.id)) for one in questions)
                ]
            }
        )
        return
    rows = [
        [one.id, one.topic, one.kind, str(card.box) if card else "new"]
        for one, card in ((one, cards.get(one.id)) for one in questions)
    ]
    caption = typed("A question with its worked answer: charloom recall --show ID")
    table(f"{len(rows)} questions", {"id": "left", "topic": "left", "kind": "left", "box": "right"}, rows, caption)


def _show(question: Question, json: bool) -> None:
    from charloom.recall import CHECKS
    from charloom.recall.answers import stated

    measured = CHECKS[question.check]()
    if json:
        content: dict[str, Any] = {key: getattr(question, key) for key in ("id", "topic", "kind", "ask")}
        content |= {"answer": stated(question) or None, "points": list(question.points), "explain": question.explain}
        print_json(content | {"boxes": {box.name: box.answer for box in question.boxes}, "measured": measured.lines})
        return
    desk = _Desk(out)
    desk.say(f"{question.id} ({question.topic})", style="bold")
    desk.say(question.ask)
    for _, text in question.options:
        desk.say(f"  - {text}")
    for point in question.points:
        desk.say(f"  - {point}")
    _work_out(desk, question, measured)
