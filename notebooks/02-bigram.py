# %% [markdown]
# # 02. A language model is a table
#
# At the end of this notebook you can build the smallest language model there is, by counting and by training, say
# how good it is in one number, and draw new names from it. You need Python; you need not have trained anything
# before. Later notebooks, on networks (03) and on what goes wrong in them (04), use the same data and are measured
# against the bars set here.
#
# Run the cells from top to bottom, a quarter of a minute in all. Before each part there is a question: write your
# guess down before you run on. That is where the learning is.

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
from charloom.contexts import Contexts

torch.set_num_threads(1)  # on data this small, two threads are slower than one
FULL = os.environ.get("FULL", "0") not in ("", "0")
plt.rcParams.update({"figure.dpi": 100, "axes.spines.top": False, "axes.spines.right": False, "font.size": 10})
BLUE, ORANGE, GREEN, GREY = "#1f6fb4", "#c2410c", "#0f7b5f", "#9aa4b2"

data = charloom.load_data()  # the names given to US babies in 2018, built in
names = {part: list(data.part(part).items) for part in ("train", "dev", "test")}
print({part: len(items) for part, items in names.items()})
print(f"protocol {data.config.protocol}, split seed {data.config.split_seed}; for example {names['train'][:6]}")

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
# The names come in three parts, *train*, *dev* and *test*: 80%, 10% and 10%. All counting is done on train; what
# the two others are for is told when they are needed. (The protocol is called *unique*: each name stands in one
# part, once.)
#
# **Predict first.** With which letter do names begin most often? With which do they end? How many of the 27 × 27 =
# 729 pairs never occur?

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

x, y = pairs(names["train"])  # (N,), (N,): what stands before, what follows
# One line for the same: the pair (a, b) has the number a·V + b.
counts = torch.bincount(x * V + y, minlength=V * V).view(V, V)

print("loop and single line agree:", torch.equal(counts, by_loop))
print(f"{len(x):,} pairs from {len(names['train']):,} names")
print(f"pairs that never occur: {int((counts == 0).sum())} of {V * V}")
first, last = counts[0].argmax(), counts[:, 0].argmax()
print(f"commonest first letter: {symbols[first]} ({counts[0, first] / counts[0].sum():.1%} of names)")
print(f"commonest last letter: {symbols[last]} ({counts[last, 0] / counts[:, 0].sum():.1%} of names)")


# %% tags=["picture"]
def short(count):
    """A count in at most three characters: 7, 812, 4k."""
    return str(count) if count < 1_000 else f"{count / 1_000:.0f}k"


figure, axes = plt.subplots(figsize=(8.2, 8), dpi=110)
axes.imshow(np.ma.masked_equal(counts.numpy(), 0), cmap="YlGnBu", norm="log")
for a, b in counts.nonzero().tolist():
    colour = "white" if counts[a, b] > 100 else "#333333"
    axes.text(b, a, short(int(counts[a, b])), ha="center", va="center", fontsize=7, color=colour, antialiased=False)
axes.set_xticks(range(V), symbols, fontsize=12)
axes.set_yticks(range(V), symbols, fontsize=12)
axes.tick_params(labeltop=True, labelright=True, length=0)
axes.set_xlabel("what follows")
axes.set_ylabel("what stands before")
axes.set_title("How often each pair occurs (k: thousand; white: never)", loc="left")
plt.show()

# %% [markdown]
# **What you should see.** Of 169,747 pairs from 23,695 names, 112 of the 729 never occur. The commonest first
# letter is `a` (13.9% of names), and so is the commonest last one (22.1%). In the picture the first row is how
# names begin and the first column how they end; `q` is followed by `u`, by the end, by `a`, and by little else.
#
# **Learned.** The model *is* this table: 729 whole numbers. Everything else is what we do with it.
#
# **Done when.** Loop and single line agree, the counts add up to the number of pairs, and charloom, the library
# that the later parts use, makes the same pairs.
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
assert torch.equal(counts, by_loop)
assert int(counts.sum()) == len(x) == sum(len(name) + 1 for name in names["train"])
contexts, targets = Contexts(data.encoded("train"), 1).all_rows()  # (N, 1), (N,)
assert np.array_equal(contexts[:, 0], x)
assert np.array_equal(targets, y)
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
print(f"wrong: columns sum to {wrong.sum(0).min():.4f} … {wrong.sum(0).max():.4f}")
q, u = number_of["q"], number_of["u"]
print(f"P(u | q) = {P[q, u]:.4f}, and by the wrong table {wrong[q, u]:.4f}")

