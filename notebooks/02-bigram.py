# %% [markdown]
# # 02. A language model is a table
#
# At the end of this notebook you can build the smallest language model there is, by counting and by training, say
# how good it is in one number, and draw new names from it. You need Python; you need not have trained anything
# before. Later notebooks, on networks (03) and on what goes wrong in them (04), use the same data and are measured
# against the bars set here.
#
# Run the cells from top to bottom, half a minute in all. Before each part there is a question: write your guess
# down before you run on. That is where the learning is.

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
from torch.nn import functional as F

import charloom

torch.set_num_threads(1)  # on data this small, two threads are slower than one
FULL = os.environ.get("FULL", "0") not in ("", "0")
plt.rcParams.update({"figure.dpi": 100, "axes.spines.top": False, "axes.spines.right": False, "font.size": 10})
BLUE, ORANGE, GREEN, GREY = "#1f6fb4", "#c2410c", "#0f7b5f", "#9aa4b2"

data = charloom.load_data()  # the names given to US babies in 2018, built in
names = {part: list(data.part(part).items) for part in ("train", "dev", "test")}
print({part: len(items) for part, items in names.items()})
print(names["train"][:6])

# %% [markdown]
# ## Counting pairs
#
# **Goal.** Turn a list of names into a table of how often each letter follows each other one.
#
# A *character-level language model* says, for a text so far, how probable each next character is. The simplest one
# that looks at anything looks at one character back. A pair of neighbouring characters is a *bigram*. Names begin
# and end, and a model has to know that: a marker, shown as `.`, stands before and after each name. So `emma` has
# the five pairs `.e em mm ma a.`, and there are V = 27 symbols: the marker, which has the number 0, and 26 letters.
#
# **Predict first.** Which letter do most names begin with? Which do they end with? How many of the 27 × 27 = 729
# pairs never occur?

# %%
symbols = "." + data.vocabulary.characters
number_of = {symbol: place for place, symbol in enumerate(symbols)}
V = len(symbols)


def pairs(items):
    """Every pair in the items, as two lists of numbers: what stands before, and what follows."""
    before, after = [], []
    for item in items:
        marked = "." + item + "."
        before += [number_of[character] for character in marked[:-1]]
        after += [number_of[character] for character in marked[1:]]
    return torch.tensor(before), torch.tensor(after)


by_loop = torch.zeros(V, V, dtype=torch.int64)
for name in names["train"]:
    for one, next_one in zip("." + name, name + ".", strict=True):
        by_loop[number_of[one], number_of[next_one]] += 1

x, y = pairs(names["train"])  # (N,), (N,)
# One line for the same: the pair (a, b) has the number a·V + b.
counts = torch.bincount(x * V + y, minlength=V * V).view(V, V)

assert torch.equal(counts, by_loop)
print(f"{len(x):,} pairs from {len(names['train']):,} names")
print(f"pairs that never occur: {int((counts == 0).sum())} of {V * V}")
first, last = counts[0].argmax(), counts[:, 0].argmax()
print(f"most names begin with {symbols[first]} ({counts[0, first] / counts[0].sum():.1%})")
print(f"most names end with {symbols[last]} ({counts[last, 0] / counts[:, 0].sum():.1%})")

# %% tags=["picture"]
figure, axes = plt.subplots(figsize=(8.4, 7.6), dpi=80)
drawn = axes.imshow(np.ma.log10(np.ma.masked_equal(counts.numpy(), 0)), cmap="YlGnBu")
axes.set_facecolor("white")
for a in range(V):
    for b in range(V):
        colour = "white" if counts[a, b] > 60 else "#333333"
        axes.text(b, a, symbols[a] + symbols[b], ha="center", va="center", fontsize=6, color=colour)
axes.set_xticks(range(V), symbols)
axes.set_yticks(range(V), symbols)
axes.set_xlabel("what follows")
axes.set_ylabel("what stands before")
axes.set_title("How often each pair occurs: a name is far from random letters", loc="left")
figure.colorbar(drawn, label="log10 of the count (white: never)", shrink=0.8)
plt.show()

