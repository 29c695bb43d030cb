"""Losses with their gradients, steps of optimizers, and ways to look inside: computed with torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from charloom.recall.checks.measured import Measured, measured, normal

if TYPE_CHECKING:
    import torch


def fused_cross_entropy() -> Measured:
    """Softmax, then logarithm, then its gradient, at logits (0, 1000); and both in one."""
    import torch

    target = torch.tensor([0])
    found = {}
    for name in ("apart", "together"):
        logits = torch.tensor([[0.0, 1000.0]], requires_grad=True)
        if name == "apart":
            loss = -torch.exp(logits - 1000).div(torch.exp(logits - 1000).sum()).log()[0, 0]
        else:
            loss = torch.nn.functional.cross_entropy(logits, target)
        (gradient,) = torch.autograd.grad(loss, logits)
        found[name] = f"loss {loss.item():g}, gradient {[round(v, 4) for v in gradient[0].tolist()]}"
    naive = torch.exp(torch.tensor([0.0, 1000.0]))
    return measured(
        "logits (0, 1000), target the first:",
        f"exp of them: {naive.tolist()}; their shares: {(naive / naive.sum()).tolist()}",
        f"softmax (maximum subtracted), then log: {found['apart']}",
        f"cross_entropy on the logits: {found['together']}",
    )


def logit_gradient() -> Measured:
    """The gradient of cross-entropy at four equal logits."""
    import torch

    logits = torch.zeros(1, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(torch.nn.functional.cross_entropy(logits, torch.tensor([2])), logits)
    return measured(f"target number 2, gradient {gradient[0].tolist()}", answer=float(gradient[0, 2]))


def double_softmax() -> Measured:
    """The loss of a perfect prediction that went through softmax before `cross_entropy`."""
    import torch

    target = torch.tensor([3])
    certain = torch.nn.functional.one_hot(target, 27).double()
    twice = float(torch.nn.functional.cross_entropy(certain, target))
    once = float(torch.nn.functional.cross_entropy(1000 * certain, target))
    return measured(f"P = 1 on the target: loss {twice:.4f} by probabilities, {once:.4f} by logits", answer=twice)


def learning_rate_limit() -> Measured:
    """The largest step with which gradient descent on 2w² comes nearer to 0, by bisection."""

    def shrinks(rate: float) -> bool:
        w = 1.0
        for _ in range(50):
            w -= rate * 4 * w
        return abs(w) < 1

    low, high = 0.0, 10.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if shrinks(middle) else (low, middle)
    return measured(
        f"by bisection, 50 steps each: |w| shrinks up to a learning rate of {low:.4f}",
        f"one step multiplies w by {1 - 0.1 * 4:.1f} at 0.1, {1 - 0.4 * 4:.1f} at 0.4, {1 - 0.6 * 4:.1f} at 0.6",
        answer=low,
    )


def added_gradients() -> Measured:
    """Two backward passes without zero_grad."""
    import torch

    w = torch.tensor(1.0, requires_grad=True)
    seen = []
    for _ in range(2):
        torch.autograd.backward(3 * w)
        seen.append(float(w.grad) if w.grad is not None else 0.0)
    return measured(f"w.grad after each backward: {seen[0]:g}, {seen[1]:g}", answer=seen[1])


def update_ratio() -> Measured:
    """One step of plain SGD, measured on the parameter itself; and one of Adam."""
    import torch

    lines = []
    ratios = {}
    for name, kind, rate in (("SGD", torch.optim.SGD, 0.1), ("Adam", torch.optim.Adam, 0.1)):
        before = 0.2 * _standard(normal(0, 10_000))
        parameter = torch.nn.Parameter(before.clone())
        parameter.grad = 0.02 * _standard(normal(1, 10_000))
        kind([parameter], lr=rate).step()
        ratios[name] = float((parameter.detach() - before).std() / before.std())
        lines.append(f"{name}, learning rate {rate:g}: std of the change / std of the parameter = {ratios[name]:.4f}")
    return measured(*lines, answer=ratios["SGD"])


def adam_first_step() -> Measured:
    """How far Adam moves at first, for gradients of very different size."""
    import torch

    moved = {}
    for gradient in (0.01, 1.0, 100.0):
        parameter = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
        parameter.grad = torch.full((1,), gradient, dtype=torch.float64)
        torch.optim.Adam([parameter], lr=1e-3).step()
        moved[gradient] = abs(parameter.item())
    return measured(
        "first step: " + ", ".join(f"{step:.6f} for gradient {gradient:g}" for gradient, step in moved.items()),
        answer=moved[100.0],
    )


def batch_noise() -> Measured:
    """The spread of a mini-batch's gradient, for batches of 32 and of 128 examples."""
    x, noise = normal(0, 400_000), normal(1, 400_000)
    gradients = -2 * x * (2 * x + noise)
    spread = {size: float(gradients[: 3000 * size].reshape(3000, size).mean(1).std()) for size in (32, 128)}
    ratio = spread[32] / spread[128]
    return measured(
        f"3,000 batches: std of the gradient {spread[32]:.2f} at batch 32, {spread[128]:.2f} at 128: ratio {ratio:.2f}",
        answer=ratio,
    )


