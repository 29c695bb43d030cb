"""Characters and ids: both ways, in any script, and unknown characters named at their place."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom import vocabulary as vocabulary_module
from charloom.config import DataConfig
from charloom.corpus import Corpus
from charloom.errors import CheckpointError, DataError, UnknownCharacterError
from charloom.vocabulary import MARKER, Encoded, Vocabulary, count_characters

texts = st.text(
    st.one_of(st.sampled_from("ab.\n\0éжश्य日\u200d\ufeff😀\U0010ffff"), st.characters(exclude_categories=["Cs"])),
    max_size=30,
)
items_of_any_kind = st.lists(texts.filter(bool), min_size=1, max_size=12)


@pytest.fixture(params=[1, 3, 1 << 20])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results must not depend on how much text is encoded at a time."""
    monkeypatch.setattr(vocabulary_module, "_BLOCK", request.param)


def encode_plainly(vocabulary: Vocabulary, items: list[str], unit: str) -> Encoded:
    """The twin of `encode_items`: one character after the other."""
    ids: list[int] = []
    starts: list[int] = []
    for item in items:
        starts.append(len(ids))
        ids.extend(1 + vocabulary.characters.index(character) for character in item)
        if unit == "line":
            ids.append(MARKER)
    return Encoded(np.array(ids, dtype=np.int32), np.array(starts, dtype=np.int64))


class TestIds:
    def test_marker_is_0_and_characters_follow_in_code_point_order(self) -> None:
        vocabulary = Vocabulary.from_items(["ba", "éa", "😀.", "жB"])
        assert vocabulary.characters == ".Babéж😀"
        assert len(vocabulary) == 8
        assert vocabulary.encode(".Babéж😀").tolist() == [1, 2, 3, 4, 5, 6, 7]

    def test_a_full_stop_is_a_character(self) -> None:
        vocabulary = Vocabulary(".")
        assert vocabulary.encode("..").tolist() == [1, 1]
        assert vocabulary.encode_items(["."], unit="line").ids.tolist() == [1, MARKER]

    def test_given_in_any_order(self) -> None:
        assert Vocabulary("cabac") == Vocabulary("abc")
        assert Vocabulary("cabac").characters == "abc"

    def test_membership(self) -> None:
        vocabulary = Vocabulary("ab")
        assert "a" in vocabulary
        assert all(other not in vocabulary for other in ("c", "ab", "", 1))

    def test_no_other_code_point_has_an_id(self) -> None:
        vocabulary = Vocabulary("bж")
        for code in range(0x1000):
            if chr(code) not in "bж":
                with pytest.raises(UnknownCharacterError):
                    vocabulary.encode(chr(code))

    def test_types(self) -> None:
        vocabulary = Vocabulary("ab")
        assert vocabulary.encode("a").dtype == np.int32
        assert vocabulary.encode("").shape == (0,)
        encoded = vocabulary.encode_items(["a"], unit="line")
        assert (encoded.ids.dtype, encoded.starts.dtype) == (np.int32, np.int64)

    def test_no_characters(self) -> None:
        for make in (lambda: Vocabulary(""), lambda: Vocabulary.from_items([]), lambda: Vocabulary.from_items([""])):
            with pytest.raises(DataError, match="the vocabulary has no characters"):
                make()

    def test_lone_surrogates(self) -> None:
        for make in (lambda: Vocabulary("a\udfff"), lambda: Vocabulary.from_items(["a", "\udfff"])):
            with pytest.raises(DataError, match=r"the text holds U\+DFFF lone surrogate"):
                make()

    @given(items_of_any_kind)
    def test_decoding_undoes_encoding(self, items: list[str]) -> None:
        vocabulary = Vocabulary.from_items(items)
        assert list(vocabulary.characters) == sorted(set("".join(items)))
        for item in items:
            assert vocabulary.decode(vocabulary.encode(item)) == item

    @pytest.mark.parametrize(
        ("ids", "message"),
        [
            ([1, 0], "position 2: the marker, id 0, is no character"),
            ([3], "position 1: there is no id 3"),
            ([1, 1, -1], "position 3: there is no id -1"),
        ],
    )
    def test_decoding_what_is_no_character(self, ids: list[int], message: str) -> None:
        with pytest.raises(DataError) as caught:
            Vocabulary("ab").decode(ids)
        assert str(caught.value) == f"{message}\nCharacters have the ids 1 to 2."

    def test_decoding_arrays(self) -> None:
        vocabulary = Vocabulary("abж")
        assert vocabulary.decode(np.array([3, 1], dtype=np.int32)) == "жa"
        assert vocabulary.decode([]) == ""


