# %% [markdown]
# # 04. How weights begin, batch norm, and looking inside
#
# At the end of this notebook you can tell from a net's first step much of how it will train, say where it is sick
# and why, mend it by its weights or by batch norm (which you will have derived and checked), and do the same for
# any PyTorch model in two lines. You need notebook 03: contexts, embeddings, the MLP, cross-entropy. A quarter of a
# minute in all (`FULL=1` in the environment makes the long runs that some parts quote); write your guesses down
# before you run on.

# %%
import importlib.util
import os
import subprocess
import sys

if not all(importlib.util.find_spec(name) for name in ("charloom", "telltales", "matplotlib")):
    source = os.environ.get("TELLTALES_SOURCE", "telltales")  # or a folder of the project, or a wheel made from it
    subprocess.check_call([sys.executable, "-m", "pip", "install", f"{source}[charloom,report]"])

# %%
import math

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import charloom
import telltales
from charloom.contexts import Contexts

torch.set_num_threads(1)  # batches of 32: two threads are slower than one
FULL = os.environ.get("FULL", "0") not in ("", "0")
plt.rcParams.update({"figure.dpi": 90, "axes.spines.top": False, "axes.spines.right": False, "font.size": 10})
BLUE, ORANGE, GREEN, PURPLE, GREY = "#1f6fb4", "#c2410c", "#0f7b5f", "#8a4fbf", "#9aa4b2"

data = charloom.load_data()  # US names of 2018; protocol unique, split seed 42
V, CONTEXT, EMBEDDING, HIDDEN = len(data.vocabulary), 3, 10, 200
X, Y = (torch.from_numpy(part) for part in Contexts(data.encoded("train"), CONTEXT).all_rows())  # (N, 3), (N,)
X_dev, Y_dev = (torch.from_numpy(part) for part in Contexts(data.encoded("dev"), CONTEXT).all_rows())
print(f"{len(X):,} contexts to learn from, {len(X_dev):,} in dev; a guess costs ln {V} = {math.log(V):.4f} nats")


def batch(step, size=32):
    """The same examples for the same step, whatever net asks: (size, 3), (size,)."""
    rows = torch.randint(len(X), (size,), generator=torch.Generator().manual_seed(1_000 + step))
    return X[rows], Y[rows]


# %% [markdown]
# ## The loss before the first step
#
# **Goal.** Know what the first loss must be, see what careless weights make of it, and mend the last layer.
#
# Before anything is learnt, a net should hold every character to be equally probable: its loss should be ln 27.
# That needs logits that are nearly equal. With weights from N(0, 1), which means random numbers of mean 0 and std
# 1, a logit is a sum of 200 hidden values times random weights: its std is about √200 times that of the hidden
# values. After the softmax such a net is *certain*, of something arbitrary.
#
# From here on the nets are PyTorch's: an `nn.Module` holds parameters by name, `nn.Sequential` runs modules one
# after the other, an *optimizer* makes the step that notebook 03 made by hand, and `eval()` says that a net is
# being used, not trained.
#
# **Predict first.** Hidden values after a tanh that saturates are near ±1. What std have the logits? How large is
# the loss if the winner's logit is tens above the right one's?


# %%
class Net(nn.Module):
    """embedding → hidden layers of linear, (batch norm,) tanh → linear."""

    def __init__(self, layers=1, hidden_std=None, output_std=None, norm=False, activation=nn.Tanh, seed=0):
        """``hidden_std``: of a hidden layer's weights, from its fan-in. ``output_std``: of the last layer's."""
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.embedding = nn.Embedding(V, EMBEDDING)
        self.embedding.weight.data.normal_(generator=generator)
        parts, fan_in = [], CONTEXT * EMBEDDING
        for _ in range(layers):
            linear = nn.Linear(fan_in, HIDDEN, bias=not norm)
            linear.weight.data.normal_(0, (hidden_std or (lambda n: 1.0))(fan_in), generator=generator)
            if linear.bias is not None:
                linear.bias.data.normal_(0, 1.0 if hidden_std is None else 0.0, generator=generator)
            parts += [linear, *([nn.BatchNorm1d(HIDDEN)] if norm else []), activation()]
            fan_in = HIDDEN
        self.hidden = nn.Sequential(*parts)
        self.output = nn.Linear(HIDDEN, V)
        self.output.weight.data.normal_(0, 1.0 if output_std is None else output_std, generator=generator)
        self.output.bias.data.zero_()

    def forward(self, x):  # (B, T) → (B, V)
        return self.output(self.hidden(self.embedding(x).flatten(1)))  # (B, T, E) → (B, T·E) → (B, H) → (B, V)


def train(net, steps, rate=0.1, observe=None):
    """Plain gradient descent; gives the loss of every step."""
    optimizer = torch.optim.SGD(net.parameters(), lr=rate)
    losses = []
    for step in range(steps):
        loss = F.cross_entropy(net(batch(step)[0]), batch(step)[1])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if observe is not None:
            observe(loss)
    return losses


@torch.no_grad()
def evaluate(net):
    net.eval()
    loss = F.cross_entropy(net(X_dev), Y_dev).item()
    net.train()
    return loss


STEPS = 20_000 if FULL else 1_500
wide, calm = Net(), Net(output_std=0.01)
for label, net in (("N(0, 1) everywhere", wide), ("last layer × 0.01", calm)):
    with torch.no_grad():
        logits = net(batch(0, 512)[0])
    first = F.cross_entropy(logits, batch(0, 512)[1])
    print(f"{label:20} logits std {logits.std():6.2f}, first loss {first:6.2f}")

curves = {"N(0, 1) everywhere": train(wide, STEPS), "last layer × 0.01": train(calm, STEPS)}
print(f"after {STEPS} steps, dev: {evaluate(wide):.4f} and {evaluate(calm):.4f}")


