"""Faults in how model, optimizer and loop fit together."""

from __future__ import annotations

import copy

import torch
from torch import nn

from examples.data import table, texts
from examples.example import Seen, example, train
from examples.nets import Decoder, adam, adamw, by_position, classifier, mlp, sgd


@example("missing-zero-grad", "scalar", "gradient_norm")
def missing_zero_grad(sick: bool) -> Seen:
    """``optimizer.zero_grad()`` is never called."""
    model = mlp()
    return train(model, sgd(model), zero_grad=not sick)


@example("frozen-parameter", "update", "ratio")
def frozen_parameter(sick: bool) -> Seen:
    """One layer has a group of its own, at a rate of zero."""
    model = mlp()
    optimizer = sgd(nn.Sequential(*(m for i, m in enumerate(model) if i != 4)))
    optimizer.add_param_group({"params": list(model[4].parameters()), "lr": 0.0 if sick else 0.1})
    return train(model, optimizer)


@example("frozen-moves", "update", "ratio")
def frozen_moves(sick: bool) -> Seen:
    """A layer is frozen after ten steps, but its old gradient stays and the optimizer goes on using it."""
    model = mlp()
    kept: list[torch.Tensor] = []

    def freeze(step: int) -> None:
        if step == 10:
            kept.append(model[2].weight.grad.clone())
            model[2].requires_grad_(False)

    def backward(loss: torch.Tensor) -> None:
        loss.backward()
        if sick and kept:
            model[2].weight.grad = kept[0]

    return train(model, sgd(model), each=freeze, backward=backward)


@example("optimizer-mismatch")
def optimizer_mismatch(sick: bool) -> Seen:
    """The model was copied after its optimizer was made, which goes on with the old one's parameters."""
    model = mlp()
    optimizer = adam(model)
    return train(copy.deepcopy(model) if sick else model, optimizer)


@example("train-eval-mode", "scalar", "training_mode")
def train_eval_mode(sick: bool) -> Seen:
    """After the first evaluation the model stays in evaluation mode."""
    model = nn.Sequential(*classifier(norm=True)[:-1], nn.Dropout(0.2), nn.Linear(64, 5))
    return train(model, adam(model), table(), modes=(not sick, False))


@example("tied-weights-diverge")
def tied_weights_diverge(sick: bool) -> Seen:
    """Embedding and output layer shared one matrix until something gave the output layer its own."""
    model = Decoder(tied=True)
    optimizer = adam(model)

    def untie(step: int) -> None:
        if sick and step == 20:
            model.head.weight = nn.Parameter(model.embedding.weight.detach().clone())
            optimizer.add_param_group({"params": [model.head.weight]})

    return train(model, optimizer, texts(), loss_fn=by_position, each=untie)


@example("low-adam-epsilon", "update", "ratio")
def low_adam_epsilon(sick: bool) -> Seen:
    """An epsilon of 1e-30: where gradients are next to nothing, noise is blown up to full steps."""
    model = mlp()
    return train(model, adam(model, eps=1e-30 if sick else 1e-8))


@example("excessive-weight-decay", "weight", "norm")
def excessive_weight_decay(sick: bool) -> Seen:
    """Decay that takes a twentieth of every weight at each step."""
    model = mlp()
    return train(model, adamw(model, 1e-3, weight_decay=50.0 if sick else 0.01), steps=200)
