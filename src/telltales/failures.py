"""What goes wrong in telltales itself is said once, as a warning that names the place; the training is left alone."""

from __future__ import annotations

import sys
import traceback
import warnings
from pathlib import Path

from telltales.errors import TelltalesWarning

_HOME = str(Path(__file__).parent)


def told(error: BaseException) -> str:
    """An error in one line, with where it came from: ``ZeroDivisionError: oh (probes.py, line 12)``."""
    trace = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(trace[-1].filename).name}, line {trace[-1].lineno})" if trace else ""
    return f"{type(error).__name__}: {error}{place}"


def warn_of(fact: str, error: BaseException) -> None:
    """Warn that ``fact`` is so because of an error, at the line outside telltales that led here."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_HOME):
        frame, level = frame.f_back, level + 1
    warnings.warn(f"{fact}: {told(error)}; the training is untouched", TelltalesWarning, stacklevel=level)
