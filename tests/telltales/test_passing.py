"""Loops that make many steps at once tell of them afterwards, and the record is that of a loop step by step."""

from __future__ import annotations

import nets
import numpy as np
import pytest
import torch
from nets import batches, deep_mlp, loss_of

import telltales

STEPS = 140


def one_step(model, optimizer, step):
    x, y = batches(8)[step % 8]
    loss = loss_of(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


def watched(at_once, **settings):
    """A training whose steps are told one by one, or up to so many at once."""
    torch.manual_seed(0)
    model = deep_mlp()
    optimizer = nets.sgd(model)
    told = []
    with telltales.watch(model, optimizer, **settings) as w:
        step = 0
        while step < STEPS:
            free = w.free_steps(min(at_once, STEPS - step)) if at_once else 0
            if free:
                handles = [module.register_forward_pre_hook(never_observed(w)) for module in model]
                w.passed([float(one_step(model, optimizer, step + ahead)) for ahead in range(free)])
                for handle in handles:
                    handle.remove()
            else:
                w.step(one_step(model, optimizer, step))
            told.append(max(free, 1))
            step += told[-1]
    return w, told


def never_observed(w):
    def hook(*_):
        assert w.free_steps(1) == 1

    return hook


@pytest.mark.parametrize("preset", ["economy", "standard"])
@pytest.mark.parametrize("at_once", [3, 20, 1000])
def test_the_record_is_the_same(preset, at_once):
    plain, _ = watched(None, preset=preset)
    at_once_too, told = watched(at_once, preset=preset)
    assert at_once_too.record.steps.tolist() == plain.record.steps.tolist()
    assert max(told) == min(at_once, 39)
    np.testing.assert_array_equal(at_once_too.record.losses.mean, plain.record.losses.mean)
    assert at_once_too.record.losses.steps.tolist() == list(range(STEPS))
    for table in ("activation", "gradient", "update"):
        for name in plain.record.names(table):
            np.testing.assert_array_equal(
                at_once_too.record.series(table, name, "std"), plain.record.series(table, name, "std")
            )
    assert list(map(str, at_once_too.findings())) == list(map(str, plain.findings()))


def test_where_every_step_is_observed_none_is_free():
    w, told = watched(10, preset="full")
    assert set(told) == {1}
    assert len(w.record) == STEPS


def test_a_step_that_was_to_be_observed_cannot_be_passed():
    model = deep_mlp()
    with telltales.watch(model, nets.sgd(model)) as w:
        with pytest.raises(telltales.UsageError, match="of 1 steps from step 0 on, one is to be observed"):
            w.passed([1.0])
        w.step(one_step(model, nets.sgd(model), 0))
    assert w.free_steps(7) == 7
    w.passed([1.0])


def test_after_a_spike_among_many_the_next_step_is_observed():
    model = deep_mlp()
    optimizer = nets.sgd(model)
    with telltales.watch(model, optimizer, schedule=lambda step: step == 0, around_spikes=True) as w:
        w.step(one_step(model, optimizer, 0))
        w.passed([1 + 0.01 * (step % 3) for step in range(30)])
        assert w.free_steps(5) == 5
        w.passed([1.0, 9.0, 1.0])
        assert w.free_steps(5) == 0
        w.step(one_step(model, optimizer, 1))
    assert w.record.steps.tolist() == [0, 34]


def test_no_loss_is_no_step():
    model = deep_mlp()
    optimizer = nets.sgd(model)
    with telltales.watch(model, optimizer) as w:
        w.passed([])
        w.step(one_step(model, optimizer, 0))
    assert w.record.steps.tolist() == [0]
