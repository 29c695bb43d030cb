"""Malformed text: the part's short form, the policy on known examples, and that a path that differs is found."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from charloom import corpus, counting, decoding
from charloom.config import DataConfig
from charloom.corpus import load
from charloom.counting import count_file, plain
from charloom.errors import DataError
from torture import policy, text_corpus, texts
from torture.policy import DECODED, LONG, NOTHING, Fault
from torture.shown import SHORT


def test_texts_made_at_random_are_read_by_the_policy_on_every_path() -> None:
    shown = texts.at_random(SHORT.texts, SHORT.seed)
    assert shown.failures == ()


def test_the_corpus_through_the_commands(tmp_path: Path) -> None:
    for shown in text_corpus.tried(tmp_path):
        assert shown.count > 10
        assert shown.failures == ()


@pytest.mark.parametrize(
    ("data", "settings", "wanted"),
    [
        (b"ab\r\n\r\n c \rd", {}, ["ab", "c", "d"]),
        (b"ab\n c \n", {"strip": False}, ["ab", " c "]),
        ("\ufeff\ufeffa\n".encode(), {}, ["\ufeffa"]),
        ("a\x85b\u2028c\x0bd".encode(), {}, ["a\x85b\u2028c\x0bd"]),
        ("E\u0301\n".encode(), {}, ["É"]),
        ("E\u0301\n".encode(), {"normalize": "none", "case": "lower"}, ["e\u0301"]),
        ("Straße\n".encode(), {"case": "fold"}, ["strasse"]),
        (b"a\r\nb\n", {"unit": "text"}, ["a\nb\n"]),
        (b"", {}, Fault(NOTHING)),
        (b" \n", {"unit": "text"}, Fault(NOTHING)),
        (b"a\nb\0", {}, Fault(DECODED, 2, 2)),
        (b"a\xff\0", {}, Fault(DECODED, 1, 2)),
        (b"a\0\xff", {"unit": "text"}, Fault(DECODED, 1, 2)),
        (b"abc\nabcd\n\0", {"max_line": 3}, Fault(LONG, 2)),
        ("a\nİİ\n".encode(), {"max_line": 3, "case": "lower"}, Fault(LONG, 2)),
    ],
)
def test_the_policy(data: bytes, settings: dict[str, object], wanted: object, tmp_path: Path) -> None:
    config = DataConfig(data="-", **settings)  # type: ignore[arg-type]
    assert policy.read(data, config) == wanted
    chance, engines = texts.random.Random(0), [plain]
    found = dict(texts.outcomes(data, config, tmp_path, chance, engines))
    assert found["loading"] == found["loading by bytes"] == found["standard input"] == wanted


@pytest.mark.parametrize(
    ("place", "name", "broken"),
    [
        (decoding, "CONTROL", texts.re.compile("[\x01]")),
        (corpus, "normalized", lambda text, config: text),
        (decoding, "_undecodable", lambda *_: DataError("it is not text")),
        (counting, "added_up", lambda *given: (lambda keys, counts: (keys, counts + 1))(*ADDED_UP(*given))),
    ],
)
def test_a_path_that_reads_otherwise_is_found(
    place: object, name: str, broken: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, name, broken)
    assert texts.at_random(100, 0).failures


ADDED_UP = counting.added_up


def test_a_refusal_that_leaves_a_folder_or_says_too_little_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_corpus, "_odd_sources", lambda: iter([""]))
    monkeypatch.setattr(text_corpus, "_unknown_characters", lambda: iter([""]))
    case = next(one for one in text_corpus.CASES if one.name == "nul.txt")
    monkeypatch.setattr("charloom.decoding.identify", str)
    monkeypatch.setattr("charloom.decoding.code_point", lambda _: "odd")
    shown, *_ = text_corpus.tried(tmp_path, [case])
    assert len(shown.failures) == 5
    assert all("without" in failure for failure in shown.failures)


@pytest.mark.parametrize("chunk", [1, 1 << 20])
def test_the_first_line_that_is_too_long_is_told_however_it_falls_into_pieces(
    chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "CHUNK", chunk)
    # Small letters of the first line are longer, the second line is so as it stands.
    (tmp_path / "text").write_text("İİİ\nabcdefgh\n", encoding="utf-8")
    with pytest.raises(DataError) as refused:
        load(DataConfig(data=str(tmp_path / "text"), case="lower", max_line=5))
    assert (refused.value.where or "").endswith("line 1")
    assert "has 6 characters" in refused.value.fact


@pytest.mark.parametrize("damaged", [gzip.compress(b"anna\n")[:-3], gzip.compress(b"anna\n") + b"x"])
def test_an_archive_whose_first_bytes_are_damaged_is_refused_by_counting(damaged: bytes, tmp_path: Path) -> None:
    (tmp_path / "names.gz").write_bytes(damaged)
    with pytest.raises(DataError, match="the archive is"):
        count_file(DataConfig(data=str(tmp_path / "names.gz")))
