"""Embeddings, shapes, initialisation and activations: computed with torch and charloom's own MLP."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from charloom.recall.checks.measured import Measured, first_that, measured, normal

if TYPE_CHECKING:
    import torch

    from charloom.models.mlp import MLP


def mlp_shapes() -> Measured:
    """Every tensor of one pass through charloom's MLP."""
    import torch

    from charloom.loss import cross_entropy

    model = _mlp()
    contexts = torch.arange(96).reshape(32, 3) % 27
    looked_up = model.embedding(contexts)
    flat = looked_up.flatten(1)
    linear = model.hidden.get_submodule("0.linear")
    pre = linear(flat)
    logits = model(contexts)
    loss = cross_entropy(logits, torch.zeros(32, dtype=torch.long))
    shapes = {
        "embedding table": model.embedding.weight,
        "looked-up context": looked_up,
        "flattened": flat,
        "hidden weight": linear.get_parameter("weight"),
        "hidden pre-activation": pre,
        "logits": logits,
        "loss": loss,
    }
    found = {name: tuple(tensor.shape) for name, tensor in shapes.items()}
    return measured(*(f"{name}: {shape}" for name, shape in found.items()), answer=found)


def parameter_count() -> Measured:
    """The parameters of charloom's MLP, tensor by tensor."""
    model = _mlp()
    sizes = [f"{name} {parameter.numel():,}" for name, parameter in model.named_parameters()]
    return measured(", ".join(sizes), f"sum {model.parameter_count():,}", answer=model.parameter_count())


def one_hot_product() -> Measured:
    """Looking up rows, and multiplying one-hot vectors by the table; forwards and backwards."""
    import torch

    ids = torch.tensor([5, 13, 13, 1, 0])
    table = normal(0, 27, 10).requires_grad_()
    hot = torch.nn.functional.one_hot(ids, 27).double()
    picked, product = table[ids], hot @ table
    upstream = normal(1, 5, 10)
    (by_lookup,) = torch.autograd.grad(picked, table, upstream)
    (by_product,) = torch.autograd.grad(product, table, upstream)
    return measured(
        f"largest difference, output: {(picked - product).detach().abs().max():.4f};"
        f" gradient of the table: {(by_lookup - by_product).abs().max():.4f}",
        f"multiplications for a batch of 5: none by lookup, {5 * 27 * 10:,} by the product",
    )


def embedding_gradient() -> Measured:
    """How many numbers of a table get a gradient from a batch with five different characters."""
    import torch

    table = normal(0, 27, 10).requires_grad_()
    ids = torch.tensor([[0, 0, 5], [0, 5, 13], [5, 13, 13], [13, 13, 1], [0, 0, 22]])
    (gradient,) = torch.autograd.grad((table[ids] * normal(1, 5, 3, 10)).sum(), table)
    touched = int((gradient != 0).sum())
    return measured(
        f"characters in the batch: {len(set(ids.flatten().tolist()))};"
        f" numbers with a gradient: {touched} of {table.numel()}",
        answer=touched,
    )


def broadcast_rows() -> Measured:
    """Counts divided by their row sums, with and without keepdim."""
    import torch

    counts = torch.tensor([[1.0, 3.0], [4.0, 4.0]])
    wrong, right = counts / counts.sum(1), counts / counts.sum(1, keepdim=True)
    return measured(
        f"counts {counts.tolist()}, row sums {counts.sum(1).tolist()}",
        f"sums of the rows after N / N.sum(1): {[round(v, 4) for v in wrong.sum(1).tolist()]};"
        f" with keepdim=True: {right.sum(1).tolist()}",
        answer=first_that(
            {
                "columns": torch.equal(wrong[:, 1], counts[:, 1] / counts.sum(1)[1]) and not torch.equal(wrong, right),
                "rows": torch.equal(wrong, right),
            }
        ),
    )


