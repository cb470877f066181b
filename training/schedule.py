"""The learning rate over a run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Trapezoid:
    """The published schedule: a linear warm-up, a plateau, a linear decay to the end.

    steps: of the whole run; warm_up, decay: how many of them, counted from its two ends.
    """

    steps: int
    warm_up: int
    decay: int

    def __call__(self, step: int) -> float:
        """What the learning rates are multiplied by at a step counted from 0: above 0, at most 1."""
        rising = (step + 1) / (self.warm_up + 1)
        falling = (self.steps - step) / (self.decay + 1)
        return min(1.0, rising, falling)