def smooth(values, width=50):
    return np.convolve(values, np.ones(width) / width, "valid")


figure, axes = plt.subplots(figsize=(8, 3.6))
for (label, losses), colour in zip(curves.items(), (ORANGE, BLUE), strict=True):
    axes.semilogy(losses, color=colour, alpha=0.2, linewidth=0.6)
    axes.semilogy(np.arange(len(smooth(losses))) + 25, smooth(losses), color=colour, label=label)
axes.axhline(math.log(V), color=GREY, linestyle="--", linewidth=1)
axes.text(-STEPS * 0.04, math.log(V) * 1.04, "ln 27", color="#5b6472", fontsize=9)
axes.set_xlabel("step")
axes.set_ylabel("nats per character")
axes.set_title("A thousand steps spent on unlearning certainty", loc="left")
axes.legend(frameon=False)
plt.show()

# %% [markdown]
# **What you should see.** With N(0, 1) the logits have a std of 12.85 and the first loss is 24.95. With the last
# layer's weights times 0.01 it is 3.29. After 1500 steps dev is 3.1024 and 2.4582. (The prediction: √200 times
# values near ±1, so a little below 14.)
#
# **With `FULL=1`.** After 20000 steps dev is 2.4399 and 2.3086: the head start is not made up.
#
# **Learned.** Look at the first loss before you look at anything else. If it is not near ln C for C classes,
# suspect the last layer's weights first, then the labels and the loss. The first part of such a loss curve is
# mostly the unlearning of a false certainty.
#
# **Done when.** The calm net's first loss is within 0.05 of ln 27.
#
# **Exercise.** What first loss does a last layer of *all zeros* give, exactly? Does it still learn?
#
# <details><summary>Solution</summary>
#
# ```python
# zero = Net(output_std=0.0)
# zero.output.weight.data.zero_()
# losses = train(zero, 300)
# print(f"{losses[0]:.4f} = ln 27, then {np.mean(losses[-50:]):.4f}: the gradient of the last layer is not zero")
# ```
#
# </details>

# %%
assert abs(curves["last layer × 0.01"][0] - math.log(V)) < 0.05
assert curves["N(0, 1) everywhere"][0] > 4 * math.log(V)
print("done: the first loss is what a guess costs")

# %% [markdown]
# ## Flat parts
#
# **Goal.** See that the hidden layer of such a net is switched off as well, value by value, and what that does to
# the gradient.
#
# tanh is flat where its input is large: its slope is `1 − tanh²`. At |tanh| > 0.97, that is |input| > 2.09, less
# than 6% of a gradient gets through. A value there is *saturated*. A *unit* that is saturated on every example is
# another thing: hardly any example changes it. For ReLU, which is max(0, x), the flat part is everything below
# zero: half of the values are there in a healthy net, so only units that are there on *all* examples, *dead* ones,
# are a fault.
#
# **Predict first.** The hidden inputs of `Net()` are sums of 30 products of N(0, 1) numbers, and a bias. What std
# do they have? Which share of a normal distribution with that std lies beyond ±2.09?

# %%
LIMIT = 0.97


def hidden_of(net, x):
    """Inputs of the first activation function and its values: (B, H), (B, H)."""
    with torch.no_grad():
        inputs = net.hidden[0](net.embedding(x).flatten(1))
    return inputs, net.hidden[1](inputs)


x_many = batch(0, 256)[0]
kaiming = Net(hidden_std=lambda fan_in: (5 / 3) / math.sqrt(fan_in), output_std=0.01)
rectified = Net(activation=nn.ReLU, hidden_std=lambda fan_in: math.sqrt(2 / fan_in), output_std=0.01)
fresh = {"N(0, 1)": Net(), "5/3 / √fan-in": kaiming}
figure, panels = plt.subplots(2, 2, figsize=(10, 5), gridspec_kw={"width_ratios": (1, 2)})
for (label, net), (left, right), colour in zip(fresh.items(), panels, (ORANGE, BLUE), strict=True):
    inputs, values = hidden_of(net, x_many)
    flat = values.abs() > LIMIT
    print(
        f"{label:14} inputs std {inputs.std():.2f}; |tanh| > {LIMIT}: {flat.float().mean():.1%} of the values, "
        f"{int(flat.all(0).sum())} of {HIDDEN} units always; mean slope {1 - values.square().mean():.2f}"
    )
    left.hist(values.flatten().numpy(), bins=60, color=colour, density=True)
    left.set_title(f"{label}: values of tanh", loc="left")
    left.set_yticks([])
    right.imshow(flat[:48], cmap="Greys", aspect="auto", interpolation="nearest", vmin=0, vmax=1)
    right.set_title("black: saturated (48 examples down, 200 units across)", loc="left")
    right.set_xticks([])
    right.set_yticks([])
plt.tight_layout()
plt.show()

values = hidden_of(rectified, x_many)[1]
dead = (values == 0).all(0)
print(f"ReLU: {(values == 0).float().mean():.1%} of the values are zero, and {int(dead.sum())} units are dead")

# %% [markdown]
# **What you should see.** With N(0, 1) the inputs have a std of 5.32, and 68.8% of the values are saturated: the
# histogram is two spikes, and two thirds of the map are black. The mean slope is 0.15. With weights of std 5/3 /
# √30 the inputs have a std of 1.59 and 18.2% are saturated, which does no harm: the first layer has the most, as
# its inputs, being embeddings, need no gain. With ReLU 49.5% of the values are zero, which is as it should be; no
# unit is dead.
#
# **Learned.** A fraction that is saturated slows learning down; a *unit* that is saturated on every example learns
# very slowly, and a ReLU unit that is zero on every example gets no gradient at all. The threshold belongs beside
# the number.
#
# **Done when.** You can say from the map which net is sick.
#
# **Exercise.** The inputs are sums of 30 products and a bias: std √31 = 5.57 in theory, a little less here, as 27
# embeddings are few. Which share of a normal distribution with that std lies beyond ±2.09? (`math.erfc`.)
#
# <details><summary>Solution</summary>
#
# ```python
# print(f"{math.erfc(2.09 / (5.57 * math.sqrt(2))):.1%}: a little more, as the embeddings are few and not quite normal")
# ```
#
# </details>