# %% [markdown]
# **What you should see.** Of 169,747 pairs from 23,695 names, 112 of the 729 never occur. Most names begin with `a`
# (13.9%) and end with `a` (22.1%). In the picture the first row is how names begin, the first column how they end;
# `q` is followed by `u` and little else.
#
# **Learned.** The model *is* this table: 729 whole numbers. Everything else is what we do with it.
#
# **Done when.** The two ways of counting agree, and the counts add up to the number of pairs.
#
# **Exercise.** Which pairs of two equal letters are the most common?
#
# <details><summary>Solution</summary>
#
# ```python
# doubles = counts.diagonal()[1:]
# for place in doubles.argsort(descending=True)[:5].tolist():
#     print(symbols[place + 1] * 2, int(doubles[place]))
# ```
#
# </details>

# %%
assert int(counts.sum()) == len(x) == sum(len(name) + 1 for name in names["train"])
print("done: the table holds every pair once")

# %% [markdown]
# ## From counts to probabilities
#
# **Goal.** Turn each row of the table into a probability distribution, and see the one bug that everybody makes
# here once.
#
# Row `a` of the counts says what has followed `a`. Divided by the row's sum it says with which *probability* each
# symbol follows: P[a, b] = count of ab / count of a and anything. Each row then sums to 1.
#
# **Predict first.** `counts.sum(1)` has the shape (27,), and `counts.sum(1, keepdim=True)` has (27, 1). PyTorch
# will divide a (27, 27) table by either without complaint. Are the results the same?

# %%
row_sums = counts.sum(1, keepdim=True)  # (V, 1): one sum a row, and it stays a column
P = counts / row_sums  # (V, V) / (V, 1): the column is repeated to the right
wrong = counts / counts.sum(1)  # (V, V) / (V,): a flat vector is a row, and repeated downwards

print(f"right: rows sum to {P.sum(1).min():.4f} … {P.sum(1).max():.4f}")
print(f"wrong: rows sum to {wrong.sum(1).min():.4f} … {wrong.sum(1).max():.4f}")
q, u = number_of["q"], number_of["u"]
print(f"P(u | q) = {P[q, u]:.4f}, and by the wrong table {wrong[q, u]:.4f}")

# %% [markdown]
# **What you should see.** The right table's rows sum to 1.0000. Of the wrong one's, the smallest sum is 0.0677 and
# the largest 6.9831: each *column* was divided by some row's sum. P(u | q) is 0.7537, and 0.0654 in the wrong
# table.
#
# **Learned.** PyTorch lines up shapes from the right, and repeats what is missing on the left. `keepdim=True` keeps
# a sum where it belongs. No error is raised; only a check of what must hold (rows sum to 1) finds the bug.
#
# **Done when.** Every row of P is a distribution.
#
# **Exercise.** Repair the wrong division with `None` in an index instead of `keepdim`.
#
# <details><summary>Solution</summary>
#
# ```python
# again = counts / counts.sum(1)[:, None]  # (V, 1)
# print(torch.equal(again, P))
# ```
#
# </details>

# %%
assert torch.allclose(P.sum(1), torch.ones(V))
assert not torch.allclose(wrong.sum(1), torch.ones(V))
print("done: 27 distributions")

# %% [markdown]
# ## Drawing names
#
# **Goal.** Let the table write: start at the marker, draw what follows, go on from there until the marker comes
# again.
#
# **Predict first.** How many of ten names from this model will look like names to you? How many if every symbol
# were equally probable? And how long will they be: longer or shorter than real ones?


# %%
def draw(table, n, seed=0):
    """n names from a (V, V) table of probabilities."""
    generator = torch.Generator().manual_seed(seed)
    drawn = []
    for _ in range(n):
        name, place = "", 0
        while True:
            place = int(torch.multinomial(table[place], 1, generator=generator))
            if place == 0:
                break
            name += symbols[place]
        drawn.append(name)
    return drawn


unigram = torch.bincount(y, minlength=V) / len(y)  # (V,): how often each symbol occurs, whatever stands before
tables = {
    "uniform": torch.full((V, V), 1 / V),
    "unigram": unigram.expand(V, V),
    "bigram": P,
}
samples = {kind: draw(table, 2_000) for kind, table in tables.items()}
for kind, drawn in samples.items():
    lengths = np.array([len(name) for name in drawn])
    print(f"{kind:8} mean length {lengths.mean():5.2f}, std {lengths.std():5.2f}   {', '.join(drawn[:9])}")
real = np.array([len(name) for name in names["train"]])
print(f"real     mean length {real.mean():5.2f}, std {real.std():5.2f}   {', '.join(names['train'][:9])}")

