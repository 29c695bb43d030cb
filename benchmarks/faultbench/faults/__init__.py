"""The faults of the bench."""

from __future__ import annotations

from faultbench.faults import examples, sizes, structure
from faultbench.faults.fault import Fault

FAULTS: tuple[Fault, ...] = (*structure.FAULTS, *sizes.FAULTS, *examples.FAULTS)