def ones_probe() -> Measured:
    """Rows of cross-entropy's gradient, and what a backward pass of ones sees of the layer before."""
    import torch

    x, weight = normal(0, 64, 50), normal(1, 50, 27).requires_grad_()
    targets = torch.arange(64) % 27
    logits = x @ weight
    (row_gradient,) = torch.autograd.grad(torch.nn.functional.cross_entropy(logits, targets), logits, retain_graph=True)
    (true,) = torch.autograd.grad(torch.nn.functional.cross_entropy(logits, targets), weight, retain_graph=True)
    (probed,) = torch.autograd.grad(logits, weight, torch.ones_like(logits))
    normed = torch.nn.functional.batch_norm(x @ weight, None, None, training=True)
    norms = []
    for outputs, upstream in (
        (normed, torch.ones_like(normed)),
        (torch.nn.functional.cross_entropy(normed, targets), None),
    ):
        (gradient,) = torch.autograd.grad(outputs, weight, upstream, retain_graph=True)
        norms.append(float(gradient.norm()))
    largest = float(row_gradient.sum(1).abs().max())
    cosine = float(torch.nn.functional.cosine_similarity(true.flatten(), probed.flatten(), dim=0))
    return measured(
        f"largest row sum of the gradient: {'below 1e-12' if largest < 1e-12 else f'{largest:.2g}'}",
        f"cosine of the weight's true gradient and that of backward(ones): {abs(cosine):.4f}",
        f"behind a batch norm, norm of the weight's gradient: {'below 1e-9' if norms[0] < 1e-9 else f'{norms[0]:.2g}'}"
        f" by ones, {norms[1]:.2f} by the loss",
        answer=largest,
    )


def silent_hook() -> Measured:
    """How often a hook fires on a module that the forward pass goes round."""
    import torch

    class Model(torch.nn.Module):
        def __init__(self, called: bool) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(4, 4)
            self.act = torch.nn.Tanh()
            self.called = called

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            hidden = self.linear(x)
            out: torch.Tensor = self.act(hidden) if self.called else torch.tanh(hidden)
            return out

    fired = {}
    for called in (False, True):
        model = Model(called)
        seen: list[float] = []
        model.act.register_forward_hook(lambda module, inputs, output, seen=seen: seen.append(1.0))
        for _ in range(10):
            model(torch.zeros(2, 4))
        fired[called] = len(seen)
    return measured(
        f"10 steps: fired {fired[False]} times with torch.tanh(...), {fired[True]} times with self.act(...)",
        answer=fired[False],
    )


def clipped_norm() -> Measured:
    """A gradient of norm 5, clipped at 1."""
    import torch

    parameter = torch.nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([3.0, 4.0])
    before = float(torch.nn.utils.clip_grad_norm_([parameter], 1.0))
    return measured(
        f"returned norm {before:g}; gradient afterwards {[round(v, 4) for v in parameter.grad.tolist()]}",
        answer=float(parameter.grad[0]),
    )


def _standard(x: torch.Tensor) -> torch.Tensor:
    """With standard deviation 1 exactly."""
    return x / x.std()


ALL = (
    fused_cross_entropy,
    logit_gradient,
    double_softmax,
    learning_rate_limit,
    added_gradients,
    update_ratio,
    adam_first_step,
    batch_noise,
    ones_probe,
    silent_hook,
    clipped_norm,
)
