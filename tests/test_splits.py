"""The two protocols, to the figures that were published on them."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.config import DataConfig, Protocol
from charloom.corpus import Corpus, load
from charloom.errors import DataError
from charloom.splits import Splits, overlap, split


def sizes(splits: Splits) -> list[int]:
    return [len(part.items) for part in (splits.train, splits.dev, splits.test)]


class TestParity:
    def test_classic(self, parity_names: Path) -> None:
        splits = split(load(DataConfig(data=str(parity_names))), "classic", 42)
        assert sizes(splits) == [25_626, 3_203, 3_204]
        assert [part.targets for part in (splits.train, splits.dev, splits.test)] == [182_625, 22_655, 22_866]
        assert overlap(splits.dev, splits.train) == pytest.approx(0.132, abs=0.0005)
        assert overlap(splits.test, splits.train) == pytest.approx(0.118, abs=0.0005)
        words = parity_names.read_text().splitlines()
        random.Random(42).shuffle(words)
        assert splits.train.items + splits.dev.items + splits.test.items == words

    def test_unique(self, parity_names: Path) -> None:
        splits = split(load(DataConfig(data=str(parity_names))), "unique", 42)
        assert sizes(splits) == [23_595, 2_949, 2_950]
        assert overlap(splits.dev, splits.train) == overlap(splits.test, splits.train) == 0


class TestLines:
    @pytest.mark.parametrize(
        ("protocol", "counts"), [("classic", [25_742, 3_218, 3_218]), ("unique", [23_695, 2_962, 2_962])]
    )
    def test_builtin(self, protocol: Protocol, counts: list[int]) -> None:
        assert sizes(split(load(DataConfig()), protocol, 42)) == counts

    def test_the_shuffle_is_the_same_on_every_version_of_python(self) -> None:
        splits = split(load(DataConfig()), "classic", 42)
        digest = hashlib.sha256("\n".join(splits.dev.items).encode()).hexdigest()
        assert digest == "eb0afa8304bcd4cb4145bb0fc0334fa80870480f0d9c02e50338b1cdfc9d18c6"

    def test_seed(self) -> None:
        corpus = Corpus.from_items(map(str, range(100)))
        assert split(corpus, "classic", 1) == split(corpus, "classic", 1)
        assert split(corpus, "classic", 1).train.items != split(corpus, "classic", 2).train.items

    def test_overlap_counts_items(self) -> None:
        splits = split(Corpus.from_items(["a"] * 10), "classic", 42)
        assert overlap(splits.dev, splits.train) == 1
        assert splits.train.targets == 16

    @given(st.lists(st.text("ab", min_size=1, max_size=3), min_size=6, max_size=60), st.integers(0, 99))
    def test_classic_takes_every_item_once(self, items: list[str], seed: int) -> None:
        splits = split(Corpus.from_items(items), "classic", seed)
        parts = (splits.train, splits.dev, splits.test)
        assert sorted(index for part in parts for index in part.indices) == list(range(len(items)))
        assert all(sizes(splits))
        for part in parts:
            assert part.items == [items[index] for index in part.indices]

    @given(st.lists(st.text("ab", min_size=1, max_size=5), min_size=6, max_size=60), st.integers(0, 99))
    def test_unique_takes_the_first_of_each(self, items: list[str], seed: int) -> None:
        distinct = list(dict.fromkeys(items))
        corpus = Corpus.from_items(items)
        if len(distinct) < 6:
            with pytest.raises(
                DataError, match=f"too few distinct items to split into train, dev and test: {len(distinct)}"
            ):
                split(corpus, "unique", seed)
            return
        splits = split(corpus, "unique", seed)
        expected = distinct.copy()
        random.Random(seed).shuffle(expected)
        assert splits.train.items + splits.dev.items + splits.test.items == expected
        for part in (splits.train, splits.dev, splits.test):
            assert list(part.indices) == [items.index(item) for item in part.items]

    @pytest.mark.parametrize("n", range(1, 6))
    def test_too_few(self, n: int) -> None:
        with pytest.raises(DataError) as caught:
            split(Corpus.from_items(map(str, range(n))), "classic", 42)
        expected = f"items: too few items to split into train, dev and test: {n}\nGive at least 6."
        assert str(caught.value) == expected

    def test_places(self) -> None:
        corpus = Corpus.from_items(["", *map(str, range(10))])
        dev = split(corpus, "classic", 42).dev
        number = int(dev.items[0]) + 2
        assert dev.place(0, 0) == f"items, item {number}, character 1"


class TestText:
    CONFIG = DataConfig(unit="text")

    @pytest.mark.parametrize("protocol", ["classic", "unique"])
    def test_three_stretches(self, protocol: Protocol) -> None:
        text = "abcdefgh\nklmnopqrst\n"
        corpus = Corpus.from_items([text], config=self.CONFIG)
        splits = split(corpus, protocol, 42)
        assert [splits.train.items, splits.dev.items, splits.test.items] == [[text[:16]], [text[16:18]], [text[18:]]]
        assert [part.targets for part in (splits.train, splits.dev, splits.test)] == [16, 2, 2]
        assert splits.dev.place(0, 1) == "items, line 2, character 9"
        assert splits.train.place(0, 8) == "items, line 1, character 9"

    def test_too_few(self) -> None:
        with pytest.raises(DataError, match=r"^items: too few characters to split into train, dev and test: 5"):
            split(Corpus.from_items(["abcde"], config=self.CONFIG), "classic", 42)
        splits = split(Corpus.from_items(["abcdef"], config=self.CONFIG), "classic", 42)
        assert [part.items[0] for part in (splits.train, splits.dev, splits.test)] == ["abcd", "e", "f"]
