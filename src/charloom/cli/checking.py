"""`charloom check`: what is wrong with a training before it begins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from charloom.cli.console import err, line, print_json
from charloom.cli.options import DataFlags, Json, ModelFlags, TrainingFlags
from charloom.config import DataConfig, ModelConfig, TrainingConfig
from charloom.errors import ConfigError

if TYPE_CHECKING:
    from charloom.watching import Diagnosis

STATUS = {"error": 4, "warning": 3, "note": 0}
"""The exit status by the worst finding, as of `telltales judge`."""


def check(
    *,
    data: DataFlags = None,
    model: ModelFlags = None,
    training: TrainingFlags = None,
    time_limit: Annotated[float, Parameter(help="Seconds for the checks that train on one batch.")] = 20.0,
    json: Json = False,
) -> None:
    """Check a training before it begins: one batch, a few seconds, nothing is kept.

    For example:

        charloom check --data names.txt --model deep-mlp --init normal

    Exit status 0 when nothing worse than a note was found, 3 for warnings, 4 for errors. With --json: findings (rule,
    severity, where, evidence, why, remedy, numbers, symptoms and so on), looked_at, left_out.
    """
    from charloom.dataset import Dataset
    from charloom.fitting import start_training
    from charloom.watching import diagnose_before

    model = model or ModelConfig()
    if model.counted:
        raise ConfigError(f"{model.model} is counted: there is no training to check", remedy="Choose a neural model.")
    loop = start_training(Dataset.load(data or DataConfig()), model, training or TrainingConfig())
    with err.status("one batch…") as status:
        found, looked_at, left_out = diagnose_before(loop, time_limit, lambda message: status.update(f"{message}…"))
    if json:
        print_json({"findings": found.findings, "looked_at": looked_at, "left_out": left_out})
    else:
        line(found.text)
        line(f"looked at {len(looked_at)} faults" + _left_out(left_out))
    _exit(found)


def _left_out(reasons: dict[str, str]) -> str:
    return "; not at " + ", ".join(f"{rule} ({reason})" for rule, reason in reasons.items()) if reasons else ""


def _exit(found: Diagnosis) -> None:
    status = max((STATUS[one["severity"]] for one in found.findings), default=0)
    if status:
        raise SystemExit(status)
