"""Training steps of the MLP: embedding -> (linear [-> norm] -> activation) x layers -> linear -> cross-entropy.

All parameters lie in one flat array, their gradients in another of the same shape, and what a step computes on its way
in a third, ``work``. A *plan* says where: one row for each linear layer, hidden ones first, with the columns below.
"""

from __future__ import annotations

import math
from itertools import count

from numba import njit

from charloom.compiled import source_digest
from charloom.compiled.matrix import multiply, transpose
from charloom.compiled.norms import BATCH, LAYER, NONE, batch_norm, batch_norm_backward, row_norm, row_norm_backward
from charloom.compiled.pointwise import FAST, activate, cross_entropy
from charloom.compiled.updates import SGD, clip, update

_column = count()
FAN_IN, FAN_OUT, ACTIVATION, NORM = (next(_column) for _ in range(4))
# Where parameters start; BIAS and what NORM has not: -1.
WEIGHT, BIAS, NORM_WEIGHT, NORM_BIAS = (next(_column) for _ in range(4))
# Where batch norm's running statistics start.
MEAN, VARIANCE = (next(_column) for _ in range(2))
# Where in ``work``: the layer's input and its gradient (rows x fan_in); the sums, which become derivatives of the
# activation, or the logits, which become gradients (rows x fan_out); what the norm made of the sums before weight and
# bias (rows x fan_out), and its scales (units or rows); the weights the other way round (fan_in x fan_out).
INPUT, INPUT_GRADIENT, SUMS, NORMAL, SCALES, TURNED = (next(_column) for _ in range(6))
COLUMNS = next(_column)


