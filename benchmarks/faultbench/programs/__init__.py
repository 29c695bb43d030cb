"""The programs of the bench: trainings that go well."""

from __future__ import annotations

from faultbench.programs import classifiers, control, generative, language, packaged
from faultbench.programs.program import Program

PROGRAMS: tuple[Program, ...] = (
    *classifiers.PROGRAMS,
    *language.PROGRAMS,
    *generative.PROGRAMS,
    *control.PROGRAMS,
    *packaged.PROGRAMS,
)
