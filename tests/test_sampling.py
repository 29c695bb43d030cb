"""Whole items against the exact distribution, and what a sample may depend on."""

import math
from collections import Counter
from itertools import islice

import numpy as np
import pytest
from numpy.testing import assert_allclose

from charloom import sampling
from charloom.config import SamplingConfig
from charloom.drawing import alias_cells
from charloom.errors import SamplingError, UnknownCharacterError
from charloom.models import build_neural
from charloom.sampling import (
    log_probability,
    next_probabilities,
    sample,
    sample_filtered,
    sample_lines,
    surprisals,
)
from charloom.vocabulary import Vocabulary
from oracles.cells import chosen_by, splitmix64, stream_key
from oracles.language import TableModel, drawn_items, fit_of, next_shares

DRAWS = 20_000
VOCABULARY = Vocabulary("ab")

ITEM_SETTINGS = [
    {},
    {"temperature": 1.7},
    {"temperature": 0.6, "top_k": 2},
    {"top_p": 0.8, "prefix": "b"},
    {"temperature": 2.0, "min_p": 0.3, "prefix": "ab"},
]


@pytest.mark.parametrize("unit", ["line", "text"])
@pytest.mark.parametrize("settings", ITEM_SETTINGS, ids=str)
@pytest.mark.parametrize("context_length", [0, 2])
def test_whole_items_have_the_exact_distribution(settings, unit, context_length):
    model = TableModel(3, context_length, seed=4)
    config = SamplingConfig(max_length=3, seed=5, **settings)
    filters = {name: value for name, value in settings.items() if name != "prefix"}
    prefix = tuple(VOCABULARY.encode(config.prefix).tolist())
    exact = drawn_items(model, 3, prefix=prefix, unit=unit, **filters)
    assert sum(exact.values()) == pytest.approx(1)
    texts = {("".join(" ab"[id_] for id_ in ids), complete): p for (ids, complete), p in exact.items()}

    counts = Counter((one.text, one.complete) for one in take(model, DRAWS, config, unit=unit))
    assert set(counts) <= set(texts)
    assert fit_of([counts[outcome] for outcome in texts], list(texts.values())) > 0.001


def ids_of(one):
    """The ids of a sample, with the end marker if the model drew one."""
    return np.array([*VOCABULARY.encode(one.text), *[0] * one.complete], np.int32)


def take(model, n, config=None, *, unit="line", vocabulary=VOCABULARY):
    return list(islice(sample(model, vocabulary, config or SamplingConfig(), unit=unit), n))


def test_an_item_depends_on_the_seed_and_its_number_alone():
    """2,100 items reach into the seventh block."""
    model = TableModel(3, 2, seed=1)
    many = take(model, 2100, SamplingConfig(seed=3))
    for n in (1, 31, 33, 1025):
        assert take(model, n, SamplingConfig(seed=3)) == many[:n]
    filtered = list(sample_filtered(iter(many), 10, known=[many[0].text], unique=True))
    assert filtered == list(
        sample_filtered(sample(model, VOCABULARY, SamplingConfig(seed=3)), 10, known=[many[0].text], unique=True)
    )


@pytest.mark.parametrize(("unit", "first"), [("line", 32), ("text", 1)])
def test_the_random_numbers_of_an_item(unit, first):
    """Character t of item i takes number t of stream i, whatever the others do, and the prefix counts."""
    model = TableModel(3, 1, seed=6)
    prefix = VOCABULARY.encode("ab")
    many = take(model, 300, SamplingConfig(seed=9, max_length=20, prefix="ab"), unit=unit)
    for number in (0, first - 1, first, 95, 96, 299):
        random = splitmix64(stream_key(9, number))
        ids = prefix.tolist()
        for at, bits in enumerate(islice(random, 20)):
            if at < len(prefix):
                continue
            logits = model.next_logits(np.array([ids[-1:]]))
            if unit == "text":
                logits = np.array([[-np.inf, *logits[0, 1:]]])
            ids.append(chosen_by(alias_cells(next_probabilities(logits))[0].tolist(), bits))
            if ids[-1] == 0:
                break
        assert many[number].text == "".join("?ab"[id_] for id_ in ids if id_)


