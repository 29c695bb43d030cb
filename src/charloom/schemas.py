"""What the JSON files of a run folder hold, and the check that they do.

A type's fields are the schema: dataclasses and typed dictionaries of strings, numbers, literals, lists and one another.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypedDict, TypeVar, Union, get_args, get_origin, get_type_hints, is_typeddict

from charloom.config import DataConfig, ModelConfig, TrainingConfig
from charloom.errors import CheckpointError
from charloom.observer import Measurement

LATER_FIELDS: dict[type, dict[str, Any]] = {TrainingConfig: {"precision": "float32"}}
"""Fields that older runs do not name, and what they had instead."""
LARGEST_INTEGER = 1 << 64
"""What no count and no seed reaches."""
Config = TypeVar("Config", DataConfig, ModelConfig, TrainingConfig, Measurement)


class LossJson(TypedDict):
    """As of `charloom.evaluation.Loss.to_json`."""

    nats: float | None
    bits: float | None
    perplexity: float | None
    targets: int
    items: int


class EvaluationJson(TypedDict):
    """As of `charloom.evaluation.Evaluation.to_json`."""

    loss: LossJson
    seen: LossJson | None
    unseen: LossJson | None


class ReferenceJson(TypedDict):
    """As of `charloom.text_model.Reference`."""

    items: list[float]
    characters: list[float]


class ResultJson(TypedDict):
    """``result.json``: what `charloom.fitting.fit_run` gives."""

    run: str
    model: str
    protocol: str
    outcome: str
    steps: int | None
    parameters: int
    seconds: float
    train: LossJson
    dev: EvaluationJson
    weights_sha256: str
    history_sha256: str | None
    reference: ReferenceJson


class StateJson(TypedDict):
    """What ``last.safetensors`` holds besides arrays."""

    progress: dict[str, float | None]
    history_bytes: int
    history_sha256: str | None
    environment: dict[str, str | int | None]


def from_json(kind: type[Config], content: Any) -> Config:
    """A dataclass from its JSON object. Raises `TypeError` or `ConfigError` for a foreign or mistyped one."""
    hints = get_type_hints(kind)
    if isinstance(content, dict):
        content = LATER_FIELDS.get(kind, {}) | content
    if not isinstance(content, dict) or set(content) != set(hints):
        raise TypeError(f"the fields of {kind.__name__} are {', '.join(hints)}")
    for name, value in content.items():
        if not fits(value, hints[name]):
            raise TypeError(f"{name} is {value!r}")
    return kind(**content)


def fits(value: Any, hint: Any) -> bool:
    """Whether a JSON value is of a type: a plain one, a literal, a union, a list, a dictionary or a typed one."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return any(type(value) is type(one) and value == one for one in inner)
    if origin in (Union, UnionType):
        return any(fits(value, member) for member in inner)
    if origin is list:
        return type(value) is list and all(fits(one, inner[0]) for one in value)
    if origin is dict:
        return type(value) is dict and all(fits(one, inner[1]) for one in value.values())
    if is_typeddict(hint):
        hints = get_type_hints(hint)
        return type(value) is dict and set(value) == set(hints) and all(fits(value[key], hints[key]) for key in hints)
    if hint is float and type(value) is int:
        return abs(value) < LARGEST_INTEGER
    return type(value) is hint and not (hint is int and abs(value) >= LARGEST_INTEGER)


def checked_result(content: Any, path: Path) -> dict[str, Any]:
    """``content`` of ``path``, if it is a `ResultJson`; else raises `CheckpointError`."""
    if isinstance(content, dict):
        content = {"history_sha256": None} | content
    if not fits(content, ResultJson) or {len(values) for values in content["reference"].values()} != {101}:
        raise CheckpointError("not the result of a run", where=str(path))
    result: dict[str, Any] = content
    return result


def read_history(path: Path, sha256: str | None) -> tuple[Measurement, ...]:
    """The measurements of a history; none where there is no file.

    Raises `CheckpointError` for one whose checksum is not ``sha256``, where that is known, or that cannot be read.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise CheckpointError(f"cannot be read ({error})", where=str(path)) from None
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise CheckpointError("the checksum does not match: the file is damaged", where=str(path))
    measured = []
    for number, line in enumerate(content.splitlines(), 1):
        try:
            measured.append(from_json(Measurement, json.loads(line)))
        except (ValueError, TypeError, RecursionError) as error:
            raise CheckpointError(f"not a measurement ({error})", where=f"{path}, line {number}") from None
    return tuple(measured)
