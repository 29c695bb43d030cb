"""Faults that can be seen before training, most of them with one batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from examples.data import CLASSES, measured, table, texts
from examples.example import Seen, checked, example, train
from examples.nets import Applied, Decoder, adam, adamw, by_position, classifier, mlp, regressor, sgd


@example("initial-loss")
def initial_loss(sick: bool) -> Seen:
    """The output layer's weights are three hundred times too large."""
    model = mlp()
    if sick:
        with torch.no_grad():
            model[-1].weight *= 300
    return train(model, sgd(model), check=True)


@example("cannot-overfit-batch")
def cannot_overfit_batch(sick: bool) -> Seen:
    """The scores are squeezed into ±0.3, so that no class can get more than its small share."""
    model = classifier()
    if sick:
        model.append(Applied(lambda scores: 0.3 * scores.tanh()))
    return train(model, adam(model), table(), check=True)


@example("input-ignored")
def input_ignored(sick: bool) -> Seen:
    """The input is overwritten on its way in, here by a mask that is zero everywhere."""
    model = nn.Sequential(Applied(lambda x: x * 0 if sick else x), *classifier())
    return train(model, adam(model), table(), check=True)


class Sequences(nn.Module):
    """Vectors of several characters to the next one, with the places first in between."""

    def __init__(self, mixes: bool) -> None:
        super().__init__()
        self.mixes = mixes
        self.embedding, self.body = nn.Embedding(CLASSES, 10), nn.Sequential(*mlp()[2:])

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embedding(ids).transpose(0, 1)  # (places, B, 10)
        x = x.reshape(len(ids), -1) if self.mixes else x.transpose(0, 1).flatten(1)
        return self.body(x)


@example("batch-mixing")
def batch_mixing(sick: bool) -> Seen:
    """Dimensions in another order are reshaped as if they were not: rows hold parts of several examples."""
    model = Sequences(mixes=sick)
    return train(model, adam(model), check=True)


@example("future-leak")
def future_leak(sick: bool) -> Seen:
    """A transformer without its causal mask."""
    model = Decoder(causal=not sick)
    return train(model, adam(model), texts(), loss_fn=by_position, check=True)


class Listed(nn.Module):
    """Two layers in a list. Python's own list hides them from ``parameters()``."""

    def __init__(self, plain: bool) -> None:
        super().__init__()
        layers = [nn.Linear(10, 64), nn.Linear(64, 64)]
        self.layers = layers if plain else nn.ModuleList(layers)
        self.head = nn.Linear(64, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x).relu()
        return self.head(x)


@example("unregistered-parameter")
def unregistered_parameter(sick: bool) -> Seen:
    """Layers in a plain list, which no optimizer is told of."""
    model = Listed(plain=sick)
    return train(model, adam(model), table(), check=True)


@example("no-gradient", "update", "ratio")
def no_gradient(sick: bool) -> Seen:
    """A detach between the first layers and the rest."""
    layers = list(mlp())
    cut = Applied(lambda x: x.detach() if sick else x)
    model = nn.Sequential(*layers[:3], cut, *layers[3:])
    return train(model, adam(model))


@example("symmetric-init")
def symmetric_init(sick: bool) -> Seen:
    """All weights begin at 0.05, so that the units of a layer are one and the same."""
    model = classifier()
    if sick:
        for layer in (model[0], model[2], model[4]):
            nn.init.constant_(layer.weight, 0.05)
    return train(model, adam(model), table())


@example("poor-init", "activation", "saturated")
def poor_init(sick: bool) -> Seen:
    """Weights from N(0, 1), whatever the layer's width."""
    model = mlp(depth=3, width=100)
    if sick:
        for layer in (model[2], model[4], model[6]):
            nn.init.normal_(layer.weight)
    return train(model, sgd(model), check=True)


@example("bias-before-norm")
def bias_before_norm(sick: bool) -> Seen:
    """A bias that batch norm takes away again."""
    layers = list(classifier(norm=True))
    if sick:
        layers[0] = nn.Linear(10, 64, bias=True)
    model = nn.Sequential(*layers)
    return train(model, adam(model), table(), check=True)


