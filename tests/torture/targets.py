"""What is fuzzed: functions of bytes, each of which fails where a reader does not do what it promises."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import small
import telltales
from charloom.checkpoint import digest_of_arrays, load_checkpoint, read_json, save_checkpoint, write_sealed
from charloom.config import DataConfig, ModelConfig, TrainingConfig
from charloom.corpus import load
from charloom.counting import count_file
from charloom.errors import CheckpointError, ConfigError, DataError, UnknownCharacterError
from charloom.recall.memory import Memory, StateError, read_memory, write_memory
from charloom.recall.questions import read_questions
from charloom.schemas import checked_result, from_json, read_history
from charloom.training import Training
from charloom.vocabulary import Vocabulary
from telltales.errors import RecordError
from telltales.observation import COLUMNS, Observation, Reading
from telltales.record import Record
from telltales.record_lines import plain
from telltales.report.html import html_report
from telltales.report.terminal import summary_text
from torture import policy
from torture.inert import faults
from torture.mutating import Damage, blind, json_damage, line_damage


@dataclass(frozen=True)
class Target:
    """One thing that reads."""

    what: str
    run: Callable[[bytes], None]
    """Raises something where a promise is broken."""
    seeds: Callable[[], list[bytes]]
    """Inputs that are sound, or nearly."""
    damages: tuple[Damage, ...] = (blind,)
    """How seeds are changed where nothing watches which code they reach."""


def text(data: bytes) -> None:
    """The first byte chooses how the rest is read: by the plain policy, by loading, and by counting, all the same."""
    choice, content = data[0] if data else 0, data[1:]
    case: Any = ("keep", "lower", "fold", "keep")[choice >> 2 & 3]
    path = _written(content, "text.gz" if choice & 128 else "text")
    config = DataConfig(
        data=str(path),
        unit="text" if choice & 1 else "line",
        normalize="none" if choice & 2 else "nfc",
        case=case,
        strip=not choice & 16,
        max_line=20 if choice & 32 else 10_000,
    )
    items, loaded = _outcome(lambda: list(load(config).items))
    pairs, counted = _outcome(lambda: _pairs(config))
    assert loaded == counted
    assert items is None or pairs == policy.bigrams(items, config)
    if not content.startswith((b"\x1f\x8b", b"\xfd7zXZ\0", b"PK", b"BZh", b"\x28\xb5\x2f\xfd")) and not choice & 128:
        expected = policy.read(content, config)
        assert items == (None if isinstance(expected, policy.Fault) else expected)


def _outcome(read: Callable[[], Any]) -> tuple[Any, str]:
    """What is read, or what is said against it, in characters that can be printed."""
    try:
        return read(), ""
    except DataError as error:
        str(error).encode()
        return None, str(error)


def _pairs(config: DataConfig) -> Counter[tuple[str, ...]]:
    counted = count_file(config, 2, threads=1)
    return Counter({gram.characters: gram.count for gram in counted.most_common()})


def vocabulary(data: bytes) -> None:
    """A stored vocabulary comes back as it was stored, and spells what it can."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return
    try:
        read = Vocabulary.from_json(content)
    except CheckpointError:
        return
    assert read.to_json() == content
    assert read.decode(read.encode(read.characters)) == read.characters
    try:
        read.encode(data.decode("utf-8", "surrogatepass"))
    except UnknownCharacterError as error:
        str(error).encode()
    except UnicodeDecodeError:
        pass


def config(data: bytes) -> None:
    """Settings that are accepted come back the same, and can be made complete."""
    kinds = (DataConfig, ModelConfig, TrainingConfig)
    kind: Any = kinds[(data[0] if data else 0) % 3]
    try:
        content = json.loads(data[1:])
    except (ValueError, RecursionError):
        return
    try:
        read = from_json(kind, content)
    except (TypeError, ConfigError):
        return
    assert from_json(kind, json.loads(json.dumps(asdict(read)))) == read
    if isinstance(read, ModelConfig):
        assert read.resolved().resolved() == read.resolved()
        assert read.label.startswith(read.model)
        assert read.reach >= 0
        read.options()
    if isinstance(read, TrainingConfig):
        read.resolved(1000, 100)


