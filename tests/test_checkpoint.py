"""Checkpoints come back as they were written, or are refused."""

from __future__ import annotations

import builtins
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charloom.checkpoint import digest_of_arrays, load_checkpoint, read_json, save_checkpoint, write_json
from charloom.errors import CheckpointError

ARRAYS = {
    "weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "count": np.array(7, dtype=np.int64),
    "random": np.arange(5, dtype=np.uint8),
}
STATE = {"step": 3, "loss": 2.123456789012345, "best": None, "text": "Ω"}


def test_arrays_and_state_come_back(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a", ARRAYS, STATE)
    arrays, state = load_checkpoint(tmp_path / "a")
    assert state == STATE
    assert set(arrays) == set(ARRAYS)
    for name, array in arrays.items():
        assert (array.dtype, array.shape) == (ARRAYS[name].dtype, ARRAYS[name].shape)
        np.testing.assert_array_equal(array, ARRAYS[name])


def test_a_transposed_array_keeps_its_values(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a", {"weight": ARRAYS["weight"].T}, {})
    np.testing.assert_array_equal(load_checkpoint(tmp_path / "a")[0]["weight"], ARRAYS["weight"].T)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_changed_byte_is_refused(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "a"
    save_checkpoint(path, ARRAYS, STATE)
    content = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        arrays, state = load_checkpoint(path)
    except CheckpointError:
        return
    # White space in the header may change without any meaning.
    assert digest_of_arrays(arrays) == digest_of_arrays(ARRAYS)
    assert state == STATE


@pytest.mark.parametrize("number", [b"2.12345678901e345", b"Infinity", b"NaN"])
def test_a_number_that_damage_made_infinite_is_refused(tmp_path: Path, number: bytes) -> None:
    path = tmp_path / "a"
    save_checkpoint(path, ARRAYS, STATE)
    content = path.read_bytes()
    assert content.count(b"2.123456789012345") == 1
    path.write_bytes(content.replace(b"2.123456789012345", number.rjust(17)))
    with pytest.raises(CheckpointError, match="no valid JSON"):
        load_checkpoint(path)


@pytest.mark.parametrize("cut", [0, 1, 8, 40, -1])
def test_a_cut_file_is_refused(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "a"
    save_checkpoint(path, ARRAYS, STATE)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(CheckpointError):
        load_checkpoint(path)


def test_a_missing_file_and_a_foreign_one_are_refused(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    with pytest.raises(CheckpointError, match="no such checkpoint"):
        load_checkpoint(tmp_path / "none")
    save_file(ARRAYS, tmp_path / "foreign")
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path / "foreign")


def test_another_format_names_itself(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    header = json.dumps({"format": 99, "state": {}, "sha256": ""})
    save_file(ARRAYS, tmp_path / "a", metadata={"charloom": header})
    with pytest.raises(CheckpointError, match="format 99"):
        load_checkpoint(tmp_path / "a")


def test_the_old_file_stands_when_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    save_checkpoint(path, ARRAYS, STATE)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match="No space left"):
        save_checkpoint(path, {}, {})
    monkeypatch.undo()
    assert load_checkpoint(path)[1] == STATE
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_the_file_is_flushed_before_it_is_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)

        def spy(*arguments: Any, name: str = name, real: Any = real) -> Any:
            calls.append(name)
            return real(*arguments)

        monkeypatch.setattr(os, name, spy)
    opened: list[str] = []
    real_open = builtins.open
    monkeypatch.setattr(builtins, "open", lambda path, *a, **k: opened.append(str(path)) or real_open(path, *a, **k))
    write_json(tmp_path / "a", {"x": 1})
    assert calls == ["fsync", "replace", "fsync"]  # The file, its name, the folder.
    assert Path(opened[0]).parent == tmp_path  # Beside its target: a rename across file systems is not atomic.
    assert read_json(tmp_path / "a") == {"x": 1}


def test_json_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("{")
    with pytest.raises(CheckpointError, match="no valid JSON"):
        read_json(tmp_path / "a")
    (tmp_path / "a").write_bytes(b"\xff")
    with pytest.raises(CheckpointError):
        read_json(tmp_path / "a")


def test_the_digest_sees_names_types_and_shapes() -> None:
    zeros = np.zeros(4, dtype=np.float32)
    digests = {
        digest_of_arrays(arrays)
        for arrays in ({"a": zeros}, {"b": zeros}, {"a": zeros.reshape(2, 2)}, {"a": zeros.view(np.int32)})
    }
    assert len(digests) == 4