# %% [markdown]
# **What you should see.** The right table's rows sum to 1.0000. Of the wrong one's the smallest sum is 0.0677 and
# the largest 6.9831; there it is the *columns* that sum to 1.0000. The sums were laid along the columns, and a
# symbol stands before others as often as after others, so each column was divided by its own sum. That is the
# answer to another question: which symbol stood *before*? P(u | q), the probability of `u` after `q`, is 0.7537;
# the wrong table's 0.0654 is the probability that what stands before a `u` is a `q`.
#
# **Learned.** PyTorch lines up shapes from the right, and repeats what is missing on the left: *broadcasting*.
# `keepdim=True` keeps a sum where it belongs. No error is raised, and the wrong table even looks like
# probabilities; only a check of what must hold (rows sum to 1) finds the bug.
#
# **Done when.** Every row of P is a distribution.
#
# **Exercise.** Repair the wrong division with `None` in an index instead of `keepdim`. Then show that the column
# sums of the counts are its row sums.
#
# <details><summary>Solution</summary>
#
# ```python
# again = counts / counts.sum(1)[:, None]  # (V, 1)
# print(torch.equal(again, P), torch.equal(counts.sum(0), counts.sum(1)))
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
# bigram after 6.36, where real names have 6.16: the chance to stop is right on average, so the mean length is, too,
# up to the luck of the draws. The spread is not: the bigram's lengths have a standard deviation (std) of 5.54 and
# real ones of 1.44. A model that looks back at one character cannot know how long the name is by now.
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
# The model gives a name the probability of all its steps together, for `emma` P[.e] · P[em] · P[mm] · P[ma] ·
# P[a.]. The *likelihood* of a list is the product over all names: the better the model, the larger. Three changes
# make a usable number of it:
#
# - *log*: the product is so tiny that the computer rounds it to 0. The logarithm makes a sum of the product, and
#   what was larger stays larger.
# - *negative*: the logarithm of a probability is at most 0. Turned round it is a surprise: 0 for what was certain,
#   large for what was thought improbable. Smaller is better, as one wants of a *loss*.
# - *mean*: divided by the number of characters (the end of a name counts as one), so that long lists and short ones
#   can be compared.
#
# That is the *average negative log-likelihood*, in *nats per character* (nats, as the logarithm is the natural
# one):
#
# `loss = −mean(ln P[x, y])`
#
# **Predict first.** A model that knows nothing gives each of 27 symbols 1/27. What is its loss? Could the best
# model of all have the loss 0 on names?


# %%
def loss_of(table, items):
    before, after = pairs(items)
    return float(-table[before, after].log().mean())


emma = torch.tensor([number_of[character] for character in ".emma."])
steps = P[emma[:-1], emma[1:]]  # (5,)
print("emma:", " · ".join(f"{step:.4f}" for step in steps), f"= {steps.prod():.3e}")
nats = -steps.log()
print("     ", " + ".join(f"{one:.2f}" for one in nats), f"= {nats.sum():.2f} nats in {len(steps)} steps")

products = P[x[:2_000], y[:2_000]].double().cumprod(0)  # (2000,): of the first pair, of two, of three, …
print(f"likelihood of the first 2,000 pairs: {products[-1].item()}, and 0 from pair {int((products > 0).sum()) + 1} on")
print(f"the sum of their logarithms: {P[x[:2_000], y[:2_000]].log().sum():,.1f}")

for kind, table in tables.items():
    loss = loss_of(table, names["train"])
    print(f"{kind:8} train {loss:.4f} nats per character: as hard as a choice among {math.exp(loss):.1f}")

