"""Those who wait for the compiler are told; those who do not are not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numba")

SAMPLES = """
from charloom.compiled import tell_when_compiling
from charloom.blocks import compiled_hand
import numpy as np
told = []
tell_when_compiling(lambda: told.append(1))
compiled_hand(1).alias_cells(np.full((2, 3), 1 / 3))
compiled_hand(1).alias_cells(np.full((2, 3), 1 / 3))
print(len(told))
"""


def test_compiling_is_told_once_and_loading_is_not(tmp_path: Path) -> None:
    def told() -> str:
        environment = {"NUMBA_CACHE_DIR": str(tmp_path), "PATH": ""}
        done = subprocess.run([sys.executable, "-c", SAMPLES], env=environment, text=True, capture_output=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert told() == "1\n"
    assert told() == "0\n"
