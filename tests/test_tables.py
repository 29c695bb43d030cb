"""Rows are made once, as many as fit, and what is drawn does not depend on how they are kept."""

from itertools import islice

import numpy as np
import pytest

from charloom import tables
from charloom.config import SamplingConfig
from charloom.errors import SamplingError
from charloom.sampling import sample
from charloom.vocabulary import Vocabulary
from oracles.language import TableModel

VOCABULARY = Vocabulary("abc")


class Asked(TableModel):
    """Keeps what it is asked."""

    def __init__(self, *args, **settings):
        super().__init__(*args, **settings)
        self.asked = []

    def next_logits(self, contexts):
        self.asked += map(tuple, contexts.tolist())
        return super().next_logits(contexts)


def take(model, n, **settings):
    return list(islice(sample(model, VOCABULARY, SamplingConfig(**settings)), n))


@pytest.mark.parametrize("context_length", [1, 2, 4])
@pytest.mark.parametrize("room", [1, 5, 100, 10**6])
def test_items_do_not_depend_on_how_rows_are_kept(monkeypatch, context_length, room):
    settings = {"seed": 4, "max_length": 12, "prefix": "a", "top_k": 3}
    numbered = take(TableModel(4, context_length, seed=2), 700, **settings)
    monkeypatch.setattr(tables, "NUMBERED_CELLS", 4)
    monkeypatch.setattr(tables, "LISTED_BYTES", room * 4 * 20)
    assert take(TableModel(4, context_length, seed=2), 700, **settings) == numbered


@pytest.mark.parametrize("cells", [4, 1 << 24])
def test_a_context_is_put_to_the_model_once(monkeypatch, cells):
    monkeypatch.setattr(tables, "NUMBERED_CELLS", cells)
    model = Asked(4, 2, seed=3)
    take(model, 400)
    drawn = [context for context in model.asked if context != (0, 0)]
    assert len(drawn) == len(set(drawn)) > 8


def test_few_rows_are_all_made_before_the_largest_blocks(monkeypatch):
    monkeypatch.setattr(tables, "LARGEST", 64)
    model = Asked(4, 2, seed=3)
    take(model, 65)
    assert {(a, b) for a in range(4) for b in range(4)} == set(model.asked)


def test_what_is_no_number_is_not_drawn_from():
    model = TableModel(4, 1)
    model.table[2] = np.nan
    with pytest.raises(SamplingError, match="the model gives no probabilities"):
        take(model, 300)
