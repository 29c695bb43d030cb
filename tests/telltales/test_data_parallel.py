"""Two processes: both observe the same steps, the first records, and gradients are those of the whole batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nets
import numpy as np
import pytest
import torch

import telltales

HERE = Path(__file__).parent


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no torch.distributed")
def test_two_processes(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, HERE / "data_parallel.py", str(rank), str(tmp_path)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    ended = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], ended
    first, second = (json.loads(output) for output, _ in ended)
    assert first["steps"] == [0, 2, 4]
    assert second["steps"] == []
    assert first["sum"] == second["sum"]

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
