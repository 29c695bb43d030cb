"""What the lines of a record may say of a training, its modules and its parameters: a type for each known key.

A key that is not known here is another telltales', and is left alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import UnionType
from typing import Any, Union, get_args, get_origin

LARGEST_INTEGER = 1 << 63
"""What no step and no count reaches."""
DEEPEST = 32
"""Most levels of lists and objects within one another."""

Facts = Mapping[str, Any]

LOSS: Facts = {
    "kind": str,
    "fed_by": str,
    "classes": int,
    "dim": int,
    "shape": list[int],
    "reduction": str,
    "sign": int,
    "factor": float,
    "terms": int,
    "others": bool,
    "smoothing": float,
    "weighted": bool,
    "is_one": bool,
    "class_weights": bool,
    "ignore_index": int,
    "broadcast": list[list[int]],
}
# What optimizers of other makers have there, too.
_SETTING = float | bool | None | list[float | None]
GROUP: Facts = {
    "optimizer": str,
    "decoupled": bool,
    "lr": _SETTING,
    "weight_decay": _SETTING,
    "momentum": _SETTING,
    "betas": _SETTING,
    "eps": _SETTING,
}
ABOUT: Facts = {
    "model": str,
    "models": int,
    "optimizer": str,
    "parameters": int,
    "preset": str,
    "device": str,
    "torch": str,
    "threads": int,
    "telltales": str,
    "window": int,
    "unfired": list[str],
    "groups": dict[str, GROUP],  # type: ignore[valid-type]
    "strangers": list[list[int]],
    "mode_dependent": dict[str, str],
    "loss": LOSS,
    "labels": dict[str, int],
    "shapes": dict[str, list[int] | str],
    "changed_by_another": bool,
    "baselines": dict[str, float],
    "not_finite_at_end": list[str],
    "switched_off": dict[str, str],
}
MODULE: Facts = {
    "type": str,
    "shape": list[int],
    "dtype": str | None,
    "calls": int,
    "momentum": float | None,
    "activation": str,
    "of": str,
    "rectifier": bool,
    "low": float | None,
    "high": float | None,
}
PARAMETER: Facts = {
    "shape": list[int],
    "numel": int,
    "dtype": str,
    "trainable": bool,
    "module": str,
    "aliases": list[str],
    "optimized": bool,
    "group": str | None,
    "untied": {"from": list[str], "step": int},
    "moved_while_frozen": int,
    "ranks_differ": {"ranks": list[int], "step": int},
}


def misfit(value: Any, kind: Any) -> str | None:
    """Where and how a JSON value is not of a kind, such as ``labels.3 is 'many'``; None where it is.

    ``kind``: a type, a list or dictionary of one, a union, or what facts there are, each of a kind.
    """
    if isinstance(kind, Mapping):
        if not isinstance(value, dict):
            return _is(value)
        return _first((f".{key}", misfit(value[key], kind[key])) for key in value if key in kind)
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return None if any(misfit(value, one) is None for one in inner) else _is(value)
    if origin is list:
        if not isinstance(value, list):
            return _is(value)
        return _first((f"[{place}]", misfit(one, inner[0])) for place, one in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            return _is(value)
        return _first((f".{key}", misfit(one, inner[1])) for key, one in value.items())
    if kind is float and type(value) is int:
        kind = int
    fine = type(value) is kind and (kind is not int or abs(value) < LARGEST_INTEGER)
    return None if fine and (kind is not float or math.isfinite(value)) else _is(value)


def is_deep(value: Any) -> bool:
    """Whether lists and objects are nested more than `DEEPEST` levels."""
    level = [value]
    for _ in range(DEEPEST):
        level = [inner for outer in level if isinstance(outer, dict | list) for inner in _inner(outer)]
    return bool(level)


def _inner(value: dict[str, Any] | list[Any]) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value


def _first(found: Any) -> str | None:
    return next((f"{place}{wrong}" for place, wrong in found if wrong is not None), None)


def _is(value: Any) -> str:
    text = repr(value)
    return f" is {text if len(text) <= 60 else text[:60] + '…'}"
