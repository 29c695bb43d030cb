"""A record stays bounded, keeps what matters, and comes back from its file as it was."""

from __future__ import annotations

import contextlib
import json
import re
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from nets import Transformer, batches, deep_mlp, loss_of, train

import telltales
from telltales import Limits, Record, RecordError, read_record
from telltales.observation import COLUMNS, Evaluation, Histogram, Observation, Picture, Reading
from telltales.record_file import MARK, VERSION, RecordWriter, cut_record
from telltales.series import Evaluations, Losses


def observation(step, loss=1.0, names=("a", "b"), value=None, picture=None, losses=None):
    value = float(step) if value is None else value
    tables = {
        kind: Reading(tuple(names), np.full((len(names), len(columns)), value, np.float32))
        for kind, columns in COLUMNS.items()
    }
    losses = np.array([loss] if losses is None else losses, np.float32)
    return Observation(step, {"loss": loss, "gradient_norm": 1.0}, tables, picture, losses)


def picture(step):
    return Picture(
        step, {"activation": {"a": Histogram(3, np.array([step, 2], np.uint32))}}, {"a": np.eye(3, dtype=bool)}
    )


def same(one, other):
    assert one.about == other.about
    assert one.modules == other.modules
    assert one.parameters == other.parameters
    assert one.outcome == other.outcome
    assert one.observed == other.observed
    np.testing.assert_array_equal(one.steps, other.steps)
    for name in ("loss", "gradient_norm", "batch_size", "target_entropy", "training_mode"):
        np.testing.assert_array_equal(one.scalar(name), other.scalar(name))
    for kind, columns in COLUMNS.items():
        assert one.names(kind) == other.names(kind)
        for column in columns:
            np.testing.assert_array_equal(one.values(kind, column), other.values(kind, column))
            for name in one.names(kind):
                np.testing.assert_equal(one.extremes(kind, name, column), other.extremes(kind, name, column))
    for series in ("steps", "mean", "lowest", "highest"):
        np.testing.assert_array_equal(getattr(one.losses, series), getattr(other.losses, series))
    assert [e for s in one.evaluations.splits for e in one.evaluations.of(s)] == [
        e for s in other.evaluations.splits for e in other.evaluations.of(s)
    ]
    assert one.batches == other.batches
    assert [p.step for p in one.pictures] == [p.step for p in other.pictures]
    for p, q in zip(one.pictures, other.pictures, strict=True):
        assert {k: list(v) for k, v in p.histograms.items()} == {k: list(v) for k, v in q.histograms.items()}
        for kind, rows in p.histograms.items():
            for name, histogram in rows.items():
                assert histogram.first == q.histograms[kind][name].first
                np.testing.assert_array_equal(histogram.counts, q.histograms[kind][name].counts)
        assert set(p.maps) == set(q.maps)
        for name, cells in p.maps.items():
            np.testing.assert_array_equal(cells, q.maps[name])


@pytest.mark.parametrize("make", [deep_mlp, Transformer])
@pytest.mark.parametrize("limits", [Limits(), Limits(rows=16, pictures=3, losses=8, evaluations=3, batches=2)])
def test_reading_back_gives_the_same_record(tmp_path, make, limits):
    path = tmp_path / "record.jsonl"
    _, record = train(make, 40, preset="full", path=path, limits=limits)
    same(record, read_record(path, limits))


@pytest.mark.parametrize("rows", [16, 17, 64])
def test_decimation_keeps_the_first_the_last_and_the_extremes(rows):
    record = Record(limits=Limits(rows=rows))
    losses = 3 + np.sin(np.arange(1000))
    losses[137], losses[911] = 50.0, -50.0
    for step, loss in enumerate(losses):
        record.append(observation(step, float(loss)))
        assert len(record) <= rows
        assert record.steps[0] == 0
        assert record.steps[-1] == step
    assert {137, 911} <= set(record.steps.tolist())
    assert (np.diff(record.steps) > 0).all()
    assert len(record) >= rows // 2
    assert record.observed == 1000
    gaps = np.diff(record.steps)
    assert gaps.max() <= 4 * 1000 / rows


def test_a_loss_that_only_falls_does_not_crowd_out_the_past():
    record = Record(limits=Limits(rows=32))
    for step in range(2000):
        record.append(observation(step, 1 / (step + 1)))
    assert np.diff(record.steps).max() <= 4 * 2000 / 32
    np.testing.assert_allclose(record.scalar("loss"), 1 / (record.steps + 1))
    np.testing.assert_allclose(record.series("weight", "b", "std"), record.steps)