@pytest.mark.usefixtures("block")
class TestEncodeItems:
    @pytest.mark.parametrize("unit", ["line", "text"])
    @pytest.mark.parametrize("items", [["ab", "b", "a"], ["a\nb\0"], ["", "a", "", ""], []])
    def test_equals_the_plain_twin(self, items: list[str], unit: Any) -> None:
        vocabulary = Vocabulary("ab\n\0")
        encoded, plain = vocabulary.encode_items(items, unit=unit), encode_plainly(vocabulary, items, unit)
        assert encoded.ids.tolist() == plain.ids.tolist()
        assert encoded.starts.tolist() == plain.starts.tolist()

    def test_unknown_character(self) -> None:
        vocabulary = Vocabulary("ab")
        with pytest.raises(UnknownCharacterError) as caught:
            vocabulary.encode_items(["ab", "abéc"], unit="line", place=lambda item, character: f"{item}/{character}")
        assert str(caught.value) == (
            "1/2: 'é' (U+00E9 LATIN SMALL LETTER E WITH ACUTE) is not in the vocabulary\n"
            "Use only the 2 known characters: ab"
        )
        with pytest.raises(UnknownCharacterError, match=r"^item 2, character 3: "):
            vocabulary.encode_items(["ab", "abéc"], unit="line")

    def test_place_in_the_corpus(self) -> None:
        corpus = Corpus.from_items(["ab", "", "bж"])
        with pytest.raises(UnknownCharacterError, match=r"^items, item 3, character 2: 'ж' \(U\+0436 CYRILLIC SMALL"):
            Vocabulary("ab").encode_items(corpus.items, unit="line", place=corpus.place)
        text = Corpus.from_items(["ab\nb\nbж"], config=DataConfig(unit="text"))
        with pytest.raises(UnknownCharacterError, match=r"^items, line 3, character 2: 'ж'"):
            Vocabulary("ab\n").encode_items(text.items, unit="text", place=text.place)


class TestProperties:
    @given(items_of_any_kind, st.sampled_from(["line", "text"]), st.integers(1, 40))
    def test_encode_items_equals_the_plain_twin(self, items: list[str], unit: Any, block_size: int) -> None:
        vocabulary = Vocabulary.from_items(items)
        plain = encode_plainly(vocabulary, items, unit)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(vocabulary_module, "_BLOCK", block_size)
            encoded = vocabulary.encode_items(items, unit=unit)
        np.testing.assert_array_equal(encoded.ids, plain.ids)
        np.testing.assert_array_equal(encoded.starts, plain.starts)

    @given(items_of_any_kind, st.data())
    def test_unknown_characters_are_named_at_their_place(self, items: list[str], data: st.DataObject) -> None:
        known = set("".join(items))
        stranger = data.draw(st.characters(exclude_categories=()).filter(lambda character: character not in known))
        index = data.draw(st.integers(0, len(items) - 1))
        position = data.draw(st.integers(0, len(items[index])))
        faulty = items[index][:position] + stranger + items[index][position:]
        vocabulary = Vocabulary.from_items(items)
        name = f"U+{ord(stranger):04X} {unicodedata.name(stranger, '')}"
        lines = faulty[:position].split("\n")
        place = f"line {len(lines)}, character {len(lines[-1]) + 1}" if "\n" in faulty else f"character {position + 1}"

        def fails(encode: Callable[[], object], where: str) -> None:
            with pytest.raises(UnknownCharacterError) as caught:
                encode()
            assert caught.value.where == where
            assert name in caught.value.fact
            assert all(character.isprintable() or character == "\n" for character in str(caught.value))

        fails(lambda: vocabulary.encode(faulty, where="prompt"), f"prompt, {place}")
        changed = [*items[:index], faulty, *items[index + 1 :]]
        fails(lambda: vocabulary.encode_items(changed, unit="line"), f"item {index + 1}, {place}")
        fails(
            lambda: vocabulary.encode_items(changed, unit="line", place=lambda *at: repr(at)), repr((index, position))
        )

    @given(items_of_any_kind, st.integers(1, 40))
    def test_count_characters(self, items: list[str], block_size: int) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(vocabulary_module, "_BLOCK", block_size)
            codes, counts = count_characters(items)
        expected = sorted(Counter("".join(items)).items())
        assert [(chr(code), count) for code, count in zip(codes, counts, strict=True)] == expected

    @given(items_of_any_kind)
    def test_json_round_trip(self, items: list[str]) -> None:
        vocabulary = Vocabulary.from_items(items)
        assert Vocabulary.from_json(json.loads(json.dumps(vocabulary.to_json()))) == vocabulary


