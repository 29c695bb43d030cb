"""Two processes: both observe the same steps, the first records, and gradients are those of the whole batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nets
import numpy as np
import pytest
import torch

import telltales
from telltales.errors import UsageError
from telltales.ranks import _fingerprint

HERE = Path(__file__).parent


pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no torch.distributed")


def two_processes(folder: Path, apart_from: int = -1, raising: str = "") -> list[dict[str, Any]]:
    """What each of them saw."""
    environment = os.environ | {"PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, HERE / "data_parallel.py", str(rank), str(folder), str(apart_from), raising],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    ended = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], ended
    return [json.loads(output) for output, _ in ended]


def test_two_processes(tmp_path):
    first, second = two_processes(tmp_path)
    assert first["steps"] == [0, 2, 4]
    assert second["steps"] == []
    assert first["sum"] == second["sum"]
    assert "ranks-diverge" not in [finding["rule"] for finding in first["findings"]]

    torch.manual_seed(0)
    model = nets.deep_mlp(norm=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    norms = []
    for x, y in nets.batches(5, size=32):
        optimizer.zero_grad()
        nets.loss_of(model(x), y).backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), 0.05)))
        optimizer.step()
    # Averaged over both processes, and before clipping.
    np.testing.assert_allclose(first["norms"], norms[::2], rtol=1e-4)
    record = telltales.read_record(tmp_path / "record.jsonl")
    assert record.names("activation")[0] == "0"
    np.testing.assert_allclose(record.scalar("gradient_norm_used"), 0.05, rtol=1e-3)


def test_a_process_that_goes_its_own_way_is_named(tmp_path):
    first, _ = two_processes(tmp_path, apart_from=1)
    (finding,) = [finding for finding in first["findings"] if finding["rule"] == "ranks-diverge"]
    # From the next observed step on all parameters after it get other gradients, but that one was the first.
    assert (finding["where"], finding["step"], finding["numbers"]["ranks"]) == ("4.weight", 2, [1])
    assert "of process 1 are not those of process 0" in finding["evidence"]


def test_a_finding_ends_all_processes_at_the_same_step(tmp_path):
    first, second = two_processes(tmp_path, raising="missing-zero-grad")
    assert first["ended"] == second["ended"] == "missing-zero-grad at 1"


def test_one_process_has_none_to_be_compared_with():
    with pytest.raises(UsageError, match="one process only"):
        telltales.watch(torch.nn.Linear(2, 1), ranks=True)


def test_every_bit_counts():
    values = torch.arange(1.0, 7.0).view(2, 3)
    exchanged = values.flip(1)
    nearly = values.clone()
    nearly[1, 2] = torch.nextafter(nearly[1, 2], torch.tensor(9.0))
    prints = {tuple(_fingerprint(one).tolist()) for one in (values, exchanged, nearly, values.bfloat16())}
    assert len(prints) == 4
    assert tuple(_fingerprint(values.clone()).tolist()) in prints
