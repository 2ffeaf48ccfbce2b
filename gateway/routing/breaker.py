"""The circuit breaker of one worker: whether what it answers is worth asking for. Pure; times are given.

    closed ──(failures)──► open ──(time)──► half open ──(success)──► closed
                             ▲                  │
                             └────(failure)─────┘

The first failure begins an observation of `OBSERVE_S`. The breaker wants to open when `MIN_FAILURES` were seen in it,
and not fewer than successes. Half open it lets one request through at a time. Failures are what a worker does wrong:
breaking off before the first byte, nonsense, 500. What clients do wrong, clients that go away, and an engine that is
full never count.
"""

import math
from typing import Final, Literal

MIN_FAILURES: Final = 5
OBSERVE_S: Final = 10.0
FIRST_OPEN_S: Final = 1.0
MAX_OPEN_S: Final = 3.0
"""Twice as long with each trial that fails, up to this: a worker that recovers is used again within 5 s."""
TRIAL_S: Final = 10.0
"""After this long without an outcome (the client went away, a long answer) another request may try."""

BreakerState = Literal["closed", "open", "half-open"]


class Breaker:
    """Counts one worker's outcomes."""

    __slots__ = ("_failures", "_open_s", "_since", "_successes", "_ticked", "_until", "state", "troubled", "trying")

    def __init__(self) -> None:
        self.state: BreakerState = "closed"
        self.troubled = False
        """Whether outcomes matter now: without a failure lately, successes need not be told."""
        self.trying = False
        """Half open, and a request is under way that decides."""
        self._failures = 0
        self._successes = 0
        self._since = 0.0
        self._ticked = 0.0
        self._until = 0.0
        self._open_s = FIRST_OPEN_S

    @property
    def passes(self) -> bool:
        """Whether a request may go through."""
        return self.state == "closed" or (self.state == "half-open" and not self.trying)

    def failed(self, now: float) -> bool:
        """Count a failure; True when it should `open`."""
        if self.state != "closed":
            return self.state == "half-open"
        if not self.troubled or now - self._since > OBSERVE_S:
            self.troubled = True
            self._since = now
            self._failures = self._successes = 0
        self._failures += 1
        return self._failures >= MIN_FAILURES and self._failures >= self._successes

    def succeeded(self) -> bool:
        """Count a success; True when that closes it."""
        if self.state == "closed":
            self._successes += 1
            return False
        if self.state == "open":  # asked before it opened, or as the last one left
            return False
        self.reset()
        return True

    def reset(self) -> None:
        """Be as new: closed, and without a memory of failures."""
        self.__init__()  # type: ignore[misc]  # every field anew

    def hold_open(self) -> None:
        """Let nothing through until `reset`, however long that takes: somebody else tries."""
        self.open(math.inf, 1.0)

    def open(self, now: float, jitter: float) -> None:
        """Let nothing through for a while; `jitter` around 1 spreads the trials of several gateways."""
        self.state = "open"
        self.troubled = True
        self.trying = False
        self._until = now + self._open_s * jitter
        self._open_s = min(self._open_s * 2, MAX_OPEN_S)

    def tick(self, now: float) -> bool:
        """Look at the time; True when a request may go through that might not before."""
        self._ticked = now
        if self.state == "open" and now >= self._until:
            self.state = "half-open"
            return True
        if self.state == "half-open" and self.trying and now >= self._until:
            self.trying = False
            return True
        if self.state == "closed" and self.troubled and now - self._since > OBSERVE_S:
            self.troubled = False
        return False

    def begin_trial(self) -> None:
        """Note that the one request is under way."""
        self.trying = True
        self._until = self._ticked + TRIAL_S
