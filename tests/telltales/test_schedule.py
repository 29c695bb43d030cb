from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telltales import PRESETS, Preset, Schedule, UsageError
from telltales.schedule import Milestones, choose_preset


def test_dense_at_the_start_then_thinner():
    observed = [step for step in range(3001) if Schedule()(step)]
    assert observed[:12] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20]
    assert observed[-12:] == [100, 200, 300, 400, 500, 600, 700, 800, 900, 1000, 2000, 3000]


def test_never_thinner_than_asked():
    assert [step for step in range(100, 301) if Schedule(every=50)(step)] == [100, 150, 200, 250, 300]
    assert all(Schedule(every=1)(step) for step in range(500))


@given(st.integers(0, 10**7))
def test_pictures_are_taken_at_observed_steps(step):
    for preset in PRESETS.values():
        if preset.pictures is not None and preset.pictures(step):
            assert preset.schedule(step)


def test_milestones():
    assert [step for step in range(12_001) if Milestones()(step)] == [0, 1, 10, 100, 1000, 5000, 10_000]


def test_presets_by_name():
    assert choose_preset("economy") is PRESETS["economy"]
    own = Preset("own", Schedule(7))
    assert choose_preset(own) is own
    with pytest.raises(UsageError, match="There are economy, standard, full"):
        choose_preset("rich")
    with pytest.raises(UsageError, match="every 0 steps"):
        Schedule(every=0)
    with pytest.raises(UsageError, match="every -1 steps"):
        Milestones(every=-1)
