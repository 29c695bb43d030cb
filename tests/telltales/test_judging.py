"""Findings from records: they appear once, are updated, resolve, are grouped and muted; odd records harm no rule."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator
from pathlib import Path

import made
import nets
import numpy as np
import pytest
import synthetic
import torch
from nets import adam, batches, deep_mlp, loss_of

import telltales
from telltales.catalogue import CATALOGUE
from telltales.catalogue import made as finding_of
from telltales.causes import CAUSES
from telltales.errors import FindingError, TelltalesWarning, UsageError
from telltales.finding import Finding, worst
from telltales.verdicts import RULES, Judge, Run, Sign, rule
from telltales.verdicts.grouping import grouped


@rule("odd-loss", why="Odd numbers are odd.", remedy="Add one.")
def odd_loss(run: Run) -> Iterator[Sign]:
    loss = run.scalar("loss")[-1]
    if loss % 2 == 1:
        yield Sign(f"the loss is {loss:.0f}", "out", step=run.step, numbers={"loss": loss})


def record_of(losses: list[float]) -> telltales.Record:
    record = telltales.Record()
    for step, loss in enumerate(losses):
        record.append(made.observation(step, losses=[loss]))
    return record


def watched(zero: bool = True, steps: int = 12, **options: object) -> telltales.Watch:
    torch.manual_seed(0)
    model = deep_mlp()
    optimizer = adam(model)
    watch = telltales.watch(model, optimizer, **options)  # type: ignore[arg-type]
    for x, y in batches(steps):
        loss = loss_of(model(x), y)
        if zero:
            optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        watch.step(loss, x, y)
    return watch


def test_a_finding_appears_once_is_updated_and_resolves():
    judge = Judge([odd_loss])
    record = telltales.Record()
    told = []
    for step, loss in enumerate([2, 1, 3, 4, 4, 5]):
        record.append(made.observation(step, losses=[loss]))
        told.append([finding.evidence for finding in judge.update(record)])
        (found,) = judge.findings() or [None]
        if step in (1, 2):
            assert found is not None
            assert (found.step, found.found, found.resolved) == (1, 1, None)
            assert found.numbers == {"loss": loss}
        if step in (3, 4):
            assert found is not None
            assert found.resolved == 3
    assert told == [[], ["the loss is 1"], [], [], [], ["the loss is 5"]]


def test_a_record_is_judged_as_it_was_while_it_grew():
    watch = watched(zero=False, steps=40)
    live = watch.findings()
    watch.close()
    assert live[0].rule == "missing-zero-grad"
    again = telltales.judge(watch.record)
    assert again == watch.findings()
    assert again[0].step == live[0].step == 1


def test_what_is_muted_is_not_found():
    record = record_of([2, 1])
    assert telltales.judge(record, [odd_loss])
    assert not telltales.judge(record, [odd_loss], mute=["odd-loss"])
    assert not telltales.judge(record, [odd_loss], mute=["odd-loss@o*"])
    assert telltales.judge(record, [odd_loss], mute=["odd-loss@hidden.*", "dead-relu"])
    assert not [f for f in watched(zero=False, mute=["missing-zero-grad"]).findings() if f.rule == "missing-zero-grad"]


def test_symptoms_are_listed_under_their_root():
    flat = [
        finding_of("loss-not-falling", "symptom of all", step=0),
        finding_of("non-finite", "symptom of a divergence", step=30),
        finding_of("diverging", "symptom", step=20),
        finding_of("missing-zero-grad", "root", step=1),
        finding_of("clipping-always-on", "a note of its own", step=1),
    ]
    root, *rest = grouped(flat)
    assert root.rule == "missing-zero-grad"
    assert {symptom.rule for symptom in root.symptoms} == {f.rule for f in flat} - {"missing-zero-grad"}
    assert not rest
    assert [f.rule for f in grouped(flat[:1])] == ["loss-not-falling"]


def test_of_the_same_finding_the_worse_stays_in_its_place():
    import dataclasses

    note = dataclasses.replace(finding_of("unregistered-parameter", "before", "a"), severity="note")
    error = finding_of("unregistered-parameter", "live", "a", step=0)
    found = grouped([note, finding_of("update-too-large", "another", step=0), error])
    assert (found[0].rule, found[0].severity) == ("unregistered-parameter", "error")
    assert len(found) == 2


def test_what_is_gone_and_what_is_a_note_explain_nothing_worse():
    import dataclasses

    symptom = finding_of("diverging", "", step=3)
    gone = dataclasses.replace(finding_of("missing-zero-grad", "", step=1), resolved=2)
    assert [f.rule for f in grouped([symptom, gone])] == ["diverging", "missing-zero-grad"]
    note = dataclasses.replace(finding_of("missing-zero-grad", "", step=1), severity="note")
    assert [f.rule for f in grouped([symptom, note])] == ["diverging", "missing-zero-grad"]


def test_no_rule_causes_itself():
    def causes(name: str, seen: tuple[str, ...]) -> None:
        assert name not in seen, seen
        if name in done:
            return
        for cause in CAUSES.get(name, ()):
            assert cause in CATALOGUE
            causes(cause, (*seen, name))
        done.add(name)

    done: set[str] = set()
    for name in CAUSES:
        assert name in CATALOGUE
        causes(name, ())


def test_every_rule_is_in_the_catalogue_once():
    names = [one.entry.rule for one in RULES]
    assert len(names) == len(set(names))
    assert set(names) <= set(CATALOGUE)


def test_a_rule_of_ones_own_needs_a_reason():
    with pytest.raises(UsageError, match="does not say why"):
        rule("new-rule")


def test_a_rule_that_fails_is_left_out_and_the_others_go_on():
    @rule("broken", why="-", remedy="-")
    def broken(run: Run) -> Iterator[Sign]:
        raise ValueError("no such thing")
        yield

    with pytest.warns(TelltalesWarning, match=r"broken failed and is left out: ValueError: no such thing"):
        watch = watched(rules=[broken, odd_loss], steps=3)
    assert len(watch.record) == 3


def test_callbacks_get_each_finding_once():
    told: list[Finding] = []
    torch.manual_seed(0)
    model = deep_mlp()
    optimizer = adam(model)
    seen = []
    with telltales.watch(model, optimizer) as watch:
        watch.on_finding(told.append)
        watch.on_observed(lambda w: seen.append(int(w.record.steps[-1])))
        for x, y in batches(12):
            loss = loss_of(model(x), y)
            loss.backward()
            optimizer.step()
            watch.step(loss, x, y)
    assert [f.rule for f in told].count("missing-zero-grad") == 1
    assert seen == [*range(10), 10]


def test_a_bad_gradient_ends_the_training_before_it_is_used(tmp_path: Path):
    torch.manual_seed(0)
    model = deep_mlp()
    optimizer = adam(model)
    watch = telltales.watch(model, optimizer)
    watch.raise_on("non-finite", report=tmp_path / "stopped.html")
    for number, (x, y) in enumerate(batches(20)):
        loss = loss_of(model(x), y)
        optimizer.zero_grad()
        (loss * (math.nan if number == 5 else 1.0)).backward()
        before = nets.state_hash(model)
        if number == 5:
            with pytest.raises(FindingError, match="not finite") as caught:
                optimizer.step()
            break
        optimizer.step()
        watch.step(loss, x, y)
    assert nets.state_hash(model) == before
    assert caught.value.finding.rule == "non-finite"
    assert caught.value.finding.step == 5
    assert watch.record.outcome == "FindingError"
    assert watch.record.steps[-1] == 5
    assert "svg" in (tmp_path / "stopped.html").read_text()
    assert nets.hooks(model) == 0
    assert not optimizer._optimizer_step_pre_hooks


def test_a_bad_gradient_between_observed_steps_is_caught_too():
    torch.manual_seed(0)
    model = deep_mlp()
    optimizer = adam(model)
    watch = telltales.watch(model, optimizer)
    watch.raise_on("error")
    for x, y in batches(15):
        loss = loss_of(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        watch.step(loss, x, y)
    loss_of(model(x), y).backward()
    model[2].weight.grad[0, 0] = math.inf
    with pytest.raises(FindingError) as caught:
        optimizer.step()
    assert caught.value.finding.places == ("2.weight",)


def test_the_step_after_the_first_loss_that_is_not_finite_is_looked_at():
    torch.manual_seed(0)
    model = deep_mlp()
    optimizer = adam(model)
    with telltales.watch(model, optimizer) as watch:
        for step, (x, y) in enumerate(batches(24)):
            loss = loss_of(model(x), y) * (math.nan if step >= 13 else 1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            watch.step(loss, x, y)
    assert watch.record.steps.tolist() == [*range(11), 14, 20]
    (finding,) = [one for one in watch.findings() if one.rule == "non-finite"]
    assert (finding.step, finding.found) == (13, 14)


def test_what_an_exception_ended_is_looked_at_once_more(tmp_path: Path):
    torch.manual_seed(0)
    model = deep_mlp()
    optimizer = adam(model)
    path = tmp_path / "record.jsonl"
    with telltales.watch(model, optimizer, path=path) as watch:
        for x, y in batches(16):
            loss = loss_of(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            watch.step(loss, x, y)
        with torch.no_grad():
            model[2].weight[0, 0] = math.nan
    for findings in (watch.findings(), telltales.judge(telltales.read_record(path))):
        (finding,) = [one for one in findings if one.rule == "non-finite"]
        assert finding.places == ("2.weight",)


@pytest.mark.parametrize(("modes", "told"), [([False] * 5, None), ([True] * 5, 1), ([False, False, True], 3)])
def test_the_mode_of_evaluations_is_looked_at_until_it_has_been_right_for_a_while(modes: list[bool], told: int | None):
    """``told``: after which evaluation."""
    torch.manual_seed(0)
    model = deep_mlp()
    optimizer = adam(model)
    data = batches(len(modes))
    with telltales.watch(model, optimizer, schedule=lambda step: True) as watch:
        for number, ((x, y), mode) in enumerate(zip(data, modes, strict=True)):
            loss = loss_of(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            watch.step(loss, x, y)
            model.train(mode)
            with torch.no_grad():
                held_out = loss_of(model(x), y)
            model.train()
            watch.evaluation(held_out)
            found = "train-eval-mode" in [one.rule for one in watch.findings()]
            assert found == (told is not None and number + 1 >= told)
    assert [e.training for e in watch.record.evaluations.of("dev")][:3] == modes[:3]
    assert not any(module._forward_hooks for module in model.modules())


def test_another_finding_ends_the_training_in_the_step_that_shows_it():
    torch.manual_seed(0)
    model = deep_mlp()
    optimizer = adam(model)
    watch = telltales.watch(model, optimizer)
    watch.raise_on("missing-zero-grad")
    for number, (x, y) in enumerate(batches(2)):
        loss = loss_of(model(x), y)
        loss.backward()
        optimizer.step()
        if number == 0:
            watch.step(loss, x, y)
    with pytest.raises(FindingError) as caught:
        watch.step(loss, x, y)
    assert caught.value.finding.rule == "missing-zero-grad"
    assert len(watch.record) == 2
    with pytest.raises(UsageError, match="no rule is called"):
        watch.raise_on("missing-zero-gard")


def test_findings_can_be_written_and_read():
    watch = watched(zero=False, steps=12)
    found = [finding.as_json() for finding in watch.findings()]
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found[0]["page"] == "docs/rules/missing-zero-grad.md"
    text = str(watch.findings()[0])
    assert text.startswith("error: missing-zero-grad (since step 1)\n  at step 1 100% of the gradients")
    assert "try: Call optimizer.zero_grad()" in text
    assert worst(watch.findings()) == "error"
    assert worst([]) is None


@pytest.mark.parametrize("kind", ["healthy", "sick"])
def test_made_up_records_harm_no_rule(kind: str):
    for record in (
        synthetic.mlp(steps=60),
        synthetic.hostile(),
        synthetic.economy(),
        made.mlp(steps=30),
        telltales.Record(),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            telltales.judge(record)


@pytest.mark.parametrize("seed", range(40))
def test_records_with_holes_and_wild_numbers_harm_no_rule(seed: int):
    """Any number may be missing, infinite, zero or huge."""
    rng = np.random.default_rng(seed)
    watch = watched(steps=30, schedule=lambda step: True)
    watch.close()
    record = watch.record
    choices = [math.nan, math.inf, -math.inf, 0.0, -1.0, 1e30, 1e-30]
    for table in record.tables.values():
        values = table.rows(len(record))
        holes = rng.random(values.shape) < rng.choice([0.05, 0.5, 0.95])
        values[holes] = rng.choice(choices, int(holes.sum()))
    scalars = record._scalars[: len(record)]
    holes = rng.random(scalars.shape) < 0.3
    scalars[holes] = rng.choice(choices, int(holes.sum()))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for finding in telltales.judge(record):
            str(finding)
            json.dumps(finding.as_json(), allow_nan=False)
