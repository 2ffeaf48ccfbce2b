"""The embedded store: counts for one process, in its memory."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from gateway.ratelimit.policy import US_PER_S, Count, LimitSet, Verdict
from gateway.ratelimit.store import LEASE_S, LeaseId, Mode, Taken
from gateway.ratelimit.window import Window

SWEEP_US: Final = 60 * US_PER_S
"""How often counters that nobody has used for two windows are dropped."""


class _Counter:
    """A window, and when it may be forgotten."""

    __slots__ = ("length_us", "stale_at_us", "window")

    def __init__(self, length_us: int) -> None:
        self.length_us = length_us
        self.window = Window(length_us)
        self.stale_at_us = 0


class _Leases:
    """Requests in flight with the moments at which they lapse, the earliest first: all live equally long."""

    __slots__ = ("_ends_us",)

    def __init__(self) -> None:
        self._ends_us: dict[LeaseId, int] = {}

    def count(self, now_us: int) -> int:
        ends = self._ends_us
        while ends:
            lease, end_us = next(iter(ends.items()))
            if end_us > now_us:
                break
            del ends[lease]
        return len(ends)

    def put(self, lease: LeaseId, end_us: int) -> None:
        self._ends_us.pop(lease, None)
        self._ends_us[lease] = end_us

    def drop(self, lease: LeaseId) -> None:
        self._ends_us.pop(lease, None)


class MemoryStore:
    """Implements `store.Store`. `clock_us` never goes back."""

    mode: Mode = "embedded"
    problem = ""

    def __init__(self, clock_us: Callable[[], int], *, lease_s: float = LEASE_S) -> None:
        self._clock_us = clock_us
        self._lease_us = int(lease_s * US_PER_S)
        self._counters: dict[tuple[str, str], _Counter] = {}
        self._leases: dict[tuple[str, str], _Leases] = {}
        self._sweep_at_us = clock_us() + SWEEP_US

    async def open(self) -> None:
        """Nothing runs beside requests."""

    async def close(self) -> None:
        """Nothing to end."""

    async def changed(self) -> None:
        """Nobody else ever counts: this never returns."""
        await asyncio.Event().wait()

    async def reserve(self, limits: LimitSet, tokens: int, lease: LeaseId) -> Taken:
        """See the port."""
        return self.take(limits, tokens, lease)

    def take(self, limits: LimitSet, tokens: int, lease: LeaseId) -> Taken:
        """`reserve`, which has nothing to wait for here."""
        now_us = self._clock_us()
        if now_us >= self._sweep_at_us:
            self._sweep(now_us)
        counters = [self._counter(limits.tenant, window.key, window.length_us) for window in limits.windows]
        held = [self._lease_set(limits.tenant, limit.key) for limit in limits.leases]
        granted = True
        for leases, limit in zip(held, limits.leases, strict=True):
            if leases.count(now_us) >= limit.amount:
                granted = False
        for counter, window in zip(counters, limits.windows, strict=True):
            cost = tokens if window.unit == "tokens" else 1
            if counter.window.used(now_us) + cost > window.amount:
                granted = False
        used: list[int] = []
        waits: list[int] = []
        for counter, window in zip(counters, limits.windows, strict=True):
            cost = tokens if window.unit == "tokens" else 1
            if granted:
                counter.window.add(now_us, cost)
                counter.stale_at_us = now_us + 2 * counter.length_us
            used.append(counter.window.used(now_us))
            waits.append(counter.window.wait_us(now_us, cost, window.amount) if used[-1] + cost > window.amount else 0)
        if granted:
            for leases in held:
                leases.put(lease, now_us + self._lease_us)
        verdict = Verdict(granted, now_us, tuple(used), tuple(waits), tuple([leases.count(now_us) for leases in held]))
        return Taken(limits, self.mode, verdict, tokens, lease)

    def settle(self, taken: Taken, requests: int, tokens: int) -> None:
        """See the port."""
        at_us = taken.verdict.at_us
        now_us = self._clock_us()
        limits = taken.limits
        for window in limits.windows:
            counter = self._counters.get((limits.tenant, window.key))
            if counter is not None:
                counter.window.used(now_us)
                counter.window.amend(at_us, tokens - taken.tokens if window.unit == "tokens" else requests - 1)
        self.release(limits, taken.lease)

    def release(self, limits: LimitSet, lease: LeaseId) -> None:
        """Give a lease back alone."""
        for limit in limits.leases:
            leases = self._leases.get((limits.tenant, limit.key))
            if leases is not None:
                leases.drop(lease)

    async def renew(self, leases: Iterable[tuple[LimitSet, LeaseId]]) -> None:
        """See the port."""
        self.keep(leases)

    async def look(self, limits: LimitSet) -> tuple[LimitSet, Count]:
        """See the port."""
        return limits, self.count(limits)

    def count(self, limits: LimitSet) -> Count:
        """What `look` tells, which has nothing to wait for here."""
        now_us = self._clock_us()
        counters = [self._counters.get((limits.tenant, window.key)) for window in limits.windows]
        held = [self._leases.get((limits.tenant, limit.key)) for limit in limits.leases]
        return Count(
            used=tuple([0 if counter is None else counter.window.used(now_us) for counter in counters]),
            reset_us=tuple([0 if counter is None else counter.window.reset_us(now_us) for counter in counters]),
            held=tuple([0 if leases is None else leases.count(now_us) for leases in held]),
        )

    def keep(self, leases: Iterable[tuple[LimitSet, LeaseId]]) -> None:
        """`renew`, which has nothing to wait for here."""
        end_us = self._clock_us() + self._lease_us
        for limits, lease in leases:
            for limit in limits.leases:
                self._lease_set(limits.tenant, limit.key).put(lease, end_us)

    def _counter(self, tenant: str, key: str, length_us: int) -> _Counter:
        counter = self._counters.get((tenant, key))
        if counter is None:
            counter = self._counters[tenant, key] = _Counter(length_us)
        return counter

    def _lease_set(self, tenant: str, key: str) -> _Leases:
        leases = self._leases.get((tenant, key))
        if leases is None:
            leases = self._leases[tenant, key] = _Leases()
        return leases

    def _sweep(self, now_us: int) -> None:
        self._sweep_at_us = now_us + SWEEP_US
        self._counters = {place: kept for place, kept in self._counters.items() if kept.stale_at_us > now_us}
        self._leases = {place: kept for place, kept in self._leases.items() if kept.count(now_us)}