# %% [markdown]
# **What you should see.** The uniform table stops after 26.71 letters on average, the unigram after 6.27 and the
# bigram after 6.36, where real names have 6.16: as the marker's share is right, so is the mean, up to the luck of
# the draws. The spread is not: the bigram's lengths have a standard deviation (std) of 5.54 and real ones of 1.44.
# A model that looks back at one character cannot know how long the name is by now.
#
# **Learned.** Sampling is the model used forwards. Bigram names begin and end like names, and have no middle.
#
# **Done when.** What is drawn has the model's frequencies: of many draws from one row, each symbol's share is its
# probability.
#
# **Exercise.** Draw names that begin with `q`. (Start in another row than the first.)
#
# <details><summary>Solution</summary>
#
# ```python
# generator = torch.Generator().manual_seed(1)
# for _ in range(5):
#     name, place = "q", number_of["q"]
#     while (place := int(torch.multinomial(P[place], 1, generator=generator))) != 0:
#         name += symbols[place]
#     print(name)
# ```
#
# </details>

# %%
many = torch.multinomial(P[0], 100_000, replacement=True, generator=torch.Generator().manual_seed(0))
shares = torch.bincount(many, minlength=V) / len(many)
assert (shares - P[0]).abs().max() < 4 * math.sqrt(0.25 / len(many))
print("done: the draws follow the table")

# %% [markdown]
# ## How good is it: one number
#
# **Goal.** Measure a model on any names, so that two models can be compared.
#
# The model gives a name the probability of all its steps together: P(.e)·P(em)·P(mm)·P(ma)·P(a.). The *likelihood*
# of a list is the product over all names. It is a tiny number, so its logarithm is taken: a product becomes a sum.
# The logarithm of a probability is negative, so the sign is turned: smaller is better. And it is divided by the
# number of characters, so that long lists and short ones can be compared. That is the *average negative
# log-likelihood*, the *loss*, in *nats per character* (nats, because the logarithm is the natural one):
#
# `loss = −mean(ln P[x, y])`
#
# **Predict first.** A model that knows nothing gives each of 27 symbols 1/27. What is its loss? What is the loss of
# a perfect model?


# %%
def loss_of(table, items):
    before, after = pairs(items)
    return float(-table[before, after].log().mean())


emma = torch.tensor([number_of[character] for character in ".emma."])
steps = P[emma[:-1], emma[1:]]  # (5,)
print("emma:", " · ".join(f"{step:.4f}" for step in steps), f"= {steps.prod():.3e}")
nats = -steps.log()
print("     ", " + ".join(f"{one:.2f}" for one in nats), f"= {nats.sum():.2f} nats in {len(steps)} steps")

product = P[x[:2_000], y[:2_000]].double().prod()
print(f"likelihood of the first 2,000 pairs, in float64: {float(product)}")

for kind, table in tables.items():
    loss = loss_of(table, names["train"])
    print(f"{kind:8} train {loss:.4f} nats per character: as hard as a choice among {math.exp(loss):.1f}")

before, after = pairs(names["dev"])
never = int((P[before, after] == 0).sum())
print(f"bigram   dev {loss_of(P, names['dev'])}: {never} of its {len(before):,} pairs have probability 0")

# %%
# A mean over names of each name's mean is another number: short names would count for more.
by_name = [loss_of(P, [name]) for name in names["train"][:3_000]]
print(f"mean over characters {loss_of(P, names['train'][:3_000]):.4f}, mean over names {np.mean(by_name):.4f}")

# %% [markdown]
# **What you should see.** The product of 2,000 probabilities is 0.0 in the computer: it underflows, and the sum of
# logarithms does not. The uniform table has ln 27 = 3.2958, the unigram 2.8198, the bigram 2.4536, which is a
# choice among 11.6. The mean of each name's own mean is 2.4539 where the mean over characters is 2.4490: only the
# second is the loss. And on dev 5 of 21,276 pairs have probability 0, so the loss is infinite.
#
# **Learned.** The loss is the surprise per character. Its exponential, the *perplexity*, says among how many
# equally likely symbols one might as well choose. One impossible pair makes it infinite: a model that was never
# surprised has not been asked enough.
#
# **Done when.** The loss equals `torch.nn.functional.nll_loss` on the same probabilities.
#
# **Exercise.** Which name of train does the model find the most surprising per character?
#
# <details><summary>Solution</summary>
#
# ```python
# surprise = {name: loss_of(P, [name]) for name in names["train"]}
# worst = max(surprise, key=surprise.get)
# print(worst, round(surprise[worst], 2))
# ```
#
# </details>

