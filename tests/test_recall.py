"""`charloom recall`: answers that are computed, wrong ones that come back, and files that are refused when damaged."""

from __future__ import annotations

import io
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import chdir, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from charloom.cli import main
from charloom.recall import CHECKS, Memory, Question, QuestionError, StateError, find, read_memory, read_questions
from charloom.recall.answers import measured_number, shape_is_right, shuffled_options
from charloom.recall.expressions import LONGEST, parse_number, parse_shape
from charloom.recall.memory import BOXES, write_memory
from charloom.recall.questions import QUESTIONS

sys.path.insert(0, str(Path(__file__).parent.parent / "docs"))

import recall as page

ALL = read_questions()
CORE = {"mlp-sketch", "kaiming", "norm-modes", "softmax-and-cross-entropy"}
NUMBER = """
[[question]]
id = "one"
topic = "t"
kind = "number"
ask = "?"
explain = "!"
check = "uniform_loss"
answer = "ln 27"
tolerance = 0.01
"""
CHOICE = NUMBER.replace('"number"', '"choice"').replace("tolerance = 0.01", "options = {a = 'b'}")
SKETCH = NUMBER.replace('"number"', '"sketch"').replace("tolerance = 0.01", "boxes = [1]").replace("answer", "# ")
Recall = Callable[..., tuple[int, str, str]]


@pytest.fixture
def recall(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Recall:
    """Run the command in an empty folder with these lines as its input: exit status, output and messages."""

    def run(lines: list[str], *arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        status = 0
        with chdir(tmp_path):
            try:
                main(["recall", *arguments])
            except SystemExit as exit:
                status = int(exit.code or 0)
        captured = capfdbinary.readouterr()
        return status, captured.out.decode(), captured.err.decode()

    return run


def right_lines(question: Question, seed: int) -> list[str]:
    """What a learner types who knows the answer."""
    match question.kind:
        case "choice":
            return [letter for letter, key, _ in shuffled_options(question, seed) if key == question.answer]
        case "text":
            return ["because", *("y" for _ in question.points)]
        case "sketch":
            return [box.answer for box in question.boxes]
        case _:
            return [question.answer]


def asked(tmp_path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((tmp_path / "runs" / "recall.json").read_text())
    assert len(content.pop("sha256")) == 64
    return content


# The questions and their checks


def test_there_are_enough_questions_and_the_four_of_the_core() -> None:
    assert len(ALL) >= 24
    assert {question.id for question in ALL if question.core} == CORE
    assert {question.check for question in ALL} == set(CHECKS)


@pytest.mark.parametrize("question", ALL, ids=lambda question: question.id)
def test_the_stated_answer_is_what_the_check_computes(question: Question) -> None:
    measured = CHECKS[question.check]()
    assert measured.lines
    assert measured == CHECKS[question.check]()
    match question.kind:
        case "number":
            # Near enough for a right answer that is rounded.
            assert abs(parse_number(question.answer) - measured_number(measured)) <= question.tolerance / 2
        case "shape":
            assert parse_shape(question.answer) == measured.answer
        case "choice":
            assert measured.answer == question.answer
        case "sketch":
            assert measured.answer == {box.name: parse_shape(box.answer) for box in question.boxes}
        case "text":
            assert measured.answer is None


@pytest.mark.parametrize(
    ("id", "wrong"),
    [
        ("kaiming-number", "1/sqrt(200)"),
        ("sum-std", "200"),
        ("stored-variance", "1"),
        ("token-weighted", "2.5"),
        ("logit-gradient", "0.25"),
        ("temperature", "0.8"),
        ("relu-second-moment", "1/2 - 1/(2 pi)"),
        ("running-momentum", "0"),
        ("update-ratio", "1e-3"),
        ("double-softmax", "0"),
        ("uniform-loss", "log2 27"),
    ],
)
def test_the_likely_mistake_is_wrong(id: str, wrong: str) -> None:
    question = find(ALL, id)
    assert abs(parse_number(wrong) - measured_number(CHECKS[question.check]())) > question.tolerance


def test_the_page_is_what_is_computed() -> None:
    assert page.PAGE.read_text(encoding="utf-8") == page.as_markdown(ALL)


# What a learner types


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3.2958", 3.2958),
        ("ln 27", math.log(27)),
        ("LN(27)", math.log(27)),
        ("sqrt(2/200)", 0.1),
        ("√(2/200)", 0.1),
        ("√2/2", math.sqrt(2) / 2),
        ("2 ln 2 / 5", 2 * math.log(2) / 5),
        ("ln(27)^2", math.log(27) ** 2),
        ("-2^2", -4),
        ("2^-1", 0.5),
        ("2**3**2", 512),
        ("0.999^1000", 0.999**1000),
        ("1 − 0.97^2", 1 - 0.97**2),
        ("30·200 + 200", 6200),
        ("11,897", 11897),
        ("37%", 0.37),
        ("1e-3", 1e-3),
        ("1/e", 1 / math.e),
        ("2e", 2 * math.e),
        ("[1 + 2] × 3 ÷ 2", 4.5),
        ("10 - 3 - 2", 5),
        ("log2 8", 3),
    ],
)
def test_a_formula_is_read(text: str, value: float) -> None:
    assert parse_number(text) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "(",
        "1 +",
        "ln",
        "1)",
        "x",
        "__import__('os')",
        "ln 0",
        "ln -1",
        "1/0",
        "(-1)^0.5",
        "9^9^9^9",
        "1,2",
        "1..2",
        "2 3",
    ],
)
def test_what_is_no_formula_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_number(text)


