"""Batches made on the device are those that the source makes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import small
from charloom import feeding
from charloom.contexts import BatchSource, Contexts, DistinctBatches, DistinctContexts, RowBatches
from charloom.feeding import Feed, RowsOnDevice

CPU = torch.device("cpu")


@pytest.mark.parametrize("context_length", [1, 3, 9])
def test_rows_are_those_of_the_contexts(context_length: int) -> None:
    contexts = Contexts(small.dataset().encoded("train"), context_length)
    index = np.arange(len(contexts)).reshape(1, -1)
    expected, targets = contexts.rows(index)
    found, found_targets = RowsOnDevice(contexts, CPU)(torch.from_numpy(index))
    assert (found.numpy() == expected).all()
    assert (found_targets.numpy() == targets).all()
    assert found.dtype == found_targets.dtype == torch.int64


def test_batches_of_rows_are_those_of_the_source() -> None:
    contexts = Contexts(small.dataset().encoded("train"), 3)
    source = RowBatches(contexts, 16, seed=1)
    feed = Feed(source, CPU, 27)
    block = feed.block(100, 70)
    made = source.batches(100, 70)
    assert (block.numbers == made.numbers).all()
    for step in range(70):
        batch = feed.batch(tuple(part[step] for part in block.parts))
        assert (batch.contexts.numpy() == made.contexts[made.rows[step]]).all()
        assert (batch.targets.numpy() == made.targets[made.rows[step]]).all()
        assert batch.weights is None


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("batch_size", [64, 1 << 20])
def test_batches_of_distinct_contexts_are_those_of_the_source(batch_size: int, steps: int) -> None:
    distinct = DistinctContexts(Contexts(small.dataset().encoded("train"), 2), 27)
    source = DistinctBatches(distinct, batch_size, seed=1)
    feed = Feed(source, CPU, 27)
    block = feed.block(5, steps)
    made = source.batches(5, steps)
    for step in range(steps):
        batch = feed.batch(tuple(part[step] for part in block.parts))
        assert (batch.contexts.numpy() == made.contexts[made.rows[step]]).all()
        assert (batch.targets.numpy() == made.dense(27)[made.rows[step]]).all()
        assert batch.weights is not None
        assert (batch.weights.numpy() == made.weights[step]).all()


def test_large_batches_are_made_fewer_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    source: BatchSource = RowBatches(Contexts(small.dataset().encoded("train"), 3), 16, seed=1)
    assert Feed(source, CPU, 27).steps_at_once == feeding.STEPS_AT_ONCE
    monkeypatch.setattr(feeding, "LARGEST_BLOCK", 16 * 4 * 10)
    assert Feed(source, CPU, 27).steps_at_once == 10
    monkeypatch.setattr(feeding, "LARGEST_BLOCK", 1)
    assert Feed(source, CPU, 27).steps_at_once == 1
