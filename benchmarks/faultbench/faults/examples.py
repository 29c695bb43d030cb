"""Faults in the data: labels, order, bad values, too few."""

from __future__ import annotations

import torch
from torch import nn

from faultbench.faults.fault import Fault, has_floats, is_supervised, layers, with_batches
from faultbench.listening import Batch, Training
from faultbench.programs.data import sampler


def shuffled_labels(training: Training) -> None:
    """Inputs and labels in different orders."""
    x, y, _, _ = training.facts["arrays"]
    order = torch.randperm(y.numel(), generator=torch.Generator().manual_seed(7))
    y = y.flatten()[order].view(y.shape)
    training.batch = sampler(x, y, training.facts["size"], training.facts["seed"])


def sorted_data(training: Training) -> None:
    """By label, as many files are."""
    x, y, _, _ = training.facts["arrays"]
    order = y.argsort(stable=True)
    x, y, size = x[order], y[order], training.facts["size"]
    count = len(x) // size
    # The whole data once, however many steps there are.
    training.batch = lambda step: _slice(x, y, step * count // (training.steps * training.accumulate) * size, size)


def _slice(x: torch.Tensor, y: torch.Tensor, first: int, size: int) -> Batch:
    return x[first : first + size], y[first : first + size]


def blank_inputs(training: Training) -> None:
    """A loader that gives zeros."""
    with_batches(training, lambda batch: (torch.zeros_like(batch[0]), batch[1]))


def bad_value(training: Training) -> None:
    """A batch with a NaN in it, or a weight, where inputs are ids."""
    batch, at = training.batch, 57

    def spoil_weight(training: Training, step: int) -> None:
        if step == at:
            with torch.no_grad():
                layers(training)[0][1].weight[0, 0] = float("nan")

    def spoiled(step: int) -> Batch:
        x, y = batch(step)
        if step == at * training.accumulate:
            x = x.clone()
            x[0, 0] = float("nan")
        return x, y

    if has_floats(training):
        training.batch = spoiled
    else:
        training.before_step.append(spoil_weight)


def corrupt_batch(training: Training) -> None:
    """One batch whose inputs, or targets where those are numbers, are a thousand times too large."""
    batch, at = training.batch, training.steps * 2 // 3

    def spoiled(step: int) -> Batch:
        x, y = batch(step)
        if step != at * training.accumulate:
            return x, y
        return (x, y * 1000) if y.is_floating_point() else (x * 1000, y)

    training.batch = spoiled


def _takes_it_in(training: Training) -> bool:
    """Whether no norm makes the batch's scale go away."""
    norms = (nn.BatchNorm1d, nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm)
    return has_floats(training) and not any(isinstance(module, norms) for module in training.model.modules())


def few_examples(training: Training) -> None:
    """Two dozen training examples, again and again."""
    x, y, _, _ = training.facts["arrays"]
    few = 24
    training.batch = sampler(x[:few], y[:few], min(training.facts["size"], few), training.facts["seed"])
    training.train_sample = [(x[:few], y[:few])]
    if training.scheduler is None:
        training.steps *= 2


def _is_ordered(training: Training) -> bool:
    return is_supervised(training) and not training.is_sequence


FAULTS = (
    Fault("labels shuffled", ("label-noise-or-shuffled",), is_supervised, shuffled_labels),
    Fault("data sorted", ("unshuffled-data",), _is_ordered, sorted_data),
    Fault("inputs blank", ("input-ignored", "constant-input"), is_supervised, blank_inputs, True),
    Fault("one NaN", ("non-finite",), lambda t: bool(layers(t)), bad_value, True, 57),
    Fault("one corrupt batch", ("loss-spike", "gradient-spike"), _takes_it_in, corrupt_batch),
    Fault("two dozen examples", ("overfitting",), is_supervised, few_examples),
)
