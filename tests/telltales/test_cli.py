"""The command `telltales`: what it prints, how it finds records, and how it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import made
import pytest

import telltales
from telltales.cli import labels, main

Invoke = Callable[..., tuple[int, str, str]]
COMMAND = [sys.executable, "-m", "telltales"]
BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
"""As usual: then what could not be written is left to write when Python ends."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with two records of runs and one in a file."""
    for run, depth in (("first", 3), ("second", 2)):
        (tmp_path / "runs" / run).mkdir(parents=True)
        made.write(tmp_path / "runs" / run / "record.jsonl", made.mlp(depth, optimizer="SGD" if depth == 3 else "Adam"))
    made.write(tmp_path / "alone.jsonl", made.mlp())
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def invoke(folder: Path, capsys: pytest.CaptureFixture[str]) -> Invoke:
    """Run a command in that folder: its exit status, standard output and standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        try:
            status = main(arguments)
        except SystemExit as ended:
            status = int(ended.code or 0)
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


def test_show(invoke: Invoke) -> None:
    status, out, err = invoke("show", "runs/first")
    assert (status, err) == (0, "")
    assert out.startswith("MLP: 7 modules, 8 parameters of 288 values\n")
    assert "\x1b" not in out


@pytest.mark.parametrize("record", ["alone.jsonl", "runs/first", "runs/first/record.jsonl"])
def test_a_record_is_a_file_or_the_folder_of_one(invoke: Invoke, record: str) -> None:
    assert invoke("show", record)[0] == 0


def test_the_only_record_below_a_folder_is_found(invoke: Invoke, folder: Path) -> None:
    (folder / "runs" / "second" / "record.jsonl").unlink()
    assert invoke("show", "runs")[1] == invoke("show", "runs/first")[1]


def test_show_as_json(invoke: Invoke) -> None:
    status, out, _ = invoke("show", "alone.jsonl", "--json")
    found = json.loads(out)
    assert status == 0
    assert found["overview"]["steps"] == 40
    assert [layer["name"] for layer in found["layers"]][-1] == "out"


def test_compare(invoke: Invoke) -> None:
    status, out, err = invoke("compare", "runs/first", "runs/second", "alone.jsonl")
    assert (status, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()[1:4]] == ["first", "second", "alone"]
    assert "optimizer  SGD    Adam    –" in out


def test_compare_as_json(invoke: Invoke) -> None:
    status, out, _ = invoke("compare", "runs/first", "runs/second", "--json")
    assert status == 0
    assert json.loads(out)["labels"] == ["first", "second"]


def test_report(invoke: Invoke, folder: Path) -> None:
    (folder / "out.html").write_text("old")
    status, out, err = invoke("report", "runs/first", "alone.jsonl", "--html", "out.html", "--title", "Two <nets>")
    assert (status, out, err) == (0, "", "Wrote out.html\n")
    page = (folder / "out.html").read_text()
    assert "<title>Two &lt;nets&gt;</title>" in page
    assert "first" in page
    assert "alone" in page


def test_compare_draws_too_if_asked_to(invoke: Invoke, folder: Path) -> None:
    status, out, err = invoke("compare", "runs/first", "runs/second", "--html", "out.html")
    assert (status, err) == (0, "Wrote out.html\n")
    assert out == invoke("compare", "runs/first", "runs/second")[1]
    assert (folder / "out.html").read_text().lower().startswith("<!doctype html>")


def test_version(invoke: Invoke) -> None:
    assert invoke("--version") == (0, f"telltales {telltales.__version__}\n", "")


@pytest.mark.parametrize("command", [[], ["show"], ["compare"], ["report"]])
def test_help_has_an_example(invoke: Invoke, command: list[str]) -> None:
    status, out, _ = invoke(*command, "--help")
    assert status == 0
    assert "example:\n  telltales " in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "telltales: error: the following arguments are required: COMMAND\n"),
        (["draw"], "telltales: error: argument COMMAND: invalid choice: 'draw'"),
        (["show"], "telltales: error: the following arguments are required: RECORD\n"),
        (["show", "runs/first", "--follow"], "telltales: error: unrecognized arguments: --follow\n"),
        (["show", "runs/first", "--js"], "telltales: error: unrecognized arguments: --js\n"),
        (["report", "runs/first"], "telltales: error: the following arguments are required: --html\n"),
        (["show", "a", "\x1b[31m"], "telltales: error: unrecognized arguments: \\x1b[31m\n"),
        (["compare", "runs/first"], "telltales: error: a comparison needs two records and was given one\n"),
        (["show", "runs"], "telltales: error: runs: this folder holds 2 records\nName one: runs/first/record.jsonl, "),
    ],
)
def test_misuse(invoke: Invoke, arguments: list[str], message: str) -> None:
    status, out, err = invoke(*arguments)
    assert (status, out) == (2, "")
    assert message in err


def test_what_is_not_there(invoke: Invoke) -> None:
    assert invoke("show", "missing\x1b[2J") == (
        1,
        "",
        "telltales: error: missing\\x1b[2J: there is no such file or folder\n"
        "Give a .jsonl file that a watched training wrote, or a folder that holds one record.jsonl.\n",
    )


def test_a_folder_without_a_record(invoke: Invoke) -> None:
    status, _, err = invoke("show", ".")
    assert status == 1
    assert err == "telltales: error: .: no record.jsonl is in this folder\nIt holds alone.jsonl: name one.\n"


def test_what_is_no_record(invoke: Invoke, folder: Path) -> None:
    (folder / "text.jsonl").write_text("hello\n")
    status, _, err = invoke("show", "text.jsonl")
    assert status == 1
    assert err == "telltales: error: text.jsonl, line 1: this is not a record of telltales\n"


def test_a_page_that_cannot_be_written(invoke: Invoke) -> None:
    status, _, err = invoke("report", "alone.jsonl", "--html", "nowhere/out.html")
    assert status == 1
    assert err.startswith("telltales: error: nowhere/out.html: ")
    assert len(err.splitlines()) <= 2


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["x/a.jsonl", "x/b/record.jsonl", "c.d.jsonl"], ["a", "b", "c.d"]),
        (["/x/run/record.jsonl", "/y/run/record.jsonl", "/z/other.jsonl"], ["x/run", "y/run", "other"]),
        (["/p/x/run.jsonl", "/q/x/run.jsonl"], ["p/x/run", "q/x/run"]),
        (["/x/a.jsonl", "/x/a.jsonl", "/x/a.jsonl"], ["a", "a (2)", "a (3)"]),
        (["/x/y/../record.jsonl", "/z/a.jsonl"], ["x", "a"]),
    ],
)
def test_labels_are_short_and_no_two_the_same(paths: list[str], expected: list[str]) -> None:
    assert labels([Path(path) for path in paths]) == expected


def test_standard_output_that_nobody_reads_ends_it_quietly(folder: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [*COMMAND, "show", "alone.jsonl"], stdout=writing, stderr=subprocess.PIPE, env=BUFFERED, check=False
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_standard_output_that_is_full_is_a_failure(folder: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, "show", "alone.jsonl"], stdout=full, stderr=subprocess.PIPE, env=BUFFERED, check=False
        )
    assert done.returncode == 1
    assert done.stderr == b"telltales: error: standard output: No space left on device\n"


def test_a_narrow_encoding_gets_other_marks(folder: Path) -> None:
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "COLUMNS": "70"}
    done = subprocess.run([*COMMAND, "show", "alone.jsonl"], capture_output=True, env=environment, check=True)
    text = done.stdout.decode("ascii")
    assert "##*++==--" in text
    assert max(map(len, text.splitlines())) <= 70


@pytest.mark.parametrize(
    "arguments", [["--version"], ["show", "alone.jsonl"], ["compare", "alone.jsonl", "alone.jsonl"]]
)
def test_torch_is_not_imported(folder: Path, arguments: list[str]) -> None:
    code = (
        "import sys\n"
        "from telltales.cli import main\n"
        "try:\n"
        "    main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "sys.exit(sorted({'torch', 'rich', 'matplotlib'} & set(sys.modules)) or None)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_page_is_drawn_without_torch(folder: Path) -> None:
    code = "import sys; from telltales.cli import main; main(sys.argv[1:]); sys.exit('torch' in sys.modules)"
    arguments = ["report", "alone.jsonl", "--html", "out.html"]
    assert subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, check=False).returncode == 0


def sick(path: Path) -> None:
    """A record of a training without zero_grad: an error, and what follows from it."""
    import nets
    import torch

    torch.manual_seed(0)
    model = nets.deep_mlp()
    optimizer = nets.adam(model)
    with telltales.watch(model, optimizer, path=path) as watch:
        for x, y in nets.batches(60):
            loss = nets.loss_of(model(x), y)
            loss.backward()
            optimizer.step()
            watch.step(loss, x, y)


def test_judge_says_what_is_wrong_by_its_exit_status(invoke: Invoke, folder: Path) -> None:
    sick(folder / "sick.jsonl")
    status, output, _ = invoke("judge", "sick.jsonl")
    assert status == 4
    assert output.startswith("1 error in 15 observed of 60 steps\n\nerror: missing-zero-grad, since step 1\n")
    assert "  more: docs/rules/missing-zero-grad.md\n" in output
    status, output, _ = invoke("judge", "runs/first")
    assert status == 0
    assert output.startswith("nothing found in ")
    status, output, _ = invoke("judge", "sick.jsonl", "runs/first", "--json")
    assert status == 4
    found = json.loads(output)
    assert [finding["rule"] for finding in found["sick"]] == ["missing-zero-grad"]
    assert not [finding for finding in found["first"] if finding["severity"] != "note"]


def test_judge_mutes_and_refuses(invoke: Invoke, folder: Path) -> None:
    sick(folder / "sick.jsonl")
    _, output, _ = invoke("judge", "sick.jsonl", "--mute", "missing-zero-grad", "--mute", "diverging")
    assert "missing-zero-grad" not in output
    status, _, message = invoke("judge", "sick.jsonl", "--mute", "missing-zero-gard@*")
    assert status == 2
    assert "no rule is called 'missing-zero-gard'" in message


def test_judge_writes_sarif(invoke: Invoke, folder: Path) -> None:
    sick(folder / "sick.jsonl")
    status, _, message = invoke("judge", "sick.jsonl", "--sarif", "found.sarif")
    assert (status, message) == (4, "Wrote found.sarif\n")
    (run,) = json.loads((folder / "found.sarif").read_text())["runs"]
    result = run["results"][0]
    assert (result["ruleId"], result["level"]) == ("missing-zero-grad", "error")
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "sick.jsonl"
    assert {one["ruleId"] for one in run["results"]} == {rule["id"] for rule in run["tool"]["driver"]["rules"]}
