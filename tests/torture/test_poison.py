"""The short form of `torture.poison`."""

from __future__ import annotations

from pathlib import Path

import pytest

from torture import poison
from torture.shown import SHORT, Shown


@pytest.fixture(scope="module")
def shown() -> dict[str, Shown]:
    return {one.what: one for one in poison.show(SHORT, lambda line: None)}


def test_nothing_is_unpickled_evaluated_or_imported(shown: dict[str, Shown]) -> None:
    assert {what: one.failures for what, one in shown.items()} == dict.fromkeys(shown, ())
    assert shown["poisoned files read under an audit hook"].count > 100


def test_the_audit_hook_sees_what_it_must(tmp_path: Path) -> None:
    (tmp_path / "poisoned").mkdir()
    found = poison.hooked("control", tmp_path / "poisoned", tmp_path / "canary")
    assert all(found["seen"].values()), found
    assert len(found["seen"]) >= 14
    assert found["canary"]


def test_what_is_allowed_is_not_found_by_the_lint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poison, "BANNED", {"import math\n": "TID251"})
    assert poison._ban().failures == ("the lint does not find 'import math\\n'",)
