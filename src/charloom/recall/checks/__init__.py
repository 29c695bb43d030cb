"""What computes the answers: one function a question, by name in `CHECKS`. Each takes well under a second."""

from charloom.recall.checks import counting, network, norms, training
from charloom.recall.checks.measured import Check, Measured

CHECKS: dict[str, Check] = {
    check.__name__: check for part in (counting, network, norms, training) for check in part.ALL
}
"""By the name that a question's ``check`` gives."""

__all__ = ["CHECKS", "Check", "Measured"]
