"""Faults in how a training is put together: what is in the graph, in the optimizer, in the loss."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from faultbench.faults.fault import (
    Around,
    Fault,
    always,
    groups,
    is_supervised,
    layers,
    middle,
    replace,
    with_batches,
)
from faultbench.listening import Training
from faultbench.programs.language import Decoder
from faultbench.programs.program import binary, cross_entropy, mse


def no_zero_grad(training: Training) -> None:
    training.zero_grad = False


def left_out(training: Training) -> None:
    """The optimizer was made before one layer was added."""
    gone = {id(p) for p in middle(layers(training))[1].parameters()}
    for group in groups(training):
        group["params"] = [p for p in group["params"] if id(p) not in gone]


def stale_copy(training: Training) -> None:
    """The model was copied after its optimizer was made."""
    name = next(iter(training.models))
    training.models[name] = copy.deepcopy(training.models[name])


def detached(training: Training) -> None:
    name, module = middle(layers(training))
    replace(training.model, name, Around(module, after=torch.detach))


def rate_of_zero(training: Training) -> None:
    """One layer has a group of its own, with a learning rate of zero."""
    module = middle(layers(training))[1]
    left_out(training)
    optimizer = training.optimizer
    optimizer.add_param_group({"params": list(module.parameters()), "lr": 0.0})
    if training.scheduler is not None:
        scheduler = training.scheduler
        scheduler.base_lrs.append(0.0)
        scheduler.lr_lambdas.append(scheduler.lr_lambdas[0])


def double_softmax(training: Training) -> None:
    name = next(iter(training.models))
    after = torch.sigmoid if training.loss_fn is binary else _softmax
    training.models[name] = Around(training.models[name], after=after)


def _softmax(x: torch.Tensor) -> torch.Tensor:
    return torch.softmax(x, -1)


def nll_of_logits(training: Training) -> None:
    training.loss_fn = lambda output, y: nn.functional.nll_loss(output.flatten(0, -2), y.flatten())


def summed(training: Training) -> None:
    functions = {cross_entropy: nn.functional.cross_entropy, mse: nn.functional.mse_loss}
    function = functions.get(training.loss_fn, nn.functional.binary_cross_entropy_with_logits)
    is_classes = training.loss_fn is cross_entropy

    def loss(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        if is_classes:
            return function(output.flatten(0, -2), y.flatten(), reduction="sum")
        return function(output.squeeze(-1), y, reduction="sum")

    training.loss_fn = loss


def wrong_sign(training: Training) -> None:
    loss_fn = training.loss_fn
    assert loss_fn is not None
    training.loss_fn = lambda output, y: -loss_fn(output, y)


def broadcast(training: Training) -> None:
    """A prediction of (B, 1) against targets of (B,)."""
    training.loss_fn = nn.functional.mse_loss


def mixing(training: Training) -> None:
    """Inputs transposed and then read as if they were not."""
    name = next(iter(training.models))
    training.models[name] = Around(training.models[name], before=_mixed)


def _mixed(x: torch.Tensor) -> torch.Tensor:
    return x.transpose(0, 1).reshape(x.shape)


def no_mask(training: Training) -> None:
    for module in training.model.modules():
        if hasattr(module, "causal"):
            module.causal = False


def target_is_input(training: Training) -> None:
    with_batches(training, lambda batch: (batch[0], batch[0]))


def trains_in_eval(training: Training) -> None:
    training.trains_in_eval_mode = True


def evaluates_in_train(training: Training) -> None:
    training.evaluates_in_train_mode = True


def _depends_on_mode(training: Training) -> bool:
    kinds = (nn.Dropout, nn.BatchNorm1d, nn.BatchNorm2d)
    return training.loss_fn is not None and any(isinstance(m, kinds) for m in training.model.modules())


def untied(training: Training) -> None:
    """After five steps the head gets weights of its own, as by loading them."""

    def untie(training: Training, step: int) -> None:
        if step == 5:
            model = training.model
            model.head.weight = nn.Parameter(model.embedding.weight.detach().clone())
            training.optimizer.add_param_group({"params": [model.head.weight]})
            if training.scheduler is not None:
                training.scheduler.base_lrs.append(training.scheduler.base_lrs[0])
                training.scheduler.lr_lambdas.append(training.scheduler.lr_lambdas[0])

    training.before_step.append(untie)


class _Tanh(torch.autograd.Function):
    """The tangent, with one sign of its derivative wrong."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        y = x.tanh()
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> torch.Tensor:
        (y,) = ctx.saved_tensors
        return g * (y**2 - 1)


