"""The recall test: questions on how these models work, each with an answer that is computed, not asserted.

- ``questions.toml``, `questions`: what is asked.
- `checks`: what computes the truth, with NumPy, torch or the models of this package.
- `expressions`, `answers`: what a learner types, and whether it is right.
- `memory`, `session`: what was wrong comes back.
"""

from charloom.recall.checks import CHECKS, Measured
from charloom.recall.memory import Memory, StateError, read_memory
from charloom.recall.questions import Box, Question, QuestionError, find, of_topic, read_questions
from charloom.recall.session import Session

__all__ = [
    "CHECKS",
    "Box",
    "Measured",
    "Memory",
    "Question",
    "QuestionError",
    "Session",
    "StateError",
    "find",
    "of_topic",
    "read_memory",
    "read_questions",
]