# %%
assert math.isclose(loss_of(P, names["train"]), float(F.nll_loss(P.log()[x], y)), rel_tol=1e-5)
assert math.isclose(loss_of(tables["uniform"], names["dev"]), math.log(V), rel_tol=1e-5)
assert math.isinf(loss_of(P, names["dev"]))
print("done: one number for a model")

# %% [markdown]
# ## Smoothing, and why there are three parts
#
# **Goal.** Make the model ready for pairs that it has not seen, and choose how much on data that it was not counted
# on.
#
# *Add-k smoothing* adds k to every count before dividing: nothing is impossible any more. Large k makes all rows
# alike. How large? On train the best k is 0, since train holds no pair that was not seen. So the choice is made on
# other names, *dev*; and since the choice fits dev a little, a third part, *test*, is read once, when all is
# decided.
#
# **Predict first.** Draw, on paper, the loss on train and on dev against k. Where do they meet?


# %%
def smoothed(k, table=counts):
    return (table + k) / (table + k).sum(1, keepdim=True)


strengths = np.geomspace(1e-3, 1e4, 57)
small = torch.bincount(x[:2_000] * V + y[:2_000], minlength=V * V).view(V, V)  # counted on the first names only
curves = {
    "train, all names": [loss_of(smoothed(k), names["train"]) for k in strengths],
    "dev, all names": [loss_of(smoothed(k), names["dev"]) for k in strengths],
    "dev, counted on 2,000 pairs": [loss_of(smoothed(k, small), names["dev"]) for k in strengths],
}
best = {label: strengths[int(np.argmin(curve))] for label, curve in curves.items()}
print(f"dev, all names: best k = {best['dev, all names']:.2f}, loss {min(curves['dev, all names']):.4f}")
print(
    f"dev, 2,000 pairs: best k = {best['dev, counted on 2,000 pairs']:.2f}, "
    f"loss {min(curves['dev, counted on 2,000 pairs']):.4f}"
)
for k in (0.001, 1, 100, 10_000):
    print(f"k = {k:<6} train {loss_of(smoothed(k), names['train']):.4f}  dev {loss_of(smoothed(k), names['dev']):.4f}")

figure, axes = plt.subplots(figsize=(8, 4))
for (label, curve), colour in zip(curves.items(), (GREY, BLUE, ORANGE), strict=True):
    axes.semilogx(strengths, curve, color=colour, label=label)
axes.axhline(math.log(V), color=GREY, linestyle="--", linewidth=1)
axes.text(strengths[0], math.log(V) + 0.02, "ln 27: knows nothing", color="#5b6472", fontsize=9)
axes.set_ylim(top=3.45)
axes.set_xlabel("k, added to every count")
axes.set_ylabel("nats per character")
axes.set_title("The less was counted, the more smoothing helps; too much of it forgets", loc="left")
axes.legend(frameon=False, loc="center left")
plt.show()

# %% [markdown]
# **What you should see.** With all names the best k on dev is 0.32, with a loss of 2.4631, hardly below the 2.4633
# of k = 1. Counted on 2,000 pairs only it is 0.32 too, with 2.5649, but the wrong k costs much more there. At k =
# 100 dev has 2.5659, and at 10,000 it has 3.2160, close to ln 27.
#
# **Learned.** A number that is chosen (k) is a *hyperparameter*: it is chosen on dev, never on train, and the final
# figure is read on test. With much data it hardly matters; with little it decides.
#
# **Done when.** Dev is finite, and k was not chosen on train.
#
# **Exercise.** Test is read once. Do it now, with your k.
#
# <details><summary>Solution</summary>
#
# ```python
# print(f"test {loss_of(smoothed(best['dev, all names']), names['test']):.4f}")
# ```
#
# </details>

# %%
k = 1.0
assert math.isfinite(loss_of(smoothed(k), names["dev"]))
assert np.argmin(curves["train, all names"]) == 0
assert loss_of(smoothed(k), names["dev"]) < loss_of(smoothed(1e-3), names["dev"])
print("done: add-one is good enough here")

