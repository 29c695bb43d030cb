"""Every file that is read back, with what reads it and what it means: what `torture.damage` damages."""

from __future__ import annotations

import hashlib
import json
import random
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import small
import telltales
from charloom.checkpoint import digest_of_arrays, load_checkpoint, save_checkpoint
from charloom.config import ModelConfig, TrainingConfig
from charloom.dataset import Dataset
from charloom.experiments.trials import Trial, Trials
from charloom.fitting import create_run, fit_run
from charloom.observer import Observer, Step
from charloom.recall.memory import Memory, read_memory, write_memory
from charloom.recall.questions import read_questions
from charloom.runs import Run
from charloom.training import Training
from charloom.watching import Watching
from telltales.record import Record
from telltales.report.html import html_report
from telltales.report.terminal import summary_text
from torture.mutating import Damage, blind, json_damage, json_text, line_damage, safetensors_damage

MLP = ModelConfig(**small.SMALL_MLP)
QUICK = TrainingConfig(**small.QUICK, engine="torch")


@dataclass(frozen=True)
class Victim:
    """A file, and how it is read."""

    what: str
    path: Path
    means: Callable[[], Any]
    """Reads it as users do; gives something that is equal for files that mean the same."""
    damages: tuple[Damage, ...]
    """What must be refused, or change nothing of what the file means."""
    forgeries: tuple[Damage, ...]
    """Damages whose checksums are right again: what must be refused, or be sound."""
    uses: Callable[[], Any]
    """Reads it and does with it what is done with such a file: for forgeries."""
    by_lines: bool = False
    """Whether a file that is cut after any line is sound, as a crash leaves it so."""


def victims(root: Path) -> Iterator[Victim]:
    """All files, in folders below ``root`` that are made here."""
    data = small.dataset(120)
    counted = create_run(data, ModelConfig(model="ngram:3"), None, root=root, name="counted")
    fit_run(counted, data)
    trained = create_run(data, MLP, QUICK, root=root, name="trained")
    fit_run(trained, data, [Watching(trained, "standard")])
    begun = create_run(data, MLP, QUICK, root=root, name="begun")
    fit_run(begun, data, [_StopAfter(25)])
    for run in (counted, trained):
        yield from _of_finished(run, root)
    yield from _of_begun(begun, root)
    yield _record(trained.folder / "record.jsonl")
    yield _recall(root / "recall" / "recall.json")
    yield from _of_trial(root / "trials", data)


def _of_finished(run: Run, root: Path) -> Iterator[Victim]:
    def opened() -> Run:
        return Run.open(run.name, root)

    def model() -> Any:
        made = opened().text_model()
        plain = opened().text_model(plain=True)
        return [one.text for one in made.sample(3)], made.reference, plain.model.parameter_count(), _weights(made.model)

    def everything() -> Any:
        again = opened()
        return again.to_json(), again.history(), model(), again.dataset().corpus.items

    sealed = (blind, json_damage), (_unsealed,)
    checkpoint = (blind, safetensors_damage), (_forged,)
    folder, name = run.folder, run.name
    yield Victim(f"config.json of {name}", folder / "config.json", opened, *sealed, everything)
    yield Victim(
        f"vocabulary.json of {name}", folder / "vocabulary.json", lambda: opened().vocabulary(), *sealed, everything
    )
    yield Victim(
        f"result.json of {name}",
        folder / "result.json",
        lambda: (opened().result(), opened().to_json()),
        *sealed,
        everything,
    )
    yield Victim(f"best.safetensors of {name}", folder / "best.safetensors", model, *checkpoint, everything)
    yield Victim(
        f"data.txt of {name}",
        folder / "data.txt",
        lambda: opened().dataset().corpus.items,
        (blind,),
        (blind,),
        everything,
    )
    if not run.model.counted:
        yield Victim(
            f"history.jsonl of {name}",
            folder / "history.jsonl",
            lambda: opened().history(),
            (blind, line_damage),
            (line_damage,),
            everything,
        )


def _of_begun(run: Run, root: Path) -> Iterator[Victim]:
    data = run.dataset()

    def resumed() -> Any:
        """How far the training has come, and its weights; nothing is trained."""
        looking = _LookAtStart()
        try:
            fit_run(Run.open(run.name, root), data, [looking], resume=True)
        except _Seen:
            return looking.seen, Run.open(run.name, root).history()
        raise AssertionError("it did not start")

    def gone_on() -> Any:
        """The same, but for the history: one that is damaged is set aside, and ends no training."""
        try:
            return resumed()[0]
        finally:
            run.history_path.with_name("history.damaged.jsonl").unlink(missing_ok=True)

    checkpoint = (blind, safetensors_damage), (_forged,)
    yield Victim("last.safetensors of begun", run.last_path, resumed, *checkpoint, resumed)
    yield Victim("history.jsonl of begun", run.history_path, gone_on, (blind, line_damage), (line_damage,), gone_on)
    yield Victim(
        "config.json of begun",
        run.folder / "config.json",
        lambda: Run.open(run.name, root),
        (blind, json_damage),
        (_unsealed,),
        resumed,
    )


