"""What preflight takes, says and leaves out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from telltales.catalogue import CATALOGUE
from telltales.checks import checking, preflight
from telltales.checks.calling import calling
from telltales.checks.floors import floor_of
from telltales.checks.loss_calls import Listening
from telltales.errors import TelltalesWarning, UsageError
from telltales.finding import BEFORE_TRAINING


def _model() -> nn.Sequential:
    return nn.Sequential(nn.Linear(10, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 5))


def _batch() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(16, 10), torch.randint(5, (16,))


def test_every_rule_is_looked_at_or_left_out_with_a_reason() -> None:
    result = preflight(_model(), _batch(), nn.CrossEntropyLoss())
    assert {*result.looked_at, *result.left_out} == set(checking.RULES)
    assert not {*result.looked_at} & {*result.left_out}
    assert set(checking.RULES) <= set(CATALOGUE)
    assert result.left_out["decay-on-norm"] == "no optimizer was given"


def test_the_rules_before_training_are_all_there() -> None:
    rules = list(CATALOGUE)
    before = {*rules[: rules.index("non-finite")], "non-finite", "optimizer-mismatch"}
    assert before == set(checking.RULES)


def test_the_result_is_a_list_of_findings_and_reads_well() -> None:
    result = preflight(_model(), _batch(), nn.CrossEntropyLoss())
    assert [finding.rule for finding in result] == ["bias-before-norm"]
    assert result[0].step == BEFORE_TRAINING
    lines = str(result).splitlines()
    assert lines[0] == "note: bias-before-norm at 0.bias (before training)"
    assert any(line.startswith("looked at: wrong-device, ") for line in lines)
    assert "left out (no optimizer was given): optimizer-mismatch, decay-on-norm, adam-l2" in lines
    assert str(preflight(nn.Linear(10, 5), _batch(), nn.CrossEntropyLoss())).startswith("nothing found\n")


def test_when_the_time_is_up_the_rest_is_not_called_healthy() -> None:
    result = preflight(_model(), _batch(), nn.CrossEntropyLoss(), time_limit=0.0)
    assert result.left_out["cannot-overfit-batch"] == result.left_out["input-ignored"] == "the time was up"
    assert "cannot-overfit-batch" not in result.looked_at


def test_muting_leaves_out_a_rule_or_a_place() -> None:
    def rules(*mute: str) -> list[str]:
        return [finding.rule for finding in preflight(_model(), _batch(), nn.CrossEntropyLoss(), mute=mute)]

    assert rules() == ["bias-before-norm"]
    assert rules("bias-before-norm") == []
    assert rules("bias-before-norm@0.*") == []
    assert rules("bias-before-norm@3.*") == ["bias-before-norm"]
    result = preflight(_model(), _batch(), nn.CrossEntropyLoss(), mute=["bias-before-norm", "input-ignored"])
    assert "bias-before-norm" not in (*result.looked_at, *result.left_out)
    assert "input-ignored" not in (*result.looked_at, *result.left_out)


def test_progress_is_told() -> None:
    told: list[str] = []
    preflight(_model(), _batch(), nn.CrossEntropyLoss(), progress=told.append)
    assert told[0] == "one forward and backward pass"
    assert "memorising one batch" in told


class _Fails(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise ValueError("bad luck")


def test_a_pass_that_fails_names_the_module_and_keeps_the_cause() -> None:
    model = nn.Sequential(nn.Linear(10, 5), nn.Sequential(nn.ReLU(), _Fails()))
    with pytest.raises(UsageError, match="bad luck") as caught:
        preflight(model, _batch(), nn.CrossEntropyLoss())
    assert caught.value.where == "1.1"
    assert isinstance(caught.value.__cause__, ValueError)


@pytest.mark.parametrize(
    ("batch", "loss_fn", "message"),
    [
        (torch.zeros(3), nn.MSELoss(), "neither"),
        ((torch.zeros(3, 10), torch.zeros(3)), None, "needs a loss"),
        ({"input": torch.zeros(3, 10)}, None, "has no loss"),
    ],
)
def test_what_cannot_be_called_is_refused(batch: Any, loss_fn: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        preflight(nn.Linear(10, 5), batch, loss_fn)


def test_a_loss_that_is_a_number_is_refused() -> None:
    with pytest.raises(UsageError, match="not a tensor"):
        preflight(_model(), _batch(), lambda output, y: functional.cross_entropy(output, y).item())


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(UsageError, match=r"needs a torch\.nn\.Module"):
        preflight(lambda x: x, _batch(), nn.CrossEntropyLoss())  # type: ignore[arg-type]


def test_a_check_that_fails_is_left_out_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(look: Any) -> Any:
        raise ZeroDivisionError("oops")
        yield

    monkeypatch.setitem(checking.CHECKS, "poor-init", breaks)
    with pytest.warns(TelltalesWarning, match="poor-init failed"):
        result = preflight(_model(), _batch(), nn.CrossEntropyLoss())
    assert "ZeroDivisionError" in result.left_out["poor-init"]
    assert "poor-init" not in result.looked_at


def _floor(x: torch.Tensor, y: torch.Tensor, output: torch.Tensor, loss_fn: Any) -> float | None:
    listening = Listening(lambda region, output: None)
    with listening:
        loss_fn(output, y)
    return floor_of(listening.losses[0], calling((x, y), loss_fn, None))


def test_floors_are_what_the_best_guess_for_equal_inputs_has() -> None:
    x = torch.tensor([[0.0], [0.0], [0.0], [1.0]])
    y = torch.tensor([0, 0, 1, 1])
    guess = torch.tensor([[2 / 3, 1 / 3]] * 3 + [[1e-30, 1.0]]).log()
    best = float(functional.cross_entropy(guess, y))
    assert _floor(x, y, torch.zeros(4, 2), functional.cross_entropy) == pytest.approx(best)
    numbers = torch.tensor([[1.0], [2.0], [6.0], [5.0]])
    means = torch.tensor([[3.0], [3.0], [3.0], [5.0]])
    expected = float(functional.mse_loss(means, numbers))
    assert _floor(x, numbers, torch.zeros(4, 1), functional.mse_loss) == pytest.approx(expected)
    chances = torch.tensor([[1.0], [0.0], [0.0], [1.0]])
    right = torch.tensor([[1 / 3]] * 3 + [[1.0]])
    expected = float(functional.binary_cross_entropy(right, chances))
    found = _floor(x, chances, torch.zeros(4, 1), functional.binary_cross_entropy_with_logits)
    assert found == pytest.approx(expected, abs=1e-6)


def test_the_floor_of_smoothed_labels_is_their_entropy() -> None:
    loss_fn = nn.CrossEntropyLoss(label_smoothing=0.2)
    x, y = torch.arange(6.0)[:, None], torch.arange(6) % 3
    target = torch.full((6, 3), 0.2 / 3).scatter_(1, y[:, None], 0.8 + 0.2 / 3)
    assert _floor(x, y, torch.zeros(6, 3), loss_fn) == pytest.approx(float(loss_fn(target.log(), y)), abs=1e-6)


def test_contradictory_labels_are_no_fault_of_the_model() -> None:
    torch.manual_seed(0)
    x = torch.randn(8, 10).repeat(4, 1)
    y = torch.randint(5, (32,))
    result = preflight(nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 5)), (x, y), nn.CrossEntropyLoss())
    assert not list(result)
    assert "cannot-overfit-batch" in result.looked_at


def test_sequence_can_be_said() -> None:
    torch.manual_seed(0)
    ids = torch.randint(20, (8, 12))
    model = nn.Sequential(nn.Embedding(20, 32), nn.TransformerEncoderLayer(32, 4, 64, batch_first=True))
    model.append(nn.Linear(32, 20))
    nn.init.normal_(model[2].weight, std=0.02)

    def loss(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(output.mT, targets)

    rules = {
        said: [f.rule for f in preflight(model, (ids, ids.roll(-1, 1)), loss, sequence=said)]
        for said in (None, True, False)
    }
    assert rules == {None: ["future-leak"], True: ["future-leak"], False: []}
