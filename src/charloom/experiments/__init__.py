"""The studies: several trainings that differ in one thing, compared in one report.

Each study makes runs (`trials`), reads what they and their records say, and gives a `Study`: plain data, tables, plots.
`page` draws it as one HTML file. Runs are kept, so that a study that was stopped, or that is asked for with one more
setting, trains only what is missing.
"""

from __future__ import annotations

from charloom.experiments.study import Study
from charloom.experiments.trials import Trials

__all__ = ["Study", "Trials"]
