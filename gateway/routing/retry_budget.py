"""How many requests of a model may be asked a second time: an outage must not multiply the load. Pure.

A retry leaves a debt of one; each request pays a fifth of it back, and each second ten. The debt may be a hundred, or
as large as what is in flight: the requests of a worker that dies are all retried at once, on a model of any size. When
every worker keeps failing, the workers see 1.2 times the requests and not three times.
"""

from typing import Final

PER_REQUEST: Final = 0.2
PER_S: Final = 10.0
CAPACITY: Final = 100.0


class RetryBudget:
    """The budget of one model."""

    __slots__ = ("_at", "_debt", "owes", "refused", "taken")

    def __init__(self) -> None:
        self._debt = 0.0
        self._at: float | None = None
        self.owes = False
        """Whether a request pays something back."""
        self.taken = 0
        """Retries since the start."""
        self.refused = 0
        """Retries there was no budget for."""

    def request(self) -> None:
        """Note a request that may need a retry; needs to be told only while it `owes`."""
        self._debt = max(0.0, self._debt - PER_REQUEST)
        self.owes = self._debt > 0

    def take(self, now: float, in_flight: int = 0) -> bool:
        """Take one retry out of the budget; False when there is none. `in_flight`: the model's requests."""
        if self._at is not None:
            self._debt = max(0.0, self._debt - PER_S * max(0.0, now - self._at))
        self._at = now
        if self._debt + 1 > max(CAPACITY, in_flight):
            self.refused += 1
            return False
        self._debt += 1
        self.owes = True
        self.taken += 1
        return True