@given(st.one_of(st.text(), st.text("0123456789.+-*/^()e√ln %,", max_size=LONGEST)))
@example("(" * LONGEST)
@example("√" * LONGEST)
@example("-" * LONGEST)
def test_any_text_is_a_finite_number_or_refused(text: str) -> None:
    with suppress(ValueError):
        assert math.isfinite(parse_number(text))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_means_itself(value: float) -> None:
    assert parse_number(repr(value)) == value


@pytest.mark.parametrize(
    "text", ["(32, 30)", "[32,30]", "32 30", "32x30", "32 × 30", "torch.Size([32, 30])", "{32;30}", " 32 , 30 "]
)
def test_a_shape_is_read_in_any_style(text: str) -> None:
    assert parse_shape(text) == (32, 30)


def test_scalars_and_vectors_are_shapes() -> None:
    assert parse_shape("()") == parse_shape("scalar") == parse_shape("torch.Size([])") == ()
    assert parse_shape("(5,)") == parse_shape("5") == (5,)
    assert not shape_is_right("(30, 32)", (32, 30))


@pytest.mark.parametrize("text", ["", "a", "(32, )30", "3.2", "-1", "32,,30", "(" * 200])
def test_what_is_no_shape_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_shape(text)


# A session


def test_right_answers_end_the_session(recall: Recall, tmp_path: Path) -> None:
    status, listed, _ = recall([], "--list", "--json")
    assert status == 0
    order = Memory().order(ALL, seed=5)[:8]
    lines = [line for question in order for line in right_lines(question, 5)]
    status, output, messages = recall(lines, "--seed", "5", "--json")
    assert status == 0
    result = json.loads(output)
    assert [answer["id"] for answer in result["answers"]] == [question.id for question in order]
    assert all(answer["right_at_first"] and answer["attempts"] == 1 for answer in result["answers"])
    assert (result["left"], result["ended"], result["session"]) == ([], "done", 1)
    assert result["boxes"]["1"] == 8
    assert result["boxes"]["new"] == len(json.loads(listed)["questions"]) - 8
    assert "Measured:" in messages
    assert set(asked(tmp_path)["questions"]) == {question.id for question in order}


def test_every_question_can_be_answered(recall: Recall) -> None:
    lines = [line for question in Memory().order(ALL, seed=0) for line in right_lines(question, 0)]
    status, output, _ = recall(lines, "--all", "--seed", "0")
    assert status == 0
    assert f"{len(ALL)} of {len(ALL)} right at the first try" in output


def test_the_core_is_asked_first() -> None:
    for seed in range(5):
        assert {question.id for question in Memory().order(ALL, seed)[:4]} == CORE


def test_a_wrong_answer_is_told_and_comes_back_until_it_is_right(recall: Recall, tmp_path: Path) -> None:
    memory = Memory()
    memory.record("uniform-loss", False, 1)
    write_memory(tmp_path / "runs" / "recall.json", memory)
    status, output, _ = recall(["3", "", "ln(27", "ln 27"], "-n", "1")
    assert status == 0
    assert "Wrong, it comes back: 3." in output
    assert output.count("loss, again (1 to go)") == 2
    assert "Not known" in output
    assert "That can't be read: a bracket is not closed." in output
    assert "Right: 3.29584." in output
    assert "Answer: ln 27 = 3.29584" in output
    assert "First next time: uniform-loss." in output
    assert asked(tmp_path) == {
        "format": 1,
        "sessions": 2,
        "questions": {"uniform-loss": {"box": 1, "last": 2, "asked": 2, "wrong": 2}},
    }


def test_what_was_wrong_comes_first_in_the_next_session(recall: Recall) -> None:
    _, output, _ = recall(["0", "0"], "--topic", "sampling", "--json")
    wrong = {answer["id"] for answer in json.loads(output)["answers"]}
    assert len(wrong) == 2
    for _ in range(3):
        _, output, _ = recall(["0", "0"], "--json")
        result = json.loads(output)
        assert {answer["id"] for answer in result["answers"]} == wrong
    assert result["session"] == 4