def test_extremes_are_exact_whatever_was_let_go():
    record = Record(limits=Limits(rows=16))
    values = np.random.default_rng(0).normal(size=500)
    values[100] = np.nan
    for step, value in enumerate(values):
        record.append(observation(step, value=float(value)))
    low, high = record.extremes("update", "a", "rms")
    assert low == (int(np.nanargmin(values)), pytest.approx(np.nanmin(values)))
    assert high == (int(np.nanargmax(values)), pytest.approx(np.nanmax(values)))


def test_names_may_come_late_and_stay_away():
    record = Record()
    record.append(observation(0, names=("a",)))
    record.append(observation(1, names=("b", "a")))
    record.append(observation(2, names=("b",)))
    assert record.names("weight") == ["a", "b"]
    np.testing.assert_array_equal(record.series("weight", "a", "std"), [0, 1, np.nan])
    np.testing.assert_array_equal(record.series("weight", "b", "std"), [np.nan, 1, 2])


def test_pictures_are_spread_over_the_training():
    record = Record(limits=Limits(pictures=5))
    for step in range(100):
        record.append(observation(step, picture=picture(step)))
        assert len(record.pictures) <= 5
        assert record.pictures[-1].step == step
    assert record.pictures[0].step == 0
    assert record.pictures[-2].step >= 32


def test_a_million_steps_take_no_more_memory():
    def peak(steps):
        record = Record(limits=Limits(rows=64))
        numbers = observation(0)
        tracemalloc.start()
        for step in range(steps):
            object.__setattr__(numbers, "step", step)
            record.append(numbers)
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert len(record.losses.steps) <= 2048
        return highest

    assert peak(6000) < 1.5 * peak(2000)


def test_steps_must_rise():
    record = Record()
    record.append(observation(3))
    with pytest.raises(RecordError, match="step 3 comes after step 3"):
        record.append(observation(3))


def test_unknown_names_are_refused():
    record = Record()
    record.append(observation(0))
    with pytest.raises(RecordError, match="no table is called 'weights'"):
        record.values("weights", "std")
    with pytest.raises(RecordError, match="'sd' is not a column of 'weight'"):
        record.values("weight", "sd")
    with pytest.raises(RecordError, match="'c' is not a row of 'weight'"):
        record.series("weight", "c", "std")
    with pytest.raises(RecordError, match="no scalar is called 'los'"):
        record.scalar("los")


@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=200), st.integers(4, 16))
def test_losses_are_joined_by_equal_spans(values, capacity):
    losses = Losses(capacity)
    for step, value in enumerate(values):
        losses.extend(5 + step, np.array([value], np.float32))
    span = losses.span
    assert len(losses.steps) <= capacity
    parts = [values[i : i + span] for i in range(0, len(values), span)]
    np.testing.assert_array_equal(losses.steps, 5 + np.arange(0, len(values), span))
    np.testing.assert_allclose(losses.mean, [np.mean(part) for part in parts], atol=1e-6)
    np.testing.assert_allclose(losses.lowest, [min(part) for part in parts])
    np.testing.assert_allclose(losses.highest, [max(part) for part in parts])


def test_losses_that_are_not_finite_show():
    losses = Losses(4)
    losses.extend(0, np.array([1, np.nan, 2, np.inf], np.float32))
    np.testing.assert_array_equal(losses.mean, [1, np.nan, 2, np.inf])
    losses.extend(4, np.array([1.0]))
    np.testing.assert_array_equal(losses.mean, [np.nan, np.inf, 1])


def test_evaluations_keep_each_splits_best():
    evaluations = Evaluations(10)
    for step in range(200):
        evaluations.append(Evaluation(step, "dev", abs(step - 77.0)))
        evaluations.append(Evaluation(step, "test", abs(step - 20.0)))
    assert len(evaluations) <= 10
    assert evaluations.splits == ["dev", "test"]
    assert min(e.loss for e in evaluations.of("dev")) == 0
    assert min(e.loss for e in evaluations.of("test")) == 0
    assert evaluations.of("test")[-1].step == 199


def test_many_splits_stay_within_bounds():
    evaluations = Evaluations(64)
    for step in range(2000):
        evaluations.append(Evaluation(step, f"split {step}", 1.0))
        assert len(evaluations) <= 64
    assert evaluations.splits[-1] == "split 1999"


def written(path, steps=5):
    record = Record(about={"model": "net"})
    writer = RecordWriter(path, record)
    for step in range(steps):
        seen = observation(
            step, float("nan") if step == 2 else float("inf") if step == 3 else 1.0, picture=picture(step)
        )
        record.append(seen)
        writer.observe(seen)
        writer.evaluate(evaluation := Evaluation(step, "dev", 2.0))
        record.evaluate(evaluation)
    return record, writer


