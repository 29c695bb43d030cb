"""Faults of scale: of weights, inputs, rates and decay."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import nn

from faultbench.faults.fault import (
    Fault,
    activations,
    always,
    groups,
    has_floats,
    is_supervised,
    layers,
    replace,
    with_batches,
)
from faultbench.listening import Training
from faultbench.programs.program import cross_entropy


@torch.no_grad()
def normal_init(training: Training) -> None:
    """Every matrix from N(0, 1)."""
    for _, module in layers(training):
        module.weight.normal_()


@torch.no_grad()
def tiny_init(training: Training) -> None:
    for _, module in layers(training):
        module.weight.mul_(0.01)


@torch.no_grad()
def zero_init(training: Training) -> None:
    for _, module in layers(training):
        module.weight.zero_()


@torch.no_grad()
def constant_init(training: Training) -> None:
    for _, module in layers(training):
        module.weight.fill_(0.05)


@torch.no_grad()
def large_output(training: Training) -> None:
    """A last layer that is confidently wrong: logits of a std of 12."""
    inputs, _ = training.batch(0)
    logits = getattr(output := training.model(inputs), "logits", output)
    layers(training)[-1][1].weight.mul_(12 / logits.std())


def _rates(factor: float) -> Callable[[Training], None]:
    def inject(training: Training) -> None:
        for group in groups(training):
            group["lr"] *= factor
        if training.scheduler is not None:
            training.scheduler.base_lrs = [rate * factor for rate in training.scheduler.base_lrs]

    return inject


@torch.no_grad()
def dead_units(training: Training) -> None:
    """Biases so far below zero that the rectifiers after them never open."""
    modules = list(training.model.modules())
    norms = [module for module in modules if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.bias.fill_(-8.0)
    for before, after in itertools.pairwise(modules):
        if isinstance(after, nn.ReLU) and isinstance(before, nn.Linear):
            before.bias.fill_(-15.0)


def _has_rectifiers(training: Training) -> bool:
    has_norm = any(isinstance(module, nn.BatchNorm2d) for module in training.model.modules())
    return has_norm or bool(activations(training, nn.ReLU))


@torch.no_grad()
def saturating(training: Training) -> None:
    """One layer before a tanh with weights thirty times too large."""
    modules = list(training.model.modules())
    for before, after in itertools.pairwise(modules):
        if isinstance(after, nn.Tanh) and isinstance(before, nn.Linear):
            before.weight.mul_(30)
            return


def _has_tanh(training: Training) -> bool:
    modules = list(training.model.modules())
    pairs = itertools.pairwise(modules)
    return any(isinstance(after, nn.Tanh) and isinstance(before, nn.Linear) for before, after in pairs)


def raw_inputs(training: Training) -> None:
    """As they came from the sensor."""
    with_batches(training, lambda batch: (batch[0] * 60 + 120, batch[1]))


def strong_decay(training: Training) -> None:
    """So strong that each step takes a twentieth of every weight."""
    for group in groups(training):
        group["weight_decay"] = 0.05 / group["lr"]


def _decays(training: Training) -> bool:
    names = {type(optimizer).__name__ for optimizer in training.optimizers.values()}
    return names <= {"SGD", "AdamW"} and training.loss_fn is not None and not _is_scheduled(training)


def _is_scheduled(training: Training) -> bool:
    return training.scheduler is not None


def rate_gone(training: Training) -> None:
    """A schedule that was given epochs for steps: the rate ends at a fifth of the way."""
    end = training.steps // 5

    def stop(training: Training, step: int) -> None:
        if step >= end:
            for group in groups(training):
                group["lr"] = 0.0

    training.before_step.append(stop)


def tiny_epsilon(training: Training) -> None:
    for group in groups(training):
        group["eps"] = 1e-30


def tiny_clip(training: Training) -> None:
    training.clip = 1e-4


def deep_sigmoid(training: Training) -> None:
    """Eight more layers, of sigmoid, before the output."""
    model = training.model
    name, last = layers(training)[-1]
    width = last.in_features
    more: list[nn.Module] = []
    for _ in range(8):
        more += [nn.Linear(width, width), nn.Sigmoid()]
    replace(model, name, nn.Sequential(*more, last))
    added = [p for module in more for p in module.parameters()]
    training.optimizer.add_param_group({"params": added})


def _is_chain(training: Training) -> bool:
    is_chain = isinstance(training.model, nn.Sequential) and isinstance(layers(training)[-1][1], nn.Linear)
    return is_chain and training.loss_fn is not None


def buffers_that_stand_still(training: Training) -> None:
    for module in training.model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = 1e-4


def _has_batch_norm(training: Training) -> bool:
    return any(isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) for module in training.model.modules())


def two_examples(training: Training) -> None:
    """Batches of two."""
    with_batches(training, lambda batch: (batch[0][:2], batch[1][:2]), held_out=False)


def _has_flat_batch_norm(training: Training) -> bool:
    return any(isinstance(module, nn.BatchNorm1d) for module in training.model.modules())


def _has_output(training: Training) -> bool:
    """Whether the last layer that is trained gives the logits."""
    name = layers(training)[-1][0] if layers(training) else ""
    return training.loss_fn is cross_entropy and "lora" not in name and not name.endswith((".out", "mlp.2"))


def _is_deep(training: Training) -> bool:
    """Whether more than the output layer is ours to start."""
    return len(layers(training)) > 1


FAULTS = (
    Fault("weights from N(0, 1)", ("poor-init", "saturated", "initial-loss"), always, normal_init, True),
    Fault(
        "weights a hundredth",
        ("poor-init", "vanishing-gradient"),
        lambda t: is_supervised(t) and _is_deep(t),
        tiny_init,
        True,
    ),
    Fault("weights of zero", ("symmetric-init",), _is_deep, zero_init, True),
    Fault("constant weights", ("symmetric-init",), _is_deep, constant_init, True),
    Fault("output layer too large", ("initial-loss", "poor-init"), _has_output, large_output, True),
    Fault("rate a hundred times", ("learning-rate-too-high", "update-too-large"), always, _rates(100)),
    Fault(
        "rate a thousandth",
        ("learning-rate-too-low", "update-too-small"),
        lambda t: t.loss_fn is not None,
        _rates(1e-3),
    ),
    Fault("dead rectifiers", ("dead-relu",), _has_rectifiers, dead_units),
    Fault("saturated tanh", ("saturated", "poor-init"), _has_tanh, saturating),
    Fault("raw inputs", ("unnormalised-input",), has_floats, raw_inputs, True),
    Fault("decay too strong", ("excessive-weight-decay",), _decays, strong_decay),
    Fault(
        "schedule ends early",
        ("schedule-ended-early",),
        lambda t: t.loss_fn is not None and not _is_scheduled(t),
        rate_gone,
    ),
    Fault("tiny epsilon", ("low-adam-epsilon",), lambda t: "Adam" in type(t.optimizer).__name__, tiny_epsilon, True),
    Fault(
        "clip far too low",
        ("clipping-always-on", "learning-rate-too-low", "update-too-small"),
        lambda t: type(t.optimizer) is torch.optim.SGD,
        tiny_clip,
    ),
    Fault("deep sigmoid", ("vanishing-gradient",), _is_chain, deep_sigmoid),
    Fault("buffers stand still", ("train-eval-gap",), _has_batch_norm, buffers_that_stand_still),
    Fault("batches of two", ("tiny-batch-norm",), _has_flat_batch_norm, two_examples, True),
)
