"""Whatever fails while a training is watched, the training ends as if nobody had watched it."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nets
import pytest
import torch

import small
import telltales
from charloom.config import ModelConfig, TrainingConfig
from charloom.fitting import fit_run
from charloom.runs import Run
from charloom.watching import Watching, record_path
from telltales import Finding, Sign, TelltalesWarning
from telltales.bridges.guarding import harmless
from telltales.report.html import html_report
from torture.shown import SHORT
from torture.watchers import show, train


def broken(*_: Any, **__: Any) -> Any:
    raise ZeroDivisionError("oh")


def test_every_call_of_a_watch_may_fail() -> None:
    rows = list(show(SHORT, lambda line: None))
    assert not [failure for row in rows for failure in row.failures]
    assert all(row.count for row in rows)


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("telltales.watching.Watch._observe", "watching stops at step 0"),
        ("telltales.watching.Watch._placed", "watching stops at step 0"),
        ("telltales.recording.Recording.evaluate", "watching stops at step 1"),
        ("telltales.waiting.WaitingLosses.extend", "watching stops at step 4"),
        ("telltales.looking.Lookout.free", "watching stops at step 2"),
        ("telltales.describing.Description.loss", "watching stops at step 0"),
        ("telltales.describing.Description.end", "the watch is closed, and may lack the end"),
        ("telltales.recording.Recording.close", "the watch is closed, and may lack the end"),
        ("telltales.observing.ObservedStep.before_update", "watching stops at step 0"),
        ("telltales.acting.UpdateGuard._found", "watching stops at step 0"),
        ("telltales.turns.StaleGradients.backward_begins", "watching stops at step 0"),
        ("telltales.module_readings.ModuleReadings.gradient", "watching stops at step 0"),
        ("telltales.turns.StaleGradients.backward_ended", "watching stops at step 0"),
        ("telltales.structure.ModeProbe.saw", "watching stops at step 1"),
        ("telltales.functions.FunctionProbe.enter", "(functions that modules call)"),
        ("telltales.functions.FunctionProbe.leave", "(functions that modules call)"),
        ("telltales.functions.FunctionProbe.see", "(functions that modules call)"),
        ("telltales.probes.ModuleProbe._see", "watching stops at step 0"),
        ("telltales.record_file.RecordWriter.observe", "the record is written no further, and goes on in memory"),
        ("telltales.report.terminal.LiveTable.update", "called no more (live_table)"),
        ("telltales.report.html.html_report", "there is no report"),
    ],
)
def test_a_part_that_fails_is_named_and_the_training_is_untouched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, said: str
) -> None:
    expected = train()
    monkeypatch.setattr(where, broken)
    got = train(tmp_path)
    assert got.state == expected.state
    assert got.hooks == 0
    assert len(got.warned) == 1
    assert got.warned[0].partition(": ")[0].endswith(said)
    assert "ZeroDivisionError: oh" in got.warned[0]
    assert got.warned[0].endswith("the training is untouched")


def test_of_steps_that_count_themselves_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = train()
    for where in ("telltales.automatic.loss_in", "telltales.automatic.Automatic._loss"):
        with monkeypatch.context() as patched:
            patched.setattr(where, broken)
            got = train(tmp_path, counts_itself=True)
        assert (got.state, got.hooks, len(got.warned)) == (expected.state, 0, 1)


def loop(watch: telltales.Watch, model: torch.nn.Module, optimizer: torch.optim.Optimizer, steps: int = 3) -> None:
    for x, y in nets.batches(steps):
        loss = nets.loss_of(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        watch.step(loss, x, y)


def watched(**options: Any) -> tuple[telltales.Watch, torch.nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = nets.deep_mlp()
    optimizer = nets.adam(model)
    return telltales.watch(model, optimizer, **options), model, optimizer


def test_one_probe_that_fails_is_switched_off_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    real = telltales.probes.ModuleProbe._see

    def see(probe: Any, *given: Any) -> None:
        if probe.watched.name == "2":
            broken()
        real(probe, *given)

    monkeypatch.setattr(telltales.probes.ModuleProbe, "_see", see)
    watch, model, optimizer = watched()
    with pytest.warns(TelltalesWarning, match=r"watched no more, and all others are \(2\): ZeroDivisionError: oh"):
        loop(watch, model, optimizer)
    watch.close()
    record = watch.record
    assert record.steps.tolist() == [0, 1, 2]
    assert "2" not in record.names("activation")
    assert "4" in record.names("activation")
    assert "unfired" not in record.about
    assert "not watched    2: watching failed there" in str(watch)
    assert "1 part not watched to the end" in html_report({"run": record})
    assert record.about["switched_off"]["2"].startswith("ZeroDivisionError: oh (test_watchers.py, line")
    assert nets.hooks(model) == 0


def test_one_rule_and_one_callback_that_fail_are_left_out_and_the_others_go_on() -> None:
    always = telltales.rule("always", why="It is so.")(lambda run: [Sign("it is", step=run.step)])
    faulty = telltales.rule("faulty", why="It is so.")(broken)
    heard: list[Finding] = []
    seen: list[int] = []
    watch, model, optimizer = watched(rules=[faulty, always])
    watch.on_finding(broken)
    watch.on_finding(heard.append)
    watch.on_observed(broken)
    watch.on_observed(lambda other: seen.append(len(other.record)))
    with pytest.warns(TelltalesWarning) as warned:
        loop(watch, model, optimizer)
    watch.close()
    facts = sorted(str(one.message).partition(": ")[0] for one in warned)
    assert facts == [
        "a callback for findings failed and is called no more (broken)",
        "a callback for observed steps failed and is called no more (broken)",
        "the rule faulty failed and is left out",
    ]
    assert [finding.rule for finding in heard] == ["always"]
    assert seen == [1, 2, 3]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, telltales.UsageError("a fact")])
def test_what_is_for_the_caller_passes(monkeypatch: pytest.MonkeyPatch, error: Any) -> None:
    def ends(*_: Any, **__: Any) -> None:
        raise error

    watch, model, optimizer = watched()
    monkeypatch.setattr("telltales.describing.Description.update", ends)
    with pytest.raises(error if isinstance(error, type) else type(error)), watch:
        loop(watch, model, optimizer)
    assert nets.hooks(model) == 0
    assert not optimizer._optimizer_step_post_hooks


def test_an_interrupt_while_hooks_are_taken_away_leaves_none(monkeypatch: pytest.MonkeyPatch) -> None:
    real, interrupts = telltales.structure.ModeProbe.remove, [KeyboardInterrupt]

    def remove(probe: Any) -> None:
        if interrupts:
            raise interrupts.pop()
        real(probe)

    monkeypatch.setattr(telltales.structure.ModeProbe, "remove", remove)
    watch, model, _ = watched()
    with pytest.raises(KeyboardInterrupt):
        watch.close()
    assert nets.hooks(model) == 1
    watch.close()
    assert nets.hooks(model) == 0


def test_a_finding_that_ends_the_training_is_what_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the report on it, nor what fails while its step is looked at."""
    watch, model, optimizer = watched()
    watch.raise_on("non-finite", report=tmp_path / "missing" / "report.html")
    with torch.no_grad():
        model[2].weight[0, 0] = float("nan")  # type: ignore[index, operator]
    monkeypatch.setattr("telltales.describing.Description.batch", broken)
    with pytest.warns(TelltalesWarning) as warned, pytest.raises(telltales.FindingError, match="non-finite"):
        loop(watch, model, optimizer)
    facts = [str(one.message).partition(": ")[0] for one in warned]
    assert facts == ["the step that ends the training is not in the record", "there is no report"]


