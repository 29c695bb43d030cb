"""Training diagnostics for any `torch.nn.Module`: what goes on inside while it trains, measured, recorded and drawn.

    with telltales.watch(model, optimizer) as w:
        for inputs, targets in batches:
            ...
            optimizer.step()
            w.step(loss)
    w.report("report.html")

Needs torch and numpy only, and knows nothing of language models. Records can be read and drawn without torch, so this
module imports nothing until it is asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from telltales.checks import Preflight, preflight
    from telltales.errors import (
        FindingError,
        ProbeError,
        RecordError,
        TelltalesError,
        TelltalesWarning,
        UsageError,
    )
    from telltales.finding import Finding
    from telltales.prescribing import Prescription, prescribe
    from telltales.record import Limits, Record
    from telltales.record_file import read_record
    from telltales.schedule import PRESETS, Preset, Schedule
    from telltales.verdicts import RULES, Rule, Run, Sign, judge, rule
    from telltales.watching import Watch, watch

__version__ = "0.1.0"

_HOMES = {
    "telltales.checks": ("Preflight", "preflight"),
    "telltales.errors": (
        "FindingError",
        "ProbeError",
        "RecordError",
        "TelltalesError",
        "TelltalesWarning",
        "UsageError",
    ),
    "telltales.finding": ("Finding",),
    "telltales.prescribing": ("Prescription", "prescribe"),
    "telltales.record": ("Limits", "Record"),
    "telltales.record_file": ("read_record",),
    "telltales.schedule": ("PRESETS", "Preset", "Schedule"),
    "telltales.verdicts": ("RULES", "Rule", "Run", "Sign", "judge", "rule"),
    "telltales.watching": ("Watch", "watch"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "PRESETS",
    "RULES",
    "Finding",
    "FindingError",
    "Limits",
    "Preflight",
    "Prescription",
    "Preset",
    "ProbeError",
    "Record",
    "RecordError",
    "Rule",
    "Run",
    "Schedule",
    "Sign",
    "TelltalesError",
    "TelltalesWarning",
    "UsageError",
    "Watch",
    "judge",
    "preflight",
    "prescribe",
    "read_record",
    "rule",
    "watch",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'telltales' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
