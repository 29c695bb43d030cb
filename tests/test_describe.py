"""The numbers behind `charloom describe`."""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charloom.config import DataConfig
from charloom.corpus import Corpus, load
from charloom.describe import Bin, describe


class TestNames:
    def test_parity(self, parity_names: Path) -> None:
        found = describe(load(DataConfig(data=str(parity_names)))).to_json()
        assert (found["items"], found["distinct"], found["duplicates"]) == (32_033, 29_494, 2_539)
        assert found["targets"] == 228_146
        assert found["uniform_loss"] == pytest.approx(3.2958, abs=5e-5)
        classic, unique = found["splits"]["classic"], found["splits"]["unique"]
        assert [classic[part]["targets"] for part in ("train", "dev", "test")] == [182_625, 22_655, 22_866]
        assert [unique[part]["items"] for part in ("train", "dev", "test")] == [23_595, 2_949, 2_950]
        assert [round(100 * classic[part]["overlap"], 1) for part in ("dev", "test")] == [13.2, 11.8]
        assert [unique[part]["overlap"] for part in ("dev", "test")] == [0, 0]
        assert classic["train"]["overlap"] is None


class TestFields:
    def test_every_field(self) -> None:
        corpus = Corpus.from_items(["ab", "", "ab", "c\t", "a.", "b", "c", "d"], config=DataConfig(strip=False))
        assert describe(corpus).to_json() == {
            "name": "items",
            "source": "items",
            "unit": "line",
            "lines": 8,
            "blank_lines": 1,
            "items": 7,
            "distinct": 6,
            "duplicates": 1,
            "characters": 11,
            "targets": 18,
            "vocabulary_size": 7,
            "uniform_loss": math.log(7),
            "alphabet": [
                {"character": "\t", "code_point": "U+0009", "name": "control", "count": 1},
                {"character": ".", "code_point": "U+002E", "name": "FULL STOP", "count": 1},
                {"character": "a", "code_point": "U+0061", "name": "LATIN SMALL LETTER A", "count": 3},
                {"character": "b", "code_point": "U+0062", "name": "LATIN SMALL LETTER B", "count": 3},
                {"character": "c", "code_point": "U+0063", "name": "LATIN SMALL LETTER C", "count": 2},
                {"character": "d", "code_point": "U+0064", "name": "LATIN SMALL LETTER D", "count": 1},
            ],
            "lengths": {
                "min": 1,
                "mean": 11 / 7,
                "median": 2.0,
                "max": 2,
                "histogram": [{"least": 1, "most": 1, "items": 3}, {"least": 2, "most": 2, "items": 4}],
            },
            "splits": {
                "unique": {
                    "train": {"items": 4, "targets": 10, "overlap": None},
                    "dev": {"items": 1, "targets": 3, "overlap": 0.0},
                    "test": {"items": 1, "targets": 2, "overlap": 0.0},
                },
                "classic": {
                    "train": {"items": 5, "targets": 13, "overlap": None},
                    "dev": {"items": 1, "targets": 3, "overlap": 1.0},
                    "test": {"items": 1, "targets": 2, "overlap": 0.0},
                },
            },
            "problems": {},
        }

    def test_too_few_to_split(self) -> None:
        found = describe(Corpus.from_items(["a"] * 6))
        assert found.splits["unique"] is None
        assert found.splits["classic"] is not None
        assert found.problems == {
            "unique": "too few distinct items to split into train, dev and test: 1. Give at least 6."
        }

    def test_text(self) -> None:
        found = describe(Corpus.from_items(["ab\n" * 10], config=DataConfig(unit="text"))).to_json()
        assert (found["items"], found["lines"], found["characters"], found["targets"]) == (1, 10, 30, 30)
        assert found["alphabet"][0] == {"character": "\n", "code_point": "U+000A", "name": "control", "count": 10}
        assert found["splits"]["classic"] == found["splits"]["unique"]
        assert found["splits"]["classic"]["dev"] == {"items": 1, "targets": 3, "overlap": None}

    def test_seed(self) -> None:
        corpus = Corpus.from_items([*map(str, range(50)), *map(str, range(0, 50, 3))])
        assert describe(corpus, seed=1).splits != describe(corpus, seed=2).splits


class TestLengths:
    def test_wide_bins(self) -> None:
        corpus = Corpus.from_items(["x" * length for length in (3, 29, 30, 103)])
        histogram = describe(corpus).lengths.histogram
        assert histogram[0] == Bin(0, 9, 1)
        assert [bar.items for bar in histogram] == [1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 1]

    @given(st.lists(st.integers(1, 300), min_size=1, max_size=30))
    def test_bins_hold_the_lengths_they_say(self, lengths: list[int]) -> None:
        found = describe(Corpus.from_items("x" * length for length in lengths)).lengths
        assert (found.min, found.max) == (min(lengths), max(lengths))
        assert found.mean == pytest.approx(statistics.mean(lengths))
        assert found.median == statistics.median(lengths)
        assert len(found.histogram) <= 21
        assert found.histogram[0].least <= found.min <= found.histogram[0].most
        assert found.histogram[-1].least <= found.max <= found.histogram[-1].most
        for bar, following in zip(found.histogram, found.histogram[1:], strict=False):
            assert following.least == bar.most + 1
        for bar in found.histogram:
            assert bar.items == sum(bar.least <= length <= bar.most for length in lengths)


def test_is_json() -> None:
    description = describe(load(DataConfig())).to_json()
    assert json.loads(json.dumps(description, allow_nan=False)) == description
