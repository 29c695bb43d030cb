"""The fault of each rule in a small training, and the same training without it: what docs/rules shows.

`example.EXAMPLES` has them all, by rule. Each is a function of ``sick``: True puts the fault in.
"""

from __future__ import annotations

from examples import at_evaluation, before, losses, numbers, signal, structure, updates
from examples.example import EXAMPLES, Example

__all__ = ["EXAMPLES", "Example", "at_evaluation", "before", "losses", "numbers", "signal", "structure", "updates"]
