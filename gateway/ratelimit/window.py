"""The sliding window, counted in buckets.

Time is cut into buckets of a 60th of the window. What is used at a moment is the running bucket and the 60 before it,
the oldest counted in full though part of it has already left the window. So no stretch of time as long as the window
ever holds more than the limit, and room comes back at most one bucket late.

A window knows no clock: the moments it is given, in microseconds of its store's clock, never go back.
"""

from typing import Final

BUCKETS: Final = 60
NEVER: Final = -1
"""The wait of a cost that is larger than the limit."""


class Window:
    """What one limit has counted."""

    __slots__ = ("_counts", "_newest", "_total", "_width_us")

    def __init__(self, length_us: int) -> None:
        self._width_us = length_us // BUCKETS
        self._counts: dict[int, int] = {}  # by bucket, oldest first
        self._newest = 0
        self._total = 0

    def used(self, now_us: int) -> int:
        """Return the sum of the window that ends now; what has left it is dropped."""
        newest = now_us // self._width_us
        if newest != self._newest:
            self._newest = newest
            counts = self._counts
            while counts:
                oldest = next(iter(counts))
                if oldest >= newest - BUCKETS:
                    break
                self._total -= counts.pop(oldest)
        return self._total

    def add(self, now_us: int, amount: int) -> None:
        """Count `amount` now."""
        self.used(now_us)
        self._counts[self._newest] = self._counts.get(self._newest, 0) + amount
        self._total += amount

    def amend(self, at_us: int, amount: int) -> None:
        """Add `amount`, which may be negative, to what was counted at `at_us`; nothing if that has left the window."""
        bucket = at_us // self._width_us
        if bucket in self._counts:
            self._counts[bucket] += amount
            self._total += amount

    def reset_us(self, now_us: int) -> int:
        """Return how long it takes until everything that counts now has left the window."""
        self.used(now_us)
        last = next((bucket for bucket, amount in reversed(self._counts.items()) if amount), None)
        return 0 if last is None else (last + BUCKETS + 1) * self._width_us - now_us

    def wait_us(self, now_us: int, cost: int, limit: int) -> int:
        """Return how long it takes until `cost` fits under the limit if nothing else comes; 0: it fits now."""
        excess = self.used(now_us) + cost - limit
        if excess <= 0:
            return 0
        if cost > limit:
            return NEVER
        for bucket, amount in self._counts.items():
            excess -= amount
            if excess <= 0:
                return (bucket + BUCKETS + 1) * self._width_us - now_us
        raise AssertionError("an empty window has room for what is under the limit")