# %% [markdown]
# ## The same model as a network
#
# **Goal.** Arrive at the same table without counting: by starting with random numbers and following the *gradient*
# of the loss: for each number, how much the loss rises when it is raised a little. One goes the other way.
#
# A symbol becomes a *one-hot* vector: 27 numbers, all 0 but a 1 at its place. Times a matrix W of (27, 27) it picks
# out one row: a multiplication by a one-hot vector *is* a look-up. The row's numbers are called *logits*. The
# *softmax* makes a distribution of them: `exp(logit)`, divided by the sum. Then the loss, as before.
#
# The gradient of this loss by the logits is as simple as it gets: `(p − onehot(y)) / N`. Each logit goes down by
# how much probability it has and up by what really came. It is zero when, row by row, the probabilities are the
# relative frequencies. In each row the loss is convex: one valley, wherever one starts, and no other minimum: that
# is why training must arrive at the counted table.
#
# **Predict first.** Which rows will be right first, and which last?

# %%
generator = torch.Generator().manual_seed(0)
W = torch.randn(V, V, generator=generator, requires_grad=True)

one_hot = F.one_hot(x[:1000], V).float()  # (B, V)
assert torch.equal(one_hot @ W, W[x[:1000]])  # the product is a look-up, so we look up

logits = W[x]  # (N, V)
loss = F.cross_entropy(logits, y)  # softmax, logarithm, mean: in one
loss.backward()
with torch.no_grad():
    by_hand = torch.zeros(V, V).index_add_(0, x, (logits.softmax(1) - F.one_hot(y, V)) / len(x))
print(f"first loss {loss.item():.4f}; gradient by hand differs by {(by_hand - W.grad).abs().max():.1e} at most")

# Pairs with the same first symbol share a row: the sum over all pairs is one over 729 cells, weighted by counts.
weight = counts / counts.sum()
target = loss_of(P, names["train"])
mass = weight.sum(1)  # (V,): how often each row is asked
history, gaps = [], []
STEPS = 20_000 if FULL else 2_000
for step in range(STEPS):
    loss = -(weight * W.log_softmax(1)).sum()
    W.grad = None
    loss.backward()
    with torch.no_grad():
        W -= 50 * W.grad  # far above any usual rate: each row's gradient is scaled by its mass
    history.append(loss.item())
    if step % 20 == 0:
        gaps.append((W.detach().softmax(1) - P).abs().amax(1))
print(f"after {STEPS:,} steps: loss {history[-1]:.4f}, the counted table's {target:.4f}")

gaps = torch.stack(gaps)  # (steps / 20, V)
last_gap = gaps[-1]
often, seldom = mass.argmax(), mass.argmin()
for place in (often, seldom):
    print(f"row {symbols[place]}, {mass[place]:.2%} of the pairs: off by {last_gap[place]:.4f} at most")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8))
left.loglog(np.arange(1, STEPS + 1), np.array(history) - target, color=BLUE)
left.set_xlabel("step")
left.set_ylabel("loss above the counted table's, nats")
left.set_title("The gradient leads to the counted table", loc="left")
order = mass.argsort(descending=True)
right.loglog(mass[order], last_gap[order], "o", color=ORANGE, markersize=4)
for place in (often, seldom, torch.tensor(number_of["a"])):
    right.annotate(symbols[place], (mass[place], last_gap[place]), xytext=(4, 4), textcoords="offset points")
right.set_xlabel("share of the pairs that begin with it")
right.set_ylabel("largest difference in its row")
right.set_title("Rows that are seldom asked are learnt last", loc="left")
plt.tight_layout()
plt.show()

# %% [markdown]
# **What you should see.** The first loss is 3.7656: random logits are worse than none (ln 27), being confidently
# wrong. After 2,000 steps the loss is 2.4543, and the counted table has 2.4536. The commonest row, that of `a`
# (15.1% of the pairs), is right to four digits, and that of `q` (0.12%) is off by 0.0067. The loss goes on falling
# ever more slowly, since a pair that was never seen asks for a logit of −∞.
#
# **With `FULL=1`.** After 20,000 steps the loss is 2.4537, and the row of `q` is off by 0.0007.
#
# **Learned.** Counting and training find the same model; training also works where nothing can be counted, as in
# the next notebook. What a network learns of a symbol depends on how often it is asked.
#
# **Done when.** The trained model's loss is the table's, to the third digit.
#
# **Exercise.** Add some multiple of the mean square of W to the loss. It pulls logits towards 0, and so rows
# towards uniform: it is smoothing. Compare a rare row with and without.
#
# <details><summary>Solution</summary>
#
# ```python
# for strength in (0.0, 0.01, 0.1):
#     w = torch.zeros(V, V, requires_grad=True)
#     for _ in range(500):
#         loss = -(weight * w.log_softmax(1)).sum() + strength * (w**2).mean()
#         (gradient,) = torch.autograd.grad(loss, w)
#         with torch.no_grad():
#             w -= 50 * gradient
#     row = w.detach().softmax(1)[number_of["q"]]
#     print(f"strength {strength}: P(u | q) = {row[number_of['u']]:.3f}, the smallest in the row {row.min():.1e}")
# ```
#
# </details>