# %%
assert abs(math.atanh(LIMIT) - 2.09) < 0.01
assert (hidden_of(fresh["N(0, 1)"], x_many)[1].abs() > LIMIT).float().mean() > 0.5
assert not dead.any()
print("done: saturated, and dead, are two things")

# %% [markdown]
# ## Why one over the root of fan-in
#
# **Goal.** Derive how wide weights must be, and measure it in a net of six layers, forwards and backwards.
#
# One output of a linear layer is a sum of n products, where n, the number of its inputs, is called *fan-in*: `y = Σ
# wᵢ xᵢ`. If weights and inputs are independent and the weights have mean 0, the variance of each product is `σ² ·
# E[x²]` (E is the mean over all that may come), and variances of independent things add up:
#
# `Var(y) = n · σ² · E[x²]`, so `std(y) = σ · √n · rms(x)`
#
# With σ = 1/√n the signal keeps its size. An activation function then takes some away, by a factor that the *gain*
# has to make up for: σ = gain/√n. Backwards the same sum runs over fan-*out*, which is equal in a square layer.
#
# **Predict first.** In six layers with tanh, what becomes of the signal with gain 0.5? With gain 3? And of the
# gradient?

# %%
DEPTH, WIDTH = 6, 200


def through(gain, activation, seed=0):
    """Std of the values after each layer, and of the gradient by them."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(512, WIDTH, generator=generator)
    values = []
    for _ in range(DEPTH):
        weight = torch.randn(WIDTH, WIDTH, generator=generator) * gain / math.sqrt(WIDTH)
        x = activation((x.requires_grad_() if not values else x) @ weight)
        x.retain_grad()
        values.append(x)
    x.backward(torch.randn(512, WIDTH, generator=generator))
    return [value.std().item() for value in values], [value.grad.std().item() for value in values]


generator = torch.Generator().manual_seed(0)
x = torch.randn(20_000, 100, generator=generator)
w = torch.randn(100, 50, generator=generator) * 0.3
print(f"std of x·W: measured {(x @ w).std():.3f}, σ·√n = {0.3 * math.sqrt(100):.3f}")

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6))
for gain, colour in zip((0.5, 1.0, 5 / 3, 3.0), (GREY, BLUE, GREEN, ORANGE), strict=True):
    forward, backward = through(gain, torch.tanh)
    kept = backward[0] / backward[-1]
    print(f"tanh, gain {gain:.2f}: std of the last layer {forward[-1]:.3f}, gradient first/last {kept:.3f}")
    left.semilogy(range(1, DEPTH + 1), forward, "o-", color=colour, label=f"gain {gain:.2f}", markersize=4)
    right.semilogy(range(1, DEPTH + 1), backward, "o-", color=colour, label=f"gain {gain:.2f}", markersize=4)
left.set_title("Signal: too small dies, too large saturates", loc="left")
left.set_ylabel("std of the values")
right.set_title("Gradient: it comes from the right", loc="left")
right.set_ylabel("std of the gradient")
for axes in (left, right):
    axes.set_xlabel("layer")
    axes.legend(frameon=False, fontsize=8)
plt.tight_layout()
plt.show()

# %% [markdown]
# **What you should see.** The std of x·W is 3.000 by the formula, and 2.954 as measured. Gain 0.50 leaves the last
# layer a std of 0.012 and the first layer 0.030 of the last one's gradient: signal and gradient vanish. Gain 1.00
# leaves 0.294, slowly dying; gain 1.67 holds 0.652; at gain 3.00 the values are at 0.836, most of them saturated,
# and the gradient *grows* towards the first layer, 4.625 times: saturation lowers the slope, but the weights are
# three times larger, and win.
#
# **Learned.** A layer multiplies the signal's size by σ·√fan-in, and the factors of all layers multiply. At depth,
# slightly wrong is very wrong.
#
# **Done when.** At gain 5/3 neither signal nor gradient changes by more than a factor of 3 in six layers.
#
# **Exercise.** Try 50 layers at gains 1.0 and 5/3.
#
# <details><summary>Solution</summary>
#
# ```python
# for gain in (1.0, 5 / 3):
#     x = torch.randn(512, WIDTH)
#     for _ in range(50):
#         x = torch.tanh(x @ (torch.randn(WIDTH, WIDTH) * gain / math.sqrt(WIDTH)))
#     print(f"gain {gain:.2f}: std {x.std():.3f} after 50 layers")
# ```
#
# </details>

# %%
forward, backward = through(5 / 3, torch.tanh)
assert 1 / 3 < forward[-1] / forward[0] < 3
assert 1 / 3 < backward[0] / backward[-1] < 3
print("done: the signal keeps its size")

# %% [markdown]
# ## Gains, derived and measured
#
# **Goal.** Know where √2 for ReLU comes from, and what the 5/3 for tanh is.
#
# A layer needs `n · σ² · E[f(z)²] = 1`, where z ~ N(0, 1) is the input of the activation before and f(z) its value:
# so `gain = 1 / √E[f(z)²]`. ReLU sets the negative half to zero and leaves the rest: it halves the second moment,
# since z² is as large on either side. E = 1/2, gain √2. For tanh there is no closed form: the integral gives 1.59.
# The usual 5/3 is a little more, which holds the signal at a fixed size slightly larger than 1 before the tanh.
#
# **Predict first.** Is the gain of a function that keeps its input (the identity) 1? And that of a sigmoid, whose
# values all lie around 0.5?

# %%
z = torch.randn(2_000_000, generator=torch.Generator().manual_seed(0))
functions = {"identity": lambda z: z, "relu": torch.relu, "tanh": torch.tanh, "gelu": F.gelu, "sigmoid": torch.sigmoid}
gains = {name: float(1 / f(z).square().mean().sqrt()) for name, f in functions.items()}
for name, gain in gains.items():
    print(f"{name:9} 1/√E[f(z)²] = {gain:.3f}")
print(f"√2 = {math.sqrt(2):.3f}; PyTorch's gain for tanh is {nn.init.calculate_gain('tanh'):.3f}")
for gain in (gains["relu"], 1.0):
    print(f"relu, gain {gain:.2f}: std after six layers {through(gain, torch.relu)[0][-1]:.3f}")
for gain in (gains["tanh"], 5 / 3):
    print(f"tanh, gain {gain:.2f}: std after six layers {through(gain, torch.tanh)[0][-1]:.3f}")

# %% [markdown]
# **What you should see.** ReLU: 1.415, where √2 = 1.414 was derived; tanh: 1.593; GELU: 1.535; sigmoid: 1.847. The
# identity has 1.000. With ReLU and its gain the std after six layers is 0.781 (its mean is not 0, and the rms is
# what is held), and without it (gain 1) 0.097. With tanh, 1.59 gives 0.629 and 5/3 gives 0.652: both hold.
#
# **Learned.** The gain undoes what the activation function takes away. Kaiming's scale is this: gain/√fan-in.
# `sigmoid` keeps a mean of 0.5, which no gain repairs: one reason why it went out of use between layers.
#
# **Done when.** The measured gain of ReLU is √2 to the third digit.
#
# **Exercise.** What is the gain of leaky ReLU with slope 0.1 on the left, by the formula?
#
# <details><summary>Solution</summary>
#
# ```python
# print(f"{math.sqrt(2 / (1 + 0.1**2)):.4f}, measured {float(1 / F.leaky_relu(z, 0.1).square().mean().sqrt()):.4f}")
# ```
#
# </details>

# %%
assert abs(gains["relu"] - math.sqrt(2)) < 0.003
assert abs(gains["identity"] - 1) < 0.003
print("done: gains are no magic numbers")

# %% [markdown]
# ## Batch norm by hand
#
# **Goal.** Write batch norm forwards and backwards, and prove it right: against PyTorch, and by `gradcheck`, which
# changes every input a little and compares the change of the output with what the gradient says.
#
# If every layer should have inputs of mean 0 and std 1, why not make them so? For each unit, over the B examples of
# the batch:
#
# `μ = mean(x)`, `σ² = mean((x − μ)²)`, `x̂ = (x − μ) / √(σ² + ε)`, `y = γ·x̂ + β`
#
# ε is a small number that keeps the root from 0; γ and β are learnt, so that the net can undo it where that is
# better. Backwards, let g be the gradient of the loss by y, and s = √(σ² + ε). x acts on y in three ways: by
# itself, `γ·g/s`; through μ, `−γ·mean(g)/s`; through σ², `−γ·x̂·mean(g·x̂)/s`. Their sum is
#
# `dx = γ/√(σ² + ε) · (g − mean(g) − x̂ · mean(g·x̂))`; `dγ = Σ g·x̂`; `dβ = Σ g`
#
# Read it: of the gradient, the part that would shift all examples alike and the part that would stretch them are
# taken out, since the normalisation would undo both.
#
# **Predict first.** A constant added to x: what does it change in y? So what is the gradient of a bias that stands
# before batch norm?


# %%
class ByHand(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, gamma, beta, epsilon):  # (B, H), (H,), (H,)
        mean = x.mean(0)  # (H,)
        variance = (x - mean).square().mean(0)  # (H,), divided by B: the biased one normalises
        scale = (variance + epsilon).rsqrt()
        normal = (x - mean) * scale  # (B, H)
        ctx.save_for_backward(normal, gamma, scale)
        return gamma * normal + beta

    @staticmethod
    def backward(ctx, g):  # (B, H)
        normal, gamma, scale = ctx.saved_tensors
        dx = gamma * scale * (g - g.mean(0) - normal * (g * normal).mean(0))
        return dx, (g * normal).sum(0), g.sum(0), None


generator = torch.Generator().manual_seed(0)
x = torch.randn(8, 5, dtype=torch.float64, generator=generator, requires_grad=True)
gamma = torch.randn(5, dtype=torch.float64, generator=generator, requires_grad=True)
beta = torch.randn(5, dtype=torch.float64, generator=generator, requires_grad=True)
right = torch.autograd.gradcheck(lambda *given: ByHand.apply(*given, 1e-5), (x, gamma, beta))
print("gradcheck against finite differences, in float64:", right)

g = torch.randn(8, 5, dtype=torch.float64, generator=generator)
ours = torch.autograd.grad(ByHand.apply(x, gamma, beta, 1e-5), (x, gamma, beta), g)
theirs = torch.autograd.grad(F.batch_norm(x, None, None, gamma, beta, training=True), (x, gamma, beta), g)
worst = max(float((a - b).abs().max()) for a, b in zip(ours, theirs, strict=True))
print(f"against PyTorch's, the largest difference of any gradient: {worst:.1e}")

bias = torch.zeros(5, dtype=torch.float64, requires_grad=True)
(by_bias,) = torch.autograd.grad(ByHand.apply(x.detach() + bias, gamma, beta, 1e-5), bias, g)
print(f"gradient of a bias before batch norm: {by_bias.abs().max():.1e}")

deep = torch.randn(16, 7, 5, generator=generator)  # (B, T, H)
norm = nn.BatchNorm1d(5)
over_both = norm(deep.transpose(1, 2)).transpose(1, 2)  # PyTorch wants (B, H, T), and takes B and T together
print(f"three axes: each unit's mean over (B, T) is {over_both.mean((0, 1)).abs().max():.1e}")

# %% [markdown]
# **What you should see.** `True`; the gradients are PyTorch's to some 1e-15; the bias has no gradient, so that a
# layer before batch norm is made without one. With three axes the mean is taken over examples and places, (0, 1): a
# mean over examples only would give every place statistics of its own.
#
# **Learned.** The layer and its gradient fit in six lines. Check a gradient by hand in float64, where finite
# differences are exact enough to tell.
#
# **Done when.** gradcheck says True, and PyTorch agrees.
#
# **Exercise.** Leave out the last term of dx. By how much is gradcheck's answer wrong, and does the net notice at
# once?
#
# <details><summary>Solution</summary>
#
# ```python
# normal = (x - x.mean(0)) * (x.var(0, correction=0) + 1e-5).rsqrt()
# scale = (x.var(0, correction=0) + 1e-5).rsqrt()
# without = (gamma * scale * (g - g.mean(0))).detach()
# off = float((without - ours[0]).norm() / ours[0].norm())
# print(f"wrong by {off:.0%} of its norm: such a net still learns, only worse, so no loss curve tells")
# ```
#
# </details>

# %%
assert right
assert worst < 1e-12
assert by_bias.abs().max() < 1e-12
print("done: batch norm, forwards and backwards")

# %% [markdown]
# ## In training and in evaluation
#
# **Goal.** Know the three ways in which batch norm behaves unlike any other layer.
#
# One: it couples examples. What is said of one depends on the others in its batch. Two: for a single name there is
# no batch, so in evaluation it uses *running averages* of the means and variances it has seen: another function.
# Three: these averages are state that is learnt without gradients, `average ← (1 − m)·average + m·batch`, at a pace
# m called *momentum* (not the optimizer's), and they keep the *unbiased* variance (divided by B − 1) where the
# batch was normalised by the biased one.
#
# **Predict first.** The averages begin at mean 0 and variance 1. With momentum 0.001, how much of that beginning is
# left after 1,000 steps? What should batch norm do with a batch of one?

# %%
generator = torch.Generator().manual_seed(0)
x = torch.randn(32, 4, generator=generator) * 3 + 5
changed = x.clone()
changed[0] += 10
norm = nn.BatchNorm1d(4)
in_training = (norm(changed) - norm(x)).abs().amax(1)
norm.eval()
in_evaluation = (norm(changed) - norm(x)).abs().amax(1)
others = in_training[1:].max(), in_evaluation[1:].max()
print(f"example 0 changes: the other outputs move by {others[0]:.2f} in training, {others[1]:.2f} in evaluation")

left_over = {}
for momentum in (0.1, 0.001):
    norm = nn.BatchNorm1d(1, momentum=momentum)
    with torch.no_grad():
        for _ in range(1_000):
            norm(torch.full((32, 1), 7.0) + torch.randn(32, 1, generator=generator))
    left_over[momentum] = 1 - norm.running_mean.item() / 7
    print(f"momentum {momentum}: {left_over[momentum]:.1%} of the beginning is left after 1000 steps")
print(f"0.999^1000 = {0.999**1000:.1%}")

norm = nn.BatchNorm1d(4, momentum=1.0)
norm(x)
biased, unbiased = x.var(0, correction=0), x.var(0)
stored = norm.running_var
print(f"stored variance: {stored[0]:.4f}; unbiased {unbiased[0]:.4f}, biased {biased[0]:.4f}")

try:
    nn.BatchNorm1d(4)(x[:1])
    refused = ""
except ValueError as error:
    refused = str(error)
print("a batch of one:", refused)

# %% [markdown]
# **What you should see.** In training the others move by up to 0.41, in evaluation by 0.00. With momentum 0.001
# 36.7% of the beginning is left after a thousand steps, as 0.999^1000 says, with 0.1 nothing but noise. The stored
# variance is the unbiased one, 8.3535 here, where the batch was normalised by 8.0925. And a batch of one is
# refused: every value would be its own mean, and all outputs β.
#
# **Learned.** `model.eval()` changes what a net with batch norm computes. Small batches make the two functions
# differ more (`charloom experiment batchnorm` draws it). Averages can be measured again on the training data after
# training, which charloom does.
#
# **Done when.** In evaluation no example moves another.
#
# **Exercise.** Two examples only: what are the outputs of batch norm, whatever the inputs?
#
# <details><summary>Solution</summary>
#
# ```python
# print(nn.BatchNorm1d(3)(torch.randn(2, 3) * 100).detach())  # each unit says +1 and −1: which is larger, nothing else
# ```
#
# </details>

# %%
assert others[0] > 0.1
assert others[1] == 0
assert abs(left_over[0.001] - 0.999**1000) < 0.01
assert torch.allclose(stored, unbiased)
assert "more than 1 value" in refused
print("done: three oddities, seen")

# %% [markdown]
# ## A diagnostic helper
#
# **Goal.** Build, in forty lines, what shows the inside of any net while it trains.
#
# A *hook* is a function that PyTorch calls when a module has run. With one on each layer we read its values, and
# with one on the value itself the gradient that comes back. The rest is arithmetic. The *update ratio* is the std
# of what really changed in a weight over the weight's own std: with plain gradient descent the change is rate ×
# gradient, but with other optimizers (momentum, Adam) it is not, so it is measured.
#
# **Predict first.** A helper whose hook is never called reports nothing. What would you take an empty report for?


# %%
class Inside:
    """Reads one step of a net: ``with Inside(net) as inside: …`` around forward, backward and update."""

    def __init__(self, net, kinds=(nn.Tanh, nn.ReLU)):
        self.net = net
        self.layers = {name: module for name, module in net.named_modules() if isinstance(module, kinds)}

    def __enter__(self):
        self.rows = {}
        weights = {name: weight for name, weight in self.net.named_parameters() if weight.dim() == 2}
        self.before = {name: weight.detach().clone() for name, weight in weights.items()}
        self.handles = [
            module.register_forward_hook(lambda module, inputs, out, name=name: self.read(name, module, out))
            for name, module in self.layers.items()
        ]
        return self

    def read(self, name, module, out):
        flat = out.abs() > LIMIT if isinstance(module, nn.Tanh) else out == 0
        row = {"mean": out.mean().item(), "std": out.std().item(), "flat": flat.float().mean().item()}
        row["units"] = flat.all(0).float().mean().item()
        self.rows[name] = row
        out.register_hook(lambda gradient: row.update(gradient=gradient.std().item()))

    def __exit__(self, *_):
        for handle in self.handles:
            handle.remove()
        silent = [name for name in self.layers if "gradient" not in self.rows.get(name, {})]
        if silent or not self.layers:
            raise RuntimeError(f"no numbers from {silent or 'any layer'}: was another net trained than looked at?")
        now = dict(self.net.named_parameters())
        self.ratios = {name: ((now[name] - old).std() / old.std()).item() for name, old in self.before.items()}

    def table(self):
        lines = ["layer       mean    std   flat  units  gradient"]
        for name, row in self.rows.items():
            shares = f"{row['flat']:6.1%} {row['units']:6.1%}"
            lines.append(f"{name:10} {row['mean']:5.2f}  {row['std']:5.3f} {shares}  {row['gradient']:.2e}")
        ratios = ", ".join(f"{name.removesuffix('.weight')} {ratio:.1e}" for name, ratio in self.ratios.items())
        return "\n".join([*lines, f"update ratios: {ratios}"])


def one_step(net, rate=0.1):
    """Look at the first step of a net."""
    optimizer = torch.optim.SGD(net.parameters(), lr=rate)
    x, y = batch(0)
    with Inside(net) as inside:
        loss = F.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item(), inside


LAYERS = 4
NETS = {
    "N(0, 1)": lambda: Net(LAYERS),
    "Kaiming": lambda: Net(LAYERS, hidden_std=lambda n: (5 / 3) / math.sqrt(n), output_std=0.1 / math.sqrt(HIDDEN)),
    "batch norm": lambda: Net(
        LAYERS, hidden_std=lambda n: (5 / 3) / math.sqrt(n), output_std=0.1 / math.sqrt(HIDDEN), norm=True
    ),
}
first_steps = {}
for label, build in NETS.items():
    loss, inside = one_step(build())
    first_steps[label] = loss, inside
    print(f"{label}: first loss {loss:.2f}\n{inside.table()}\n")

try:
    watched, trained = Net(), Net()
    with Inside(watched):
        F.cross_entropy(trained(batch(0)[0]), batch(0)[1]).backward()
    told = ""
except RuntimeError as error:
    told = str(error)
print("another net than the one looked at:", told)

# %% [markdown]
# **What you should see.** N(0, 1) begins at 32.24; its first layer has 70.1% flat values, its last 88.0%, and the
# gradient grows from layer to layer on its way back. The Kaiming net begins at 3.31 with 19.8% in its first layer
# and 6.3% in its last. With batch norm it begins at 3.30, and each layer has a std of 0.64.
#
# **Learned.** Five numbers a layer tell a sick net from a healthy one at its first step. A probe that has seen
# nothing must say so loudly: an empty report looks like a healthy one.
#
# **Done when.** The helper raises an error when it is hung on the wrong net.
#
# **Exercise.** Look at the same net with ReLU and std √(2/fan-in). Which numbers are healthy for ReLU?
#
# <details><summary>Solution</summary>
#
# ```python
# net = Net(LAYERS, hidden_std=lambda n: math.sqrt(2 / n), output_std=0.01, activation=nn.ReLU)
# print(one_step(net)[1].table())
# print("about half of the values are zero; a few per cent of the units are, on 32 examples: ask more of them")
# ```
#
# </details>

# %%
assert "another net" in told
assert first_steps["N(0, 1)"][0] > 3 * first_steps["Kaiming"][0]
assert not [module for module in watched.modules() if module._forward_hooks]
print("done: a helper that can't be silent")

# %% [markdown]
# ## Three experiments
#
# **Goal.** Train the three nets on the same batches, and see what the first step has told come true.
#
# **Predict first.** Order the three by their dev loss. In which net will the updates be the largest, compared with
# the weights?

# %%
STEPS = 20_000 if FULL else 1_000


def watched(build, steps):
    """Train, watched by telltales: the net, the watch, the losses."""
    net = build()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    losses = []
    with telltales.watch(net, optimizer) as w:
        for step in range(steps):
            x, y = batch(step)
            loss = F.cross_entropy(net(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            w.step(loss, x)
            losses.append(loss.item())
    return net, w, losses


runs = {label: watched(build, STEPS) for label, build in NETS.items()}
print("                first loss   dev    steps to a loss of 2.6")
for label, (net, _, losses) in runs.items():
    below = np.flatnonzero(smooth(losses) < 2.6)
    reached = f"{below[0]:5d}" if len(below) else "never"
    print(f"{label:14} {losses[0]:10.2f}  {evaluate(net):.4f}   {reached}")

# %% tags=["picture"]
COLOURS = dict(zip(NETS, (ORANGE, BLUE, GREEN), strict=True))


def curves_of(values, axes):
    """Each layer's density, one above the other."""
    for place, one in enumerate(values):
        counts, edges = np.histogram(one.numpy(), 60)
        axes.fill_between((edges[1:] + edges[:-1]) / 2, -place, 0.8 * counts / counts.max() - place, alpha=0.6)


