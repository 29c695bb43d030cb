"""Libraries that need not be there."""

from __future__ import annotations

import importlib
from typing import Any

from telltales.errors import UsageError


def needed(module: str, package: str) -> Any:
    """The module, or a `UsageError` that says what to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(f"{module} can't be imported: {error}", remedy=f"pip install {package}") from error