def unchecked(content):
    """Without checksums, as an earlier telltales wrote them, and whoever wants to be believed leaves them out."""
    return re.sub(rb',"crc32":"[0-9a-f]{8}"\}\n', b"}\n", content)


def test_records_without_checksums_are_read(tmp_path):
    path = tmp_path / "r.jsonl"
    record, writer = written(path)
    writer.abandon()
    before = path.read_bytes()
    path.write_bytes(unchecked(before))
    assert path.stat().st_size < len(before)
    same(record, read_record(path))
    cut_record(path, 99)
    assert path.read_bytes() == before


def test_every_line_is_on_disk_when_the_call_returns(tmp_path):
    record, writer = written(tmp_path / "r.jsonl")
    same(record, read_record(tmp_path / "r.jsonl"))
    writer.close("finished")
    assert read_record(tmp_path / "r.jsonl").outcome == "finished"


def test_a_crash_loses_at_most_one_line(tmp_path):
    path = tmp_path / "r.jsonl"
    _, writer = written(path)
    writer.close("finished")
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    complete = [len(read_record(path))]
    for cut in range(len(whole) - 1, first, -997):
        path.write_bytes(whole[:cut])
        record = read_record(path)
        assert record.outcome is None
        complete.append(len(record))
    assert complete == sorted(complete, reverse=True)
    assert complete[-1] <= 1


@pytest.mark.parametrize("every", [1, 3])
def test_a_resumed_training_goes_on_with_its_record(tmp_path, every):
    def schedule(step):
        return step % every == 0

    def run(first, last, path, **options):
        torch.manual_seed(0)
        model = deep_mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
        with telltales.watch(model, optimizer, path=path, first_step=first, schedule=schedule, **options) as w:
            for number, (x, y) in enumerate(batches(last)):
                if number >= first:
                    loss = loss_of(model(x), y)
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    w.step(loss)
                    if number % 4 == 3:
                        w.evaluation(loss)
        return w.record

    whole = run(0, 20, tmp_path / "whole.jsonl")
    run(0, 13, tmp_path / "parts.jsonl", resume=True)
    record = run(8, 20, tmp_path / "parts.jsonl", resume=True)
    assert len(whole.losses.steps) == 20
    for found in (record, read_record(tmp_path / "parts.jsonl")):
        # The first step of a watch is observed in any case.
        assert set(found.steps.tolist()) == {8, *whole.steps.tolist()}
        rows = np.isin(found.steps, whole.steps)
        np.testing.assert_array_equal(found.scalar("loss")[rows], whole.scalar("loss"))
        np.testing.assert_array_equal(found.losses.mean, whole.losses.mean)
        np.testing.assert_array_equal(found.values("gradient", "std")[rows], whole.values("gradient", "std"))
        assert found.evaluations.of("dev") == whole.evaluations.of("dev")
        assert found.outcome == "finished"
        assert (np.diff(found.scalar("seconds")) > 0).all()


def test_what_is_not_a_record_is_refused(tmp_path):
    path = tmp_path / "r.jsonl"
    with pytest.raises(RecordError, match="No such file"):
        read_record(path)
    for content in (b"", b"hello\n", b"[]\n", b"{}\n", b"\xff\xfe\n", b'{"a": 1}\n', b"3\n"):
        path.write_bytes(content)
        with pytest.raises(RecordError, match=r"line 1: (the file is empty|this is not a record of telltales)"):
            read_record(path)


