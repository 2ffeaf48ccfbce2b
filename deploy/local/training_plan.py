"""How far a training is, and what learning rate goes with it: pure, for the checkers and tests that have no torch."""

from dataclasses import dataclass
from typing import Final

WARM_UP_STEPS: Final = 10
LEAST: Final = 0.02
"""The part of the highest rate that the last steps still have."""


@dataclass(frozen=True, slots=True)
class Pace:
    """A training of `steps`, which `limit_s` may end before: the rate falls to almost nothing by then either way."""

    steps: int
    limit_s: float | None = None

    def done(self, steps: int, spent_s: float) -> float:
        """The part that is behind us, 1 at the end, after so many steps and seconds."""
        by_steps = steps / self.steps
        return by_steps if self.limit_s is None else max(by_steps, spent_s / self.limit_s)

    def rate(self, step: int, done: float) -> float:
        """The part of the highest rate for this step (the first is 1): a short warm-up, then down in a line."""
        return min(step / WARM_UP_STEPS, 1.0) * max(1.0 - done, LEAST)

    def left_s(self, steps: int, spent_s: float) -> float:
        """How long it takes yet, if the steps stay as long as they were."""
        by_steps = spent_s / steps * (self.steps - steps)
        return by_steps if self.limit_s is None else max(0.0, min(by_steps, self.limit_s - spent_s))
