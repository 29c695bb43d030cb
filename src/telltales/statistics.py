"""Tensors to numbers: pure functions of tensors on any device, without a transfer to the host.

Each works on a stack of equally long rows, one row a module or parameter, so that a whole network takes a handful of
operations. On a CPU their number and their kind are the cost: sums, norms and extremes of floats run at memory speed;
`torch.var_mean`, `torch.aminmax` and counting booleans take up to 15 times as long, so they are not used.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from telltales.bins import HIGHEST_EXPONENT, LOWEST_EXPONENT, PER_OCTAVE

if TYPE_CHECKING:
    from jaxtyping import Float

HISTOGRAM_VALUES = 65_536
"""A longer row's histogram is of about so many of its values."""

ENTROPY_QUERIES = 64
EXPONENT_BIAS = 127
MAGNITUDES = 256 * PER_OCTAVE
"""How many values the exponent and the first three bits of the mantissa of a float32 take together."""

MOMENTS = ("mean", "deviation", "min", "max", "nonzero")
"""What `moments` gives of a row, in order. The deviation is the norm of the distances from the mean."""


def as_floats(x: torch.Tensor) -> torch.Tensor:
    """``x`` detached, dense and real: half precision as float32, a complex number as two, a sparse tensor filled in."""
    x = x.detach()
    if x.dtype == torch.float32 and x.layout == torch.strided:
        return x
    if x.layout != torch.strided:
        x = x.to_dense()
    if x.is_complex():
        x = torch.view_as_real(x.resolve_conj())
    return x if x.dtype == torch.float64 else x.float()


def moments(x: Float[torch.Tensor, "rows n"]) -> Float[torch.Tensor, "rows 5"]:
    """The `MOMENTS` of each row. A NaN or an infinity in a row shows in its mean; `shares` then says how many."""
    mean = x.mean(1)
    return torch.stack([mean, norms(x - mean[:, None]), x.amin(1), x.amax(1), x.sign().abs_().mean(1)], 1)


def shares(x: Float[torch.Tensor, "rows n"]) -> Float[torch.Tensor, "rows 2"]:
    """The share of each row's values that are zero, and that are NaN or infinite."""
    zeros = 1 - x.nan_to_num(nan=1.0).sign_().abs_().mean(1)
    # Zero times what is not finite is NaN.
    nonfinite = (x * 0).nan_to_num_(nan=1.0).mean(1)
    return torch.stack([zeros, nonfinite], 1)


def norms(x: Float[torch.Tensor, "rows n"]) -> Float[torch.Tensor, " rows"]:
    """The Euclidean norm of each row, also where the squares of its values are too small or too large for float32."""
    wide = torch.float64 if x.device.type != "mps" else None
    norm: torch.Tensor = torch.linalg.vector_norm(x, dim=1, dtype=wide)
    return norm.to(x.dtype)


def sample(x: Float[torch.Tensor, "rows n"]) -> Float[torch.Tensor, "rows part"]:
    """About `HISTOGRAM_VALUES` values of each row, if it holds more, evenly spread."""
    return x[:, :: spread(x.shape[1], HISTOGRAM_VALUES)] if x.shape[1] > HISTOGRAM_VALUES else x


def log_histograms(x: Float[torch.Tensor, "rows n"]) -> Float[torch.Tensor, "rows bins"]:
    """Counts of each row's values in the bins of `telltales.bins`, as whole numbers in float32.

    What is not finite is left out.
    """
    rows = x.shape[0]
    x = x.to(torch.float32, memory_format=torch.contiguous_format)
    # Sign, exponent and three bits of mantissa, from the most negative to the most positive bit pattern.
    keys = ((x.view(torch.int32) >> 20) + MAGNITUDES).long()
    counts = torch.zeros(rows, 2 * MAGNITUDES, dtype=torch.float32, device=x.device)
    counts.scatter_add_(1, keys, x.new_ones(1, 1).expand_as(keys))
    negative, positive = counts[:, :MAGNITUDES], counts[:, MAGNITUDES:]
    zero = negative[:, :PER_OCTAVE].sum(1, keepdim=True) + positive[:, :PER_OCTAVE].sum(1, keepdim=True)
    return torch.cat([_in_range(negative).flip(1), zero, _in_range(positive)], 1)


