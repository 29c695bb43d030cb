"""Numbers that need more than one step: whether a loss stands out, and how noisy the gradient is."""

from __future__ import annotations

import math
from collections import deque


class Spikes:
    """Says whether a step is near a loss that stood out from those before it."""

    WINDOW = 50
    FEWEST = 20
    DEVIATIONS = 4.0
    STEPS_AFTER = 10

    def __init__(self) -> None:
        self._past: deque[float] = deque(maxlen=self.WINDOW)
        self._left = 0

    def is_near(self, loss: float) -> bool:
        """Whether this loss, or one of the few before it, is not finite or was above the mean of those before it by
        `DEVIATIONS` of their standard deviations. The loss is not part of what it is compared with."""
        self._left = max(self._left - 1, 0)
        past = self._past
        if len(past) >= self.FEWEST:
            mean = math.fsum(past) / len(past)
            deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in past) / (len(past) - 1))
            if not math.isfinite(loss) or loss > mean + self.DEVIATIONS * deviation:
                self._left = self.STEPS_AFTER
        if math.isfinite(loss):
            past.append(loss)
        return self._left > 0


class NoiseScale:
    """The batch size at which the gradient's noise equals the gradient itself: McCandlish et al. 2018, section 2.2.

    Two consecutive steps see nearly the same weights, so their gradients g and h differ by noise alone: |g - h|² / 2
    estimates the variance of one of them, and g·h the squared norm of the true gradient. Both are averaged over time
    (appendix A.1), since each is noisy, and divided.
    """

    MEMORY = 0.95

    def __init__(self) -> None:
        self._variance = self._signal = 0.0

    def update(self, dot: float, squared_distance: float, batch_size: float) -> float:
        """The estimate, in examples, with one more pair of gradients; NaN while the signal drowns in the noise."""
        if math.isfinite(dot) and math.isfinite(squared_distance):
            self._variance = self.MEMORY * self._variance + (1 - self.MEMORY) * squared_distance / 2
            self._signal = self.MEMORY * self._signal + (1 - self.MEMORY) * dot
        return batch_size * self._variance / self._signal if self._signal > 0 else math.nan