before, after = pairs(names["dev"])
never = int((P[before, after] == 0).sum())
print(f"bigram   dev {loss_of(P, names['dev'])}: {never} of its {len(before):,} pairs have probability 0")

# %%
# A mean over names of each name's own mean is another number.
some = names["train"][:3_000]
by_name = np.mean([loss_of(P, [name]) for name in some])
print(f"3,000 names: mean over characters {loss_of(P, some):.4f}, mean over names {by_name:.4f}")

# %% [markdown]
# **What you should see.** The product of 2,000 probabilities is 0.0 in the computer: a float64 reaches down to
# about 10⁻³²⁴, and what is smaller *underflows* to 0, here after fewer than 300 pairs. The sum of the logarithms,
# -4,937.7, is harmless. On train (protocol unique, split seed 42) the uniform table has ln 27 = 3.2958, the unigram
# 2.8198, the bigram 2.4536, which is a choice among 11.6 where knowing nothing is one among 27.0. On 3,000 names
# the mean over characters is 2.4490, and the mean of each name's own mean is 2.4539: only the first is the loss, as
# in the second a character of a short name counts for more. And on dev 5 of 21,276 pairs have probability 0, so
# that the loss is infinite.
#
# **Learned.** The loss is the mean surprise of a character. Its exponential, the *perplexity*, says among how many
# equally likely symbols one might as well choose. No model reaches 0 on new names: parents are free to choose, so
# some of the surprise is in the names themselves, and how much nobody knows. Models are compared with each other,
# and with ln 27. One pair that the model holds to be impossible makes the loss infinite.
#
# **Done when.** The loss is infinite on dev, ln 27 for the uniform table, and equals `torch.nn.functional.nll_loss`
# on the same probabilities.
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
# *Add-k smoothing* adds k to every count before dividing: nothing is impossible any more, and the larger k, the
# more alike are all symbols. How large should it be? On train the best k is 0: the relative frequencies are what
# makes train most probable. That is *overfitting*: the model gets better on what it has seen, at the cost of what
# it has not. So k is chosen on other names, *dev*. As the choice fits dev a little, too, a third part, *test*, is
# kept for the end, and read once when all is decided.
#
# **Predict first.** Draw, on paper, the loss on train and on dev against k. Which rises from the start? Does it
# matter more when much was counted, or little?


# %%
def smoothed(k, table=counts):
    return (table + k) / (table + k).sum(1, keepdim=True)


def table_loss(table, seen):
    """The loss of a (V, V) table on pairs that were counted: a sum over cells instead of over pairs."""
    a, b = seen.nonzero(as_tuple=True)  # the cells that are asked at all; 0 times a logarithm of 0 would be NaN
    return float(-(seen[a, b] / seen.sum() * table[a, b].log()).sum())


def table_of(before, after):
    return torch.bincount(before * V + after, minlength=V * V).view(V, V)


strengths = np.geomspace(1e-3, 1e4, 57)
small = table_of(x[:2_000], y[:2_000])  # counted on the first 2,000 pairs only, some 280 names
dev = table_of(*pairs(names["dev"]))
losses = {}  # what was counted → the losses on what was counted and on dev, at each k
for label, table in (("all names", counts), ("2,000 pairs", small)):
    tables_k = [smoothed(k, table) for k in strengths]
    losses[label] = {
        "train": [table_loss(P_k, table) for P_k in tables_k],
        "dev": [table_loss(P_k, dev) for P_k in tables_k],
    }
    best = int(np.argmin(losses[label]["dev"]))
    print(f"counted on {label}: best k on dev {strengths[best]:.2f}, dev {losses[label]['dev'][best]:.4f}")
    for k in (0.001, 1, 100, 10_000):
        P_k = smoothed(k, table)
        print(f"    k = {k:<6} what was counted {table_loss(P_k, table):.4f}  dev {table_loss(P_k, dev):.4f}")

