"""`charloom count`: what it prints and writes, its JSON, and how it refuses."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from charloom import counting
from charloom.cli import main

Invoke = Callable[..., tuple[int, str, str]]


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Invoke:
    """Run `charloom count` in a folder with a few texts: its exit status, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    Path("names.txt").write_bytes(b"Anna\n\nbob\nAnna\n")
    Path("odd.txt").write_bytes(b"a\\.\tb\nx\\\n")
    Path("bad.txt").write_bytes(b"anna\nb\0b\n")

    def run(*arguments: str) -> tuple[int, str, str]:
        status = 0
        try:
            main(["count", *arguments])
        except SystemExit as exit:
            status = int(exit.code or 0)
        captured = capfdbinary.readouterr()
        return status, captured.out.decode(), captured.err.decode()

    return run


def test_what_is_shown(invoke: Invoke) -> None:
    status, output, messages = invoke("names.txt", "--top", "3")
    assert (status, messages) == (0, "")
    first, second, *table = output.splitlines()
    assert first == "3 items, 1 blank lines dropped; 11 characters, 5 different ones"
    assert second.startswith("9 different n-grams of 2, in ")
    assert second.endswith(" MB/s)")
    cells = [[cell.strip() for cell in row.strip("│ ").split("│")] for row in table if row.startswith("│")]
    assert cells == [[".A", "2", "14.29%"], ["An", "2", "14.29%"], ["a.", "2", "14.29%"]]
    assert table[-1] == ". is the start or end of an item."


def test_the_marker_is_told_from_a_full_stop(invoke: Invoke) -> None:
    _, output, _ = invoke("odd.txt", "--order", "1")
    assert r"\. is the start or end of an item." in output
    _, output, _ = invoke("odd.txt", "--order", "1", "--unit", "text")
    assert "↵" in output
    assert "<U+0009>" in output
    assert "is the start" not in output


@pytest.mark.filterwarnings("ignore::charloom.counting.SlowCounting")
def test_the_text_may_be_named_either_way(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("names.gz").write_bytes(gzip.compress(Path("names.txt").read_bytes()))

    def counted(*arguments: str) -> object:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(Path("names.txt").read_bytes())))
        status, output, _ = invoke(*arguments, "--json")
        assert status == 0
        content = json.loads(output)
        assert content.pop("seconds") > 0
        return content

    ways = [
        ["names.txt"],
        ["--data", "names.txt"],
        ["names.gz"],
        ["-"],
        ["--data", "-"],
        ["names.txt", "--threads", "1"],
    ]
    results = [counted(*way) for way in ways]
    assert all(result == results[0] for result in results)
    assert results[0] != counted()


def test_json(invoke: Invoke) -> None:
    status, output, _ = invoke("names.txt", "--order", "3", "--top", "1", "--case", "lower", "--json")
    assert status == 0
    content = json.loads(output)
    del content["seconds"]
    assert content == {
        "order": 3,
        "items": 3,
        "lines": 4,
        "blank_lines": 1,
        "characters": 11,
        "targets": 14,
        "vocabulary_size": 5,
        "distinct": 9,
        "bytes": 15,
        "most_common": [{"characters": ["", "", "a"], "count": 2, "share": 2 / 14}],
    }


def test_all_of_them_in_a_file(invoke: Invoke) -> None:
    status, *_ = invoke("odd.txt", "--out", "grams.tsv", "--top", "0")
    assert status == 0
    # Of a\.<tab>b and x\, in the order of the characters: the marker, tab, full stop, backslash, letters.
    grams = [r"\.a", r"\.x", r"\tb", r".\t", r"\\\.", r"\\.", r"a\\", r"b\.", r"x\\"]
    assert Path("grams.tsv").read_text().splitlines() == [f"{gram}\t1" for gram in grams]
    invoke("odd.txt", "--out", "grams.tsv", "--unit", "text", "--order", "1")
    assert Path("grams.tsv").read_text().splitlines()[0] == "\\n\t2"


def test_a_file_is_written_whole_or_not_at_all(invoke: Invoke) -> None:
    Path("grams.tsv").write_text("before")
    status, _, messages = invoke("bad.txt", "--out", "grams.tsv")
    assert status == 1
    assert "bad.txt, line 2, character 2: holds the control character U+0000" in messages
    assert Path("grams.tsv").read_text() == "before"
    assert not list(Path().glob(".*"))


def test_refusals(invoke: Invoke) -> None:
    for arguments, status, message in (
        (("names.txt", "--data", "odd.txt"), 2, "the text is named twice"),
        (("names.txt", "--order", "0"), 2, "no n-gram of order 0"),
        (("names.txt", "--top", "-1"), 2, "--top -1 is below 0"),
        (("names.txt", "--threads", "0"), 2, "0 threads"),
        (("names.txt", "--most", "3"), 1, "names.txt: there are more than 3 different n-grams of 2"),
        (("missing.txt",), 1, "missing.txt: there is no such file"),
        (("names.txt", "--out", "missing/grams.tsv"), 1, "missing/grams.tsv: cannot be written (No such file"),
    ):
        found, output, messages = invoke(*arguments)
        assert (found, output) == (status, "")
        assert message in messages


@pytest.mark.filterwarnings("default::charloom.counting.SlowCounting")
def test_without_numba_it_says_so_once(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    with_numba = invoke("names.txt", "--top", "0")[1]
    monkeypatch.setattr(counting, "available", lambda: False)
    assert invoke("names.txt")[2] == ""
    monkeypatch.setattr(counting, "WORTH_COMPILED", 0)
    status, output, messages = invoke("names.txt", "--top", "0", "--threads", "3")
    assert status == 0
    assert messages.count("ten times slower, because numba is not installed") == 1
    assert "'telltales[fast]'" in messages
    assert output.splitlines()[0] == with_numba.splitlines()[0]


def test_no_torch_is_needed(tmp_path: Path) -> None:
    script = "import sys; sys.modules['torch'] = None\nfrom charloom.cli import main\nmain(['count', '--order', '3'])\n"
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert "32,178 items" in done.stdout
