"""What most adapters have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from faultbench.listening import Named, Training


class Peer:
    """Hears everything and says nothing."""

    name = ""

    def __init__(self) -> None:
        self._named: list[Named] = []

    def begin(self, training: Training) -> None: ...

    def after_backward(self, training: Training, step: int, loss: torch.Tensor) -> None: ...

    def after_step(self, training: Training, step: int, loss: torch.Tensor, inputs: Any, targets: Any) -> None: ...

    def evaluated(self, step: int, losses: Mapping[str, float]) -> None: ...

    def end(self) -> None: ...

    def named(self) -> list[Named]:
        return self._named

    def say(self, rule: str, step: int, said: str) -> None:
        """Once for each rule."""
        if rule not in {named.rule for named in self._named}:
            self._named.append(Named(rule, step, said))