def test_a_report_on_a_training_that_is_over_says_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch, model, optimizer = watched()
    loop(watch, model, optimizer)
    with pytest.warns(TelltalesWarning, match="there is no report"):
        watch.report(tmp_path)
    watch.close()
    with pytest.raises(telltales.RecordError):
        watch.report(tmp_path)
    monkeypatch.setattr("telltales.report.html.html_report", broken)
    with pytest.raises(telltales.RecordError, match="can't be drawn: ZeroDivisionError: oh"):
        watch.report(tmp_path / "report.html")


def test_a_disk_that_takes_a_part_of_a_line_gets_the_rest(tmp_path: Path) -> None:
    class Narrow:
        """A file that takes ten bytes at a time, and after a while none."""

        def __init__(self, file: Any, most: int) -> None:
            self._file, self._left = file, most

        def write(self, content: memoryview) -> int:
            if not self._left:
                raise OSError(errno.ENOSPC, "No space left on device")
            self._left -= 1
            return int(self._file.write(content[:10]))

        def close(self) -> None:
            self._file.close()

    watch, model, optimizer = watched(path=tmp_path / "record.jsonl")
    writer = watch._recording._writer
    assert writer is not None
    writer._file = Narrow(writer._file, 50_000)  # type: ignore[assignment]
    loop(watch, model, optimizer)
    assert len(telltales.read_record(tmp_path / "record.jsonl")) == 3
    writer._file._left = 2  # type: ignore[attr-defined]
    with pytest.warns(TelltalesWarning, match="the record is written no further"):
        watch.close()
    assert len(telltales.read_record(tmp_path / "record.jsonl")) == 3


def test_a_callback_in_a_loop_of_others_does_no_harm() -> None:
    class Callback:
        watch: Any = None

        @harmless
        def on_train_batch_end(self, error: Exception) -> None:
            raise error

    callback = Callback()
    callback.watch, model, _ = watched()
    with pytest.raises(telltales.UsageError):
        callback.on_train_batch_end(telltales.UsageError("a fact"))
    with pytest.warns(TelltalesWarning, match="on_train_batch_end failed, and watching stops: OSError: oh"):
        callback.on_train_batch_end(OSError("oh"))
    assert nets.hooks(model) == 0


WAYS: dict[str, Callable[[pytest.MonkeyPatch, Run], object]] = {
    "no place for the record": lambda patch, run: record_path(run).mkdir(),
    "no watch": lambda patch, run: patch.setattr("telltales.watch", broken),
    "step": lambda patch, run: patch.setattr("telltales.Watch.step", broken),
    "passed": lambda patch, run: patch.setattr("telltales.Watch.passed", broken),
    "evaluation": lambda patch, run: patch.setattr("telltales.Watch.evaluation", broken),
    "report": lambda patch, run: patch.setattr("telltales.Watch.report", broken),
    "a probe that sees nothing": lambda patch, run: patch.setattr("telltales.probes.ModuleProbe.install", nothing),
}


def nothing(*_: Any) -> None:
    """In place of what would do something."""


@pytest.mark.parametrize("way", WAYS)
def test_a_run_that_cannot_be_watched_is_trained_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    config = TrainingConfig(**small.QUICK)
    plain, other = (
        Run.create(small.dataset(), ModelConfig(**small.SMALL_MLP), config, root=tmp_path, name=name)
        for name in ("plain", "other")
    )
    expected = fit_run(plain, small.dataset())
    WAYS[way](monkeypatch, other)
    with pytest.warns(TelltalesWarning) as warned:
        result = fit_run(other, small.dataset(), [Watching(other, "economy")])
    assert len(warned) == 1
    assert expected is not None
    assert result is not None
    assert result["weights_sha256"] == expected["weights_sha256"]
