"""Before training: one batch, a few seconds, and everything put back as it was."""

from __future__ import annotations

from telltales.checks.checking import preflight
from telltales.checks.result import Preflight

__all__ = ["Preflight", "preflight"]