figure, panels = plt.subplots(2, 3, figsize=(10, 6))
panels[0, 0].set_ylabel("loss, nats")
panels[1, 0].set_ylabel("layers, the first on top")
for (label, (_, _, losses)), above, below in zip(runs.items(), *panels, strict=True):
    above.semilogy(losses, color=COLOURS[label], alpha=0.25, linewidth=0.6)
    above.semilogy(np.arange(len(smooth(losses))) + 25, smooth(losses), color=COLOURS[label])
    above.axhline(math.log(V), color=GREY, linestyle="--", linewidth=1)
    above.set_ylim(2, 40)
    above.set_title(f"{label}: begins at {losses[0]:.1f}", loc="left")
    above.set_xlabel("step")
    values, untrained = [], NETS[label]()
    for module in untrained.hidden:
        if isinstance(module, nn.Tanh):
            module.register_forward_hook(lambda _, __, out, kept=values: kept.append(out.detach().flatten()))
    untrained(x_many)
    curves_of(values, below)
    flat = [float((one.abs() > LIMIT).float().mean()) for one in values]
    below.set_title(f"flat: {', '.join(f'{share:.0%}' for share in flat)}", loc="left", fontsize=9)
    below.set_yticks([])
    below.set_xlabel("value of tanh before the first step")
