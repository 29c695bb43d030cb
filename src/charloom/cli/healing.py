"""`charloom train --heal`: the training again, with what its findings call for, and both side by side."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charloom.cli.console import escape, line, log, number, out, table
from charloom.errors import ConfigError
from charloom.healing import Change, healed
from charloom.watching import Diagnosis, diagnose

if TYPE_CHECKING:
    from charloom.dataset import Dataset
    from charloom.runs import Run

Fit = Callable[["Run", "Dataset"], dict[str, Any]]


def heal(run: Run, dataset: Dataset, result: dict[str, Any], fit: Fit) -> dict[str, Any]:
    """Train again with the settings that mend what was found in ``run``, if there are any.

    ``result``: of ``run``. ``fit``: trains a run, watched. Gives ``before`` and ``after`` (the results, with the
    findings' ids; ``after`` is None where nothing is to be changed) and ``changes``.
    """
    from charloom.fitting import create_run

    if run.training is None:
        raise ConfigError("a counted model has no training to heal", remedy="Leave --heal out.")
    before = diagnose(run)
    model, training, changes = healed(run.model, run.training, before.prescriptions)
    report: dict[str, Any] = {"before": result | {"findings": before.there}, "after": None, "changes": []}
    if not changes:
        return report | {"diagnosis": before}
    again = create_run(dataset, model, training, root=run.folder.parent, name=f"{run.name}-healed")
    after_result = fit(again, dataset)
    after = diagnose(again)
    return {
        "before": report["before"],
        "after": after_result | {"findings": after.there},
        "changes": [vars(change) for change in changes],
        "diagnosis": before,
        "healed": after,
        "folder": again.folder,
    }


def show_healing(report: dict[str, Any]) -> None:
    """What was found, what was changed, and what came of it."""
    before: Diagnosis = report["diagnosis"]
    out.print()
    line(before.text)
    if report["after"] is None:
        said = "No setting of charloom mends what was found." if before.there else "Nothing to heal."
        log(said)
        return
    changes = [Change(**change) for change in report["changes"]]
    rows = [[change.setting, str(change.before), str(change.after), change.rule] for change in changes]
    columns = {"setting": "left", "before": "right", "healed": "right", "because of": "left"}
    table("What was changed", columns, rows)
    rows = [
        ["findings", _listed(report["before"]["findings"]), _listed(report["after"]["findings"])],
        *(
            [f"{part} loss", *(_loss(report[which], part) for which in ("before", "after"))]
            for part in ("train", "dev")
        ),
    ]
    table("Before and after, in nats/char", {"": "left", "before": "right", "healed": "right"}, rows)
    folder: Path = report["folder"]
    before_folder = folder.parent / report["before"]["run"]
    out.print(f"Side by side: telltales compare {escape(before_folder)} {escape(folder)} --html healed.html")


def as_json(report: dict[str, Any]) -> dict[str, Any]:
    """The part of a healing that is plain data."""
    return {key: report[key] for key in ("before", "changes", "after")}


def _loss(result: dict[str, Any], part: str) -> str:
    found = result["train"] if part == "train" else result["dev"]["loss"]
    return number(found["nats"])


def _listed(rules: list[str]) -> str:
    return ", ".join(rules) or "none"
