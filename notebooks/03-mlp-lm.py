# %% [markdown]
# # 03. A language model that is a network
#
# At the end of this notebook you can build the network of Bengio et al. (2003) from nothing: contexts, embeddings,
# a hidden layer, the loss and its gradient; train it, choose its learning rate, tell under- from overfitting, and
# draw names from it with temperature and top-k without the two bugs that much code has. You need notebook 02:
# pairs, the loss, train, dev and test. Half a minute in all (`FULL=1` in the environment makes the long runs that
# some parts quote); write your guesses down before you run on.

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

torch.set_num_threads(1)  # batches of 32: two threads are slower than one
FULL = os.environ.get("FULL", "0") not in ("", "0")
plt.rcParams.update({"figure.dpi": 90, "axes.spines.top": False, "axes.spines.right": False, "font.size": 10})
BLUE, ORANGE, GREEN, GREY = "#1f6fb4", "#c2410c", "#0f7b5f", "#9aa4b2"

data = charloom.load_data()  # US names of 2018; protocol unique, split seed 42
names = {part: list(data.part(part).items) for part in ("train", "dev", "test")}
symbols = "." + data.vocabulary.characters
number_of = {symbol: place for place, symbol in enumerate(symbols)}
V = len(symbols)
print({part: len(items) for part, items in names.items()}, f"V = {V}")

# %% [markdown]
# ## From names to contexts
#
# **Goal.** Make rows of a table out of names: three characters on the left, the one that follows on the right.
#
# A bigram looks one character back. To look T back by counting, a table needs 27ᵀ rows, and of these more stay
# empty the larger T is: 72 in a hundred at T = 3, nearly all at 6. The network will need no count for each context;
# it needs examples. A *context* of length T = 3 is a window that slides over the name; before the name there are
# markers.
#
# **Predict first.** How many rows does `emma` make? Of the 27³ = 19,683 contexts, how many occur?

# %%
T = 3


def rows_of(items, length=T):
    """Contexts (N, T) and targets (N,), as numbers."""
    contexts, targets = [], []
    for item in items:
        window = [0] * length
        for character in item + ".":
            contexts.append(window)
            targets.append(number_of[character])
            window = [*window[1:], targets[-1]]
    return torch.tensor(contexts), torch.tensor(targets)


for context, target in zip(*rows_of(["emma"]), strict=True):
    print("".join(symbols[place] for place in context), "→", symbols[target])

X, Y = rows_of(names["train"])  # (N, T), (N,)
X_dev, Y_dev = rows_of(names["dev"])
distinct = len(torch.unique(X, dim=0))
unseen = set(map(tuple, X_dev.tolist())) - set(map(tuple, X.tolist()))
print(f"{len(X):,} rows from {len(names['train']):,} names; {distinct:,} contexts of {V**T:,} occur")
print(f"{len(unseen)} contexts of dev never stand in train")

# %% [markdown]
# **What you should see.** `emma` makes five rows, `... → e` to `mma → .`. Train has 169,747 rows and 5,427 distinct
# contexts of 19,683. Of dev's contexts 146 never stand in train: a plain table has no count for them, and must fall
# back on shorter contexts, as Kneser–Ney does.
#
# **Learned.** A language model is trained on (context, target) pairs, one for each character. A name of n letters
# makes n + 1.
#
# **Done when.** There are as many rows as characters and ends.
#
# **Exercise.** How many rows share the commonest context, and which is it?
#
# <details><summary>Solution</summary>
#
# ```python
# contexts, counts = torch.unique(X, dim=0, return_counts=True)
# top = counts.argmax()
# print("".join(symbols[place] for place in contexts[top]), int(counts[top]), "rows: every name begins there")
# ```
#
# </details>

# %%
assert len(X) == sum(len(name) + 1 for name in names["train"])
assert X.shape == (len(X), T)
print("done: names are rows now")

# %% [markdown]
# ## Embeddings are look-ups
#
# **Goal.** Give each symbol a place in a space of ten numbers, and see that three ways of doing so are one.
#
# A network computes with numbers, and the number 5 for `e` says nothing: `e` is not five times `a`. So each symbol
# gets a *vector* of E = 10 numbers, its *embedding*, in a table C of (27, 10). These are random at first, and
# *learnt*: symbols that behave alike will come to lie near one another.
#
# **Predict first.** In a batch of 32 × 3 = 96 characters, how many of the 27 rows of C get a gradient?

# %%
E = 10
generator = torch.Generator().manual_seed(0)
C = torch.randn(V, E, generator=generator)
x = X[:32]  # (B, T)

by_index = C[x]  # (B, T, E): row C[i] for each number i
layer = nn.Embedding(V, E)
layer.weight.data.copy_(C)
by_layer = layer(x)  # (B, T, E)
by_product = F.one_hot(x, V).float() @ C  # (B, T, V) @ (V, E): a 1 picks a row

