"""The parts of the speed benchmark run, on little, and what they say of correctness holds."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import small

pytest.importorskip("numba")
sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

from speedbench import samples, watched
from speedbench.counting import counting, counting_lines
from speedbench.data import data_lines, measure_data
from speedbench.samples import p_values
from speedbench.watched import measure_watching, watching_lines

import charloom


def test_what_is_drawn_has_the_models_distribution_and_another_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "POSITIONS", 5)
    monkeypatch.setattr(samples, "COMMONEST", 50)
    model = charloom.train(small.dataset(), model="ngram:3")
    tests = p_values(model, n=20_000)
    assert len(tests) == 6
    assert min(tests.values()) > 1e-4
    lines = model.sample_lines
    monkeypatch.setattr(
        type(model),
        "sample_lines",
        lambda self, n, config, **rest: (part.replace(b"a", b"e") for part in lines(n, config)),
    )
    assert min(p_values(model, n=20_000).values()) < 1e-9


def test_cost_by_data_is_measured(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_text("\n".join(small.names()))
    report = measure_data(str(path), times=(1, 2))
    assert report[1]["targets"] > 1.9 * report[0]["targets"]
    assert len(data_lines(report)) == 3


def test_watching_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched, "STEPS", 40)
    report = measure_watching(small.dataset(), rounds=1)
    assert all(seconds["watched"] > 0 for seconds in report.values())
    assert len(watching_lines(report)) == 3


def test_counts_from_files_are_right() -> None:
    rows = counting(list(small.names()), size=40_000, rounds=1)
    assert all(row["right"] for row in rows)
    assert len(counting_lines(rows)) == len(rows) + 2
