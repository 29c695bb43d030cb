"""The programs of the bench: trainings that go well."""

from __future__ import annotations

from faultbench.programs import (
    classifiers,
    control,
    generative,
    language,
    packaged,
    unseen_others,
    unseen_supervised,
)
from faultbench.programs.program import Program

PROGRAMS: tuple[Program, ...] = (
    *classifiers.PROGRAMS,
    *language.PROGRAMS,
    *generative.PROGRAMS,
    *control.PROGRAMS,
    *packaged.PROGRAMS,
    *unseen_supervised.PROGRAMS,
    *unseen_others.PROGRAMS,
)
