"""Memory is bounded: the peaks of processes, and how steeply they rise, at a small size."""

from __future__ import annotations

import pytest

from torture.memory import STATUS, Peaks, Workload, scheduled, tried, workloads
from torture.shown import SHORT

pytestmark = pytest.mark.skipif(not STATUS.exists(), reason="peaks are read from /proc")


@pytest.mark.parametrize("workload", workloads(SHORT), ids=lambda workload: workload.name)
def test_memory_is_bounded(workload: Workload) -> None:
    assert not tried(workload).failures


def test_few_steps_are_observed() -> None:
    assert not scheduled(100_000).failures


def test_a_slope_leaves_out_what_is_made_once() -> None:
    assert Peaks((1, 2, 4, 8), (50.0, 10.0, 14.0, 22.0)).slope == pytest.approx(2.0)