upstream = torch.randn(32, T, E, generator=generator)  # some gradient that comes from above
scattered = torch.zeros(V, E).index_add_(0, x.flatten(), upstream.flatten(0, 1))  # each place adds to its symbol's row
gradients = {}
for kind in ("index", "product"):
    table = C.clone().requires_grad_()
    out = table[x] if kind == "index" else F.one_hot(x, V).float() @ table
    (gradients[kind],) = torch.autograd.grad(out, table, upstream)
touched = int((gradients["index"].abs().sum(1) > 0).sum())
print(f"shape {tuple(by_index.shape)}; {touched} of {V} rows have a gradient")
off = max((by_index - by_layer).abs().max(), (by_index - by_product).abs().max())
print(f"largest difference of the three ways: {off:.1e}")
print(f"largest difference of their gradients: {(gradients['index'] - gradients['product']).abs().max():.1e}")

# %% [markdown]
# **What you should see.** The shape (32, 3, 10). Only 13 of 27 rows have a gradient: those whose symbols stand in
# the batch. The three ways differ by 0.0e+00, and so do their gradients.
#
# **Learned.** `nn.Embedding` is a table with an index. Multiplying by one-hot vectors is the same, at 27 times the
# work. The gradient of a look-up is a *scatter-add*: each place adds what it gets to the row that it came from, and
# rows that did not occur get nothing.
#
# **Done when.** The three agree, and so do the gradients.
#
# **Exercise.** What is `C[torch.tensor([[5, 13], [13, 1]])].shape`, and which rows does it hold?
#
# <details><summary>Solution</summary>
#
# ```python
# print(C[torch.tensor([[5, 13], [13, 1]])].shape, "rows e m, m a: the shape of the index, and E behind it")
# ```
#
# </details>

# %%
assert torch.equal(by_index, by_layer)
assert torch.allclose(by_index, by_product)
assert torch.allclose(gradients["index"], scattered, atol=1e-6)
assert torch.allclose(gradients["index"], gradients["product"], atol=1e-5)
print("done: one look-up, three spellings")

# %% [markdown]
# ## Side by side, and not mixed up
#
# **Goal.** Lay the T embeddings of a context side by side, the right way.
#
# The hidden layer wants one vector of T·E = 30 numbers for each example. `view(B, T·E)` does it without moving a
# number: a tensor is a flat row of numbers in memory, and a *view* only reads it in another shape. That is right as
# long as the dimensions that are joined are neighbours and the batch stays first. After a transpose the numbers no
# longer lie in that order, and a reshape then quietly puts numbers of *different examples* into one row.
#
# **Predict first.** `embedded.transpose(0, 1).reshape(B, T·E)` has the right shape. Whose letters stand in its
# first row?

# %%
embedded = C[x]  # (B, T, E)
flat = embedded.view(32, T * E)  # (B, T·E)
same_memory = flat.data_ptr() == embedded.data_ptr()
mixed = embedded.transpose(0, 1).reshape(32, T * E)


def read(row):
    """The symbols whose embeddings stand in a row."""
    return "".join(symbols[(C - part).abs().sum(1).argmin()] for part in row.view(T, E))


print(f"a view costs nothing: same memory {same_memory}")
print("contexts:  ", ["".join(symbols[place] for place in context) for context in x[4:9]])
print("view:      ", [read(row) for row in flat[4:9]])
print("mixed up:  ", [read(row) for row in mixed[4:9]])
spelt = ["".join(symbols[place] for place in context) for context in x]
own = sum(read(row) == context for row, context in zip(mixed, spelt, strict=True))
print(f"{own / 32:.1%} of the mixed rows hold their own context")

# %% [markdown]
# **What you should see.** The view has the same memory, and each of its rows spells its own context. The mixed rows
# spell other things, such as `yon` in place of `ano`; the first row holds the first letters of examples 0, 1 and 2:
# 6.2% of them hold their own context, and by luck.
#
# **Learned.** A reshape of the right shape can be wrong, and no error tells. The net would train, badly. What finds
# it: change one example and see whether the output of another moves (`telltales.preflight` does that; it is called
# batch-mixing).
#
# **Done when.** Each row of the view spells its context.
#
# **Exercise.** Mend the line with the transpose so that it is right again.
#
# <details><summary>Solution</summary>
#
# ```python
# mended = embedded.transpose(0, 1).transpose(0, 1).reshape(32, T * E)
# print(torch.equal(mended, flat))
# ```
#
# </details>

# %%
assert same_memory
assert [read(row) for row in flat] == spelt
print("done: each row is one example")

