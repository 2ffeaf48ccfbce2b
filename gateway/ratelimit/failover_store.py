"""What happens when the shared store is gone: `redis.on_failure`.

`local`: this replica counts for itself and allows its share, each limit divided by the replicas that were last seen.
`open`: everything passes. `closed`: nothing does. When the shared store is back it counts again at once; what was
counted in between stays here. Leases follow whoever counts, since their requests are still in flight.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Protocol
from weakref import WeakKeyDictionary

from gateway.config.model import OnFailure
from gateway.ratelimit.memory_store import MemoryStore
from gateway.ratelimit.policy import Count, LimitSet, Verdict
from gateway.ratelimit.store import LeaseId, Mode, StoreUnavailableError, Taken

logger = logging.getLogger("gateway.ratelimit")


class SharedStore(Protocol):
    """A store across replicas, which may be gone."""

    up: bool
    problem: str
    """Why it is gone."""
    replicas: int
    """That lived when it was last asked, this one included; at least 1."""

    def watch(self, changed: Callable[[], None]) -> None:
        """Name who is told whenever `up` changes."""
        ...

    async def open(self) -> None:
        """Connect, or go on trying."""
        ...

    async def close(self) -> None:
        """Disconnect."""
        ...

    async def reserve(self, limits: LimitSet, tokens: int, lease: LeaseId) -> Taken:
        """As `store.Store`."""
        ...

    def settle(self, taken: Taken, requests: int, tokens: int) -> None:
        """As `store.Store`; told later when it is gone."""
        ...

    def release(self, limits: LimitSet, lease: LeaseId) -> None:
        """Give a lease back alone, which may not be here."""
        ...

    async def renew(self, leases: Iterable[tuple[LimitSet, LeaseId]]) -> None:
        """As `store.Store`."""
        ...

    async def look(self, limits: LimitSet) -> tuple[LimitSet, Count]:
        """As `store.Store`."""
        ...


class FailoverStore:
    """Implements `store.Store`."""

    def __init__(self, shared: SharedStore, local: MemoryStore, on_failure: OnFailure) -> None:
        self._shared = shared
        self._local = local
        self._on_failure: OnFailure = on_failure
        self._shares: WeakKeyDictionary[LimitSet, tuple[int, LimitSet]] = WeakKeyDictionary()
        self._changed = asyncio.Event()
        shared.watch(self._note_change)

    @property
    def mode(self) -> Mode:
        """See the port."""
        return "shared" if self._shared.up else self._on_failure

    @property
    def problem(self) -> str:
        """See the port."""
        return "" if self._shared.up else f"redis: {self._shared.problem}; limits are {self._on_failure}"

    async def open(self) -> None:
        """See the port."""
        await self._shared.open()
        if not self._shared.up:
            self._note_change()

    async def close(self) -> None:
        """See the port."""
        await self._shared.close()

    async def changed(self) -> None:
        """See the port."""
        await self._changed.wait()
        self._changed.clear()

    async def reserve(self, limits: LimitSet, tokens: int, lease: LeaseId) -> Taken:
        """See the port."""
        if self._shared.up:
            try:
                return await self._shared.reserve(limits, tokens, lease)
            except StoreUnavailableError:
                if self._on_failure == "closed":
                    raise
        elif self._on_failure == "closed":
            raise StoreUnavailableError(self._shared.problem)
        if self._on_failure == "local":
            taken = self._local.take(self._share(limits), tokens, lease)
            return Taken(taken.limits, "local", taken.verdict, tokens, lease)
        return _unlimited(limits, tokens, lease)

    def settle(self, taken: Taken, requests: int, tokens: int) -> None:
        """See the port."""
        if taken.mode == "shared":
            self._shared.settle(taken, requests, tokens)
            self._local.release(taken.limits, taken.lease)
            return
        if taken.mode == "local":
            self._local.settle(taken, requests, tokens)
        self._shared.release(taken.limits, taken.lease)

    async def renew(self, leases: Iterable[tuple[LimitSet, LeaseId]]) -> None:
        """See the port."""
        if self._shared.up:
            await self._shared.renew(leases)
        else:
            self._local.keep(leases)

    async def look(self, limits: LimitSet) -> tuple[LimitSet, Count]:
        """See the port."""
        if self._shared.up:
            return await self._shared.look(limits)
        if self._on_failure == "closed":
            raise StoreUnavailableError(self._shared.problem)
        if self._on_failure == "local":
            share = self._share(limits)
            return share, self._local.count(share)
        nothing = (0,) * len(limits.windows)
        return limits, Count(nothing, nothing, (0,) * len(limits.leases))

    def _share(self, limits: LimitSet) -> LimitSet:
        replicas = self._shared.replicas
        known = self._shares.get(limits)
        if known is not None and known[0] == replicas:
            return known[1]
        share = limits.share(replicas)
        self._shares[limits] = (replicas, share)
        return share

    def _note_change(self) -> None:
        self._changed.set()
        if self._shared.up:
            logger.info("redis counts: limits are shared by %d replicas", self._shared.replicas)
        else:
            logger.warning(
                "redis is gone (%s): limits are %s until it is back%s",
                self._shared.problem,
                self._on_failure,
                f", 1/{self._shared.replicas} of each here" if self._on_failure == "local" else "",
            )


def _unlimited(limits: LimitSet, tokens: int, lease: LeaseId) -> Taken:
    """Return a reservation that nobody counts."""
    verdict = Verdict(
        granted=True, at_us=0, used=(0,) * len(limits.windows), wait_us=(0,) * len(limits.windows), held=()
    )
    return Taken(limits, "open", verdict, tokens, lease)
