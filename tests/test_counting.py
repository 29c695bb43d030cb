"""Counting from a file: the same counts, and the same errors, as of the rows of what `load` reads."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import re
import sys
import threading
import tracemalloc
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import small
from charloom import counting, decoding
from charloom.compiled import available
from charloom.config import DataConfig, ModelConfig
from charloom.contexts import Contexts
from charloom.corpus import load
from charloom.counting import NGramCounts, count_file, pieces, plain, tables, worker
from charloom.counting.composing import left_alone
from charloom.errors import CharloomError, ConfigError, DataError
from charloom.models import counted_family
from charloom.vocabulary import Vocabulary

ENGINES = [plain]
if available():
    from charloom.compiled import counting as compiled

    ENGINES.append(compiled)
both_engines = pytest.mark.parametrize("engine", ENGINES, ids=["plain", "compiled"][: len(ENGINES)])

FRAGMENTS = [
    *("a", "b", "AB", "Z", "z", ".", "é", "E\u0301", "\u0301", "ΑΣ", "Σ", "ß", "İ", "\u0390", "日", "👩", "\ufeff"),
    *("\n", "\n", "\n", "\n\n", "\r", "\r\n", " ", " ", "\t", "\x0b", "\x0c", "\u3000", "\x85", "\xa0", "\u2028"),
]
FAULTS = [b"\0", b"\x1b", b"\x7f", b"\xff", b"\xe6\x97", b"\xed\xa0\x80", b"\xc0\x80", b"x" * 9, "ж".encode() * 9]

configs = st.fixed_dictionaries(
    {
        "case": st.sampled_from(["keep", "lower", "fold"]),
        "normalize": st.sampled_from(["nfc", "none"]),
        "strip": st.booleans(),
        "unit": st.sampled_from(["line", "text"]),
    }
)
texts = st.lists(st.sampled_from(FRAGMENTS), max_size=40).map("".join)
plain_texts = st.lists(st.sampled_from([one for one in FRAGMENTS if one.isascii()]), max_size=40).map("".join)
cuts = st.fixed_dictionaries(
    {
        "piece": st.integers(1, 30),
        "ahead": st.integers(0, 4),
        "chunk": st.sampled_from([1, 2, 5, 1 << 20]),
        "few": st.sampled_from([1, 16, 1 << 20]),
    }
)
quick = settings(max_examples=settings().max_examples // 2, suppress_health_check=[HealthCheck.function_scoped_fixture])


@contextmanager
def cut_small(engine: Any, *, piece: int, ahead: int, chunk: int, few: int = 4) -> Iterator[None]:
    """Pieces of a few bytes, so that they end everywhere, counted by one of the engines."""
    with (
        patch.object(pieces, "PIECE", piece),
        patch.object(pieces, "AHEAD", ahead),
        patch.object(decoding, "CHUNK", chunk),
        patch.object(worker, "FEW", few),
        patch.object(counting, "_kernels", lambda *_: engine),
    ):
        yield


def by_rows(config: DataConfig, order: int) -> dict[str, Any]:
    """What is to come out: the rows of all items, counted."""
    corpus = load(config)
    vocabulary = Vocabulary.from_items(corpus.items)
    encoded = vocabulary.encode_items(corpus.items, unit=config.unit)
    contexts, targets = Contexts(encoded, order - 1).all_rows()
    grams, counts = np.unique(np.column_stack([contexts, targets]), axis=0, return_counts=True)
    return {
        "vocabulary": vocabulary,
        "contexts": grams[:, :-1].tolist(),
        "targets": grams[:, -1].tolist(),
        "counts": counts.tolist(),
        "items": len(corpus.items),
        "lines": corpus.lines_read,
        "blank_lines": corpus.blank_lines,
        "total": len(encoded.ids),
        "characters": sum(map(len, corpus.items)),
    }


def by_pieces(config: DataConfig, order: int, **options: Any) -> dict[str, Any]:
    return as_dictionary(count_file(config, order, **options))


def as_dictionary(found: NGramCounts) -> dict[str, Any]:
    names = ("vocabulary", "items", "lines", "blank_lines", "total", "characters")
    arrays = {name: getattr(found, name).tolist() for name in ("contexts", "targets", "counts")}
    return {name: getattr(found, name) for name in names} | arrays


def outcome(count: Callable[..., dict[str, Any]], *arguments: Any, **options: Any) -> Any:
    """What is counted, or what is said instead."""
    try:
        return count(*arguments, **options)
    except CharloomError as error:
        return type(error), str(error)


def file(folder: Path, content: bytes, name: str = "names.txt") -> str:
    path = folder / name
    path.write_bytes(content)
    return str(path)


@both_engines
class TestTheSameAsTheRows:
    @quick
    @given(text=texts, config=configs, order=st.integers(1, 5), cut=cuts, threads=st.integers(1, 3))
    def test_any_text(
        self, engine: Any, tmp_path: Path, text: str, config: dict[str, Any], order: int, cut: Any, threads: int
    ) -> None:
        data = DataConfig(data=file(tmp_path, text.encode()), **config)
        expected = outcome(by_rows, data, order)
        with cut_small(engine, **cut):
            assert outcome(by_pieces, data, order, threads=threads) == expected

    @quick
    @given(text=plain_texts, config=configs, order=st.integers(1, 5), cut=cuts)
    def test_text_that_is_ascii(
        self, engine: Any, tmp_path: Path, text: str, config: dict[str, Any], order: int, cut: Any
    ) -> None:
        data = DataConfig(data=file(tmp_path, text.encode()), **config)
        expected = outcome(by_rows, data, order)
        with cut_small(engine, **cut):
            assert outcome(by_pieces, data, order, threads=1) == expected

    @quick
    @given(text=texts, config=configs, order=st.integers(2, 5), cut=cuts)
    def test_by_hashing_and_by_sorting(
        self, engine: Any, tmp_path: Path, text: str, config: dict[str, Any], order: int, cut: Any
    ) -> None:
        data = DataConfig(data=file(tmp_path, text.encode()), **config)
        expected = outcome(by_rows, data, order)
        with (
            cut_small(engine, **cut),
            patch.object(tables, "DENSE_BITS", 0),
            patch.object(tables, "PLAIN_DENSE_BITS", 0),
            patch.object(tables, "ROWS", 2),
        ):
            assert outcome(by_pieces, data, order, threads=2) == expected

    @pytest.mark.parametrize("unit", ["line", "text"])
    def test_counts_that_would_overflow(
        self, engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unit: Any
    ) -> None:
        monkeypatch.setattr(tables, "OFTEN", 5)
        data = DataConfig(data=file(tmp_path, "anna\nbob\nжаба\n\nabba\n".encode() * 9), unit=unit)
        for order in (1, 2, 3, 5):
            with cut_small(engine, piece=7, ahead=0, chunk=3):
                assert by_pieces(data, order) == by_rows(data, order)

    @pytest.mark.parametrize("between", ["", ".", "'", "1", "a", "日", "\u0301", "é"])
    def test_where_case_and_composition_look_around(self, engine: Any, tmp_path: Path, between: str) -> None:
        """Whether a sigma is the last of its word depends on what comes behind it, over a cut as well."""
        text = f"ΑΣ{between}bΣ{between}Σe\u0301{between}" * 9
        for case in ("lower", "keep"):
            data = DataConfig(data=file(tmp_path, text.encode()), unit="text", case=case)
            expected = by_rows(data, 3)
            for piece in range(1, 25):
                with cut_small(engine, piece=piece, ahead=piece % 3, chunk=1 << 20):
                    assert by_pieces(data, 3) == expected

    def test_an_alphabet_that_grows(self, engine: Any, tmp_path: Path) -> None:
        characters = [chr(code) for code in range(0x4E00, 0x4E00 + 300)]
        text = "".join(f"{one}{two}\n" for one, two in pairwise(characters))
        data = DataConfig(data=file(tmp_path, text.encode()))
        for order in (2, 3, 5):
            with cut_small(engine, piece=64, ahead=0, chunk=1 << 20):
                assert by_pieces(data, order, threads=2) == by_rows(data, order)

    def test_an_alphabet_that_grows_within_a_word(self, engine: Any, tmp_path: Path) -> None:
        text = "abc\n" * 5 + "abcb" + "".join(map(chr, range(0x400, 0x450))) + "\n"
        data = DataConfig(data=file(tmp_path, text.encode()))
        for order in (2, 3, 5):
            with cut_small(engine, piece=16, ahead=0, chunk=1 << 20, few=1 << 20):
                assert by_pieces(data, order) == by_rows(data, order)

    @pytest.mark.parametrize("text", ["é\r\nb\ré", "a\r\nb\ra"])
    def test_line_ends_in_contiguous_text(self, engine: Any, tmp_path: Path, text: str) -> None:
        data = DataConfig(data=file(tmp_path, text.encode()), unit="text")
        with cut_small(engine, piece=99, ahead=0, chunk=1 << 20):
            found = by_pieces(data, 2)
        assert found == by_rows(data, 2)
        assert "\n" in found["vocabulary"]
        assert "\r" not in found["vocabulary"]

    def test_pieces_of_the_real_size(self, engine: Any, tmp_path: Path) -> None:
        text = "".join(f"{number:x} и {number * number:o}\r\n" for number in range(30_000))
        data = DataConfig(data=file(tmp_path, text.encode()))
        with patch.object(counting, "_kernels", lambda *_: engine):
            assert by_pieces(data, 2) == by_rows(data, 2)


@both_engines
class TestTheSameErrors:
    @quick
    @given(
        start=texts,
        fault=st.sampled_from(FAULTS),
        end=texts,
        again=st.sampled_from([b"", *FAULTS]),
        unit=st.sampled_from(["line", "text"]),
        piece=st.integers(1, 200),
        chunk=st.sampled_from([7, 1 << 20]),
    )
    def test_anywhere(
        self,
        engine: Any,
        tmp_path: Path,
        start: str,
        fault: bytes,
        end: str,
        again: bytes,
        unit: Any,
        piece: int,
        chunk: int,
    ) -> None:
        content = start.encode() * 3 + fault + end.encode() * 7 + again
        data = DataConfig(data=file(tmp_path, content), unit=unit, max_line=250)
        expected = outcome(by_rows, data, 2)
        with cut_small(engine, piece=piece, ahead=128, chunk=chunk):
            assert outcome(by_pieces, data, 2, threads=2) == expected

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"\xef\xbb\xbf",
            b"\xef\xbb\xbf\n",
            b"\n \r\n\t\n",
            b"anna\nbo\0b\n",
            "anna\nbob\n".encode("utf-16"),
            "anna\nbob\n".encode("utf-16-le"),
            "anna\nbob\n".encode("utf-32"),
            "Ren\u00e9e\nZo\u00eb".encode("latin-1"),
            b"ab\n\xe6\x97",
            b"a\r\xff\x01\x02",
            b"PK\x03\x04\x14\0",
            b"x" * 30 + b"\n",
            b"ab\n" + b"x" * 30,
            "ab\nßßßßßß\nb".encode(),
            b"a\n" + b"x" * 3000 + b"\0",
            b"a\n" + b"x" * 3000 + b"\n\0",
        ],
    )
    @pytest.mark.parametrize("unit", ["line", "text"])
    def test_of_nasty_files(self, engine: Any, tmp_path: Path, content: bytes, unit: Any) -> None:
        data = DataConfig(data=file(tmp_path, content), unit=unit, max_line=10, case="fold")
        expected = outcome(by_rows, data, 3)
        for piece in (1, 40, 1 << 19):
            with cut_small(engine, piece=piece, ahead=128, chunk=1 << 20):
                assert outcome(by_pieces, data, 3) == expected

    def test_the_place_in_contiguous_text(self, engine: Any, tmp_path: Path) -> None:
        """Of a line that is cut at its spaces, and begins far in front."""
        content = "ab\r\nда д".encode() + b" word" * 200 + b"\0"
        data = DataConfig(data=file(tmp_path, content), unit="text")
        with cut_small(engine, piece=40, ahead=10, chunk=16):
            kind, message = outcome(by_pieces, data, 2)
        assert (kind, message) == outcome(by_rows, data, 2)
        assert "line 2, character 1005: holds the control character" in message

    @pytest.mark.parametrize("threads", [1, 3])
    def test_the_first_of_several(self, engine: Any, tmp_path: Path, threads: int) -> None:
        content = b"anna\n" * 50 + b"\0\n" + b"bob\n" * 50 + b"\xff\n" + b"x" * 999
        data = DataConfig(data=file(tmp_path, content))
        with cut_small(engine, piece=20, ahead=0, chunk=16):
            assert "line 51, character 1" in outcome(by_pieces, data, 2, threads=threads)[1]

    @pytest.mark.parametrize("first_here", [True, False])
    def test_the_first_of_two_at_once(
        self, engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first_here: bool
    ) -> None:
        """One thread has piece 0, the other piece 1, before either finds what is wrong with it."""
        take = pieces.Pieces.take
        earlier, later = threading.Event(), threading.Event()

        def in_turn(self: pieces.Pieces, buffer: bytearray) -> Any:
            first = (threading.current_thread() is threading.main_thread()) == first_here
            if not first:
                earlier.wait(9)
            piece = take(self, buffer)
            (earlier if first else later).set()
            later.wait(9)
            return piece

        monkeypatch.setattr(pieces.Pieces, "take", in_turn)
        data = DataConfig(data=file(tmp_path, b"an\0a\nbob\0\ncarol\n"))
        with cut_small(engine, piece=8, ahead=0, chunk=16):
            assert "line 1, character 3" in outcome(by_pieces, data, 2, threads=2)[1]

    @pytest.mark.parametrize("name", ["missing.txt", "", "a\0b"])
    def test_of_what_is_no_file(self, engine: Any, tmp_path: Path, name: str) -> None:
        data = DataConfig(data=str(tmp_path / name))
        with cut_small(engine, piece=20, ahead=0, chunk=16):
            assert outcome(by_pieces, data, 2) == outcome(by_rows, data, 2)


@pytest.mark.parametrize(("pack", "extension"), [(gzip.compress, ".gz"), (lzma.compress, ".xz")])
class TestArchives:
    CONTENT = "anna\nжж\nbob\n".encode() * 1000

    def test_whole(self, tmp_path: Path, pack: Callable[[bytes], bytes], extension: str) -> None:
        data = DataConfig(data=file(tmp_path, pack(self.CONTENT), "names" + extension))
        with cut_small(plain, piece=1000, ahead=10, chunk=100):
            assert by_pieces(data, 3) == by_rows(data, 3)

    def test_not_whole(self, tmp_path: Path, pack: Callable[[bytes], bytes], extension: str) -> None:
        noise = np.random.default_rng(0).integers(97, 123, 20_000).astype(np.uint8)
        noise[::9] = 10
        packed = pack(noise.tobytes())
        flipped = bytearray(packed)
        flipped[len(packed) // 2] ^= 0xFF
        for content in (packed[: len(packed) // 2], packed[:-2], bytes(flipped), b"", b"anna"):
            data = DataConfig(data=file(tmp_path, content, "names" + extension))
            with cut_small(plain, piece=1000, ahead=10, chunk=1 << 20):
                assert outcome(by_pieces, data, 2) == outcome(by_rows, data, 2)

    def test_what_is_wrong_before_the_damage(
        self, tmp_path: Path, pack: Callable[[bytes], bytes], extension: str
    ) -> None:
        noise = np.random.default_rng(0).integers(97, 123, 300_000).astype(np.uint8)
        noise[::9] = 10
        noise[100] = 0
        packed = pack(noise.tobytes())[:-4000]
        data = DataConfig(data=file(tmp_path, packed, "names" + extension))
        with patch.object(decoding, "CHUNK", 1000):
            expected = outcome(by_rows, data, 2)
            assert "holds the control character" in expected[1]
            with patch.object(pieces, "PIECE", 1 << 20):
                assert outcome(by_pieces, data, 2) == expected


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_pipe(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    sizes = []

    def choose(size: int | None, worth: int) -> Any:
        sizes.append(size)
        return plain

    writer = threading.Thread(target=path.write_bytes, args=(b"anna\nbob\n",))
    writer.start()
    with patch.object(counting, "_kernels", choose):
        told: list[tuple[int, int | None]] = []
        found = count_file(DataConfig(data=str(path)), 2, on_progress=lambda *one: told.append(one))
    writer.join()
    assert (found.items, sizes, told[-1]) == (2, [None], (9, None))


@pytest.mark.filterwarnings("ignore::charloom.counting.SlowCounting")
def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = gzip.compress(b"\xef\xbb\xbfanna\n\nbob")
    found = []
    for count in (by_rows, by_pieces):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(packed)))
        found.append(count(DataConfig(data="-"), 3))
    assert found[0] == found[1]


def test_the_built_in_names() -> None:
    assert by_pieces(DataConfig(), 3) == by_rows(DataConfig(), 3)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataConfig:
    """Some of the built-in names, in a file."""
    text = "\n".join(small.names(3000))
    return DataConfig(data=file(tmp_path_factory.mktemp("models"), text.encode()))


class TestModels:
    @pytest.mark.parametrize(
        ("order", "model"),
        [(1, None), (2, None), (4, None), (1, "ngram:1"), (5, "unigram"), (5, "bigram"), (5, "ngram:3")],
    )
    def test_the_same_as_fitted_on_rows(self, data: DataConfig, order: int, model: str | None) -> None:
        config = ModelConfig(model=model or {1: "unigram", 2: "bigram"}.get(order, f"ngram:{order}"))
        corpus = load(data)
        vocabulary = Vocabulary.from_items(corpus.items)
        rows = Contexts(vocabulary.encode_items(corpus.items, unit="line"), config.reach).all_rows()
        fitted = counted_family(config.family).fit(*rows, len(vocabulary), **config.options())
        counted = count_file(data, order).model(config if model else None)
        assert type(counted) is type(fitted)
        assert counted.arrays().keys() == fitted.arrays().keys()
        for name, array in fitted.arrays().items():
            assert counted.arrays()[name].dtype == array.dtype
            assert np.array_equal(counted.arrays()[name], array)

    def test_smoothing(self, data: DataConfig) -> None:
        logits = count_file(data, 2).model(ModelConfig(model="bigram", smoothing=0.0)).next_logits(np.array([[0]]))
        assert np.isneginf(logits).any()

    def test_it_samples_and_scores(self, data: DataConfig) -> None:
        model = count_file(data, 4).text_model()
        assert len(model.sample(5, seed=1)) == 5
        assert model.score("emma").nats < model.score("xqzt").nats

    @pytest.mark.parametrize(("model", "fact"), [("mlp", "trained, not counted"), ("ngram:4", "4 characters")])
    def test_what_these_counts_are_not_enough_for(self, data: DataConfig, model: str, fact: str) -> None:
        with pytest.raises(ConfigError, match=fact):
            count_file(data, 3).model(ModelConfig(model=model))


class TestCommonest:
    def test_first_by_count_then_by_id(self, tmp_path: Path) -> None:
        found = count_file(DataConfig(data=file(tmp_path, b"b\na\nab\n")), 2)
        assert [(gram.characters, gram.count) for gram in found.most_common()] == [
            (("", "a"), 2),
            (("b", ""), 2),
            (("", "b"), 1),
            (("a", ""), 1),
            (("a", "b"), 1),
        ]
        assert found.most_common(1)[0].share == 2 / 7
        assert len(found) == 5
        assert (found.total, found.characters, found.items) == (7, 4, 3)

    def test_in_json(self, tmp_path: Path) -> None:
        found = count_file(DataConfig(data=file(tmp_path, b"aa")), 1)
        assert found.gram(1).to_json() == {"characters": ["a"], "count": 2, "share": 2 / 3}


class TestLimits:
    @both_engines
    @pytest.mark.parametrize("dense", [0, 22])
    def test_more_different_ones_than_allowed(
        self, engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dense: int
    ) -> None:
        monkeypatch.setattr(tables, "DENSE_BITS", dense)
        monkeypatch.setattr(tables, "PLAIN_DENSE_BITS", dense)
        monkeypatch.setattr(tables, "ROWS", 4)
        data = DataConfig(data=file(tmp_path, b"abcdefgh\n" * 9))
        with cut_small(engine, piece=9, ahead=0, chunk=9):
            for threads in (1, 3):
                assert len(count_file(data, 3, most=9, threads=threads)) == 9
                with pytest.raises(DataError, match=r"names\.txt: there are more than 8 different .* of 3\n.*--order"):
                    count_file(data, 3, most=8, threads=threads)

    @both_engines
    def test_an_n_gram_too_long_for_its_alphabet(self, engine: Any, tmp_path: Path) -> None:
        data = DataConfig(data=file(tmp_path, "".join(map(chr, range(0x4E00, 0x4E00 + 600))).encode()))
        with cut_small(engine, piece=9, ahead=0, chunk=9):
            assert len(count_file(data, 6)) == 601
            with pytest.raises(DataError, match=r"names\.txt: n-grams of 7 are too long for 600 .*\n.* at most 6"):
                count_file(data, 7)

    @pytest.mark.parametrize(("order", "threads", "fact"), [(0, 1, "no n-gram of order 0"), (2, 0, "0 threads")])
    def test_below_one(self, order: int, threads: int, fact: str) -> None:
        with pytest.raises(ConfigError, match=fact):
            count_file(DataConfig(), order, threads=threads)


@pytest.mark.skipif(not available(), reason="numba is not installed")
class TestTwins:
    """The compiled loops and NumPy, function by function."""

    @quick
    @given(text=plain_texts)
    def test_of_bytes(self, text: str) -> None:
        data = np.frombuffer(bytearray(text.encode()), np.uint8)
        for name in ("scan", "edges", "lone_returns"):
            assert getattr(compiled, name)(data) == getattr(plain, name)(data), name

    @quick
    @given(data=st.binary(max_size=400))
    def test_of_any_bytes(self, data: bytes) -> None:
        numbers = np.frombuffer(bytearray(data), np.uint8)
        for name in ("scan", "lone_returns"):
            assert getattr(compiled, name)(numbers) == getattr(plain, name)(numbers), name
        for least, most in ((10, 10), (128, 255), (0, 255), (0, 9)):
            expected = sum(least <= one <= most for one in data)
            for engine in ENGINES:
                assert engine.within(numbers, np.uint8(least), np.uint8(most)) == expected
        sums = []
        for engine in ENGINES:
            even, odd = np.zeros(1 << 16, np.uint32), np.zeros(1 << 16, np.uint32)
            engine.count_pairs(numbers, even, odd)
            sums.append(even + odd)
        assert np.array_equal(*sums)

    @quick
    @given(text=texts, most=st.integers(1, 4), kind=st.sampled_from([np.uint8, np.uint32]))
    def test_of_characters(self, text: str, most: int, kind: Any) -> None:
        codes = np.array([min(ord(one), np.iinfo(kind).max) for one in text + "\n"], kind)
        white = np.array([chr(code).isspace() for code in range(0x3001)])
        assert compiled.too_long(codes, most) == plain.too_long(codes, most)
        copies = [codes.copy() for _ in ENGINES]
        for engine, copy in zip(ENGINES, copies, strict=True):
            engine.blank_edges(copy, white)
        assert np.array_equal(*copies)

    @quick
    @given(data=st.one_of(st.binary(max_size=12), st.text(max_size=12).map(str.encode), st.sampled_from(FAULTS)))
    def test_of_utf_8(self, data: bytes) -> None:
        kinds = (np.arange(0x110000) % 3).astype(np.int8)
        results = []
        for engine in ENGINES:
            out = np.zeros(len(data), np.uint32)
            found = engine.decode(np.frombuffer(bytearray(data), np.uint8), out, kinds)
            results.append((*found, out[: max(0, found[0])].tolist()))
        assert results[0] == results[1]

    @quick
    @given(text=texts)
    def test_of_lines(self, text: str) -> None:
        """Those that are ASCII stay, the others move."""
        data = (text + "\n").encode()
        results = []
        for engine in ENGINES:
            left, moved = np.frombuffer(bytearray(data), np.uint8), np.zeros(len(data), np.uint8)
            moved = moved[: engine.take_wide(left, moved)]
            results.append((left.tobytes().decode().split(), moved.tobytes().decode()))
        assert results[0] == results[1]
        lines = re.split("\r|\n", data.decode())
        assert results[0][1] == "".join(f"{line}\n" for line in lines if not line.isascii())
        assert results[0][0] == " ".join(line for line in lines if line.isascii()).split()

    @quick
    @given(
        ids=st.lists(st.integers(-1, 4), min_size=1, max_size=60),
        order=st.integers(1, 6),
        start=st.integers(0, 3),
        before=st.lists(st.integers(1, 3), max_size=6),
    )
    def test_of_n_grams(self, ids: list[int], order: int, start: int, before: list[int]) -> None:
        """Bits for ids 0 to 3 only; -1 and 4 are to stop at."""
        table = np.arange(-1, 5, dtype=np.int32)
        codes = np.array(ids, np.int64).astype(np.uint8) + np.uint8(1)
        mask = np.uint64((1 << 2 * order) - 1)
        key = np.uint64(sum(one << 2 * place for place, one in enumerate(before))) & mask
        at = min(start, len(codes))
        results = []
        for engine in ENGINES:
            counts = np.zeros(1 << 2 * order, np.uint32)
            stop, last = engine.count_dense(codes, at, key, table, np.uint64(2), mask, counts)
            results.append((int(stop), int(last), counts.tolist()))
        assert results[0] == results[1]
        rows = np.zeros((128, 2), np.uint64)
        stop, last, used = compiled.count_hashed(codes, at, key, table, np.uint64(2), mask, rows, 0, 127)
        hashed = {int(row[0]) - 1: int(row[1]) for row in rows if row[0]}
        assert (int(stop), int(last), int(used)) == (*results[0][:2], len(hashed))
        assert hashed == {place: count for place, count in enumerate(results[0][2]) if count}


def test_progress_is_told(tmp_path: Path) -> None:
    content = b"anna\n" * 1000
    for name, packed in (("names.txt", content), ("names.gz", gzip.compress(content))):
        told: list[tuple[int, int | None]] = []
        with cut_small(plain, piece=100, ahead=0, chunk=50):
            data = DataConfig(data=file(tmp_path, packed, name))
            count_file(data, 2, threads=1, on_progress=lambda *one, told=told: told.append(one))
        assert [read for read, _ in told] == sorted(read for read, _ in told)
        assert {total for _, total in told} == {len(packed)}
        assert told[-1][0] <= len(packed)
        assert len(told) > 10


@pytest.mark.filterwarnings("ignore::charloom.counting.SlowCounting")
@pytest.mark.parametrize(
    ("content", "unit"),
    [(b"annabella\n" * 4_000_000, "line"), (b"annabella" * 4_000_000, "text"), ("日本".encode() * 6_000_000, "text")],
    ids=["lines", "one line", "one line of ideographs"],
)
def test_memory_does_not_grow_with_the_file(tmp_path: Path, content: bytes, unit: Any) -> None:
    data = DataConfig(data=file(tmp_path, content), unit=unit)
    count_file(data, 2)
    tracemalloc.start()
    count_file(data, 2, threads=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 << 20 < len(content)


@both_engines
@quick
@given(code=st.integers(0x80, 0x10FFFF).filter(lambda code: not 0xD800 <= code < 0xE000), cut=st.integers(0, 3))
def test_utf_8(engine: Any, code: int, cut: int) -> None:
    """One character between others, whole and without its last bytes."""
    encoded = chr(code).encode()
    data = b"a" + encoded[: max(1, len(encoded) - cut)] + b"b\n"
    out = np.zeros(len(data), np.uint32)
    kinds = np.ones(0x110000, np.int8)
    kinds[code] = 2
    found = engine.decode(np.frombuffer(bytearray(data), np.uint8), out, kinds)
    if cut:
        assert found == (-1, False, False)
    else:
        assert found == (4, False, False)
        assert out[:4].tolist() == [97, code, 98, 10]


@both_engines
@pytest.mark.parametrize(
    "wrong",
    [
        *(b"\x80", b"\xbf", b"\xc1\xbf", b"\xe0\x80\x80", b"\xe0\x9f\xbf", b"\xf0\x80\x80\x80", b"\xf0\x8f\xbf\xbf"),
        *(b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xff"),
    ],
)
def test_what_is_no_utf_8(engine: Any, wrong: bytes) -> None:
    data = np.frombuffer(bytearray(b"a" + wrong + b"b"), np.uint8)
    assert engine.decode(data, np.zeros(len(data), np.uint32), np.ones(0x110000, np.int8))[0] == -1


@both_engines
def test_utf_8_is_not_read_beyond_its_end(engine: Any) -> None:
    data = np.frombuffer(bytearray("日".encode()), np.uint8)
    assert engine.decode(data[:2], np.zeros(3, np.uint32), np.ones(0x110000, np.int8))[0] == -1


@given(text=st.text(max_size=20))
def test_characters_that_composition_leaves_alone(text: str) -> None:
    alone = "".join(character for character in text if left_alone(ord(character)))
    assert unicodedata.is_normalized("NFC", alone)


def test_what_composition_does_not_leave_alone() -> None:
    assert all(map(left_alone, map(ord, "aZ0é日한йß\u200d👩")))
    assert not any(map(left_alone, [0x301, 0x591, 0x1161, 0x11A8, 0x9BE, 0x340, 0x212B, 0x1F71, 0x3099]))