def margins(
    x: Float[torch.Tensor, "rows examples units"],
    low: Float[torch.Tensor, " rows"],
    high: Float[torch.Tensor, " rows"],
) -> Float[torch.Tensor, "rows examples units"]:
    """How far each value is inside its row's open interval; at most 0 where the activation function is flat."""
    return torch.minimum(x - low[:, None, None], high[:, None, None] - x)


def share_positive(x: Float[torch.Tensor, "rows ..."]) -> Float[torch.Tensor, " rows"]:
    """The share of each row's values above 0."""
    return x.sign().clamp_(min=0).flatten(1).mean(1)


def normalized_entropy(p: Float[torch.Tensor, "... n"], dim: int = -1) -> Float[torch.Tensor, ""]:
    """The mean entropy of the distributions along ``dim``, as a share of a uniform one's: 1 is uniform, 0 certain."""
    entropy = -torch.xlogy(p, p).sum(dim)
    return (entropy / math.log(max(p.shape[dim], 2))).mean()


def attention_entropy(
    query: Float[torch.Tensor, "batch heads queries size"],
    key: Float[torch.Tensor, "batch heads keys size"],
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Float[torch.Tensor, ""]:
    """The mean entropy of the first example's attention, as a share of that of looking everywhere it may equally; of
    about `ENTROPY_QUERIES` queries, evenly spread, if there are more.

    The arguments are those of `torch.nn.functional.scaled_dot_product_attention`, which does not give its weights.
    Queries that may look at one key only are left out; NaN if all are like this.
    """
    q, k = as_floats(query)[:1], as_floats(key)[:1]
    if enable_gqa:
        k = k.repeat_interleave(q.shape[-3] // k.shape[-3], -3)
    rows = torch.arange(0, q.shape[-2], max(q.shape[-2] // ENTROPY_QUERIES, 1), device=q.device)
    with torch.autocast(q.device.type, enabled=False):
        scores = (q[..., rows, :] @ k.mT) * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
    if is_causal:
        allowed = rows[:, None] >= torch.arange(k.shape[-2], device=q.device)
        scores = scores.masked_fill(~allowed, -math.inf)
    if attn_mask is not None:
        mask = attn_mask[:1] if attn_mask.dim() == scores.dim() else attn_mask
        mask = mask[..., rows, :] if mask.shape[-2] > 1 else mask
        scores = scores.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else scores + as_floats(mask)
    p = scores.softmax(-1)
    entropy = -torch.xlogy(p, p).sum(-1)
    most = (scores > -math.inf).sum(-1).to(p.dtype).log()
    return torch.where(most > 0, entropy / most, torch.nan).nanmean()


def spectral_norm(w: Float[torch.Tensor, "rows ..."], iterations: int = 12) -> Float[torch.Tensor, ""]:
    """The largest singular value of ``w`` as a matrix (rows, the rest), estimated from below by power iteration.

    The start is fixed, so that no random state is touched: Miyato et al. 2018, section 2.1, without its random start.
    """
    matrix = w.flatten(1)
    v = torch.cos(torch.arange(matrix.shape[1], device=w.device, dtype=matrix.dtype) * 0.7) + 0.1
    with torch.autocast(w.device.type, enabled=False):
        return _largest_singular_value(matrix, v, iterations)


def _largest_singular_value(matrix: torch.Tensor, v: torch.Tensor, iterations: int) -> torch.Tensor:
    for _ in range(iterations):
        v = torch.nn.functional.normalize(matrix.mT @ torch.nn.functional.normalize(matrix @ v, dim=0), dim=0)
    return norms((matrix @ v)[None])[0]


def spread(n: int, limit: int) -> int:
    """A stride that leaves at most ``limit`` of ``n`` values, and that shares no divisor with ``n``: so that it does
    not meet the same unit again and again."""
    stride = -(-n // limit)
    while math.gcd(stride, n) > 1:
        stride += 1
    return stride


def _in_range(counts: Float[torch.Tensor, "rows magnitudes"]) -> Float[torch.Tensor, "rows per_sign"]:
    """Counts by exponent and mantissa as counts by bin: what is beyond the bins counts in the outermost ones."""
    first = (LOWEST_EXPONENT + EXPONENT_BIAS) * PER_OCTAVE
    last = (HIGHEST_EXPONENT + EXPONENT_BIAS) * PER_OCTAVE - 1
    below = counts[:, PER_OCTAVE : first + 1].sum(1, keepdim=True)
    above = counts[:, last : MAGNITUDES - PER_OCTAVE].sum(1, keepdim=True)
    return torch.cat([below, counts[:, first + 1 : last], above], 1)
