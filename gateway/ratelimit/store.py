"""The port to what counts: the embedded store, Redis, or one in place of the other."""

from collections.abc import Iterable
from typing import Final, Literal, NewType, Protocol

from msgspec import Struct

from gateway.ratelimit.policy import Count, LimitSet, Verdict

LeaseId = NewType("LeaseId", str)
"""Of one request in flight; unique among all replicas."""
Mode = Literal["embedded", "shared", "local", "open", "closed"]
"""embedded: there is no Redis. shared: Redis counts. The others are `redis.on_failure`, in force because it is gone."""
LEASE_S: Final = 14.0
"""How long a lease lives without being renewed: what a killed replica held is free within 15 seconds."""
HEARTBEAT_S: Final = 5.0
"""How often leases are renewed and replicas make themselves heard."""


class StoreUnavailableError(Exception):
    """The store didn't answer in time, or can't; nothing is known about whether it counted the call."""


class Taken(Struct, frozen=True):
    """What a granted reservation holds in the store that granted it, to be settled there."""

    limits: LimitSet
    """As applied: the share of this replica, where that was in force."""
    mode: Mode
    verdict: Verdict
    tokens: int
    lease: LeaseId


class Store(Protocol):
    """Counts by its own clock. Everything of one reservation belongs to one tenant."""

    @property
    def mode(self) -> Mode:
        """Who counts at the moment."""
        ...

    @property
    def problem(self) -> str:
        """Why the store can't be used as configured; empty when it can."""
        ...

    async def reserve(self, limits: LimitSet, tokens: int, lease: LeaseId) -> Taken:
        """Take one request, `tokens` and a lease under every limit, or nothing: `verdict.granted` tells.

        A reservation that was cancelled while it was made is given back. Raises StoreUnavailableError.
        """
        ...

    def settle(self, taken: Taken, requests: int, tokens: int) -> None:
        """Replace what was reserved by what was used, in the bucket of the reservation, and give the lease back.

        To be called once. It neither waits nor fails: what can't be told to the store stays as reserved.
        """
        ...

    async def renew(self, leases: Iterable[tuple[LimitSet, LeaseId]]) -> None:
        """Let leases of this process live for another `LEASE_S`; those that the store has lost are made again."""
        ...

    async def look(self, limits: LimitSet) -> tuple[LimitSet, Count]:
        """Return the limits as applied and what they have counted; nothing is taken. Raises StoreUnavailableError."""
        ...

    async def changed(self) -> None:
        """Return when somebody else has begun to count (`mode` is another); leases are to be renewed there."""
        ...

    async def open(self) -> None:
        """Start what runs beside requests; returns at once when the store can't be reached."""
        ...

    async def close(self) -> None:
        """End it, after the last call."""
        ...