plt.tight_layout()
plt.show()

# %%
figure, axes = plt.subplots(figsize=(8, 3.4))
for label, (_, w, _) in runs.items():
    late = w.record.steps >= 10
    names = [name for name in w.record.names("update") if name.endswith("weight")]
    ratios = [w.record.series("update", name, "ratio")[late] for name in names]
    ratios = np.nanmedian([one for one in ratios if np.isfinite(one).any()], axis=0)
    axes.loglog(w.record.steps[late], ratios, "o-", color=COLOURS[label], label=label, markersize=3)
    print(f"{label:14} median update ratio {np.median(ratios):.1e}, log10 {np.log10(np.median(ratios)):.1f}")
axes.axhline(1e-3, color=GREY, linestyle="--", linewidth=1)
axes.set_xlabel("step")
axes.set_ylabel("std of the change / std of the weight")
axes.set_title("Update ratios: about 10⁻³ is usual", loc="left")
axes.legend(frameon=False)
plt.show()

# %% [markdown]
# **What you should see.** The first net begins at 32.24 and is still far above a guess on dev after 1000 steps,
# having never come below 2.6; Kaiming reaches 2.6 after 55 steps and has 2.4018, batch norm after 134 and has
# 2.4035. The flat shares above the densities are nearly the helper's (they are of 256 examples, not of 32). The
# median update ratio is above a hundredth in the first net, ten times what is usual, and 2.4e-03 and 1.5e-03 in the
# others.
#
# **With `FULL=1`.** After 20000 steps dev is 2.6360 for N(0, 1), which first came below 2.6 after 19685 steps;
# 2.2089 for Kaiming and 2.2189 with batch norm.
#
# **Learned.** The first step told it: the net that begins far above ln 27 and is black inside trains worst, and one
# look at its first step would have saved the run. A good first loss alone does not clear the hidden layers: look at
# the flat shares, too. Both mended nets have Kaiming's scale and a small last layer; batch norm, which sets the
# size anew at every step, stands on top of it in the third, and cannot mend a last layer that is too large, which
# comes after it. Here batch norm is no better: four layers with good weights don't need it. It is for nets whose
# weights cannot be set so well, deeper ones and larger rates.
#
# **Done when.** The two mended nets beat the first by more than 0.2 nats on dev.
#
# **Exercise.** Batch norm forgives: make a net with batch norm *and* N(0, 1) hidden weights. What is its first
# loss?
#
# <details><summary>Solution</summary>
#
# ```python
# net = Net(LAYERS, hidden_std=lambda n: 1.0, output_std=0.1 / math.sqrt(HIDDEN), norm=True)
# loss, inside = one_step(net)
# print(f"{loss:.2f}\n{inside.table()}")
# ```
#
# </details>

