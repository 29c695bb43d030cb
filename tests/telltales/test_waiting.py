"""The losses since the last observed step."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from telltales.errors import UsageError
from telltales.transfer import as_vector
from telltales.waiting import JOINED_AT, WaitingLosses, assert_number


@pytest.mark.parametrize("count", [0, 1, JOINED_AT - 1, JOINED_AT, 3 * JOINED_AT + 7])
def test_they_come_in_order_whatever_they_are_given_as(count: int) -> None:
    losses = WaitingLosses()
    for step in range(count):
        kept = losses.add(torch.tensor(float(step), requires_grad=True) if step % 3 else step)
        assert float(kept) == step
    np.testing.assert_array_equal(losses.on_host(), np.arange(count, dtype=np.float32))
    assert losses.vector().dtype == torch.float32
    losses.clear()
    assert losses.on_host().size == 0


def test_numbers_and_tensors_become_one_vector() -> None:
    mixed = [1.0, torch.tensor([2.0, 3.0]), torch.tensor(4.0, dtype=torch.float64), 5.0, 6.0, torch.tensor(7)]
    vector = as_vector(mixed)
    assert vector.tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert vector.dtype == torch.float32


@pytest.mark.parametrize("loss", [torch.zeros(2), None, "3"])
def test_what_is_not_one_number_is_refused(loss: object) -> None:
    with pytest.raises(UsageError):
        assert_number(loss)