# %%
assert history[-1] - target < 0.005
assert float((last_gap * mass).sum()) < 0.005
print("done: trained, and the same as counted")

# %% [markdown]
# ## The bars for everything that follows
#
# **Goal.** Know, before any network is trained, what a loss on these names is worth.
#
# Counting goes further than pairs: a *trigram* looks two characters back, an n-gram n − 1. The tables get large and
# empty, so that smoothing decides. *Kneser–Ney* smoothing falls back from a long context to shorter ones, and there
# asks not how often a symbol occurs but after how many different contexts. It is the strongest counted model there
# is, and it takes a twentieth of a second.
#
# **Predict first.** Each character of context that is added: how much does it lower the loss on dev? Where does it
# stop?

# %%
models = ["unigram", "bigram", "ngram:3", "ngram:4", "ngram:5", "ngram:6", "ngram:8"]
bars = {}
for model in models:
    fitted = charloom.train(data, model)
    bars[model] = {part: fitted.evaluate(data, part).loss.nats for part in ("train", "dev")}
    print(f"{model:8} train {bars[model]['train']:.4f}  dev {bars[model]['dev']:.4f}")

figure, axes = plt.subplots(figsize=(8, 3.8))
places = np.arange(len(models))
axes.bar(places - 0.2, [bars[model]["train"] for model in models], 0.38, color=GREY, label="train")
drawn = axes.bar(places + 0.2, [bars[model]["dev"] for model in models], 0.38, color=BLUE, label="dev")
axes.bar_label(drawn, fmt="%.2f", padding=2, fontsize=8)
axes.axhline(math.log(V), color=GREY, linestyle="--", linewidth=1)
axes.text(-0.4, math.log(V) + 0.04, "ln 27: knows nothing", fontsize=9, color="#5b6472")
axes.set_xticks(places, models)
axes.set_ylim(1, 3.5)
axes.set_ylabel("nats per character")
axes.set_title("Counted models: more context, until the counts run out", loc="left")
axes.legend(frameon=False, loc="upper right", bbox_to_anchor=(1, 0.88))
plt.show()

# %% [markdown]
# **What you should see.** Dev (protocol *unique*: no name of dev stands in train; split seed 42): unigram 2.8165,
# bigram 2.4633, trigram 2.2347, then 2.0788 and 2.0164 for five characters, the lowest being 2.0125 at order 6; at
# order 8 it is 2.0242. On train the loss goes on falling, to 1.5818: the model learns names by heart.
#
# **Learned.** A loss means something beside another one. A network that looks three characters back has to be
# compared with `ngram:4`, 2.0788, and one that wants to be called good has to beat 2.0125.
#
# **Done when.** The library's bigram with add-one is yours.
#
# **Exercise.** Draw five names from `ngram:5`, none of them in the training data.
#
# <details><summary>Solution</summary>
#
# ```python
# model = charloom.train(data, "ngram:5")
# print([sample.text for sample in model.sample(5, known=set(names["train"]), unique=True)])
# ```
#
# </details>

# %%
assert math.isclose(bars["bigram"]["dev"], loss_of(smoothed(1.0), names["dev"]), rel_tol=1e-5)
assert min(bars, key=lambda model: bars[model]["dev"]) == "ngram:6"
print("done: the bars are set")

# %% [markdown]
# ## What you have now
#
# A model that is a table, the number that says how good a model is, a way to draw from it, train, dev and test, and
# the knowledge that gradient descent finds what counting finds. In [the next notebook](03-mlp-lm.ipynb) the table
# becomes a network that looks several characters back without needing a count for each context.