# %% [markdown]
# ## The network, and its loss by hand
#
# **Goal.** Write the whole model in six lines, its loss without a library, and know why the library's is better.
#
# The model is a *multi-layer perceptron* (MLP): layers of sums, with a bend between them. A *hidden layer* is H =
# 200 *units*; each is a weighted sum of the 30 inputs, plus a number of its own (a *bias*), squeezed between −1 and
# 1 by tanh. Without the bend two layers would be one: a sum of sums is a sum. (B, T) numbers → look-up → (B, T, E)
# → side by side (B, 30) → times W1 (30, 200), plus b1, tanh → (B, 200) → times W2 (200, 27), plus b2 → *logits* (B,
# 27). Random numbers with mean 0 and std 1 are called N(0, 1); the parameters begin as such, scaled. The softmax
# makes probabilities of them, and the loss is −ln of the right one's. With z the logits of one row: `loss = −ln(exp
# z_y / Σ exp z) = ln Σ exp z − z_y`.
#
# float32 holds `exp` of 88; of 89 it makes inf. The same number can be subtracted from all logits without changing
# the softmax, so the largest is: then all exponents are ≤ 0.
#
# **Predict first.** How many parameters has the model? What does the naive formula give for logits of (100, 0, …)?

# %%
H = 200


def fresh(hidden=H, length=T, embedding=E, seed=0):
    """Parameters of the model: a table, two weights, two biases. Notebook 04 says why they are scaled so."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape, std=1.0):
        return (torch.randn(*shape, generator=generator) * std).requires_grad_()

    fan_in = length * embedding
    return {
        "C": normal(V, embedding),
        "W1": normal(fan_in, hidden, std=5 / 3 / math.sqrt(fan_in)),
        "b1": torch.zeros(hidden, requires_grad=True),
        "W2": normal(hidden, V, std=0.1 / math.sqrt(hidden)),
        "b2": torch.zeros(V, requires_grad=True),
    }


def logits_of(p, x):
    embedded = p["C"][x]  # (B, T, E)
    flat = embedded.flatten(1)  # (B, T·E)
    hidden = torch.tanh(flat @ p["W1"] + p["b1"])  # (B, H)
    return hidden @ p["W2"] + p["b2"]  # (B, V)


def naive(logits, y):
    return -(logits.exp() / logits.exp().sum(1, keepdim=True))[torch.arange(len(y)), y].log().mean()


def by_hand(logits, y):
    shifted = logits - logits.max(1, keepdim=True).values
    return (shifted.exp().sum(1).log() - shifted[torch.arange(len(y)), y]).mean()


p = fresh()
logits = logits_of(p, X[:32])
losses = {loss.__name__: loss(logits, Y[:32]).item() for loss in (naive, by_hand, F.cross_entropy)}
print(f"{sum(weight.numel() for weight in p.values()):,} parameters; logits {tuple(logits.shape)}")
print("first loss:", ", ".join(f"{name} {loss:.6f}" for name, loss in losses.items()), f"; ln {V} = {math.log(V):.4f}")

large = torch.zeros(1, V)
large[0, 0] = 100.0
for loss in (naive, by_hand, F.cross_entropy):
    print(f"logits of 100 and 0, loss of symbol 1: {loss.__name__} {loss(large, torch.tensor([1])).item()}")

loss = by_hand(logits, Y[:32])
given = torch.autograd.grad(loss, logits, retain_graph=True)[0]
ours = (logits.softmax(1) - F.one_hot(Y[:32], V)) / 32
print(f"gradient by the logits: (p − onehot(y)) / B, up to {(given - ours).abs().max():.1e}")

# %% [markdown]
# **What you should see.** 11,897 parameters. The first loss is 3.283 by all three, near ln 27 = 3.2958. For logits
# of 100 and 0 the naive formula says inf, and the others 100.0, which is right. The gradient by the logits is p −
# onehot(y), as in notebook 02, to rounding.
#
# **Learned.** `F.cross_entropy` takes logits and does softmax, logarithm and mean in one: exact where the naive
# form overflows, one pass instead of five, and a gradient without a division by a tiny probability. Never put a
# softmax before it.
#
# **Done when.** Your loss is the library's, also for large logits.
#
# **Exercise.** Compute the gradient of W2 by hand from `ours`, and compare.
#
# <details><summary>Solution</summary>
#
# ```python
# hidden = torch.tanh(p["C"][X[:32]].flatten(1) @ p["W1"] + p["b1"])  # (B, H)
# by_rule = hidden.T @ ours  # (H, B) @ (B, V)
# (by_torch,) = torch.autograd.grad(F.cross_entropy(logits_of(p, X[:32]), Y[:32]), p["W2"])
# print(f"{(by_rule - by_torch).abs().max():.1e}")
# ```
#
# </details>

# %%
assert abs(losses["by_hand"] - losses["cross_entropy"]) < 1e-6
assert math.isclose(by_hand(large, torch.tensor([1])).item(), 100.0, rel_tol=1e-6)
assert not math.isfinite(naive(large, torch.tensor([1])).item())
print("done: the loss, safely")

# %% [markdown]
# ## Learning from small batches
#
# **Goal.** Take a step down the gradient, and see how good a gradient from 32 examples is.
#
# The true gradient is a mean over all 169,747 rows. A mean over 32 random rows, a *batch*, points only roughly the
# same way, and costs five thousand times less: so one takes many rough steps instead of a few exact ones. That is
# *stochastic gradient descent* (SGD).
#
# **Predict first.** The noise of a mean falls with the root of the number of examples. The cosine of two gradients
# is 1 where they point the same way and 0 where they have nothing in common. What cosine with the true gradient has
# a batch of 32? One of 2,048?


# %%
def gradient_of(p, rows):
    loss = F.cross_entropy(logits_of(p, X[rows]), Y[rows])
    return torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(p.values()))])


p = fresh()
true = gradient_of(p, slice(None))
generator = torch.Generator().manual_seed(0)
sizes = (1, 8, 32, 128, 512, 2048)
cosines = []
for size in sizes:
    each = [gradient_of(p, torch.randint(len(X), (size,), generator=generator)) for _ in range(12)]
    cosines.append(float(np.mean([F.cosine_similarity(one, true, dim=0).item() for one in each])))
    print(f"batch of {size:4d}: cosine with the true gradient {cosines[-1]:.3f}")

figure, axes = plt.subplots(figsize=(6.4, 3))
axes.semilogx(sizes, cosines, "o-", color=BLUE)
axes.set_xlabel("examples in the batch")
axes.set_ylabel("cosine with the true gradient")
axes.set_title("A rough direction is cheap", loc="left")
axes.set_ylim(0, 1.02)
plt.show()

# %% [markdown]
# **What you should see.** A single example has a cosine of 0.103 with the true gradient, 32 have 0.449, and 2048
# have 0.968.
#
# **Learned.** Small batches point only roughly the right way, at a small part of the cost. Their errors have mean
# zero, so that many cheap rough steps average them out; the noise falls with the root of the size.
#
# **Done when.** The cosine rises with the batch size.
#
# **Exercise.** One step by hand: p − 0.1 · gradient. By how much does the loss on *all* rows fall?
#
# <details><summary>Solution</summary>
#
# ```python
# stepped = fresh()
# rows = torch.arange(32)
# before = F.cross_entropy(logits_of(stepped, X), Y).item()
# parts = torch.autograd.grad(F.cross_entropy(logits_of(stepped, X[rows]), Y[rows]), list(stepped.values()))
# with torch.no_grad():
#     for weight, gradient in zip(stepped.values(), parts, strict=True):
#         weight -= 0.1 * gradient
# print(f"{before:.4f} → {F.cross_entropy(logits_of(stepped, X), Y).item():.4f}")
# ```
#
# </details>

# %%
assert cosines == sorted(cosines)
print("done: rough, and right on average")

# %% [markdown]
# ## How large a step
#
# **Goal.** Find the learning rate by measurement.
#
# Too small a rate wastes steps; too large a one overshoots, and the loss explodes. A *range test* (Smith 2017)
# tries all: the rate grows with each step from tiny to huge, and the loss says where it starts to help and where it
# breaks.
#
# **Predict first.** By how many powers of ten do the smallest useful and the largest possible rate differ?


# %%
def steps_of(p, count, rate_at, size=32, seed=0, rows=None):
    """SGD; gives the loss of every step. ``rows``: learn from these only."""
    generator = torch.Generator().manual_seed(seed)
    pool = torch.arange(len(X)) if rows is None else rows
    losses = []
    for step in range(count):
        picked = pool[torch.randint(len(pool), (size,), generator=generator)]
        loss = F.cross_entropy(logits_of(p, X[picked]), Y[picked])
        gradients = torch.autograd.grad(loss, list(p.values()))
        with torch.no_grad():
            for weight, gradient in zip(p.values(), gradients, strict=True):
                weight -= rate_at(step) * gradient
        losses.append(loss.item())
        if not math.isfinite(losses[-1]) or losses[-1] > 3 * math.log(V):
            break
    return losses


def smooth(values, width):
    return np.convolve(values, np.ones(width) / width, "valid")


TRIAL = 1_000
rates = np.geomspace(1e-3, 10, TRIAL)
trial = steps_of(fresh(), TRIAL, lambda step: rates[step], size=64)
curve = smooth(trial, 25)
middle = rates[12 : 12 + len(curve)]
lowest = float(middle[curve.argmin()])
print(f"lowest at a rate of {lowest:.2f}; half of that is {lowest / 2:.2f}; broke at {rates[len(trial) - 1]:.1f}")

figure, axes = plt.subplots(figsize=(7, 3.2))
axes.semilogx(rates[: len(trial)], trial, color=GREY, linewidth=0.5)
axes.semilogx(middle, curve, color=BLUE)
axes.axvline(lowest / 2, color=ORANGE, linestyle="--", linewidth=1)
axes.text(lowest / 2 * 0.9, 4.2, "half of the best", color=ORANGE, ha="right")
axes.set_ylim(2, 5)
axes.set_xlabel("learning rate")
axes.set_ylabel("nats per character")
axes.set_title("The range test: it helps, it helps more, it breaks", loc="left")
plt.show()

# %% [markdown]
# **What you should see.** The loss falls steadily, is lowest at a rate of 0.20, and breaks at 2.4: half of the
# lowest is 0.10.
#
# **Learned.** The useful rates span a power of ten or two; the test finds the order of magnitude. Begin there, try
# its neighbours by a factor of two or three on dev, and lower the rate towards the end, when noise is what keeps
# the loss up. `./lab find-lr` does this for any model here.
#
# **Done when.** You have a rate, and know where it breaks.
#
# **Exercise.** Try 300 steps at 0.01, 0.3 and 3. What are the mean losses of the last 50?
#
# <details><summary>Solution</summary>
#
# ```python
# for rate in (0.01, 0.3, 3.0):
#     losses = steps_of(fresh(), 300, lambda step, rate=rate: rate, size=64)
#     print(rate, round(float(np.mean(losses[-50:])), 3), f"after {len(losses)} steps")
# ```
#
# </details>

# %%
assert 0.05 < lowest < 5
print("done: a rate that was measured")

# %% [markdown]
# ## Training, and what is held back
#
# **Goal.** Train, choose on dev, and read test once.
#
# The range test said that 0.1 is safe and that 2 breaks. In the second half of the training the rate will drop to a
# tenth, which takes away the noise that a large rate makes, so we begin higher, at 0.3: of 0.1, 0.15, 0.2 and 0.3
# it gave the lowest dev loss.
#
# **Predict first.** The bigram has 2.4633 on dev; `ngram:4`, the counted model that sees the same three characters,
# 2.0788. Where will a network come out that looks three characters back, after a quarter of a minute?

# %%
STEPS, SIZE = (200_000, 32) if FULL else (9_000, 128)


@torch.no_grad()
def loss_on(p, x, y):
    return F.cross_entropy(logits_of(p, x), y).item()


p = fresh()
losses = steps_of(p, STEPS, lambda step: (0.1 if FULL else 0.3) * (1.0 if step < STEPS / 2 else 0.1), size=SIZE)
result = {part: loss_on(p, *rows) for part, rows in (("train", (X, Y)), ("dev", (X_dev, Y_dev)))}
print(f"{STEPS} steps of {SIZE}: train {result['train']:.4f}, dev {result['dev']:.4f}")

figure, axes = plt.subplots(figsize=(7.5, 3.2))
width = 100
axes.plot(losses, color=GREY, linewidth=0.3)
axes.plot(
    np.arange(len(smooth(losses, width))) + width // 2, smooth(losses, width), color=BLUE, label="train, mean of 100"
)
axes.axhline(result["dev"], color=ORANGE, linestyle="--", linewidth=1, label=f"dev at the end {result['dev']:.3f}")
axes.axvline(STEPS / 2, color=GREY, linewidth=0.8)
axes.text(STEPS / 2 * 1.01, 1.84, "the rate drops to a tenth", fontsize=9)
axes.set_ylim(1.8, 3)
axes.set_xlabel("step")
axes.set_ylabel("nats per character")
axes.set_title("Most is learnt early; lowering the rate takes the noise away", loc="left")
axes.legend(frameon=False)
plt.show()

# %% [markdown]
# **What you should see.** After 9000 steps of 128: train 2.1290, dev 2.1694, far below the bigram and still above
# `ngram:4`, which sees the same three characters.
#
# **With `FULL=1`.** 200000 steps of 32, as in the published figures: train 2.0437, dev 2.1277. The gap to train has
# grown from 0.04 to 0.08 while dev still falls: that is usual, and overfitting only where dev rises.
#
# **Learned.** Dev is what counts while you choose; test is read once, at the end, in the exercise.
#
# **Done when.** Dev is below 2.2, and within 0.1 of train.
#
# **Exercise.** Read test. Once.
#
# <details><summary>Solution</summary>
#
# ```python
# print(f"test {loss_on(p, *rows_of(names['test'])):.4f}")
# ```
#
# </details>

# %%
assert result["dev"] < 2.2
assert abs(result["dev"] - result["train"]) < 0.1
print("done: a trained network")

# %% [markdown]
# ## Too small, too large
#
# **Goal.** See underfitting and overfitting, and tell them apart by two numbers.
#
# *Underfitting*: the model is too weak, so train and dev are bad alike. *Overfitting*: the model learns its
# examples by heart, so train goes on falling while dev rises.
#
# **Predict first.** Which of the two is it: 3 hidden units on all names? 200 hidden units on 300 names?

# %%
few = torch.arange(len(rows_of(names["train"][:300])[0]))  # the rows of the first 300 names
cases = {"3 hidden units, all names": (fresh(hidden=3), None), "200 hidden units, 300 names": (fresh(), few)}
figure, panels = plt.subplots(1, 2, figsize=(10, 3.4), sharey=True)
ends = {}
for (label, (q, rows)), axes in zip(cases.items(), panels, strict=True):
    seen = slice(None) if rows is None else rows
    points = {"step": [], "train": [], "dev": []}
    for chunk in range(12):
        steps_of(q, 250, lambda step: 0.3, size=128, seed=chunk, rows=rows)
        points["step"].append((chunk + 1) * 250)
        points["train"].append(loss_on(q, X[seen], Y[seen]))
        points["dev"].append(loss_on(q, X_dev, Y_dev))
    ends[label] = points
    axes.plot(points["step"], points["train"], "o-", color=GREY, label="train", markersize=3)
    axes.plot(points["step"], points["dev"], "o-", color=ORANGE, label="dev", markersize=3)
    axes.set_title(label, loc="left")
    axes.set_xlabel("step")
    print(f"{label}: train {points['train'][-1]:.3f}, dev {points['dev'][-1]:.3f} (lowest {min(points['dev']):.3f})")
panels[0].set_ylabel("nats per character")
panels[0].legend(frameon=False)
plt.show()

# %% [markdown]
# **What you should see.** 3 hidden units end at 2.476 on train and 2.479 on dev: no better than the bigram on
# either. 200 hidden units on 300 names end at 1.127 on train and 3.889 on dev, worse than knowing nothing; dev was
# lowest, at 2.688, near the beginning.
#
# **Learned.** Train and dev together say what is wrong: both high, a larger model or more steps; far apart, more
# data, a smaller model, weight decay (a pull of all weights towards 0), or stop where dev was lowest.
#
# **Done when.** The small model's two losses are close and high, the other's far apart.
#
# **Exercise.** At which step should the second training have stopped?
#
# <details><summary>Solution</summary>
#
# ```python
# points = ends["200 hidden units, 300 names"]
# best = int(np.argmin(points["dev"]))
# print(f"step {points['step'][best]}, dev {points['dev'][best]:.3f}")
# ```
#
# </details>

# %%
small, large_net = ends.values()
assert small["dev"][-1] - small["train"][-1] < 0.05
assert large_net["dev"][-1] - large_net["train"][-1] > 0.5
print("done: two ways to be wrong")

# %% [markdown]
# ## What the embedding has learnt
#
# **Goal.** Look at the 27 vectors.
#
# Ten numbers can't be drawn. The two directions in which the vectors differ most can (*principal components*).
#
# **Predict first.** Which letters will lie together?

# %%
learnt = p["C"].detach()
centred = learnt - learnt.mean(0)
left, scale, right = torch.linalg.svd(centred, full_matrices=False)
plane = centred @ right[:2].T  # (V, 2)
held = (scale[:2].square().sum() / scale.square().sum()).item()
vowel = torch.tensor([symbol in "aeiou" for symbol in symbols])

cosine = F.normalize(centred, dim=1) @ F.normalize(centred, dim=1).T  # (V, V)
apart = ~torch.eye(V, dtype=torch.bool)
among = cosine[vowel][:, vowel][apart[vowel][:, vowel]].mean().item()
between = cosine[vowel][:, ~vowel].mean().item()
print(f"the plane holds {held:.0%} of the differences")
print(f"mean cosine of two vowels {among:+.2f}, of a vowel and another {between:+.2f}")

figure, axes = plt.subplots(figsize=(6.4, 5))
for place, symbol in enumerate(symbols):
    colour = ORANGE if vowel[place] else BLUE
    axes.text(*plane[place].tolist(), symbol, color=colour, fontsize=13, ha="center", va="center", fontweight="bold")
axes.set_xlim(plane[:, 0].min() - 0.3, plane[:, 0].max() + 0.3)
axes.set_ylim(plane[:, 1].min() - 0.3, plane[:, 1].max() + 0.3)
axes.set_xlabel("first principal component")
axes.set_ylabel("second")
axes.set_title("The plane: e, u and a (vowels, orange) on one side, i and o not yet", loc="left")
plt.show()

# %% [markdown]
# **What you should see.** The plane holds 35% of the differences. In all ten dimensions the mean cosine of two
# vowels is +0.17, and that of a vowel and another symbol −0.09.
#
# **Learned.** Symbols that can stand in each other's place tend to get similar vectors, as that is cheap for the
# loss. It is a tendency on average: single neighbours are often others. In the one-hot view of notebook 02 all are
# equally far apart: what is known of `e` says nothing of `i` there. Here it does.
#
# **Done when.** Two vowels are more alike than a vowel and a consonant.
#
# **Exercise.** Which is the nearest neighbour of each vowel?
#
# <details><summary>Solution</summary>
#
# ```python
# others = cosine - 2 * torch.eye(V)
# print({symbols[place]: symbols[others[place].argmax()] for place in vowel.nonzero().flatten()})
# ```
#
# </details>

# %%
assert among > between + 0.1
print("done: letters in a plane")

# %% [markdown]
# ## Temperature and top-k, without the two bugs
#
# **Goal.** Draw names as you like them, many at a time, and know what most code gets wrong.
#
# *Temperature* T divides the logits before the softmax: below 1 the probable becomes more so, above 1 all become
# alike; at 0 the most probable is taken. *Top-k* keeps the k most probable symbols and drops the others.
#
# Bug one: to mark the k largest, an index of (B, k) is scattered into a mask. Along dimension 0 that is right for a
# single vector of logits. Of a batch it takes symbol numbers for row numbers: with fewer rows than that it raises
# an error, and with 27 rows or more it silently marks other rows. Bug two: to drop symbols their probability is set
# to 0, and then temperature is applied to `log(p + 1e-12)`: at high temperature the 1e-12 is no longer nothing.
#
# **Predict first.** With one vector, does bug one show? With 64 rows? By how much does bug two leak at T = 1, and
# at T = 10?


# %%
def top_k(logits, k):
    """Logits (B, V) with all but the k largest of each row at −∞."""
    kept = logits.topk(min(k, logits.shape[-1]), dim=-1).indices  # (B, k)
    mask = torch.full_like(logits, -math.inf)
    return logits + mask.scatter(-1, kept, 0.0)  # along the last dimension


def top_k_of_a_vector(logits, k):
    """What is written for one vector of logits, and then given a batch."""
    values, kept = logits.topk(k, dim=-1)
    return torch.full_like(logits, -math.inf).scatter(0, kept, values)  # dimension 0: of a batch, the examples


K = 5
with torch.no_grad():
    logits = logits_of(p, X_dev[:64])  # (64, V)
good = top_k(logits, K).isfinite()
bad = top_k_of_a_vector(logits, K).isfinite()
alone = top_k_of_a_vector(logits[0], K).isfinite()
print(f"one vector: the bug keeps the right symbols, {bool((alone == good[0]).all())}")
wrong_rows = int((bad != good).any(1).sum())
print(f"64 rows: {wrong_rows} keep the wrong symbols; {int((bad.sum(1) == 0).sum())} of them keep none")

leaks = {}
for temperature in (1, 5, 10):
    kept = top_k(logits, K).softmax(-1)
    leaky = ((kept + 1e-12).log() / temperature).softmax(-1)
    right_way = top_k(logits / temperature, K).softmax(-1)
    leaks[temperature] = float(leaky[~good].sum() / len(logits)), float(right_way[~good].sum())
    leak, none = leaks[temperature]
    print(f"T = {temperature:2}: what was dropped has a probability of {leak:.1%}, the right way {none:.1%}")


# %% tags=["picture"]
@torch.no_grad()
def draw(n, temperature=1.0, k=None, seed=0):
    """n names, all drawn at once."""
    generator = torch.Generator().manual_seed(seed)
    context, drawn = torch.zeros(n, T, dtype=torch.int64), torch.zeros(n, 0, dtype=torch.int64)
    for _ in range(30):
        logits = logits_of(p, context)  # (n, V)
        if temperature == 0:
            following = logits.argmax(-1, keepdim=True)
        else:
            scaled = logits / temperature
            probabilities = (scaled if k is None else top_k(scaled, k)).softmax(-1)
            following = torch.multinomial(probabilities, 1, generator=generator)  # (n, 1)
        context = torch.cat([context[:, 1:], following], 1)
        drawn = torch.cat([drawn, following], 1)
    texts = ("".join(symbols[place] for place in row) for row in drawn.tolist())
    return [text.partition(".")[0] for text in texts]


known = set(names["train"])
columns = {
    "T = 0.5": draw(20, 0.5),
    "T = 1.0": draw(20, 1.0),
    "T = 2.0": draw(20, 2.0),
    "T = 1.0, top 5": draw(20, 1.0, 5),
    "T = 2.0, top 5": draw(20, 2.0, 5),
}
figure, axes = plt.subplots(figsize=(9.6, 5))
axes.set_axis_off()
for column, (heading, texts) in enumerate(columns.items()):
    axes.text(column / 5, 1.0, heading, fontweight="bold", va="bottom")
    for row, text in enumerate(texts):
        axes.text(column / 5, 0.96 - row * 0.05, text[:15], color="#5b6472" if text in known else ORANGE, va="center")
axes.set_title("Twenty names each; orange ones are new", loc="left", pad=18)
plt.show()

for temperature in (0.5, 1.0, 2.0):
    many = draw(2_000, temperature)
    new = np.mean([text not in known for text in many])
    length = np.mean([len(text) for text in many])
    different = len(set(many)) / len(many)
    print(f"T = {temperature}, {len(many):,} names: {new:.1%} new, {different:.1%} different, length {length:.2f}")
print("T = 0:", draw(3, 0))

# %% [markdown]
# **What you should see.** For one vector the bug keeps the right symbols. At 64 rows all 64 are wrong, and no error
# is raised. What was dropped gets 0.0% at T = 1, 2.5% at T = 5 and 25.0% at T = 10 by the second bug, and 0.0% the
# right way. Of 2,000 names at T = 0.5 48.6% are new, at 1.0 81.2%, at 2.0 97.0%, with a mean length of 10.32
# characters.
#
# **Learned.** Temperature trades plausible for new; top-k cuts the tail that high temperatures fill. Divide and
# mask the logits, with −∞ and not with a small number, and do the softmax last; and try every sampler on more than
# one row.
#
# **Done when.** In every row exactly k symbols are kept, and what is dropped has probability 0.
#
# **Exercise.** What does `top_k` do for k = 100?
#
# <details><summary>Solution</summary>
#
# ```python
# print(int(top_k(logits, 100).isfinite().sum(1).unique()), "kept: all of them, since k is at most V")
# ```
#
# </details>

# %%
assert bool((good.sum(1) == K).all())
assert bool((bad != good).any())
assert leaks[10][0] > 0.05
assert all(right_way == 0 for _, right_way in leaks.values())
print("done: names to order")

# %% [markdown]
# ## The same in three lines, and the bar
#
# **Goal.** Do all of it with `charloom`, and compare with the counted models.
#
# **Predict first.** Does a network that looks six characters back beat the best counted model, 2.0125?

# %%
model = charloom.train(data, "mlp")  # context 6, embedding 24, 256 hidden units; a dozen seconds
print([sample.text for sample in model.sample(8, temperature=0.8, unique=True)])
dev = model.evaluate(data, "dev").loss.nats

bars = {"bigram": None, "ngram:4": None, "ngram:6": None}
for counted in bars:
    bars[counted] = charloom.train(data, counted).evaluate(data, "dev").loss.nats
bars |= {"this notebook's": result["dev"], "charloom's mlp": dev}
for label, loss in bars.items():
    print(f"{label:16} dev {loss:.4f}")

# %% [markdown]
# **What you should see.** Bigram 2.4633; `ngram:4`, which sees three characters, 2.0788; `ngram:6`, the best
# counted model, 2.0125; this notebook's network 2.1694; charloom's `mlp`, which looks back at six characters,
# 1.9887: ahead of all.
#
# **Learned.** Counting is a strong rival on small data, and ahead at short contexts. A network overtakes it where
# contexts are long and seldom seen twice, since it shares what it knows between them.
#
# **Done when.** The network beats the bigram by far, and you know which counted model it has to be compared with.
#
# **Exercise.** In a shell: `./lab ladder`, then `./lab experiment context` (or `charloom …`, where it is
# installed). At which context length does the network overtake counting?
#
# <details><summary>Solution</summary>
#
# ```python
# for length in (3, 6):
#     net = charloom.train(data, "mlp", context_length=length, embedding=16, hidden=200, steps=1_000)
#     table = charloom.train(data, f"ngram:{length + 1}")
#     print(length, *(f"{model.evaluate(data).loss.nats:.3f}" for model in (net, table)))
# print("trained in full, as the experiment does, the net passes at six characters")
# ```
#
# </details>

# %%
assert bars["this notebook's"] < bars["bigram"] - 0.2
assert dev < bars["ngram:6"]
print("done: measured against the bar")

# %% [markdown]
# ## What you have now
#
# A network from nothing, its loss and gradient checked, a measured learning rate, train, dev and test in their
# places, an embedding that has begun to tell vowels from consonants, and a sampler without the usual bugs. The
# weights began at sizes that were handed to you. Why these, and what goes wrong with others, is [the next
# notebook](04-init-and-batchnorm.ipynb).
