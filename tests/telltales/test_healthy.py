"""Of healthy trainings of all kinds nothing worse than a note is said, before them and while they go on."""

from __future__ import annotations

import healthy_others
import healthy_supervised
import pytest
import torch
from healthy import HEALTHY

MODULES = (healthy_supervised, healthy_others)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", HEALTHY)
def test_nothing_worse_than_a_note_is_said(name: str) -> None:
    torch.manual_seed(0)
    found = [one for root in HEALTHY[name]() for one in root.every()]
    assert [(one.rule, one.found, one.resolved, one.evidence) for one in found if one.severity != "note"] == []


def test_all_are_tried() -> None:
    assert {run.__module__ for run in HEALTHY.values()} == {module.__name__ for module in MODULES}
    assert len(HEALTHY) >= 35
