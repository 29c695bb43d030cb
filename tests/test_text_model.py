"""Text in, text out: what is given to a model is read as its data was."""

from __future__ import annotations

from pathlib import Path

import pytest

import charloom
import small
from charloom.errors import UnknownCharacterError
from charloom.text_model import TextModel


@pytest.fixture(scope="module")
def builtin() -> TextModel:
    """A model of the built-in names, which are lower-case."""
    return charloom.train(charloom.load_data(), "bigram")


def test_prefixes_and_items_take_the_case_of_the_built_in_names(builtin: TextModel) -> None:
    assert builtin.score("Emma").text == "emma"
    assert all(sample.text.startswith("ma") for sample in builtin.sample(5, prefix="MA"))
    assert builtin.best(1, prefix="MA")[0].text.startswith("ma")


def test_another_file_is_read_like_the_data(builtin: TextModel, tmp_path: Path) -> None:
    data = charloom.load_data()
    train = data.part("train").items
    (tmp_path / "upper.txt").write_text("\n".join(item.title() for item in train[:50]) + "\nXqzt")
    evaluation = builtin.evaluate_file(data, str(tmp_path / "upper.txt"))
    assert evaluation.seen is not None
    assert evaluation.unseen is not None
    assert (evaluation.seen.items, evaluation.unseen.items) == (50, 1)
    (tmp_path / "more.txt").write_text("emma\nзоя\n")
    with pytest.raises(UnknownCharacterError, match=r"more\.txt, line 2, character 1"):
        builtin.evaluate_file(data, str(tmp_path / "more.txt"))


def test_a_decomposed_accent_is_composed_like_the_data() -> None:
    model = charloom.train(charloom.load_data(["zoé", "léa", "noé", "éva", "inés", "zéa"]), "bigram")
    assert model.score("zoe\N{COMBINING ACUTE ACCENT}").text == "zoé"


def test_unusual_means_above_the_95th_percentile_of_dev() -> None:
    data = small.dataset()
    model = charloom.train(data, "ngram:3")
    scores = [model.score(item) for item in data.part("dev").items]
    unusual = [score for score in scores if score.unusual]
    assert 0 < len(unusual) <= 0.06 * len(scores) + 1
    assert min(s.nats_per_character for s in unusual) >= max(s.nats_per_character for s in scores if not s.unusual)


def test_settings_that_do_not_exist_or_do_not_apply_are_refused() -> None:
    with pytest.raises(charloom.CharloomError, match="no setting depth"):
        charloom.train(small.dataset(), "mlp", depth=3)
    with pytest.raises(charloom.CharloomError, match="steps does not apply"):
        charloom.train(small.dataset(), "bigram", steps=3)