class TestMessages:
    def test_remedy_suggests_the_lower_case_form(self) -> None:
        with pytest.raises(UnknownCharacterError) as caught:
            Vocabulary("abc").encode("A", where="prefix")
        assert str(caught.value) == (
            "prefix, character 1: 'A' (U+0041 LATIN CAPITAL LETTER A) is not in the vocabulary\n"
            "Use only the 3 known characters: abc\n"
            "Its lower-case form is known: write that, or read the data with --case lower."
        )

    def test_remedy_suggests_no_unknown_form(self) -> None:
        with pytest.raises(UnknownCharacterError) as caught:
            Vocabulary("abc").encode("D")
        assert caught.value.remedy == "Use only the 3 known characters: abc"

    def test_lone_surrogates_are_unknown_characters(self) -> None:
        with pytest.raises(UnknownCharacterError, match=r"^text, character 2: U\+D83D lone surrogate is not in"):
            Vocabulary("a").encode("a\ud83d")

    def test_large_vocabularies_are_not_listed_whole(self) -> None:
        with pytest.raises(UnknownCharacterError) as caught:
            Vocabulary("".join(map(chr, range(0x4E00, 0x4E00 + 100)))).encode("a")
        assert str(caught.value.remedy).endswith("丹为主 and 40 more")


class TestJson:
    def test_form(self) -> None:
        assert Vocabulary("ba").to_json() == {"characters": "ab"}

    @pytest.mark.parametrize(
        ("content", "fact"),
        [
            (None, "the stored vocabulary is not an object with the one key `characters`"),
            ([], "the stored vocabulary is not an object with the one key `characters`"),
            ({}, "the stored vocabulary is not an object with the one key `characters`"),
            ({"characters": "ab", "more": 1}, "the stored vocabulary is not an object with the one key `characters`"),
            ({"characters": 7}, "the stored characters are of type int, not a string"),
            ({"characters": ["a", "b"]}, "the stored characters are of type list, not a string"),
            ({"characters": "aab"}, "the stored vocabulary holds 'a' (U+0061 LATIN SMALL LETTER A) twice"),
            ({"characters": "ba"}, "the stored vocabulary is not sorted: U+0062 stands before U+0061"),
            ({"characters": ""}, "the stored vocabulary is damaged: the vocabulary has no characters"),
            ({"characters": "a\ud800"}, "the stored vocabulary is damaged: the text holds U+D800 lone surrogate"),
        ],
    )
    def test_strict(self, content: Any, fact: str) -> None:
        with pytest.raises(CheckpointError) as caught:
            Vocabulary.from_json(content)
        assert caught.value.fact == fact