def test_other_versions_are_refused_by_name(tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_text(json.dumps({MARK: VERSION + 1}) + "\n", encoding="utf-8")
    with pytest.raises(RecordError, match="record of version 2; this telltales reads version 1"):
        read_record(path)


@pytest.mark.parametrize(
    "line",
    [
        b"nonsense\n",
        b"[1]\n",
        b'{"step": 1}\n',
        b'{"step": 9, "tables": {"weight": "AAAA"}, "losses": ""}\n',
        b'{"step": 9, "tables": {"weights": ""}, "losses": ""}\n',
        b'{"step": 9, "tables": {}, "losses": "!"}\n',
        b'{"step": 9, "tables": {}, "losses": "", "histograms": {"weight": {"a": [9999, 1, "AAAA"]}}, "maps": {}}\n',
        b'{"step": 9, "tables": {}, "losses": "", "histograms": {}, "maps": {"a": [900000, 900000, ""]}}\n',
        b'{"step": 0, "tables": {}, "losses": ""}\n',
        b'{"step": NaN, "tables": {}, "losses": ""}\n',
        b'{"modules": 3}\n',
        b'{"modules": {"a": {"shape": "wide"}}}\n',
        b'{"parameters": {"a": {"untied": {"from": 3}}}}\n',
        b'{"about": {"labels": {"a": "many"}}}\n',
        b'{"about": {"groups": [["0", {}]]}}\n',
        b'{"about": {"models": 9223372036854775808}}\n',
        b'{"about": {"a": 1, "a": 2}}\n',
        b'{"about": {"a": ' + b"[" * 40 + b"]" * 40 + b"}}\n",
        b'{"rows": {"weight": "ab"}}\n',
        b'{"rows": {"weight": ["a", "a"]}}\n',
        b'{"evaluation": 3}\n',
        b'{"evaluation": true, "split": "dev", "loss": 1}\n',
        b'{"evaluation": 3, "split": 1, "loss": 1}\n',
        b'{"evaluation": 3, "split": "dev", "loss": "1"}\n',
        b'{"evaluation": 3, "split": "dev", "loss": 1e999}\n',
        b'{"evaluation": 3, "split": "dev", "loss": 1, "classes": {"a": [1]}}\n',
        b'{"first": 1, "losses": "AACAPw=="}\n',
        b'{"first": -9, "losses": "AACAPw=="}\n',
        b'{"first": 99999999999999999, "losses": "AACAPw=="}\n',
        b'{"outcome": 3}\n',
        b'{"step": "9", "tables": {}, "losses": ""}\n',
        b'{"step": 9, "tables": {}, "losses": "", "indices": [1.5]}\n',
        b'{"step": 9, "tables": {}, "losses": "", "batch_size": "8"}\n',
        b'{"step": 9, "tables": {}, "losses": "", "histograms": {}, "maps": {"a": [8, 8, "AA=="]}}\n',
        b"\xff\n",
        b"[" * 100_000 + b"\n",
    ],
)
def test_a_damaged_line_is_named(tmp_path, line):
    path = tmp_path / "r.jsonl"
    _, writer = written(path, 2)
    writer.abandon()
    lines = unchecked(path.read_bytes()).splitlines(keepends=True)
    path.write_bytes(b"".join(lines) + b"{}\n")
    read_record(path)
    path.write_bytes(b"".join(lines) + line + b"{}\n")
    with pytest.raises(RecordError, match=rf"r\.jsonl, line {len(lines) + 1}: "):
        read_record(path)


def test_a_line_that_is_missing_changed_repeated_or_moved_is_noticed(tmp_path):
    path = tmp_path / "r.jsonl"
    _, writer = written(path, 3)
    writer.close("finished")
    lines = path.read_bytes().splitlines(keepends=True)
    for place in range(1, len(lines) - 1):
        before, line, after = lines[:place], lines[place], lines[place + 1 :]
        for damaged in ([], [line, line], [after[0], line, *after[1:]], [line.replace(b"2.0", b"2.5")], [b"{}\n"]):
            path.write_bytes(b"".join([*before, *damaged, *after]))
            if path.read_bytes() != b"".join(lines):
                with pytest.raises(RecordError, match=r"line \d+: .*checksum does not match"):
                    read_record(path)
    path.write_bytes(b"".join(lines))
    assert read_record(path).outcome == "finished"


def test_a_table_that_would_not_fit_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "r.jsonl"
    _, writer = written(path, 3)
    writer.abandon()
    monkeypatch.setattr("telltales.record_reading.MOST_CELLS", 3 * 2 * len(COLUMNS["activation"]))
    assert len(read_record(path)) == 3
    monkeypatch.setattr("telltales.record_reading.MOST_CELLS", 3 * 2 * len(COLUMNS["activation"]) - 1)
    with pytest.raises(RecordError, match="'activation' would hold more than"):
        read_record(path)


@given(st.binary(max_size=60), st.integers(0, 10_000), st.booleans())
def test_damage_anywhere_is_read_or_refused(tmp_path_factory, noise, place, replaces):
    path = tmp_path_factory.mktemp("record") / "r.jsonl"
    _, writer = written(path, 2)
    writer.close("finished")
    whole = path.read_bytes()
    place %= len(whole)
    path.write_bytes(whole[:place] + noise + whole[place + (len(noise) if replaces else 0) :])
    with contextlib.suppress(RecordError):
        assert len(read_record(path)) <= 2


def test_a_picture_of_a_real_net_counts_every_value():
    _, record = train(deep_mlp, 2)
    histograms = record.pictures[0].histograms
    assert histograms["activation"]["4"].counts.sum() == 16 * 20
    assert histograms["activation_gradient"]["4"].counts.sum() == 16 * 20
    assert histograms["gradient"]["2.weight"].counts.sum() == 240
    assert histograms["weight"]["2.weight"].counts.sum() == 240
    cells = record.pictures[0].maps["4"]
    assert cells.shape == (16, 20)
    assert cells.mean() == pytest.approx(record.series("activation", "4", "saturated")[0], abs=1e-6)
