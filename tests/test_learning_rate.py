"""The range test: which rates it tries, what it remembers, and when it stops."""

import json
import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

import small
from charloom import learning_rate
from charloom.config import ModelConfig, TrainingConfig
from charloom.errors import ConfigError, TrainingError
from charloom.learning_rate import LearningRates, find_learning_rate
from charloom.observer import Observer, Step
from charloom.training import Training

SETTINGS = TrainingConfig(optimizer="sgd", batch_size=64, warmup=3, patience=1, evaluate_every=2)


def find(lowest=1e-3, highest=100.0, steps=60):
    return find_learning_rate(
        small.dataset(), ModelConfig(**small.SMALL_MLP), SETTINGS, lowest=lowest, highest=highest, steps=steps
    )


class Losses(Observer):
    def __init__(self):
        self.losses = []

    def stepped(self, training, step):
        self.losses.append(step.loss.item())


def test_the_rate_rises_geometrically_and_the_loss_is_smoothed():
    found = find(highest=1.0, steps=25)
    assert_allclose(found.learning_rates, np.geomspace(1e-3, 1, 25), rtol=1e-12)

    training = small.training(small.SMALL_MLP, optimizer="sgd", batch_size=64, steps=25)
    training = Training(
        training.model,
        small.dataset().encoded("train"),
        small.dataset().encoded("dev"),
        training.config,
        schedule=lambda step: 1e-3 * 1000 ** (step / 24),
    )
    watcher = Losses()
    training.run([watcher])
    weights = [[0.9 ** (now - then) for then in range(now + 1)] for now in range(25)]
    smoothed = [np.average(watcher.losses[: len(row)], weights=row) for row in weights]
    assert_allclose(found.losses, smoothed, rtol=1e-12)


def test_it_stops_once_the_loss_has_exploded():
    found = find()
    assert 20 <= len(found.losses) == len(found.learning_rates) < 60
    lowest = np.minimum.accumulate(found.losses)
    assert found.losses[-1] > 1.3 * lowest[-1]
    assert (found.losses[:-1] <= 1.3 * lowest[:-1]).all()
    assert found.lowest == found.learning_rates[int(np.argmin(found.losses))]
    assert found.suggestion == found.lowest / 2
    assert found == find()


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_ends_it_where_the_training_goes_on(monkeypatch, loss):
    """On a GPU a training looks at its losses at evaluations only."""

    class Endless:
        def __init__(self, *_, **__):
            self.stopped = False

        def request_stop(self):
            self.stopped = True

        def run(self, observers):
            for number in range(1, 100):
                nothing = torch.zeros(0)
                value = torch.tensor(3.0 if number <= 30 else loss)
                observers[0].stepped(self, Step(number, value, nothing, nothing, nothing.numpy(), 0.1 * number))
                if self.stopped:
                    return

    monkeypatch.setattr(learning_rate, "start_training", Endless)
    found = find()
    assert_allclose(found.losses, [3.0] * 30)
    assert len(found.learning_rates) == 30
    json.dumps(found.to_json(), allow_nan=False)


def test_what_is_written_down():
    found = LearningRates([0.1, 0.2, 0.4, 0.8], [3.0, 2.5, 2.0, 2.2])
    assert found.to_json() == {
        "suggestion": 0.2,
        "lowest": 0.4,
        "learning_rates": [0.1, 0.2, 0.4, 0.8],
        "losses": [3.0, 2.5, 2.0, 2.2],
    }


@pytest.mark.parametrize(
    ("lowest", "highest"), [(0, 1), (-1, 1), (1, 1), (1, 0.1), (1, math.inf), (math.nan, 1), (1, math.nan)]
)
def test_bounds_that_are_no_range(lowest, highest):
    with pytest.raises(ConfigError, match="is no range of learning rates"):
        find(lowest, highest)


def test_too_few_steps():
    with pytest.raises(ConfigError, match="19 steps are too few"):
        find(steps=19)


def test_a_start_that_is_too_high():
    with pytest.raises(TrainingError, match=r"the loss exploded within \d+ steps"):
        find(lowest=1e3, highest=1e6)