def sum_variance() -> Measured:
    """The spread of 200 products of standard normal numbers."""
    pre = normal(0, 4000, 200) @ normal(1, 200, 200)
    deviation = float(pre.std())
    return measured(f"std of 800,000 pre-activations: {deviation:.2f}; √200 = {math.sqrt(200):.2f}", answer=deviation)


def relu_second_moment() -> Measured:
    """E[z²], E[relu(z)²] and their neighbours for standard normal z."""
    z = normal(0, 1_000_000)
    kept = z.clamp(min=0)
    moment = float(kept.square().mean())
    return measured(
        f"a million z ~ N(0, 1): E[z²] = {z.square().mean():.3f}, E[relu(z)²] = {moment:.3f}",
        f"mean of relu(z) {kept.mean():.3f}, its variance {kept.var():.3f}",
        answer=moment,
    )


def kaiming_depth() -> Measured:
    """The signal through 30 ReLU layers, for three spreads of the weights."""
    lines = []
    for name, gain in (("1/√fan_in", 1.0), ("√(2/fan_in)", math.sqrt(2)), ("√(3/fan_in)", math.sqrt(3))):
        x = normal(0, 256, 512)
        rms = []
        for layer in range(1, 31):
            x = (x @ (normal(layer, 512, 512) * gain / math.sqrt(512))).clamp(min=0)
            if layer in (1, 10, 30):
                rms.append(f"{_rms(x):.3g} after {layer}")
        lines.append(f"std {name}: RMS {', '.join(rms)}")
    return measured("30 ReLU layers of 512, inputs N(0, 1):", *lines)


def kaiming_deviation() -> Measured:
    """The spread of the weights that hands a second moment of 1 on, for fan-in 200 before a ReLU."""
    moment = float(normal(0, 1_000_000).clamp(min=0).square().mean())
    deviation = 1 / math.sqrt(200 * moment)
    x = normal(1, 2000, 200).clamp(min=0) / math.sqrt(moment)
    out = (x @ (normal(2, 200, 200) * deviation)).clamp(min=0)
    return measured(
        f"1/√(200 · E[relu(z)²]) = {deviation:.4f}; RMS before such a layer {_rms(x):.2f}, after it {_rms(out):.2f}",
        answer=deviation,
    )


def tanh_depth() -> Measured:
    """The spread of activations through 20 tanh layers, by gain."""
    stds: dict[float, list[float]] = {}
    saturated: dict[float, float] = {}
    for gain in (1.0, 5 / 3, 5.0):
        x = normal(0, 256, 256)
        stds[gain] = []
        for layer in range(1, 21):
            x = (x @ (normal(layer, 256, 256) * gain / 16)).tanh()
            stds[gain].append(float(x.std()))
        saturated[gain] = float((x.abs() > 0.97).double().mean())
    first, last = stds[1.0][0], stds[1.0][-1]
    return measured(
        *(
            f"gain {gain:.2f}: std {found[0]:.2f} after 1 layer, {found[4]:.2f} after 5, {found[-1]:.2f} after 20,"
            f" where |tanh| > 0.97 in {saturated[gain]:.0%}"
            for gain, found in stds.items()
        ),
        answer=first_that(
            {"shrink": last < 0.5 * first, "stay": 0.5 * first <= last <= 2 * first, "grow": last > 2 * first}
        ),
    )