# %%
devs = {label: evaluate(net) for label, (net, _, _) in runs.items()}
assert max(devs["Kaiming"], devs["batch norm"]) < devs["N(0, 1)"] - 0.2
print("done: the first step was right")

# %% [markdown]
# ## The same in two lines
#
# **Goal.** Let `telltales` do all of this on any PyTorch model, and say what is wrong in words.
#
# `with telltales.watch(model, optimizer) as w:` around the loop and `w.step(loss)` in it: that is what trained the
# three nets above. It looks at few steps, changes nothing (the weights are the same to the bit), and keeps
# activations, gradients, weights and real updates. `w.findings()` are verdicts: what, where, on which evidence,
# why, and what to try. `telltales.preflight` needs one batch and no training at all.
#
# **Predict first.** How many findings will each of the three nets get?

# %%
for label, (_, w, _) in runs.items():
    found = [finding for finding in w.findings() if finding.severity != "note" and finding.resolved is None]
    print(f"{label}: {len(found) or 'nothing'} found")
    for finding in found:
        print(finding)

net = NETS["N(0, 1)"]()
print("\nbefore training, from one batch:")
for finding in telltales.preflight(net, batch(0), F.cross_entropy, torch.optim.SGD(net.parameters(), lr=0.1)):
    if finding.severity != "note":
        print(finding)