def stored_json(data: bytes) -> None:
    """JSON in a file: what is read can be written, and is then the same."""
    path = _written(data, "a.json")
    try:
        content = read_json(path)
    except CheckpointError:
        return
    if isinstance(content, dict):
        write_sealed(path, content)
        assert read_json(path) == content
    with contextlib.suppress(CheckpointError):
        checked_result(content, path)


def history(data: bytes) -> None:
    """Lines of measurements."""
    with contextlib.suppress(CheckpointError):
        read_history(_written(data, "history.jsonl"), None)


def checkpoint(data: bytes) -> None:
    """A safetensors file; what is read can be written, and is then the same."""
    path = _written(data, "a.safetensors")
    try:
        arrays, state = load_checkpoint(path)
    except CheckpointError:
        return
    save_checkpoint(path, arrays, state)
    again, same = load_checkpoint(path)
    assert digest_of_arrays(again) == digest_of_arrays(arrays)
    assert same == state


def restoring(data: bytes) -> None:
    """The progress of a training, with arrays that fit: restored whole, or refused and nothing changed."""
    try:
        progress = json.loads(data)
    except (ValueError, RecursionError):
        return
    training, arrays = _training()
    before = digest_of_arrays(training.state()[0]), training.state()[1]
    try:
        training.restore(arrays, progress)
    except CheckpointError:
        assert before == (digest_of_arrays(training.state()[0]), training.state()[1])
    else:
        assert training.state()[1] == progress


def memory(data: bytes) -> None:
    """What was answered when."""
    path = _written(data, "recall.json")
    try:
        read = read_memory(path)
    except StateError:
        return
    questions = read_questions()
    read.order(questions, 0)
    read.boxes(questions)
    write_memory(path, read)
    assert read_memory(path) == read


def record(data: bytes) -> None:
    """A record, judged, summed up and drawn."""
    try:
        read = telltales.read_record(_written(data, "record.jsonl"))
    except RecordError:
        return
    telltales.judge(read)
    summary_text(read, 80)
    assert faults(html_report({"a": read}, "b"), "page") == []


def names(data: bytes) -> None:
    """Names of layers, parameters, classes and so on, whatever they hold, in a page."""
    given = [_name(part) for part in data.split(b"\0")[:12]]
    given = list(dict.fromkeys(given))
    about = {"model": given[0], "optimizer": given[-1], "unfired": given, "labels": dict.fromkeys(given, 3)}
    made = Record(about, {name: {"type": name} for name in given}, {name: {"module": name} for name in given})
    for step in range(3):
        tables = {
            kind: Reading(tuple(given), np.full((len(given), len(columns)), 0.5 + step, np.float32))
            for kind, columns in COLUMNS.items()
        }
        made.append(Observation(step, {"loss": 1.0 + step}, tables, losses=np.ones(1, np.float32)))
    telltales.judge(made)
    assert faults(html_report({given[0]: made}, given[-1]), "page") == []


def _name(part: bytes) -> str:
    try:
        return part.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return repr(part)


@cache
def _folder() -> Path:
    """In memory, where there is such a place."""
    place = "/dev/shm" if os.path.isdir("/dev/shm") else None
    made = tempfile.TemporaryDirectory(dir=place)
    _kept.append(made)
    return Path(made.name)


_kept: list[tempfile.TemporaryDirectory[str]] = []


def _written(content: bytes, name: str) -> Path:
    path = _folder() / name
    path.write_bytes(content)
    return path


@cache
def _training() -> tuple[Training, dict[str, np.ndarray[Any, Any]]]:
    made = small.training(small.SMALL_MLP, engine="torch", steps=10)
    made.run()
    return made, made.state()[0]


def _texts() -> list[bytes]:
    lines = "\n".join(small.names(30)).encode()
    texts = [
        lines,
        b"a\r\nb\rc",
        "\ufeffé e\u0301 \u200d ß İ".encode(),
        b"a\x00b",
        b"\xff\xfea\x00",
        b"\xed\xa0\x80",
        b"",
    ]
    return [bytes([choice]) + one for choice in (0, 1, 4, 8, 34, 128) for one in texts]