figure, panels = plt.subplots(1, 2, figsize=(9, 3.8), sharey=True)
for axes, curves in zip(panels, losses.values(), strict=True):
    axes.semilogx(strengths, curves["train"], color=GREY, label="what was counted", linewidth=2.5)
    axes.semilogx(strengths, curves["dev"], color=BLUE, label="dev")
    best = int(np.argmin(curves["dev"]))
    axes.plot(strengths[best], curves["dev"][best], "o", color=BLUE)
    axes.axhline(math.log(V), color=GREY, linestyle="--", linewidth=1)
    axes.set_xlabel("k, added to every count")
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(0, 0.9))
panels[0].text(strengths[0], math.log(V) + 0.02, "ln 27: knows nothing", color="#5b6472", fontsize=9)
panels[0].set_ylim(top=3.42)
panels[0].set_ylabel("nats per character")
panels[0].set_title("Counted on all names: k hardly matters", loc="left")
panels[1].set_title("Counted on 2,000 pairs: too little, too much", loc="left")
plt.tight_layout()
plt.show()

# %% [markdown]
# **What you should see.** With all names the best k on dev is 0.32, with a loss of 2.4631, hardly below the 2.4633
# of k = 1 (unique, split seed 42). Counted on 2,000 pairs only, dev has 2.7872 at k = 0.001, 2.5649 at its best k,
# again 0.32, and 2.5948 at k = 1, while the loss on what was counted rises all the way, from 2.3516. Much too much,
# k = 10,000, makes every row uniform: 3.2948, nearly ln 27.
#
# **Learned.** A number that is chosen and not learned (k) is a *hyperparameter*. It is chosen on dev, never on
# train, and the final figure is read on test. With much data it hardly matters; with little it decides.
#
# **Done when.** Dev is finite, and you have seen that train would have chosen no smoothing at all.
#
# **Exercise.** Test is read once. Do it now, with your k.
#
# <details><summary>Solution</summary>
#
# ```python
# k = strengths[int(np.argmin(losses["all names"]["dev"]))]
# print(f"test {loss_of(smoothed(k), names['test']):.4f}, dev {loss_of(smoothed(k), names['dev']):.4f}")
# ```
#
# It says 2.4510, even below train. That is no bug: 729 numbers hardly overfit so many pairs, and the names of test
# happen to be a little easier.
#
# </details>

# %%
assert math.isfinite(loss_of(smoothed(1.0), names["dev"]))
assert all(np.argmin(curves["train"]) == 0 for curves in losses.values())
assert loss_of(smoothed(1.0), names["dev"]) < loss_of(smoothed(1e-3), names["dev"])
print("done: add-one is good enough here")

# %% [markdown]
# ## The same model as a network
#
# **Goal.** Write the table as a network of one layer, and work out by hand in which direction each of its numbers
# must move.
#
# A symbol becomes a *one-hot* vector: 27 numbers, all 0 but a 1 at its place. Times a matrix W of (27, 27), the
# *weights*, it picks out one row: a multiplication by a one-hot vector *is* a look-up. The numbers of the row, any
# numbers, are called *logits*. The *softmax* makes a distribution of them, `p = exp(logits) / sum(exp(logits))`,
# and the loss is as before: `−ln p[y]` for what really followed, and the mean over the pairs.
#
# The *gradient* says for each number how fast the loss rises when that number is raised. The loss of one pair is
#
# `−ln p[y] = −logit[y] + ln(sum(exp(logits)))`.
#
# The first term falls at rate 1 as the logit of `y` rises, and knows no other logit. The second rises with logit j
# at the rate `exp(logit[j]) / sum(exp(logits))`, which is `p[j]`. Together, and in a mean over N pairs:
#
# `gradient = (p − onehot(y)) / N`.
#
# Gradient descent goes the other way: each logit is pushed down by the probability it has, and the one that came is
# pushed up. Over all pairs that begin with the same symbol `a`, the one-hot vectors add up to the row of counts, so
# that row a of the gradient is
#
# `(share of the pairs that begin with a) · (softmax(W[a]) − P[a])`.
#
# **Predict first.** For which W is this gradient zero? And what do the 27 numbers in a row of it add up to?

# %%
generator = torch.Generator().manual_seed(0)
W = torch.randn(V, V, generator=generator).double().requires_grad_()  # float64, as gradients are compared