def _record(path: Path) -> Victim:
    def read() -> str:
        return record_meaning(telltales.read_record(path))

    def use() -> str:
        record = telltales.read_record(path)
        findings = telltales.judge(record)
        return "".join(map(str, findings)) + summary_text(record, 80) + html_report({"a": record}, "b")

    return Victim("record.jsonl", path, read, (blind, line_damage), (_unchecked,), use, by_lines=True)


def _recall(path: Path) -> Victim:
    questions = read_questions()
    memory = Memory()
    for number, question in enumerate(questions[:20]):
        memory.record(question.id, number % 3 > 0, 1 + number // 5)
    write_memory(path, memory)

    def use() -> Any:
        remembered = read_memory(path)
        return remembered.order(questions, 0), remembered.boxes(questions)

    return Victim(
        "recall.json",
        path,
        lambda: (read_memory(path), [question.id for question in use()[0]]),
        (blind, json_damage),
        (_unsealed,),
        use,
    )


def _of_trial(folder: Path, data: Dataset) -> Iterator[Victim]:
    """The runs of an experiment, found again."""
    trials, wanted = Trials(folder, data), [Trial("one", MLP, QUICK), Trial("two", ModelConfig(model="bigram"))]
    one, _ = trials.fit(wanted)
    for name in ("result.json", "history.jsonl", "config.json"):
        is_json = name.endswith(".json")

        def found() -> Any:
            return [(tried.dev, tried.history, tried.failure, tried.run) for tried in trials.fit(wanted)]

        damages = (blind, json_damage if is_json else line_damage)
        forgeries = (_unsealed if is_json else line_damage,)
        yield Victim(f"{name} of an experiment's run", one.run.folder / name, found, damages, forgeries, found)


def record_meaning(record: Record) -> str:
    """A checksum of everything that a record holds."""
    digest = hashlib.sha256()
    pieces: list[Any] = [record.about, record.modules, record.parameters, record.outcome, record.observed]
    pieces += [record.batches, record.steps, record.losses.last_step]
    pieces += [record.losses.steps, record.losses.mean, record.losses.lowest, record.losses.highest]
    for kind, table in record.tables.items():
        pieces += [kind, table.names, table.rows(len(record)), table.lowest, table.highest, table.lowest_step]
    pieces += [record.evaluations.of(split) for split in record.evaluations.splits]
    for picture in record.pictures:
        pieces += [picture.step, picture.maps]
        pieces += [(name, one) for rows in picture.histograms.values() for name, one in rows.items()]
    with np.printoptions(threshold=1_000_000):
        for piece in pieces:
            digest.update(piece.tobytes() if isinstance(piece, np.ndarray) else repr(piece).encode("utf-8", "replace"))
    return digest.hexdigest()


def _weights(model: Any) -> str:
    arrays = model.arrays() if hasattr(model, "arrays") else {n: t.numpy() for n, t in model.state_dict().items()}
    return digest_of_arrays(arrays)


def _unsealed(content: bytes, draw: random.Random) -> bytes:
    value = json.loads(content)
    del value["sha256"]
    return json_text(value, draw).encode("utf-8", "surrogatepass")


def _unchecked(content: bytes, draw: random.Random) -> bytes:
    return line_damage(re.sub(rb',"crc32":"[0-9a-f]{8}"\}\n', b"}\n", content), draw)


def _forged(content: bytes, draw: random.Random) -> bytes:
    """A checkpoint of other arrays, or another state, with the right checksum."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "forged.safetensors"
        path.write_bytes(content)
        arrays, state = load_checkpoint(path)
        name = draw.choice(sorted(arrays))
        array, what = arrays[name], draw.randrange(8)
        if what == 0:
            del arrays[name]
        elif what == 1:
            arrays[draw.choice((name + "x", "more", "model/more", "optimizer/x/step", "random/cuda", ""))] = array
        elif what == 2:
            arrays[name] = array.astype(draw.choice(("f2", "f8", "i1", "i8", "u2", "?")))
        elif what == 3:
            shapes = (array[None], array.reshape(-1)[:-1], np.zeros(0, array.dtype), array.reshape(-1))
            arrays[name] = draw.choice(shapes)
        elif what == 4:
            arrays[name] = np.full(array.shape, draw.choice((0, -1, 1, 127))).astype(array.dtype)
        elif what == 5 and array.dtype.kind == "f":
            arrays[name] = np.full_like(array, draw.choice((np.nan, np.inf, -np.inf, 1e38)))
        else:
            try:
                state = json.loads(json_text(state, draw), parse_constant=lambda _: None)
                json.dumps(state, allow_nan=False)
            except (ValueError, RecursionError):
                return content[:-1]
        save_checkpoint(path, arrays, state)
        return path.read_bytes()


class _StopAfter(Observer):
    def __init__(self, steps: int) -> None:
        self._steps = steps

    def stepped(self, training: Training, step: Step) -> None:
        if step.number == self._steps:
            training.request_stop()


class _Seen(Exception):
    pass


class _LookAtStart(Observer):
    """Ends a training before its first step."""

    seen: Any = None

    def started(self, training: Training) -> None:
        arrays, progress = training.state()
        self.seen = digest_of_arrays(arrays), progress
        raise _Seen