def lines(model, n, config=None, **settings):
    return b"".join(sample_lines(model, VOCABULARY, config or SamplingConfig(), n, **settings))


@pytest.mark.parametrize("unit", ["line", "text"])
def test_lines_are_the_texts_of_the_samples(unit):
    model = TableModel(3, 2, seed=8)
    config = SamplingConfig(temperature=1.3, top_p=0.95, prefix="b", max_length=9)
    for n in (1, 31, 32, 33, 1000):
        texts = [one.text + "\n" for one in take(model, n, config, unit=unit)]
        assert lines(model, n, config, unit=unit) == "".join(texts).encode()


@pytest.mark.parametrize("context_length", [0, 1, 3])
@pytest.mark.parametrize("numbered", [True, False])
def test_neither_compiled_code_nor_threads_change_an_item(monkeypatch, context_length, numbered):
    pytest.importorskip("numba")
    if not numbered:
        monkeypatch.setattr("charloom.tables.NUMBERED_CELLS", 3)
    model = TableModel(3, context_length, seed=8)
    monkeypatch.setattr("charloom.blocks.compiled_hand", lambda threads=None: None)
    plain = lines(model, 3000)
    samples = take(model, 3000)
    monkeypatch.undo()
    if not numbered:
        monkeypatch.setattr("charloom.tables.NUMBERED_CELLS", 3)
    monkeypatch.setattr("charloom.blocks.COMPILED_FROM", 128)
    for threads in (1, 2, 3):
        assert lines(model, 3000, threads=threads) == plain
    assert take(model, 3000) == samples


def test_items_do_not_repeat_each_other():
    """Streams, rows and neighbouring seeds have random numbers of their own, the largest seeds included."""
    model = TableModel(3, 1, spread=0.1)
    model.table[:, 0] -= 3
    one_stream = [one.text for one in take(model, 2048, SamplingConfig(max_length=60))]
    assert one_stream[:1024] != one_stream[1024:]
    assert len(set(one_stream)) > 1500
    firsts = [
        tuple(one.text for one in take(model, 5, SamplingConfig(seed=seed))) for seed in (0, 1, 2**64 - 2, 2**64 - 1)
    ]
    assert len(set(firsts)) == 4


@pytest.mark.parametrize("unit", ["line", "text"])
@pytest.mark.parametrize("prefix", ["", "b", "abba"])
def test_the_probability_is_that_of_the_unchanged_model(unit, prefix):
    model = TableModel(3, 2, seed=2)
    config = SamplingConfig(temperature=1.5, top_k=2, max_length=6, prefix=prefix)
    both = {True: 0, False: 0}
    for one in take(model, 50, config, unit=unit):
        ids = ids_of(one)
        nats = [-math.log(next_shares(model, ids[:i].tolist())[id_]) for i, id_ in enumerate(ids.tolist())]
        assert_allclose(surprisals(model, ids), nats, rtol=1e-12)
        assert log_probability(model, ids) == pytest.approx(-math.fsum(nats), rel=1e-12)
        assert one.log_probability == pytest.approx(-math.fsum(nats), rel=1e-12)
        assert one.text.startswith(prefix)
        both[one.complete] += 1
    assert both[False]
    assert bool(both[True]) is (unit == "line")


def test_nothing_has_probability_1():
    assert log_probability(TableModel(3, 2), np.zeros(0, np.int32)) == 0
    assert surprisals(TableModel(3, 2), np.zeros(0, np.int32)).shape == (0,)


def test_items_end_or_are_cut():
    model = TableModel(3, 1, spread=0)
    items = take(model, 300, SamplingConfig(max_length=2))
    assert {one.text for one in items} == {"", "a", "b", "aa", "ab", "ba", "bb"}
    assert all(one.complete == (len(one.text) < 2) for one in items)


