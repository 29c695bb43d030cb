"""The command line: what each command prints, its JSON fields, and how it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest

import small
from charloom.cli import app, main
from charloom.cli.console import COMMANDS, typed
from charloom.config import TrainingConfig
from charloom.errors import RunError
from charloom.runs import Run

Invoke = Callable[..., tuple[int, str, str]]

MLP = ["--model", "mlp", "--hidden", "8", "--steps", "30", "--evaluate-every", "10", "--batch-size", "16"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data file and two runs: `counted` and, the latest, `net`."""
    path = tmp_path_factory.mktemp("cli")
    (path / "names.txt").write_text("\n".join(small.names()))
    (path / "odd.txt").write_text("ann\nan?\n")
    with chdir(path):
        main(["train", "counted", "--model", "ngram:3", "--data", "names.txt"])
        main(["train", "net", *MLP, "--data", "names.txt"])
    return path


@pytest.fixture
def invoke(folder: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> Invoke:
    """Run a command in that folder: its exit status, standard output and standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        status = 0
        with chdir(folder):
            try:
                main(arguments)
            except SystemExit as exit:
                status = int(exit.code or 0)
        captured = capfdbinary.readouterr()
        return status, captured.out.decode(), captured.err.decode()

    return run


def fields(content: dict[str, Any]) -> set[str]:
    return set(content)


def test_every_command_has_help_with_an_example(invoke: Invoke) -> None:
    status, output, _ = invoke("--help")
    assert status == 0
    commands = [name for name in app if not name.startswith("-")]
    assert set(commands) == set(COMMANDS)
    for command in commands:
        assert command in output
        status, page, _ = invoke(command, "--help")
        assert status == 0
        assert "For example:" in page
        assert f"charloom {command}" in page


def test_a_network_is_sampled_and_asked_without_torch(folder: Path, invoke: Invoke) -> None:
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "from charloom.cli import main\n"
        "for line in ('sample net -n 4', 'best net -n 2', 'score emma --run net'):\n"
        "    main(line.split())\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, text=True, capture_output=True)
    assert (done.returncode, done.stderr) == (0, "")
    expected = "".join(invoke(*line.split())[1] for line in ("sample net -n 4", "best net -n 2"))
    assert done.stdout.startswith(expected)


def test_samples_are_streamed_the_same_in_every_way(invoke: Invoke) -> None:
    every = [one["text"] for one in json.loads(invoke("sample", "counted", "-n", "70", "--json")[1])]
    assert invoke("sample", "counted", "-n", "70")[1].splitlines() == every
    assert invoke("sample", "counted", "-n", "70", "--threads", "1")[1].splitlines() == every
    unlike = list(dict.fromkeys(every))[:40]
    assert invoke("sample", "counted", "-n", "40", "--unique")[1].splitlines() == unlike
    status, _, message = invoke("sample", "counted", "--threads", "0")
    assert status == 2
    assert "--threads 0 is below 1" in message


def test_without_numba_it_is_said_what_is_slower(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charloom.cli.generating.available", lambda: False)
    monkeypatch.setattr("charloom.blocks.available", lambda: False)
    monkeypatch.setattr("charloom.engine.available", lambda: False)
    monkeypatch.setattr("charloom.cli.generating.MANY", 50)
    assert invoke("sample", "counted", "-n", "49")[2] == ""
    assert "pip install 'telltales[fast]'" in invoke("sample", "counted", "-n", "50")[2].replace("\n", " ")
    _, _, messages = invoke(
        "train", "--model", "mlp", "--hidden", "8", "--steps", "2", "--data", "names.txt", "--runs", "other"
    )
    assert "pip install 'telltales[fast]'" in messages.replace("\n", " ")


def test_help_needs_no_torch_and_no_numpy() -> None:
    script = (
        "import sys, charloom.cli; print([name for name in ('torch', 'numpy', 'safetensors') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", script], text=True, capture_output=True).stdout == "[]\n"


def test_a_counted_model_is_trained_sampled_and_judged_without_torch(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['torch'] = None\n"
        "from charloom.cli import main\n"
        "for line in ('train --model ngram:3', 'sample -n 2', 'best -n 2', 'score emma', 'evaluate --samples 10'):\n"
        "    main(line.split())\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr


def test_describe(invoke: Invoke) -> None:
    status, output, _ = invoke("describe", "--data", "names.txt", "--json")
    description = json.loads(output)
    assert status == 0
    assert description["items"] == description["distinct"] == 400
    assert fields(description["splits"]) == {"unique", "classic"}
    status, output, _ = invoke("describe", "--data", "names.txt")
    assert status == 0
    assert "400 items, 400 distinct, 0 repeated" in output


def test_train_in_json(invoke: Invoke) -> None:
    status, output, messages = invoke("train", *MLP, "--data", "names.txt", "--json", "--runs", "others")
    result = json.loads(output)
    assert status == 0
    assert fields(result) == {
        *("run", "model", "protocol", "outcome", "steps", "parameters", "seconds", "train", "dev"),
        *("weights_sha256", "history_sha256", "reference"),
    }
    assert result["run"] == "names-mlp-1"
    assert fields(result["train"]) == {"nats", "bits", "perplexity", "targets", "items"}
    assert fields(result["dev"]) == {"loss", "seen", "unseen"}
    assert "step 30 of 30" in messages


def test_sample(invoke: Invoke) -> None:
    status, text, _ = invoke("sample", "-n", "7", "--seed", "3", "--prefix", "ma")
    assert status == 0
    lines = text.splitlines()
    assert len(lines) == 7
    assert all(line.startswith("ma") for line in lines)
    _, tsv, _ = invoke("sample", "net", "-n", "7", "--seed", "3", "--prefix", "ma", "--format", "tsv")
    _, as_json, _ = invoke("sample", "--run", "net", "-n", "7", "--seed", "3", "--prefix", "ma", "--json")
    rows = [row.split("\t") for row in tsv.splitlines()]
    samples = json.loads(as_json)
    assert [row[0] for row in rows] == lines == [one["text"] for one in samples]
    assert [float(row[1]) for row in rows] == pytest.approx([one["log_probability"] for one in samples], abs=1e-6)
    assert {row[2] for row in rows} <= {"ended", "cut"}


def test_two_formats_at_once_are_refused(invoke: Invoke) -> None:
    status, _, message = invoke("sample", "--json", "--format", "tsv")
    assert status == 2
    assert "--json and --format tsv exclude each other" in message


def test_novel_and_unique_samples(invoke: Invoke, folder: Path) -> None:
    _, text, _ = invoke("sample", "counted", "-n", "200", "--novel", "--unique", "--temperature", "0.5")
    samples = text.splitlines()
    assert len(set(samples)) == len(samples) == 200
    assert not set(samples) & set(Run.open("counted", folder / "runs").dataset().corpus.items)
    assert "" not in samples


def test_what_was_found_is_printed_before_giving_up(invoke: Invoke) -> None:
    status, text, messages = invoke("sample", "-n", "5", "--unique", "--temperature", "0")
    assert status == 1
    assert len(text.splitlines()) == 1
    assert "found 1 of 5 items" in messages


def test_best_lists_the_most_probable_first(invoke: Invoke) -> None:
    _, output, _ = invoke("best", "counted", "-n", "12", "--prefix", "a", "--json")
    found = json.loads(output)
    probabilities = [one["log_probability"] for one in found]
    assert len(found) == 12
    assert probabilities == sorted(probabilities, reverse=True)
    assert all(one["text"].startswith("a") for one in found)
    _, table, _ = invoke("best", "counted", "-n", "12", "--prefix", "a")
    assert [line.split()[-1] for line in table.splitlines()] == [one["text"] for one in found]


def test_score_says_what_is_unusual(invoke: Invoke, folder: Path) -> None:
    _, output, _ = invoke("score", "emma", "xxqq", "--run", "counted", "--json")
    usual, unusual = json.loads(output)
    assert fields(usual) == {"text", "nats", "nats_per_character", "percentile", "unusual", "characters"}
    assert not usual["unusual"]
    assert unusual["unusual"]
    assert [one["character"] for one in usual["characters"]] == ["e", "m", "m", "a", ""]
    assert usual["nats"] == pytest.approx(sum(one["nats"] for one in usual["characters"]))
    (folder / "more.txt").write_text("anna\nxxqq\n")
    _, table, _ = invoke("score", "--data", "more.txt", "--run", "counted")
    assert table.count("unusual") == 1


def test_evaluate_reads_test_only_when_final(invoke: Invoke) -> None:
    _, output, _ = invoke("evaluate", "counted", "--json")
    result = json.loads(output)
    assert fields(result) == {"run", "model", "protocol", "parts", "samples"}
    assert fields(result["parts"]) == {"dev"}
    assert fields(result["samples"]) == {
        *("samples", "novel", "unique", "duplicated", "mean_length", "data_mean_length"),
    }
    _, output, _ = invoke("evaluate", "counted", "--final", "--samples", "0", "--json")
    assert fields(json.loads(output)["parts"]) == {"dev", "test"}
    _, output, _ = invoke("evaluate", "counted", "--data", "names.txt", "--samples", "0")
    assert "seen in training" in output
    assert "not seen" in output


def test_ladder(invoke: Invoke) -> None:
    models = "unigram,bigram,ngram:3,mlp:hidden=8:context-length=2:activation=relu"
    _, output, _ = invoke(
        "ladder",
        "--data",
        "names.txt",
        "--models",
        models,
        "--steps",
        "30",
        "--batch-size",
        "16",
        "--json",
        "--runs",
        "l",
    )
    rungs = json.loads(output)
    assert fields(rungs[0]) == {
        *("model", "run", "params", "train", "dev", "dev_seen", "dev_unseen", "test", "bar", "seconds"),
        *("protocol", "seed"),
    }
    assert [rung["model"] for rung in rungs] == [
        *("unigram", "bigram", "ngram:3", "mlp:context-length=2:hidden=8:activation=relu"),
    ]
    assert [rung["test"] for rung in rungs] == [None] * 4
    assert rungs[0]["bar"] is None
    for position in (1, 2, 3):
        assert rungs[position]["bar"] == min(rung["dev"] for rung in rungs[:position])
    _, table, _ = invoke("ladder", "--data", "names.txt", "--models", "unigram", "--final", "--runs", "l")
    assert "test" in table


def test_runs_are_listed(invoke: Invoke) -> None:
    _, output, _ = invoke("runs", "--json")
    assert {one["run"] for one in json.loads(output)} == {"net", "counted"}
    _, table, _ = invoke("runs")
    assert "counted" in table


def test_find_lr_draws_a_curve(invoke: Invoke, folder: Path) -> None:
    options = ["--data", "names.txt", "--model", "mlp", "--hidden", "8", "--batch-size", "32", "--trial-steps", "100"]
    status, output, _ = invoke("find-lr", *options, "--svg", "lr.svg")
    assert status == 0
    assert "Suggested: --learning-rate" in output
    assert (folder / "lr.svg").read_text().startswith("<svg")
    _, output, _ = invoke("find-lr", *options, "--json")
    found = json.loads(output)
    assert found["suggestion"] == found["lowest"] / 2
    assert len(found["losses"]) == len(found["learning_rates"])
    assert found["learning_rates"][0] < found["lowest"] <= found["learning_rates"][-1]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["sample", "--top-kk", "3"], 2, "--top-k"),
        (["nonsense"], 2, "nonsense"),
        (["sample", "--temperature", "-1"], 2, "--temperature"),
        (["sample", "-n", "0"], 2, "below 1"),
        (["sample", "--seed", str(1 << 64)], 2, "--seed"),
        (["train", "--seed", str(1 << 64)], 2, "--seed"),
        (["train", "--model", "nothing"], 2, "no model 'nothing'"),
        (["train", "--model", "ngram:3", "--hidden", "3"], 2, "--hidden does not apply to ngram:3"),
        (["train", "--model", "ngram:3", "--steps", "3"], 2, "training flags do not apply"),
        (["train", "--resume", "net", "--steps", "3"], 2, "settings from the run"),
        (["train", "--resume", "net"], 1, "the run is finished"),
        (["train", "--data", "none.txt"], 1, "none.txt: there is no such file"),
        (["train", "net", "--data", "names.txt"], 1, "already"),
        (["train", "names.txt"], 2, "--data names.txt"),
        (["train", "absent.txt"], 2, "--data absent.txt"),
        (["score", "--data", "odd.txt", "--run", "net"], 1, "odd.txt, line 2, character 3: '?'"),
        (["train", "--data", "names.txt", "--norm", "batch", "--batch-size", "1"], 2, "batch norm needs"),
        (["sample", "none"], 1, "no run 'none'"),
        (["sample", "--prefix", "Ж"], 1, "U+0416"),
        (["score", "--run", "net"], 2, "nothing to score"),
        (["score", "Ж", "--run", "net"], 1, "item 1, character 1"),
        (["evaluate", "--final", "--data", "names.txt"], 2, "exclude each other"),
        (["ladder", "--models", "mlp:depth=3"], 2, "no setting 'depth'"),
        (["ladder", "--models", "mlp:hidden=many"], 2, "not a number"),
        (["find-lr", "--model", "bigram"], 2, "has no learning rate"),
        (["find-lr", "--lowest", "1", "--highest", "0.1"], 2, "no range"),
    ],
)
def test_refusals(invoke: Invoke, arguments: list[str], status: int, message: str) -> None:
    got, output, messages = invoke(*arguments)
    assert message in messages
    assert "Traceback" not in messages
    assert got == status
    assert not output or arguments == ["nonsense"]


def test_what_cannot_be_split_leaves_no_run_behind(invoke: Invoke, folder: Path) -> None:
    (folder / "one.txt").write_text("emma\n")
    status, _, messages = invoke("train", "--data", "one.txt", "--runs", "fresh")
    assert status == 1
    assert "one.txt" in messages
    assert not (folder / "fresh").exists()


def test_hints_name_the_command_as_it_was_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert typed("Try: charloom train; install charloom again") == "Try: charloom train; install charloom again"
    monkeypatch.setenv("CHARLOOM_COMMAND", "a b/lab")
    assert typed("Try: charloom train; install charloom again") == "Try: 'a b/lab' train; install charloom again"


def test_a_model_worse_than_a_uniform_guess_is_pointed_out(invoke: Invoke, folder: Path) -> None:
    (folder / "few.txt").write_text("\n".join(small.names(12)))
    for model, noted in (("bigram", False), ("mlp", True)):
        _, _, messages = invoke("train", "--data", "few.txt", "--model", model, "--runs", "few")
        assert ("worse than a uniform guess" in messages) == noted


def test_prefix_and_items_are_read_like_the_data(invoke: Invoke) -> None:
    status, output, _ = invoke(
        "train", "folded", "--data", "names.txt", "--case", "lower", "--model", "bigram", "--runs", "c"
    )
    assert status == 0
    _, output, _ = invoke("sample", "--prefix", "MA", "-n", "3", "--runs", "c")
    assert all(line.startswith("ma") for line in output.splitlines())
    _, output, _ = invoke("score", "  Emma ", "--json", "--runs", "c")
    assert json.loads(output)[0]["text"] == "emma"


def test_debug_shows_the_traceback(invoke: Invoke) -> None:
    with pytest.raises(RunError):
        invoke("sample", "none", "--debug")


def test_a_closed_pipe_ends_quietly(folder: Path) -> None:
    command = f'"{sys.executable}" -m charloom sample counted -n 100000 | head -n 1'
    done = subprocess.run(command, shell=True, cwd=folder, text=True, capture_output=True)
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""


def test_data_from_standard_input_is_kept_with_the_run(folder: Path) -> None:
    script = "train piped --model ngram:2 --data - --runs piped"
    command = [sys.executable, "-m", "charloom", *script.split()]
    names = "\n".join(small.names())
    subprocess.run(command, cwd=folder, input=names, text=True, capture_output=True, check=True)
    command = [sys.executable, "-m", "charloom", *["evaluate", "piped", "--samples", "0", "--runs", "piped"]]
    subprocess.run(command, cwd=folder, text=True, capture_output=True, check=True)
    assert (folder / "piped/piped/data.txt").read_text("utf-8-sig") == names


def test_items_to_judge_come_from_standard_input_too(folder: Path) -> None:
    for command in ("score --data - --run counted", "evaluate counted --samples 0 --data -"):
        arguments = [sys.executable, "-m", "charloom", *command.split()]
        done = subprocess.run(arguments, cwd=folder, input="emma\nava\n", text=True, capture_output=True)
        assert done.returncode == 0, done.stderr


def test_a_terminal_that_cannot_show_a_character_gets_a_question_mark(folder: Path) -> None:
    command = [sys.executable, "-m", "charloom", "score", "emma", "--run", "counted"]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, cwd=folder, env=environment, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert "emma" in done.stdout
    assert "?" in done.stdout


def test_a_run_without_weights_is_not_the_latest_to_use(invoke: Invoke) -> None:
    invoke("train", "good", "--data", "names.txt", "--model", "bigram", "--runs", "mixed")
    status, _, messages = invoke(
        *("train", "bad", "--data", "names.txt", *MLP, "--learning-rate", "1e30", "--optimizer", "sgd"),
        *("--schedule", "constant", "--runs", "mixed"),
    )
    assert status == 1
    assert "the loss is" in messages
    status, _, messages = invoke("sample", "-n", "1", "--runs", "mixed")
    assert status == 0, messages


def test_a_watched_training_links_its_report(invoke: Invoke, folder: Path) -> None:
    for number, flag in enumerate((["--watch"], ["--watch=full"], ["--watch", "economy"], ["--watch", "off"], [])):
        name = f"watched-{number}"
        status, output, messages = invoke("train", name, *flag, *MLP, "--data", "names.txt")
        assert status == 0, messages
        assert (f"runs/{name}/report.html" in output) == (number < 3)
        assert (folder / f"runs/{name}/record.jsonl").exists() == (number < 3)


def test_a_counted_model_cannot_be_watched(invoke: Invoke, folder: Path) -> None:
    status, _, messages = invoke("train", "refused", "--model", "bigram", "--watch", "--data", "names.txt")
    assert status == 2
    assert "nothing goes on inside" in messages
    assert not (folder / "runs/refused").exists()
    assert invoke("train", *MLP, "--watch=rich", "--data", "names.txt")[0] == 2


def test_quickstart_is_the_whole_job(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.modules["charloom.cli.quickstart"], "TrainingConfig", lambda: TrainingConfig(**small.QUICK))
    with chdir(folder):
        main(["quickstart", "--data", "names.txt", "--runs", "quick"])
    output = capfd.readouterr().out
    for expected in (
        "unigram",
        "bigram",
        "ngram:5",
        "mlp",
        "temperature 2.0",
        "charloom best",
        "--runs quick",
        "report.html",
    ):
        assert expected in output


def test_heal_trains_again_with_what_the_findings_call_for(invoke: Invoke, folder: Path) -> None:
    sick = ["--data", "names.txt", "--model", "mlp", "--hidden", "64", "--init", "normal", "--output-scale", "1"]
    sick += ["--optimizer", "sgd", "--learning-rate", "0.1", "--weight-decay", "0", "--steps", "200", "--heal"]
    status, output, _ = invoke("train", "ill", *sick, "--json")
    assert status == 0
    report = json.loads(output)
    assert fields(report) == {"before", "changes", "after"}
    assert {(change["setting"], change["after"]) for change in report["changes"]} >= {("init", "kaiming")}
    assert {change["rule"] for change in report["changes"]} == {"poor-init", "initial-loss"}
    assert "poor-init" in report["before"]["findings"]
    assert "poor-init" not in report["after"]["findings"]
    assert report["after"]["dev"]["loss"]["nats"] < report["before"]["dev"]["loss"]["nats"] - 0.3
    assert Run.open("ill-healed", folder / "runs").model.init == "kaiming"
    status, output, _ = invoke("train", "ill2", *sick)
    assert "What was changed" in output
    assert "Before and after" in output


def test_heal_leaves_a_healthy_training_alone(invoke: Invoke, folder: Path) -> None:
    status, output, _ = invoke("train", "well", *MLP, "--data", "names.txt", "--heal", "--json")
    assert status == 0
    report = json.loads(output)
    assert report["after"] is None
    assert not (folder / "runs/well-healed").exists()


@pytest.mark.parametrize("more", [["--model", "ngram:3"], [*MLP, "--watch", "off"]])
def test_heal_is_refused_where_nothing_is_watched(invoke: Invoke, more: list[str]) -> None:
    status, _, message = invoke("train", "--data", "names.txt", *more, "--heal")
    assert status == 2
    assert "--heal needs a watched training" in message