# %%
mine = first_steps["N(0, 1)"][1]
record = runs["N(0, 1)"][1].record
print("layer       flat by the helper, by telltales; gradient's std")
for name, row in mine.rows.items():
    theirs = {column: record.series("activation", name, column)[0] for column in ("std", "saturated")}
    gradient = record.series("activation_gradient", name, "std")[0]
    print(f"{name:10} {row['flat']:.4f} {theirs['saturated']:.4f}  {row['gradient']:.3e} {gradient:.3e}")
    assert math.isclose(row["std"], theirs["std"], rel_tol=1e-4)
    assert math.isclose(row["flat"], theirs["saturated"], abs_tol=1e-4)
    assert math.isclose(row["gradient"], gradient, rel_tol=1e-4)
runs["N(0, 1)"][1]

# %% [markdown]
# **What you should see.** For N(0, 1) one warning, `poor-init`, with `initial-loss` and `saturated` listed under it
# as what follows, and with the remedy in numbers: a std of 0.304 for the first layer and 0.118 for the others. For
# the two others nothing. Preflight says it before training. (The 99% is of the last step looked at; the picture at
# the end is of step 100.) In the table the helper's numbers and those of telltales are the same: 0.7011 of the
# first layer flat, a gradient of 9.780e-01.
#
# **Learned.** A verdict is a table that someone has read for you. Read the table too, until you agree with it.
#
# **Done when.** The sick net is called sick, and the healthy ones nothing.
#
# **Exercise.** Forget `zero_grad` on purpose, and ask for the findings after 200 steps.
#
# <details><summary>Solution</summary>
#
# ```python
# net = NETS["Kaiming"]()
# optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
# with telltales.watch(net, optimizer) as w:
#     for step in range(200):
#         loss = F.cross_entropy(net(batch(step)[0]), batch(step)[1])
#         loss.backward()
#         optimizer.step()
#         w.step(loss)
# print(w.findings()[0])
# ```
#
# </details>