def _configs() -> list[bytes]:
    made = (DataConfig(), ModelConfig(**small.SMALL_MLP), ModelConfig(model="ngram:5"), TrainingConfig(steps=100))
    kinds = (0, 1, 1, 2)
    return [bytes([kind]) + json.dumps(asdict(one)).encode() for kind, one in zip(kinds, made, strict=True)]


def _results() -> list[bytes]:
    loss = {"nats": 2.0, "bits": 3.0, "perplexity": 8.0, "targets": 3, "items": 1}
    percentiles = {"items": [1.0] * 101, "characters": [1.0] * 101}
    result = {"run": "a", "model": "mlp", "protocol": "unique", "outcome": "finished", "steps": 3, "parameters": 9}
    result |= {"seconds": 1.5, "train": loss, "dev": {"loss": loss, "seen": None, "unseen": loss}}
    result |= {"weights_sha256": "a", "history_sha256": None, "reference": percentiles}
    write_sealed(_folder() / "seed.json", result)
    return [json.dumps(result).encode(), (_folder() / "seed.json").read_bytes(), b'{"a": [1, {"b": null}]}']


def _checkpoints() -> list[bytes]:
    path = _folder() / "seed"
    save_checkpoint(path, {"a": np.arange(3.0), "b": np.zeros((0, 2), np.int32)}, {"step": 3})
    return [path.read_bytes()]


def _memories() -> list[bytes]:
    kept = Memory()
    for number, question in enumerate(read_questions()[:6]):
        kept.record(question.id, bool(number % 2), 1 + number)
    write_memory(_folder() / "seed.json", kept)
    whole = (_folder() / "seed.json").read_bytes()
    unsealed = {key: value for key, value in json.loads(whole).items() if key != "sha256"}
    return [whole, json.dumps(unsealed).encode()]


def _records() -> list[bytes]:
    from torture.infecting import write_record

    whole = write_record(_folder() / "seed.jsonl").read_bytes().splitlines(keepends=True)
    return [b"".join(whole), b"".join(map(plain, whole)), b"".join(map(plain, whole[:4]))]


def _measurements() -> list[bytes]:
    line = {"step": 1, "train_loss": 2.0, "dev_loss": 2.0, "learning_rate": 0.1, "seconds": 1.0, "best": True}
    return [json.dumps(line).encode() + b"\n" + json.dumps(line | {"step": 2}).encode() + b"\n"]


def _names() -> list[bytes]:
    return [b"layer.0\0layer.1.weight\0<script>alert(1)</script>\0\xe2\x80\xaea", b"\xed\xa0\x80", b"a\0b\n\0\x1b[2J"]


TARGETS: dict[str, Target] = {
    "text": Target("bytes read as text, loaded and counted", text, _texts),
    "vocabulary": Target("vocabularies", vocabulary, lambda: [b'{"characters": "abc\\u00e9"}'], (blind, json_damage)),
    "config": Target("settings", config, _configs),
    "json": Target("sealed JSON and results", stored_json, _results, (blind, json_damage)),
    "history": Target("histories", history, _measurements, (blind, line_damage)),
    "checkpoint": Target("checkpoints", checkpoint, _checkpoints),
    "restoring": Target(
        "states to go on from",
        restoring,
        lambda: [json.dumps(_training()[0].state()[1]).encode()],
        (blind, json_damage),
    ),
    "memory": Target("answers that are remembered", memory, _memories, (blind, json_damage)),
    "record": Target("records, judged and drawn", record, _records, (blind, line_damage)),
    "names": Target("names in pages", names, _names),
}


def _planted(data: bytes) -> None:
    """A fault on purpose."""
    if data[:1] == b"{" and data[-1:] != b"}":
        raise KeyError("planted")


CONTROL = "control"
"""A target with a fault, which must be found."""
EVERY = TARGETS | {CONTROL: Target("a planted fault", _planted, lambda: [b'{"a": 1}'])}