one_hot = F.one_hot(x[:1_000], V).double()  # (B, V)
print("one-hot times W is a look-up:", torch.equal(one_hot @ W, W[x[:1_000]]))  # (B, V) both

logits = W[x]  # (N, V)
loss = F.cross_entropy(logits, y)  # softmax, logarithm, mean: in one
# PyTorch has noted what was computed with W (requires_grad), and works the gradient out backwards: W.grad, (V, V).
loss.backward()

with torch.no_grad():  # nothing of this is to be noted
    per_pair = (logits.softmax(1) - F.one_hot(y, V)) / len(x)  # (N, V)
    by_pairs = torch.zeros_like(W).index_add_(0, x, per_pair)  # (V, V): row x of each pair receives its part
    share = row_sums.double() / counts.sum()  # (V, 1): of all pairs, those that begin with each symbol
    by_rows = share * (W.softmax(1) - counts / row_sums.double())  # (V, 1) · (V, V)

largest = W.grad.abs().max()
print(f"first loss {loss.item():.4f}, ln 27 = {math.log(V):.4f}; the largest entry of the gradient is {largest:.4f}")
for way, by_hand in (("pair by pair", by_pairs), ("row by row", by_rows)):
    print(f"by hand, {way}: differs from that by {(by_hand - W.grad).abs().max():.0e} at most")

# %% [markdown]
# **What you should see.** The first loss is 3.7656: logits drawn at random are worse than equal ones (ln 27 =
# 3.2958), being sure of themselves and wrong. The gradient's largest entry is 0.0455. Both ways of working it out
# by hand agree with PyTorch's but for the last digits of a float64.
#
# **Learned.** A bigram network is a table of logits. Its gradient is the predicted probabilities minus those that
# were counted, row by row, each row weighted by how often it is asked. So it is zero where softmax(W) is the
# counted table, and its rows add up to 0, as both are distributions.
#
# **Done when.** Both gradients by hand are PyTorch's.
#
# **Exercise.** Add 5 to every logit of a row. What happens to the loss, and why does each row of the gradient add
# up to 0?
#
# <details><summary>Solution</summary>
#
# ```python
# shifted = W.detach().clone()
# shifted[number_of["a"]] += 5  # softmax divides exp(5) out again: the loss does not change in this direction
# print(f"{F.cross_entropy(shifted[x], y):.4f}, {loss:.4f}; rows add up to {W.grad.sum(1).abs().max():.0e} at most")
# ```
#
# </details>

# %%
assert torch.allclose(by_pairs, W.grad, atol=1e-12)
assert torch.allclose(by_rows, W.grad, atol=1e-12)
print("done: you can do without autograd here")

# %% [markdown]
# ## Gradient descent finds the counted table
#
# **Goal.** Arrive at the table without counting: begin with random numbers, and step against the gradient, again
# and again.
#
# *Gradient descent* is `W ← W − rate · gradient`; the rate is the *learning rate*. Here each step looks at all
# pairs, a *full batch*. Why must it arrive at the counted table? In each row the loss is *convex*: as a function of
# the logits it is a single valley, without a second one to be caught in, whatever the start. Its floor is where the
# gradient is zero: softmax(W[a]) = P[a], so W[a] is the logarithm of the relative frequencies, up to a constant for
# the whole row, which softmax does not see.
#
# **Predict first.** Which rows will be right first, and which last? Will two random starts end in the same table?


# %%
STEPS = 20_000 if FULL else 2_000
weight = counts / counts.sum()  # (V, V): equal pairs are added up, so that a step costs 729 cells, not 169,747 pairs
floor = loss_of(P, names["train"])


def descend(W, rate=50.0, steps=STEPS):
    """Gradient descent from W; the loss before each step, (steps,), and how far each row is off, (steps, V)."""
    W = W.clone().requires_grad_()
    history, gaps = [], []
    for _ in range(steps):
        log_p = W.log_softmax(1)  # (V, V)
        loss = -(weight * log_p).sum()
        (gradient,) = torch.autograd.grad(loss, W)
        with torch.no_grad():
            W -= rate * gradient
        history.append(loss.item())
        gaps.append((log_p.detach().exp() - P).abs().amax(1))
    return W.detach(), np.array(history), torch.stack(gaps)