def _tanh(x: torch.Tensor) -> torch.Tensor:
    return _Tanh.apply(x)


def wrong_gradient(training: Training) -> None:
    name, module = middle(layers(training))
    replace(training.model, name, Around(module, after=_tanh))


def frozen_moves(training: Training) -> None:
    """A layer is frozen after ten steps, and its last gradient stays where the optimizer finds it."""
    module = middle(layers(training))[1]
    kept: dict[int, torch.Tensor] = {}

    def freeze(training: Training, step: int) -> None:
        for place, parameter in enumerate(module.parameters()):
            if step == 10:
                kept[place] = parameter.grad.clone()
                parameter.requires_grad_(False)

    def bring_back(grad: torch.Tensor) -> None:
        for place, parameter in enumerate(module.parameters()):
            if place in kept:
                parameter.grad = kept[place]

    training.before_step.append(freeze)
    layers(training)[-1][1].weight.register_hook(bring_back)


def _is_plain(training: Training) -> bool:
    return training.loss_fn in (cross_entropy, mse, binary)


FAULTS = (
    Fault("no zero_grad", ("missing-zero-grad",), always, no_zero_grad, True),
    Fault("layer left out of the optimizer", ("unregistered-parameter",), always, left_out, True),
    Fault("optimizer of a copy", ("optimizer-mismatch",), always, stale_copy, True),
    Fault("graph cut", ("no-gradient",), lambda t: len(layers(t)) > 2, detached, True),
    Fault("layer with a rate of zero", ("frozen-parameter",), always, rate_of_zero),
    Fault("softmax twice", ("double-softmax",), lambda t: t.loss_fn in (cross_entropy, binary), double_softmax, True),
    Fault("nll of logits", ("missing-log-softmax",), lambda t: t.loss_fn is cross_entropy, nll_of_logits, True),
    Fault("loss summed", ("loss-reduction",), _is_plain, summed, True),
    Fault("loss of the wrong sign", ("loss-reduction",), is_supervised, wrong_sign, True),
    Fault("broadcast loss", ("shape-layout",), lambda t: t.loss_fn is mse, broadcast, True),
    Fault("examples mixed", ("batch-mixing",), lambda t: t.loss_fn is not None, mixing, True),
    Fault(
        "no causal mask",
        ("future-leak",),
        lambda t: any(hasattr(module, "causal") for module in t.model.modules()),
        no_mask,
        True,
    ),
    Fault("target is the input", ("future-leak",), lambda t: t.is_sequence, target_is_input, True),
    Fault("trains in evaluation mode", ("train-eval-mode",), _depends_on_mode, trains_in_eval, True),
    Fault("evaluates in training mode", ("train-eval-mode",), _depends_on_mode, evaluates_in_train),
    Fault("weights untied", ("tied-weights-diverge",), lambda t: isinstance(t.model, Decoder), untied, True, 5),
    Fault(
        "wrong custom gradient",
        ("wrong-custom-gradient",),
        lambda t: t.loss_fn is not None and len(layers(t)) > 1 and bool(middle(layers(t))[1].weight.any()),
        wrong_gradient,
        True,
    ),
    Fault("frozen layer moves", ("frozen-moves",), lambda t: is_supervised(t) and len(layers(t)) > 1, frozen_moves),
)