def test_boxes_space_the_right_ones_out() -> None:
    question = find(ALL, "top-k")
    other = find(ALL, "temperature")
    memory = Memory()
    due = []
    for session in range(1, 40):
        first = memory.order([question, other], seed=session)[0]
        if session == 1 or memory.cards["top-k"].due <= session:
            memory.record("top-k", True, session)
            due.append(session)
        memory.record("temperature", False, session)
        assert session == 1 or first is other
    assert due == [1, 2, 4, 8, 16, 32]
    assert memory.cards["top-k"].box == BOXES
    memory.record("top-k", False, 40)
    assert memory.cards["top-k"].box == 1
    assert memory.boxes(ALL)["1"] == 2


def test_a_text_is_marked_point_by_point(recall: Recall) -> None:
    status, output, _ = recall(["it is stable", "y", "perhaps", "n", "y"], "--topic", "loss", "-n", "1")
    assert status == 0
    assert "y or n, please." in output
    assert "Wrong, it comes back: 2 of 3 points." in output
    assert "Measured:" in output


def test_a_sketch_is_checked_box_by_box(recall: Recall) -> None:
    sketch = find(ALL, "mlp-sketch")
    lines = [box.answer for box in sketch.boxes]
    _, output, _ = recall([*lines[:3], "(30, 200)", *lines[4:]], "--topic", "shapes", "-n", "1")
    assert "No: (200, 30)." in output
    assert output.count("Right.") == 6
    assert "Wrong, it comes back: 6 of 7 boxes." in output
    assert "[ hidden weight         ]  ?" in output
    assert "[ hidden weight         ]  (200, 30)  (was wrong)" in output


def test_options_are_shuffled_by_the_seed() -> None:
    question = find(ALL, "batch-of-one")
    orders = {tuple(key for _, key, _ in shuffled_options(question, seed)) for seed in range(50)}
    assert len(orders) == 6
    assert shuffled_options(question, 3) == shuffled_options(question, 3)


def test_a_question_is_shown_with_its_worked_answer(recall: Recall, tmp_path: Path) -> None:
    status, output, _ = recall([], "--show", "kaiming-number")
    assert status == 0
    assert "Answer: sqrt(2/200) = 0.1" in output
    assert "Measured:" in output
    status, output, _ = recall([], "--show", "mlp-sketch", "--json")
    assert json.loads(output)["boxes"]["logits"] == "(32, 27)"
    assert not (tmp_path / "runs").exists()


def test_the_list_shows_what_is_remembered(recall: Recall) -> None:
    recall(["0"], "--topic", "sampling", "-n", "1")
    _, output, _ = recall([], "--list")
    assert f"{len(ALL)} questions" in output
    _, output, _ = recall([], "--topic", "sampling", "--list", "--json")
    boxes = [(one["box"], one["due"]) for one in json.loads(output)["questions"]]
    assert sorted(boxes, key=str) == [(1, 2), (None, None), (None, None)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--topic", "nothing"], "there is no topic 'nothing'"),
        (["--show", "nothing"], "there is no question 'nothing'"),
        (["-n", "0"], "-n 0 is below 1"),
    ],
)
def test_a_wrong_option_is_refused(recall: Recall, arguments: list[str], said: str) -> None:
    status, output, messages = recall([], *arguments)
    assert (status != 0, output) == (True, "")
    assert said in messages


# Ends


def test_the_end_of_the_input_keeps_what_was_answered(recall: Recall, tmp_path: Path) -> None:
    status, output, _ = recall(["0"], "--topic", "sampling")
    assert status == 0
    assert "Session 1: 0 of 1 right at the first try." in output
    assert len(asked(tmp_path)["questions"]) == 1
    before = (tmp_path / "runs" / "recall.json").read_bytes()
    status, output, _ = recall([])
    assert status == 0
    assert "Nothing answered" in output
    assert (tmp_path / "runs" / "recall.json").read_bytes() == before


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_ctrl_c_keeps_what_was_answered(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "charloom", "recall", "--topic", "sampling"],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # What is started in the background of a shell ignores it, and so do its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdin is not None
    process.stdin.write("0\n")
    process.stdin.flush()
    state = tmp_path / "runs" / "recall.json"
    deadline = time.monotonic() + 120
    while not state.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    output, messages = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Session 1: 0 of 1 right" in output
    assert messages == "Interrupted.\n"
    assert len(asked(tmp_path)["questions"]) == 1


def test_a_narrow_terminal_without_colours_or_unicode(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "charloom", "recall", "--topic", "initialization", "--all"],
        cwd=tmp_path,
        env=os.environ | {"COLUMNS": "40", "PYTHONIOENCODING": "ascii", "NO_COLOR": "1"},
        input=b"\xff\n" + b"\n" * 3,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    assert b"\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 40