@njit(nogil=True, fastmath=FAST, error_model="numpy")
def _add_bias(sums, bias):
    units = len(bias)
    for i in range(len(sums) // units):
        row = sums[i * units : (i + 1) * units]
        for j in range(units):
            row[j] += bias[j]


@njit(nogil=True, fastmath=FAST, error_model="numpy")
def _column_sums(matrix, sums):
    units = len(sums)
    for j in range(units):
        sums[j] = 0
    for i in range(len(matrix) // units):
        row = matrix[i * units : (i + 1) * units]
        for j in range(units):
            sums[j] += row[j]


@njit(nogil=True, fastmath=FAST, error_model="numpy")
def _product(x, y):
    for i in range(len(x)):
        x[i] *= y[i]


@njit(nogil=True, error_model="numpy")
def forward(plan, values, statistics, work, contexts, rows, width, epsilons, momenta):
    """Logits of the contexts number ``rows``; norms are in training mode."""
    many, length = len(rows), contexts.shape[1]
    at = plan[0, INPUT]
    for i in range(many):
        for t in range(length):
            start = contexts[rows[i], t] * width
            for e in range(width):
                work[at] = values[start + e]
                at += 1
    for number in range(len(plan)):
        layer = plan[number]
        fan_in, units = layer[FAN_IN], layer[FAN_OUT]
        transpose(work, layer[TURNED], values, layer[WEIGHT], units, fan_in)
        multiply(
            work, layer[SUMS], units, work, layer[INPUT], fan_in, 1, work, layer[TURNED], units, many, units, fan_in
        )
        sums = work[layer[SUMS] : layer[SUMS] + many * units]
        if layer[BIAS] >= 0:
            _add_bias(sums, values[layer[BIAS] : layer[BIAS] + units])
        if number == len(plan) - 1:
            break
        if layer[NORM] != NONE:
            normal = work[layer[NORMAL] : layer[NORMAL] + many * units]
            weight = values[layer[NORM_WEIGHT] : layer[NORM_WEIGHT] + units]
            bias = values[layer[NORM_BIAS] : layer[NORM_BIAS] + units]
            epsilon = values.dtype.type(epsilons[number])
            if layer[NORM] == BATCH:
                scales = work[layer[SCALES] : layer[SCALES] + units]
                mean = statistics[layer[MEAN] : layer[MEAN] + units]
                variance = statistics[layer[VARIANCE] : layer[VARIANCE] + units]
                momentum = values.dtype.type(momenta[number])
                batch_norm(sums, normal, units, weight, bias, epsilon, scales, mean, variance, momentum)
            else:
                scales = work[layer[SCALES] : layer[SCALES] + many]
                row_norm(sums, normal, units, weight, bias, epsilon, scales, layer[NORM] == LAYER)
        following = plan[number + 1, INPUT]
        activate(layer[ACTIVATION], sums, work[following : following + many * units])


@njit(nogil=True, error_model="numpy")
def backward(plan, values, gradients, work, contexts, rows, width):
    """Gradients of all parameters, where the last layer's sums hold those of the logits."""
    many, length = len(rows), contexts.shape[1]
    for number in range(len(plan) - 1, -1, -1):
        layer = plan[number]
        fan_in, units = layer[FAN_IN], layer[FAN_OUT]
        sums = work[layer[SUMS] : layer[SUMS] + many * units]
        if number < len(plan) - 1:
            # sums holds the activation's derivative; times the gradient of the output it is that of the input.
            following = plan[number + 1, INPUT_GRADIENT]
            _product(sums, work[following : following + many * units])
            if layer[NORM] != NONE:
                normal = work[layer[NORMAL] : layer[NORMAL] + many * units]
                weight = values[layer[NORM_WEIGHT] : layer[NORM_WEIGHT] + units]
                weight_gradient = gradients[layer[NORM_WEIGHT] : layer[NORM_WEIGHT] + units]
                bias_gradient = gradients[layer[NORM_BIAS] : layer[NORM_BIAS] + units]
                if layer[NORM] == BATCH:
                    scales = work[layer[SCALES] : layer[SCALES] + units]
                    batch_norm_backward(sums, normal, units, weight, scales, weight_gradient, bias_gradient)
                else:
                    scales = work[layer[SCALES] : layer[SCALES] + many]
                    centred = layer[NORM] == LAYER
                    row_norm_backward(sums, normal, units, weight, scales, weight_gradient, bias_gradient, centred)
        if layer[BIAS] >= 0:
            _column_sums(sums, gradients[layer[BIAS] : layer[BIAS] + units])
        multiply(
            gradients,
            layer[WEIGHT],
            fan_in,
            work,
            layer[SUMS],
            1,
            units,
            work,
            layer[INPUT],
            fan_in,
            units,
            fan_in,
            many,
        )
        multiply(
            work,
            layer[INPUT_GRADIENT],
            fan_in,
            work,
            layer[SUMS],
            units,
            1,
            values,
            layer[WEIGHT],
            fan_in,
            many,
            fan_in,
            units,
        )
    embedded = gradients[: plan[0, WEIGHT]]
    embedded[:] = 0
    at = plan[0, INPUT_GRADIENT]
    for i in range(many):
        for t in range(length):
            start = contexts[rows[i], t] * width
            for e in range(width):
                embedded[start + e] += work[at]
                at += 1


def _entry(sources: int):
    """What is called from Python: the one function that is kept on disk, with all that it calls."""

    @njit(cache=True, nogil=True, error_model="numpy")
    def train(
        plan,
        segments,
        values,
        gradients,
        first,
        second,
        statistics,
        work,
        width,
        epsilons,
        momenta,
        contexts,
        starts,
        targets,
        shares,
        batches,
        weights,
        rule,
        step,
        rates,
        momentum,
        betas,
        epsilon,
        largest,
        losses,
    ):
        """Train on ``batches`` (steps x rows), row numbers of ``contexts`` that count ``weights`` in the mean.

        ``segments``: (start, end) of parameters that share a decay, and the decay. ``step``: updates done before.
        One batch for each learning rate in ``rates``. ``losses`` takes the loss of every batch. Returns the number of
        updates done: fewer where a loss is not finite, which stops before its update.
        """
        logits = plan[-1, SUMS]
        classes = plan[-1, FAN_OUT]
        # `sources` stands here to be part of the key that numba keeps the code under.
        for number in range(len(rates) if sources else 0):
            rows = batches[number]
            forward(plan, values, statistics, work, contexts, rows, width, epsilons, momenta)
            scores = work[logits : logits + len(rows) * classes]
            loss = cross_entropy(scores, classes, rows, weights[number], starts, targets, shares)
            losses[number] = loss
            if not math.isfinite(loss):
                return number
            backward(plan, values, gradients, work, contexts, rows, width)
            if largest > 0:
                clip(gradients, largest)
            for s in range(len(segments)):
                start, end, decay = int(segments[s, 0]), int(segments[s, 1]), segments[s, 2]
                update(
                    rule,
                    values[start:end],
                    gradients[start:end],
                    first[start:end],
                    second[start:end] if rule != SGD else first[start:end],
                    step + number + 1,
                    rates[number],
                    decay,
                    momentum,
                    betas,
                    epsilon,
                )
        return len(rates)

    return train


train = _entry(source_digest())
