"""What the autograd graph says of a loss: which loss it is, what it was given, and how it was reduced.

The graph's nodes stay after the backward pass, when the tensors that they saved are gone. Reading them needs no hook
and no transfer.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Any

import torch

MOST_NODES = 400
_KINDS = {
    "NllLoss": "nll",
    "NllLoss2D": "nll",
    "NllLossNd": "nll",
    "BinaryCrossEntropyWithLogits": "binary_cross_entropy_with_logits",
    "BinaryCrossEntropy": "binary_cross_entropy",
    "MseLoss": "mse",
    "SmoothL1Loss": "smooth_l1",
    "HuberLoss": "huber",
}
_ARITHMETIC: tuple[str, ...] = (
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Neg",
    "Rsub",
    "MaskedFill",
    "Sum",
    "Mean",
    "Squeeze",
    "Unsqueeze",
    "View",
    "Stack",
    "Select",
    "Cat",
)
_SHAPES: tuple[str, ...] = (
    "View",
    "UnsafeView",
    "Transpose",
    "Permute",
    "Clone",
    "Squeeze",
    "Unsqueeze",
    "Expand",
    "Slice",
    "Select",
    "T",
)
_SHAPES += ("Alias", "ToCopy", "Reshape", "ReshapeAlias", "Index")
_REDUCTIONS = ("none", "mean", "sum")


@dataclass(frozen=True)
class _Place:
    node: Any
    sign: int
    factor: float
    summed: bool
    weighted: bool
    divided: bool
    averaged: bool
    scaled: bool


def loss_facts(loss: torch.Tensor) -> dict[str, Any]:
    """What can be told of the loss that ``loss`` is or contains; empty where the graph shows none that is known.

    ``kind``: ``cross_entropy``, ``nll``, ``binary_cross_entropy``, ``binary_cross_entropy_with_logits``, ``mse``, ….
    ``fed_by``: the operation whose result it was given (``softmax``, ``sigmoid``, ``log_softmax``, or another's name).
    ``classes``: of a cross-entropy. ``dim``: that its softmax was taken over, and ``shape``: of the logits.
    ``reduction``: ``mean``, ``sum``, ``none`` or, of a sum for each example and the mean of these, ``example``;
    ``sign``: -1 where it is maximised. ``factor``: what the loss is multiplied by, as far as the graph has kept it.
    ``terms``: how many kinds of loss are added up; ``others``: whether something that is no known loss is added, too.
    ``smoothing``: of the labels. ``weighted``: whether each example has a weight, as a policy gradient's advantage or a
    mask; also where a part of the loss is the smaller of two, as PPO's surrogate. ``is_one``: whether it is one loss,
    neither multiplied nor divided by anything, or several that each are, as those of micro-batches. ``class_weights``:
    whether there are any, ``pos_weight`` of a binary one among them. ``ignore_index``: the label that does not count.
    ``broadcast``: the shape of the prediction and that of the comparison, where the first was stretched.
    """
    found: list[dict[str, Any]] = []
    todo = deque([_Place(loss.grad_fn, 1, 1.0, False, False, False, False, False)])
    seen: set[Any] = set()
    others = smoothed = surrogate = False
    while todo and len(seen) < MOST_NODES:
        place = todo.popleft()
        if place.node is None or place.node in seen:
            continue
        seen.add(place.node)
        facts = _loss_at(place)
        if facts is not None:
            found.append(facts)
        elif _operation(place.node) in _ARITHMETIC:
            todo.extend(_before(place))
        elif _operation(place.node) == "LogSoftmax":
            # Label smoothing adds a term of the same logits.
            smoothed = True
        else:
            others = True
            surrogate = surrogate or _operation(place.node) in ("Minimum", "Maximum")
    if not found:
        return {}
    # The same loss over several micro-batches is one; of different ones the first is the main one.
    smoothing = 1 - found[0]["factor"] if smoothed and found[0]["factor"] < 1 else 0.0
    scaled = [facts.pop("scaled") for facts in found]
    is_one = all(scaled) if len(found) > 1 else not scaled[0]
    kinds = len({facts["kind"] for facts in found})
    facts = {"terms": kinds, "others": others, "smoothing": smoothing, "is_one": is_one}
    # A critic's squared error beside a policy's loss does not make that one of given targets.
    return {**found[0], **facts, "weighted": surrogate or any(one["weighted"] for one in found)}


def _before(place: _Place) -> list[_Place]:
    node, operation = place.node, _operation(place.node)
    parents = [parent for parent, _ in node.next_functions]
    factor, sign, summed = place.factor, place.sign, place.summed or operation == "Sum"
    weighted, divided, scaled = place.weighted, place.divided, place.scaled
    averaged = place.averaged or operation == "Mean"
    if operation in ("Neg", "Rsub"):
        sign = -sign
    elif operation in ("Mul", "Div"):
        by_number = node.name().endswith("1")
        weighted = weighted or (not by_number and bool(_shape(node)))
        scaled = scaled or not (by_number or _shape(node))
        # A sum that is divided by something is a mean.
        divided = divided or operation == "Div"
        other = node._saved_other if by_number else None
        if isinstance(other, int | float) and other:
            factor *= float(other) if operation == "Mul" else 1 / float(other)
            sign *= 1 if other > 0 else -1
    elif operation == "Sub" and len(parents) == 2:
        signs = sign, -sign
        ways = zip(parents, signs, strict=True)
        return [_Place(parent, way, factor, summed, weighted, divided, averaged, scaled) for parent, way in ways]
    return [_Place(parent, sign, abs(factor), summed, weighted, divided, averaged, scaled) for parent in parents]


def _loss_at(place: _Place) -> dict[str, Any] | None:
    node, operation = place.node, _operation(place.node)
    common = {"sign": place.sign, "factor": place.factor, "weighted": place.weighted, "scaled": place.scaled}
    if operation in _KINDS:
        parent = node.next_functions[0][0]
        source = _through_shapes(parent)
        reduction = _REDUCTIONS[int(node._saved_reduction)]
        if reduction != "mean":
            reduction = _reduced(place, reduction)
        facts = {"kind": _KINDS[operation], "reduction": reduction, **common, "fed_by": _label(source)}
        if operation.startswith("NllLoss"):
            found = {"class_weights": _has(node, "_saved_weight"), "ignore_index": _signed(node._saved_ignore_index)}
            return facts | _of_classes(source) | found
        return facts | {"class_weights": _has(node, "_saved_pos_weight")} | _broadcast(parent)
    if operation in ("Index", "Gather") and place.sign < 0:
        # Written by hand: minus the mean of the targets' log-probabilities.
        source = _through_shapes(node.next_functions[0][0])
        if _label(source) == "log_softmax":
            return {"reduction": _reduced(place), **common, "sign": 1, **_of_classes(source), "kind": "cross_entropy"}
    if operation in ("Pow", "Abs", "Square"):
        facts = {"kind": "l1" if operation == "Abs" else "mse", "reduction": _reduced(place), **common}
        difference = node.next_functions[0][0]
        if difference is not None and _operation(difference) == "Sub":
            return facts | {"fed_by": _label(_through_shapes(difference.next_functions[0][0]))} | _broadcast(difference)
    return None


def _has(node: Any, saved: str) -> bool:
    """Whether a loss was given such a tensor of weights."""
    try:
        return getattr(node, saved, None) is not None
    except RuntimeError:
        # There were some: they went with the backward pass.
        return True


def _reduced(place: _Place, reduction: str = "none") -> str:
    """How the losses of the examples were put together above ``place``, which itself took their sum, or nothing."""
    if place.weighted:
        return "none"
    if (place.summed or reduction == "sum") and not place.divided:
        return "example" if place.averaged else "sum"
    return "mean"


def _of_classes(source: Any) -> dict[str, Any]:
    """What is known of the operation whose result an nll_loss, or an index into log-probabilities, was given."""
    shape = _shape(source)
    if _label(source) != "log_softmax":
        return {"shape": list(shape)}
    dim = _signed(source._saved_dim) % max(len(shape), 1)
    return {
        "kind": "cross_entropy",
        "shape": list(shape),
        "dim": dim,
        "classes": shape[dim] if shape else 0,
        "fed_by": _label(_through_shapes(source.next_functions[0][0])),
    }


def _broadcast(node: Any) -> dict[str, Any]:
    """The shapes of prediction and result where they differ by more than a dimension of one."""
    given = node
    if _operation(node) == "Expand":
        given = node.next_functions[0][0]
        before, after = tuple(node._saved_self_sym_sizes), _shape(node)
    else:
        given = node.next_functions[0][0] if node is not None and _operation(node) == "Sub" else None
        before, after = (_shape(given), _shape(node)) if given is not None else ((), ())
    # A third dimension that was put in says that each is to be compared with all.
    is_meant = given is not None and _operation(given) == "Unsqueeze" and len(after) > 2
    if math.prod(after) > math.prod(before) > 1 and not is_meant:
        return {"broadcast": [list(before), list(after)]}
    return {}


def _through_shapes(node: Any) -> Any:
    """The node that computed what ``node`` only views, slices or copies."""
    for _ in range(16):
        if node is None or _operation(node) not in _SHAPES or not node.next_functions:
            break
        node = node.next_functions[0][0]
    return node


def _label(node: Any) -> str:
    names = {"LogSoftmax": "log_softmax", "Softmax": "softmax", "Sigmoid": "sigmoid", "LogSigmoid": "log_sigmoid"}
    names |= {"LogSigmoidBackward": "log_sigmoid", "Log": "log", "Log1P": "log"}
    operation = _operation(node) if node is not None else "a leaf"
    return names.get(operation, operation)


def _operation(node: Any) -> str:
    """``NllLoss`` of ``NllLossBackward0``."""
    name: str = node.name().rpartition("::")[2]
    return name.partition("Backward")[0]


def _shape(node: Any) -> tuple[int, ...]:
    metadata = getattr(node, "_input_metadata", None) if node is not None else None
    return tuple(int(size) for size in metadata[0].shape) if metadata else ()


def _signed(number: int) -> int:
    """A dimension that C++ kept as an unsigned 64-bit number."""
    return number - (1 << 64) if number >= 1 << 63 else number
