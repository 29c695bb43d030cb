"""The README's commands and its Python run as they stand there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import small

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[list[str]]:
    joined = text.replace("\\\n", " ")
    return [shlex.split(line)[1:] for line in joined.splitlines() if line.startswith("./lab ")]


def charloom(arguments: list[str], folder: Path, **variables: str) -> str:
    """Run one command as `./lab` would; its standard output."""
    done = subprocess.run(
        [sys.executable, "-m", "charloom", *arguments],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | variables,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{arguments}: {done.stderr}"
    return done.stdout


def test_the_commands_for_your_own_list(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("\n".join(small.names(1000)))
    (block,) = blocks("sh")
    listed = commands(block)
    assert {arguments[0] for arguments in listed} == {
        *("describe", "train", "sample", "best", "score", "evaluate"),
    }
    for arguments in listed:
        assert charloom(arguments, tmp_path).strip()


def test_quickstart_prints_what_the_readme_shows(tmp_path: Path) -> None:
    """The same ladder: counted rows to the digit, the trained one closely."""
    printed = charloom(["quickstart"], tmp_path, COLUMNS="80")
    shown = blocks("text")[0]

    def dev_losses(text: str) -> dict[str, float]:
        rows = re.findall(r"^│ (\S+) +│ +[\d,]+ │ +[\d.]+ │ +([\d.]+) │", text, flags=re.MULTILINE)
        return {model: float(loss) for model, loss in rows}

    expected = dev_losses(shown)
    assert set(expected) == {"unigram", "bigram", "ngram:5", "mlp"}
    assert dev_losses(printed) == pytest.approx(expected, abs=0.003)
    assert "temperature 2.0" in printed


def test_the_long_commands_start(tmp_path: Path, parity_names: Path) -> None:
    """With 20 steps in place of 200,000: their figures are in the README, and took minutes."""
    text = "".join(blocks("sh long"))
    listed = commands(text.replace("--data ../shared/data/makemore-names.txt", f"--data '{parity_names}'"))
    assert len(listed) >= 5
    for arguments in listed:
        assert "--steps" in arguments
        arguments[arguments.index("--steps") + 1] = "20"
        charloom(arguments, tmp_path)


def test_the_experiments_start(tmp_path: Path) -> None:
    """With 20 steps in place of thousands, and one seed in place of three."""
    listed = commands(blocks("sh experiments")[0])
    assert len(listed) == 5
    for arguments in listed:
        seeds = ["--seeds", "1"] if arguments[1] in ("init", "batchnorm", "context") else []
        assert "The whole of it" in charloom([*arguments, "--steps", "20", *seeds], tmp_path)
    assert (tmp_path / "init.html").exists()


def test_the_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    lines = []
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), {})  # noqa: S102 -- the project's own page
        lines.append(len(capsys.readouterr().out.splitlines()))
    watched, found, trained, kept = lines
    assert (watched, trained, kept) == (1, 7, 1)
    assert found >= 3 * 4
    assert (tmp_path / "runs/kept/result.json").exists()


def test_the_tree_names_every_file() -> None:
    tree = README.partition("## The tree")[2].partition("\n## ")[0]
    packages = ("src/charloom", "src/charloom/compiled", "src/charloom/models", "src/telltales")
    present = {path.name for package in packages for path in (ROOT / package).glob("*.py")}
    present -= {"__init__.py", "__main__.py", "neural.py"}
    listed = set(re.findall(r"\b[a-z_]+\.py\b", tree))
    assert present <= listed, present - listed
    assert listed <= present, listed - present


def test_the_commands_of_telltales(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    block = "".join(blocks("sh telltales"))
    monkeypatch.chdir(tmp_path)
    (script,) = (text for text in blocks("python") if "telltales.watch" in text)
    for name in ("other.jsonl", "record.jsonl"):
        exec(compile(script.replace("record.jsonl", name), "README.md", "exec"), {})  # noqa: S102 -- the project's own
    for line in block.splitlines():
        program, *arguments = shlex.split(line)
        assert program == "telltales"
        done = subprocess.run([sys.executable, "-m", program, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "report.html").stat().st_size > 10_000


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert (ROOT / target).exists(), target