@example("double-softmax")
def double_softmax(sick: bool) -> Seen:
    """A softmax before a cross-entropy, which takes it itself."""
    model = classifier()
    if sick:
        model.append(nn.Softmax(dim=1))
    return train(model, adam(model), table(), check=True)


@example("missing-log-softmax")
def missing_log_softmax(sick: bool) -> Seen:
    """The negative log-likelihood of scores that are no log-probabilities: it falls without end."""
    model = classifier()
    if not sick:
        model.append(nn.LogSoftmax(dim=1))
    return train(model, adam(model), table(), loss_fn=nn.functional.nll_loss, check=True)


@example("loss-reduction")
def loss_reduction(sick: bool) -> Seen:
    """A sum where a mean was meant: gradients, and so the step, grow with the batch."""
    model = classifier()
    loss_fn = nn.CrossEntropyLoss(reduction="sum" if sick else "mean")
    return train(model, sgd(model), table(), loss_fn=loss_fn, check=True)


@example("tiny-batch-norm")
def tiny_batch_norm(sick: bool) -> Seen:
    """Batch norm over four examples."""
    model = classifier(norm=True)
    return train(model, adam(model), table(), batch=4 if sick else 32)


@example("unnormalised-input")
def unnormalised_input(sick: bool) -> Seen:
    """Measurements as the sensor gave them, about 400 ± 100."""
    model = classifier()
    raw = (lambda step, x, y: (100 * x + 400, y)) if sick else (lambda step, x, y: (x, y))
    return train(model, sgd(model), table(), spoil=raw, check=True)


@example("constant-input")
def constant_input(sick: bool) -> Seen:
    """A loader that gives the same row again and again."""
    model = classifier()
    same = (lambda step, x, y: (x[:1].expand_as(x), y)) if sick else (lambda step, x, y: (x, y))
    return train(model, adam(model), table(), spoil=same, check=True)


@example("shape-layout")
def shape_layout(sick: bool) -> Seen:
    """Predictions of shape (B, 1) against targets of (B,): each is compared with all."""
    model = regressor() if sick else nn.Sequential(*regressor(), nn.Flatten(0))
    return train(model, adam(model), measured(), loss_fn=nn.functional.mse_loss)


@example("wrong-device")
def wrong_device(sick: bool) -> Seen:
    """One layer is on another device, here the one that holds no numbers. It can't train, so it is only checked."""
    model = classifier()
    if sick:
        model[2].to("meta")
    return checked(model, table()) if sick else train(model, adam(model), table(), check=True)


@example("shared-or-unused-module")
def shared_or_unused_module(sick: bool) -> Seen:
    """One batch norm for two layers: its running statistics are those of neither."""
    first, *rest = classifier(norm=True)
    model = nn.Sequential(first, *rest)
    if sick:
        model[4] = model[1]
    return train(model, adam(model), table(), check=True)


class Cube(torch.autograd.Function):
    """x³/3, whose backward pass was written by hand, with 2x² where x² is right."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return x**3 / 3

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return 2 * ctx.saved_tensors[0] ** 2 * gradient


@example("wrong-custom-gradient")
def wrong_custom_gradient(sick: bool) -> Seen:
    """A backward pass by hand with a wrong factor."""
    layers = list(classifier())
    cube = Applied(Cube.apply if sick else lambda x: x**3 / 3)
    model = nn.Sequential(layers[0], cube, *layers[2:])
    return train(model, adam(model), table(), check=True)


@example("decay-on-norm")
def decay_on_norm(sick: bool) -> Seen:
    """Weight decay on everything, biases and norms among it."""
    model = classifier(norm=True)
    matrices = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.1 if sick else 0.0}]
    return train(model, torch.optim.AdamW(groups), table(), check=True)


@example("adam-l2")
def adam_l2(sick: bool) -> Seen:
    """``weight_decay`` of Adam is L2, which Adam then divides by the gradient's size."""
    model = classifier()
    optimizer = adam(model, weight_decay=1e-4) if sick else adamw(model, 1e-3)
    return train(model, optimizer, table(), check=True)