def test_a_text_has_the_maximum_length_and_no_marker():
    """The model thinks an end all but certain, and does not let its logits be written to."""

    class EndsAtOnce(TableModel):
        def next_logits(self, contexts):
            return np.broadcast_to([50.0, 0.0, 0.0], (len(contexts), 3))

    for one in take(EndsAtOnce(3, 1), 40, SamplingConfig(max_length=30), unit="text"):
        assert len(one.text) == 30
        assert not one.complete
    assert take(EndsAtOnce(3, 1), 40, SamplingConfig(max_length=30))[0].text == ""


@pytest.mark.parametrize(("unit", "length"), [("line", 100), ("text", 500)])
def test_the_maximum_length_where_none_is_asked_for(unit, length):
    model = TableModel(3, 1, spread=0)
    model.table[:, 0] = -50
    assert {len(one.text) for one in take(model, 3, unit=unit)} == {length}


def test_a_cold_sample_takes_the_best_character_each_time():
    model = TableModel(3, 2, seed=3)
    ids = []
    for _ in range(9):
        shares = next_shares(model, ids)
        ids.append(shares.index(max(shares)))
        if ids[-1] == 0:
            break
    text = "".join("?ab"[id_] for id_ in ids if id_)
    assert {one.text for one in take(model, 40, SamplingConfig(temperature=0, max_length=9))} == {text}


def test_a_neural_model_is_sampled_without_a_warning():
    """Warnings are errors here: arrays that torch may not write to would give one."""
    model = build_neural("bigram-net", vocabulary_size=3, seed=0)
    for one in take(model, 5, SamplingConfig(prefix="a", max_length=20)):
        assert one.log_probability == pytest.approx(log_probability(model, ids_of(one)), rel=1e-6)


def test_known_and_repeated_items_are_left_out():
    model = TableModel(3, 1, spread=0)
    known = ["", "a", "ab", "bb"]
    plain = [one.text for one in take(model, 500)]
    novel = [text for text in plain if text not in known]
    assert [one.text for one in sample_filtered(iter(take(model, 500)), 100, known=known)] == novel[:100]
    distinct = list(dict.fromkeys(plain))
    assert [one.text for one in sample_filtered(iter(take(model, 500)), 30, unique=True)] == distinct[:30]
    both = [text for text in distinct if text not in known]
    assert [one.text for one in sample_filtered(iter(take(model, 500)), 20, known=known, unique=True)] == both[:20]
    assert list(sample_filtered(iter([]), 0)) == []


def test_a_filter_gives_up_after_what_it_has_found(monkeypatch):
    """Of seven possible items one is known."""
    monkeypatch.setattr(sampling, "GIVE_UP_AFTER", 200)
    model = TableModel(3, 1, spread=0)
    samples = sample(model, VOCABULARY, SamplingConfig(max_length=2))
    found = []
    with pytest.raises(SamplingError, match="found 6 of 8 items: the next 200 draws were all known or repeated"):
        found.extend(one.text for one in sample_filtered(samples, 8, known=["ab"], unique=True))
    assert sorted(found) == ["", "a", "aa", "b", "ba", "bb"]


def test_rejections_are_counted_in_a_row(monkeypatch):
    monkeypatch.setattr(sampling, "GIVE_UP_AFTER", 3)
    rejected, fresh = sampling.Sample("a", 0, True), sampling.Sample("b", 0, True)
    stream = [rejected, rejected, fresh] * 5
    assert list(sample_filtered(iter(stream), 5, known=["a"])) == [fresh] * 5
    with pytest.raises(SamplingError, match="found 1 of 2"):
        list(sample_filtered(iter([fresh, rejected, rejected, rejected, fresh]), 2, known=["a"]))


def test_prefixes_that_cannot_be():
    model = TableModel(3, 1)
    with pytest.raises(UnknownCharacterError, match="prefix, character 2: 'c'"):
        take(model, 1, SamplingConfig(prefix="ac"))
    with pytest.raises(SamplingError, match="the prefix has 3 characters and the maximum length is 3"):
        take(model, 1, SamplingConfig(prefix="aba", max_length=3))
    assert len(take(model, 1, SamplingConfig(prefix="aba", max_length=4))) == 1