asked = weight.sum(1)  # (V,): how often each row is asked, as a share
W_0, history, gaps = descend(torch.randn(V, V, generator=torch.Generator().manual_seed(0)))
W_1, other_history, _ = descend(torch.randn(V, V, generator=torch.Generator().manual_seed(1)))
print(
    f"train loss after {STEPS:,} steps: {history[-1]:.4f} and {other_history[-1]:.4f}; the counted table's {floor:.4f}"
)

last_gap = gaps[-1]
print(f"largest |softmax(W) − P| of a row, mean weighted by how often it is asked: {(asked * last_gap).sum():.5f}")
often, seldom = int(asked.argmax()), int(asked.argmin())
for place in (often, seldom):
    print(f"row {symbols[place]}, {asked[place]:.2%} of the pairs: off by {last_gap[place]:.4f} at most")
between = (asked * (W_0.softmax(1) - W_1.softmax(1)).abs().amax(1)).sum()
print(f"and between the two starts: {between:.5f}")

# %%
settled = (gaps > 0.01).sum(0) + 1  # (V,): the first step from which on a row is right to 0.01
figure, (left, right) = plt.subplots(1, 2, figsize=(9.4, 3.9))
left.loglog(np.arange(1, STEPS + 1), history - floor, color=BLUE, label="seed 0")
left.loglog(np.arange(1, STEPS + 1), other_history - floor, color=ORANGE, linestyle="--", label="seed 1")
left.set_xlabel("step")
left.set_ylabel("loss above the counted table's, nats")
left.set_title("Two starts, one valley", loc="left")
left.legend(frameon=False)
right.loglog(asked, settled, "o", color=BLUE, markersize=3)
for place, symbol in enumerate(symbols):
    right.annotate(symbol, (asked[place], settled[place]), xytext=(4, 1), textcoords="offset points", fontsize=9)
right.set_xlabel("share of the pairs that begin with it")
right.set_ylabel("steps until right to 0.01")
right.set_title("Rows that are seldom asked are learnt last", loc="left")
plt.tight_layout()
plt.show()
print(f"steps until right to 0.01: row a {settled[often]}, row q {settled[seldom]:,}")

# %% [markdown]
# **What you should see.** From both starts the train loss is 2.4543 after 2,000 steps, where the counted table has
# 2.4536. The largest error of a row is 0.00016 on (weighted) average. The row that is asked most often, `a` (15.12%
# of the pairs), is right to 0.01 within 20 steps; that of `q` (0.12%) takes about 1,508, and is still off by 0.0066
# at the end. The loss goes on falling ever more slowly: a pair that was never seen asks for a logit of −∞, and on
# the way there its push, which is its probability, fades.
#
# **With `FULL=1`.** After 20,000 steps the train loss is 2.4537, the weighted error 0.00002, and the row of `q` is
# off by 0.0007.
#
# **Learned.** Counting and training find the same model; training also works where nothing can be counted, as in
# the next notebook. What a network learns of a symbol depends on how often it is asked: a row's step is its share
# times its error. As the mean share is 1/27, a rate of 50 is a step of about 2 for a row, and not as wild as it
# looks.
#
# **Done when.** The trained loss is the table's to the third digit, from both starts.
#
# **Exercise.** Begin with zeros, and try the rates 5, 50, 100 and 200. Which is too small, which too large, and
# what does too large look like?
#
# <details><summary>Solution</summary>
#
# ```python
# for rate in (5, 50, 100, 200):
#     _, losses_at, _ = descend(torch.zeros(V, V), rate=rate, steps=500)
#     print(f"rate {rate}: loss at step 10 {losses_at[10]:.4f}, 100 {losses_at[100]:.4f}, 499 {losses_at[499]:.4f}")
# # 5 is slow; 100 stops short of the table, as its commonest rows jump from one side of the valley to the other; at
# # 200 they jump so far that the loss goes up and down.
# ```
#
# </details>