# %%
rules = {label: [one.rule for one in w.findings() if one.severity != "note"] for label, (_, w, _) in runs.items()}
assert rules["N(0, 1)"][0] == "poor-init"
assert not rules["Kaiming"]
assert not rules["batch norm"]
print("done: found by itself")

# %% [markdown]
# ## A probe that lies
#
# **Goal.** See why a gradient has to be probed with the real loss.
#
# A well-known shortcut looks at gradients without a loss: `logits.backward(torch.ones_like(logits))`, "the gradient
# of the sum of the outputs". But cross-entropy does not change when a constant is added to all logits of a row: the
# gradient by the logits, p − onehot(y), sums to zero in each row. A direction of all ones is exactly the one that
# this loss cannot see.
#
# **Predict first.** What is the cosine between the two gradients, by the last layer's weights? And what will the
# shortcut say of a net whose last layer is followed by batch norm, which takes out every common shift over the
# batch?


# %%
def gradients(net, with_loss):
    net.zero_grad()
    logits = net(batch(0)[0])
    if with_loss:
        F.cross_entropy(logits, batch(0)[1]).backward()
    else:
        logits.backward(torch.ones_like(logits))
    return {name: weight.grad.clone() for name, weight in net.named_parameters()}


net = NETS["Kaiming"]()
real, shortcut = gradients(net, True), gradients(net, False)
cosines = {name: F.cosine_similarity(real[name].flatten(), shortcut[name].flatten(), dim=0).item() for name in real}
print("cosine with the true gradient:", ", ".join(f"{name} {cosine:.2f}" for name, cosine in cosines.items()))
errors = net(batch(0)[0]).softmax(1) - F.one_hot(batch(0)[1], V)  # the gradient by the logits, times B
print(f"its rows sum to {errors.sum(1).abs().max():.1e} at most")


class Normed(nn.Module):
    """A net whose logits are normalised over the batch."""

    def __init__(self):
        super().__init__()
        self.net, self.norm = NETS["Kaiming"](), nn.BatchNorm1d(V)

    def forward(self, x):
        return self.norm(self.net(x))


normed = Normed()
sizes = [gradients(normed, with_loss)["net.hidden.0.weight"].norm().item() for with_loss in (True, False)]
print(f"before a final batch norm, first layer's gradient: {sizes[0]:.2e} by the loss, {sizes[1]:.2e} by the shortcut")

# %% [markdown]
# **What you should see.** The cosine by the last layer's weights is 0.00, and elsewhere it lies between −0.22 and
# 0.05: the two gradients have nothing to do with one another. Before a final batch norm the real gradient of the
# first layer is 1.12 and the shortcut says some millionths: it reports a vanished gradient in a healthy net.
#
# **Learned.** A diagnosis by a made-up loss is a diagnosis of a made-up training. Probe with the real loss on a
# real batch, as the helper and `telltales` do.
#
# **Done when.** No cosine is beyond ±0.3, and the shortcut's gradient is far smaller than the real one.
#
# **Exercise.** Is a random direction better than all ones? Try `torch.randn_like(logits)`.
#
# <details><summary>Solution</summary>
#
# ```python
# net.zero_grad()
# logits = net(batch(0)[0])
# logits.backward(torch.randn_like(logits))
# cosine = F.cosine_similarity(net.output.weight.grad.flatten(), real["output.weight"].flatten(), dim=0)
# print(f"{cosine:.2f}: of a useful size, and of no useful direction")
# ```
#
# </details>

# %%
assert max(abs(cosine) for cosine in cosines.values()) < 0.3
assert sizes[1] < 1e-3 * sizes[0]
print("done: the shortcut is blind")

# %% [markdown]
# ## What you have now
#
# The first loss, flat parts, gains, batch norm, update ratios; a helper of your own, and two lines that do the same
# for any model. When a training feels off, begin with [what I check first](../docs/what-i-check-first.md); each
# verdict has [a page](../docs/rules/README.md) with a small training that shows it. Where this leads: [towards the
# transformer](../docs/towards-the-transformer.md).