# Damaged files


@pytest.mark.parametrize(
    ("content", "fact"),
    [
        ("", "holds no valid JSON"),
        ("[]", "not a file of charloom recall"),
        ('{"format": 2, "sessions": 0, "questions": {}}', "format 2 instead of 1"),
        ('{"format": 1, "sessions": -1, "questions": {}}', "sessions of the file is -1"),
        ('{"format": 1, "sessions": true, "questions": {}}', "sessions of the file is True"),
        ('{"format": 1, "sessions": 1' + "0" * 400 + ', "questions": {}}', "not a whole number from 0 to"),
        ('{"format": 1, "sessions": 1, "questions": {}, "sha256": "a"}', "the checksum does not match"),
        ('{"format": 1, "sessions": 1, "questions": []}', "questions is no object"),
        ('{"format": 1, "sessions": 1, "questions": {"a": {}}}', "question 'a' has not the fields"),
        (
            '{"format": 1, "sessions": 1, "questions": {"a": {"box": 6, "last": 1, "asked": 1, "wrong": 0}}}',
            "box of question 'a' is 6",
        ),
        (
            '{"format": 1, "sessions": 1, "questions": {"a": {"box": 1, "last": 2, "asked": 1, "wrong": 0}}}',
            "last of question 'a' is 2",
        ),
    ],
)
def test_a_damaged_state_is_refused_and_left_alone(recall: Recall, tmp_path: Path, content: str, fact: str) -> None:
    state = tmp_path / "state.json"
    state.write_text(content)
    status, output, messages = recall(["0"] * 5, "--state", "state.json")
    assert (status, output) == (1, "")
    assert "state.json" in messages
    assert fact in messages
    assert "--state" in messages
    assert state.read_text() == content


def test_the_state_survives(tmp_path: Path) -> None:
    memory = Memory()
    memory.record("a", True, 1)
    memory.record("b", False, 1)
    memory.record("a", True, 2)
    write_memory(tmp_path / "deep" / "state.json", memory)
    assert read_memory(tmp_path / "deep" / "state.json") == memory
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["state.json"]


def test_a_state_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="cannot be written"):
        write_memory(tmp_path / "file" / "state.json", Memory())
    with pytest.raises(StateError, match="is no file"):
        read_memory(tmp_path)


@pytest.mark.parametrize(
    ("content", "place", "fact"),
    [
        ("question = ", "", "holds no valid TOML"),
        ("a = 1", "", "something else than"),
        ("question = []", "", "something else than"),
        ("question = [1]", "question number 1", "it is no table"),
        (NUMBER + NUMBER, "question 'one'", "another question has this id"),
        (NUMBER.replace('kind = "number"', 'kind = "guess"'), "question 'one'", "kind 'guess' is none of number"),
        (NUMBER.replace("tolerance = 0.01", ""), "question 'one'", "it lacks tolerance"),
        (NUMBER + "hint = 1", "question 'one'", "hint does not belong there"),
        (NUMBER.replace("0.01", "0"), "question 'one'", "tolerance is 0"),
        (NUMBER.replace("0.01", "nan"), "question 'one'", "tolerance is no number"),
        (NUMBER.replace("ln 27", "ln"), "question 'one'", "something is missing at the end"),
        (NUMBER.replace("uniform_loss", "nothing"), "question 'one'", "there is no check 'nothing'"),
        (NUMBER.replace('ask = "?"', 'ask = " "'), "question 'one'", "ask is no text"),
        (NUMBER.replace('"one"', '"One!"'), "question 'One!'", "an id is small letters"),
        (NUMBER + "core = 1", "question 'one'", "core is neither"),
        (CHOICE, "question 'one'", "the answer is the key of one of two or more"),
        (CHOICE.replace("{a = 'b'}", "[]"), "question 'one'", "options is no table"),
        (
            NUMBER.replace('"number"', '"text"').replace("tolerance = 0.01", "points = []"),
            "question 'one'",
            "points is empty",
        ),
        (NUMBER.replace('"number"', '"shape"').replace("tolerance = 0.01", ""), "question 'one'", "that is no shape"),
        (SKETCH, "question 'one'", "a box is no table"),
    ],
)
def test_a_malformed_file_of_questions_is_told(tmp_path: Path, content: str, place: str, fact: str) -> None:
    path = tmp_path / "questions.toml"
    path.write_text(content)
    with pytest.raises(QuestionError) as told:
        read_questions(path)
    assert told.value.where is not None
    assert str(path) in told.value.where
    assert place in told.value.where
    assert fact in told.value.fact


def test_a_file_of_questions_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(QuestionError, match="cannot be read"):
        read_questions(tmp_path / "none.toml")
    assert QUESTIONS.is_file()