# %%
assert history[-1] - floor < 0.005
assert other_history[-1] - floor < 0.005
assert float((asked * last_gap).sum()) < 0.005
print("done: trained, and the same as counted")

# %% [markdown]
# ## Weight decay is smoothing
#
# **Goal.** Find what add-k is in a network, which has no counts to add k to.
#
# All logits equal is a uniform distribution. So a pull of the logits towards 0 is a pull of the row towards
# uniform, which is what add-k does. The pull: add `strength · mean(W²)` to the loss. Its gradient, `2 · strength ·
# W / 729`, takes a fixed share off every weight at each step, hence the name *weight decay*. At rest the two pulls
# balance in each row:
#
# `(share of the pairs that begin with a) · (P[a] − softmax(W[a])) = 2 · strength · W[a] / 729`.
#
# **Predict first.** Which rows are pulled furthest from what was counted? With 2,000 pairs, will the best strength
# do better than the best k, worse, or the same?


# %%
def decayed(table, strengths, rate=50.0, steps=2_000):
    """Weights (S, V, V), trained on a table of counts from zeros with each strength of weight decay, side by side."""
    weight = table / table.sum()
    strength = torch.tensor(strengths, dtype=torch.float32)[:, None, None]  # (S, 1, 1)
    W = torch.zeros(len(strengths), V, V)
    for _ in range(steps):
        pull_to_counts = weight.sum(1, keepdim=True) * W.softmax(2) - weight  # (S, V, V): share · (p − P)
        W -= rate * (pull_to_counts + 2 * strength * W / V**2)
    return W


decays = np.geomspace(1e-4, 10, 51)
decay_losses = {}
for label, table in (("all names", counts), ("2,000 pairs", small)):
    learned = decayed(table, decays).softmax(2)  # (S, V, V)
    decay_losses[label] = {
        "train": [table_loss(p, table) for p in learned],
        "dev": [table_loss(p, dev) for p in learned],
    }
    best = int(np.argmin(decay_losses[label]["dev"]))
    lowest_k = min(losses[label]["dev"])
    print(
        f"{label}: best strength {decays[best]:.4f}, dev {decay_losses[label]['dev'][best]:.4f} "
        f"(none at all {table_loss(decayed(table, [0.0])[0].softmax(1), dev):.4f}; add-k at its best {lowest_k:.4f})"
    )

# From here on `learned` and `best` are those of the 2,000 pairs.
row_counts = small.sum(1)  # (V,)
seen = row_counts > 0
relative = small / row_counts.clamp(min=1)[:, None]  # (V, V)
best_k = strengths[int(np.argmin(losses["2,000 pairs"]["dev"]))]
changed = {  # how far each row is moved from what was counted, (V,)
    f"add-k, k = {best_k:.2f}": (smoothed(best_k, small) - relative).abs().amax(1),
    f"weight decay, {decays[best]:.2f}": (learned[best] - relative).abs().amax(1),
}
for label, change in changed.items():
    rare, common = change[row_counts.eq(row_counts[seen].min())].max(), change[row_counts.argmax()]
    print(f"{label}: the rarest rows change by up to {rare:.3f}, the commonest by {common:.4f}")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9.4, 3.9))
left.semilogx(decays, decay_losses["2,000 pairs"]["train"], color=GREY, linewidth=2.5, label="what was counted")
left.semilogx(decays, decay_losses["2,000 pairs"]["dev"], color=BLUE, label="dev")
left.plot(decays[best], decay_losses["2,000 pairs"]["dev"][best], "o", color=BLUE)
left.axhline(min(losses["2,000 pairs"]["dev"]), color=ORANGE, linestyle=":", label="dev, add-k at its best")
left.set_xlabel("strength of the weight decay")
left.set_ylabel("nats per character")
left.set_title("Too little, too much: the curve of add-k again", loc="left")
left.legend(frameon=False)
for (label, change), colour, mark in zip(changed.items(), (ORANGE, BLUE), ("s", "o"), strict=True):
    right.semilogx(row_counts[seen], change[seen], mark, color=colour, markersize=4, label=label)