def tanh_slope() -> Measured:
    """The derivative of tanh where its output is 0.97."""
    import torch

    z = torch.tensor(math.atanh(0.97), dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(z.tanh(), z)
    return measured(f"z = {math.atanh(0.97):.4f}, tanh(z) = 0.97, derivative {float(slope):.4f}", answer=float(slope))


def saturated_share() -> Measured:
    """Saturated values and gradients of 200 tanh units behind 30 inputs, with N(0, 1) and with scaled weights."""
    import torch

    x = normal(0, 2000, 30)
    lines = []
    for name, scale in (("N(0, 1)", 1.0), ("5/3 / √30", 5 / 3 / math.sqrt(30))):
        weight = (normal(1, 30, 200) * scale).requires_grad_()
        pre = x @ weight
        hidden = pre.tanh()
        (through,) = torch.autograd.grad(hidden.sum(), pre)
        lines.append(
            f"weights {name}: std of pre-activations {float(pre.detach().std()):.2f},"
            f" |tanh| > 0.97 in {float((hidden.detach().abs() > 0.97).double().mean()):.0%},"
            f" mean factor on the gradient {float(through.mean()):.3f}"
        )
    return measured(*lines)


def dead_relu() -> Measured:
    """The gradient of a unit whose pre-activation is below zero everywhere."""
    import torch

    x = normal(0, 1000, 20)
    weight = (normal(1, 20) / math.sqrt(20)).requires_grad_()
    pre = x @ weight - 10
    sizes = {}
    for name, function in (("ReLU", torch.relu), ("leaky ReLU", torch.nn.functional.leaky_relu)):
        (gradient,) = torch.autograd.grad((function(pre) - 1).square().mean(), weight, retain_graph=True)
        sizes[name] = float(gradient.norm())
    return measured(
        f"largest pre-activation of 1,000 examples: {float(pre.detach().max()):.2f}",
        f"norm of the weight's gradient: {sizes['ReLU']:.4f} with ReLU, {sizes['leaky ReLU']:.4f} with leaky ReLU",
        answer=first_that({"zero": sizes["ReLU"] == 0, "small": sizes["ReLU"] > 0}),
    )


def equal_weights() -> Measured:
    """How many different hidden units there are after 200 steps from equal weights."""
    import torch

    x, target = normal(0, 64, 3), normal(1, 64, 1)
    inner = torch.full((3, 8), 0.1, dtype=torch.float64, requires_grad=True)
    outer = torch.full((8, 1), 0.1, dtype=torch.float64, requires_grad=True)
    for _ in range(200):
        loss = ((x @ inner).tanh() @ outer - target).square().mean()
        gradients = torch.autograd.grad(loss, (inner, outer))
        with torch.no_grad():
            for parameter, gradient in zip((inner, outer), gradients, strict=True):
                parameter -= 0.1 * gradient
    columns = inner.detach().T.round(decimals=9)
    different = len({tuple(column) for column in columns.tolist()})
    moved = float((inner.detach()[:, 0] - 0.1).abs().max())
    return measured(
        f"8 units, 200 steps of SGD, weights moved by up to {moved:.2f}: different units left: {different}",
        answer=different,
    )


def shrunken_last_layer() -> Measured:
    """The loss of random logits, by their size."""
    import torch

    targets = torch.arange(2000) % 27
    logits = normal(0, 2000, 27)
    losses = {
        scale: float(torch.nn.functional.cross_entropy(scale * logits, targets)) for scale in (0.01, 1.0, 5.0, 14.0)
    }
    return measured(
        "random logits of 27 characters, 2,000 targets: "
        + ", ".join(f"loss {loss:.2f} at std {scale:g}" for scale, loss in losses.items()),
        f"ln 27 = {math.log(27):.2f}",
    )


def _mlp() -> MLP:
    """Of the published setting: V = 27, context 3, embedding 10, hidden 200."""
    from charloom.models.mlp import MLP

    return MLP(vocabulary_size=27, context_length=3, embedding=10, hidden=200, layers=1)


def _rms(x: torch.Tensor) -> float:
    return float(x.square().mean().sqrt())


ALL = (
    mlp_shapes,
    parameter_count,
    one_hot_product,
    embedding_gradient,
    broadcast_rows,
    sum_variance,
    relu_second_moment,
    kaiming_depth,
    kaiming_deviation,
    tanh_depth,
    tanh_slope,
    saturated_share,
    dead_relu,
    equal_weights,
    shrunken_last_layer,
)