right.set_xlabel("how often the row was counted, of 2,000")
right.set_ylabel("largest change in the row")
right.set_title("Both change most what was seldom seen", loc="left")
right.legend(frameon=False)
plt.tight_layout()
plt.show()

# %% [markdown]
# **What you should see.** Counted on 2,000 pairs the best strength is 0.0501, and dev has 2.5602 (unique, split
# seed 42): better than the 2.6874 without decay after 2,000 steps, and even than add-k at its best, 2.5649. With
# all names the smallest strength is the best, 2.4633, and none is as good: there is hardly anything to smooth. On
# the right, both move the rarest rows most, by up to 0.355 and 0.170, and the commonest row by 0.0054 and 0.0024.
#
# **Learned.** A penalty on large weights does for a network what extra counts do for a table: where there is little
# evidence it pulls the answer towards knowing nothing, and where there is much it gives way. Both have one
# strength, and it is chosen on dev. Stopping early has the same effect, from weights of zero: a logit that no pair
# has pushed far is still near 0.
#
# **Done when.** The best strength is neither the smallest nor the largest for 2,000 pairs, and it beats training
# without.
#
# **Exercise.** What is P(u | q) for the strengths 0, 0.001, 0.01 and 0.1, and the smallest probability in that row?
#
# <details><summary>Solution</summary>
#
# ```python
# strengths_q = [0.0, 0.001, 0.01, 0.1]
# for strength, p in zip(strengths_q, decayed(counts, strengths_q).softmax(2), strict=True):
#     print(f"strength {strength}: P(u | q) = {p[q, u]:.3f}, the smallest in the row {p[q].min():.1e}")
# ```
#
# </details>

# %%
dev_curve = decay_losses["2,000 pairs"]["dev"]
assert 0 < np.argmin(dev_curve) < len(decays) - 1
assert min(dev_curve) < table_loss(decayed(small, [0.0])[0].softmax(1), dev)
print("done: smoothing, without counts")

# %% [markdown]
# ## The bars for everything that follows
#
# **Goal.** Know, before any network is trained, what a loss on these names is worth.
#
# Counting goes further than pairs: a *trigram* looks two characters back, an n-gram n − 1. The tables get large and
# empty, so that smoothing decides. *Kneser–Ney* smoothing falls back from a long context to shorter ones, and there
# asks not how often a symbol occurs but after how many different contexts. (Among words, `Francisco` is frequent,
# but only after `San`; after anything else it is a bad guess.) In the comparison of Chen and Goodman (1998) it came
# out best of the usual smoothing methods. `charloom.train(data, "ngram:5")` counts one of order 5, four characters
# of context, in a fraction of a second.
#
# **Predict first.** Each character of context that is added: by how much does it lower the loss on dev? Where does
# it stop? And on train?

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
axes.set_ylim(0, 3.7)
axes.set_ylabel("nats per character")
axes.set_title("More context helps until the counts run out; on train it always helps", loc="left")
axes.legend(frameon=False, loc="upper right", bbox_to_anchor=(1, 0.9))
plt.show()

# %% [markdown]
# **What you should see.** Dev (protocol *unique*: no name of dev stands in train; split seed 42): unigram 2.8165,
# bigram 2.4633, trigram 2.2347, 4-gram 2.0788, 5-gram 2.0164; the lowest is 2.0125 at order 6, and at order 8 it is
# 2.0242 again. On train the loss goes on falling, to 1.5818: overfitting, as with k, by learning names by heart.
#
# **Learned.** A loss means something beside another one. This 5-gram, 2.0164, is the bar that notebook 03 has to
# clear; on the way there, a network that looks three characters back is compared with the 4-gram, 2.0788, which
# sees as much, and one that is to be called good must beat 2.0125.
#
# **Done when.** The library's bigram has the loss of your table with add-one.
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
# A model that is a table, a way to draw from it, the number that says how good it is, smoothing by counts and by
# weight decay, train, dev and test, bars to clear, and the knowledge that gradient descent finds what counting
# finds. In [the next notebook](03-mlp-lm.ipynb) the table becomes a network that looks several characters back
# without needing a count for each context.
