"""What the pipeline uses: reserve before a request, settle after it.

A reservation is open until its first `settle` or `abandon`; later ones do nothing, so that every path of a request may
call what it knows. A caller without limits costs no call to the store at all.
"""

import asyncio
import contextlib
import itertools
import logging
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol, Self

from msgspec import Struct

from gateway.background import end_task
from gateway.errors import GatewayError, LimitsUnavailable, QuotaExceeded, RateLimited, RequestOverLimit
from gateway.ratelimit.estimates import OutputEstimates
from gateway.ratelimit.headers import header_lines
from gateway.ratelimit.policy import (
    Blocked,
    LimitBook,
    LimitedKey,
    LimitSet,
    WindowLimit,
    all_limits,
    blocked,
    limit_states,
    standing,
)
from gateway.ratelimit.store import HEARTBEAT_S, LeaseId, Mode, Store, StoreUnavailableError, Taken
from gateway.values import LimitState, ModelName, Usage

SHARE_RETRY_S: Final = 5.0
"""When to try again what is larger than this replica's share of a limit: Redis may be back."""
UNAVAILABLE_RETRY_S: Final = 2.0
LEAST_TOKENS_SHARE: Final = 4
"""An exact count may find a prompt to have a quarter of its estimated tokens, hardly less."""
MOST_TOKENS_FACTOR: Final = 3
"""... or three times as many: a token has at least one byte, and the estimate takes three."""

logger = logging.getLogger("gateway.ratelimit")


class Demand(Struct, frozen=True, gc=False):
    """What a request may use."""

    prompt_tokens: int
    """`estimates.estimate_prompt_tokens`, or the engine's own count."""
    output_tokens: int | None
    """`estimates.asked_output_tokens` of each answer; None: the client sets no maximum. 0 for embeddings."""
    context_tokens: int
    """What the model's context holds: no answer is longer."""
    choices: int = 1
    exact: bool = False
    """`prompt_tokens` is a count, not an estimate."""


CountPrompt = Callable[[], Awaitable[int | None]]
"""Asks an engine how many tokens the prompt has; None: it can't tell."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that doesn't fit under a limit. Nothing was taken."""

    error: GatewayError
    """What the client gets; it carries the header lines."""
    limit: str
    """The limit's name, for logs: "tokens per minute"."""
    near: bool = False
    """An exact count of the prompt might make it fit."""


class _Owner(Protocol):
    """The limiter, as a reservation knows it."""

    def settle(self, reservation: "Reservation", usage: Usage, *, complete: bool) -> None:
        """Settle a reservation by what was used."""
        ...

    def abandon(self, reservation: "Reservation") -> None:
        """Give back what a reservation holds."""
        ...


class Reservation:
    """What a request holds while it runs."""

    __slots__ = ("_open", "_owner", "demand", "headers", "model", "near", "taken")

    def __init__(
        self, owner: _Owner, model: ModelName, taken: Taken | None, demand: Demand, *, headers: bytes, near: bool
    ) -> None:
        self._owner = owner
        self._open = True
        self.model = model
        self.taken = taken
        self.demand = demand
        """As reserved: its prompt tokens are what an answer that was cut off before its usage came is settled with."""
        self.headers = headers
        """`x-ratelimit-*` lines as they are right now, for the answer's head."""
        self.near = near
        """The real prompt might not fit under the limit: an exact count is worth its time."""

    def settle(self, usage: Usage, *, complete: bool = True) -> None:
        """Replace the estimate by what was used; `complete` False: by an answer that was cut short."""
        if self._open:
            self._open = False
            self._owner.settle(self, usage, complete=complete)

    def abandon(self) -> None:
        """Give everything back: no worker has done anything for this request."""
        if self._open:
            self._open = False
            self._owner.abandon(self)


class Limiter:
    """Reserves and settles for all requests of this process; a context manager that owns the lease heartbeat."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._book = LimitBook()
        self._outputs = OutputEstimates()
        self._leases: dict[LeaseId, LimitSet] = {}
        self._lease_ids = map("{}:{:x}".format, itertools.repeat(secrets.token_hex(6)), itertools.count(1))
        self._heartbeat: asyncio.Task[None] | None = None

    @property
    def mode(self) -> Mode:
        """Who counts at the moment, for the gauge."""
        return self._store.mode

    @property
    def problem(self) -> str:
        """Why the store can't be used as configured, for `/readyz`; empty when it can."""
        return self._store.problem

    def forget_limits(self) -> None:
        """Let go of keys that a reload has replaced. Counts go on under the limits that keep their place."""
        self._book.forget()

    async def __aenter__(self) -> Self:
        await self._store.open()
        self._heartbeat = asyncio.create_task(self._renew_leases(), name="lease heartbeat")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._heartbeat is not None:
            await end_task(self._heartbeat)
        await self._store.close()

    def applies(self, key: LimitedKey, model: ModelName) -> bool:
        """Whether any limit applies to a key on a model."""
        return self._book.find(key, model) is not None

    async def standings(self, key: LimitedKey) -> list[LimitState]:
        """Return where a key stands with each of its limits, on whatever model. Raises LimitsUnavailable."""
        limits = all_limits(key)
        if limits is None:
            return []
        try:
            applied, count = await self._store.look(limits)
        except StoreUnavailableError as error:
            raise LimitsUnavailable(retry_after_s=UNAVAILABLE_RETRY_S) from error
        return limit_states(applied, count)

    async def reserve(
        self, key: LimitedKey, model: ModelName, demand: Demand, count_prompt: CountPrompt | None = None
    ) -> Reservation | Refusal:
        """Take what the request may use under every limit that applies, or nothing.

        Where the estimate comes near a limit, `count_prompt` tells the exact size of the prompt.
        """
        limits = self._book.find(key, model)
        if limits is None:
            return Reservation(self, model, None, demand, headers=b"", near=False)
        tokens = demand.prompt_tokens + demand.choices * self._output_tokens(model, demand)
        lease = next(self._lease_ids)
        try:
            taken = await self._store.reserve(limits, tokens, LeaseId(lease))
        except StoreUnavailableError:
            return Refusal(LimitsUnavailable(retry_after_s=UNAVAILABLE_RETRY_S), "store")
        verdict = taken.verdict
        applied = taken.limits
        headers = header_lines(standing(applied, verdict, "requests"), standing(applied, verdict, "tokens"))
        if not verdict.granted:
            refusal = _refusal(limits, taken, demand, headers)
            if count_prompt is None or not refusal.near:
                return refusal
            return await self._reserve_exactly(key, model, demand, count_prompt, refusal)
        if limits.leases:
            self._leases[taken.lease] = limits
        held = Reservation(self, model, taken, demand, headers=headers, near=_near_limit(taken, demand))
        if count_prompt is None or not held.near:
            return held
        return await self._reserve_exactly(key, model, demand, count_prompt, held)

    async def _reserve_exactly(
        self,
        key: LimitedKey,
        model: ModelName,
        demand: Demand,
        count_prompt: CountPrompt,
        first: Reservation | Refusal,
    ) -> Reservation | Refusal:
        """Reserve again with the counted prompt where that makes a difference."""
        try:
            counted = await count_prompt()
        except BaseException:
            if isinstance(first, Reservation):
                first.abandon()
            raise
        if counted is None or (isinstance(first, Reservation) and counted <= demand.prompt_tokens):
            return first
        if isinstance(first, Reservation):
            first.abandon()
        exact = Demand(counted, demand.output_tokens, demand.context_tokens, demand.choices, exact=True)
        return await self.reserve(key, model, exact)

    def settle(self, reservation: Reservation, usage: Usage, *, complete: bool) -> None:
        """Settle a reservation by what was used; reservations call this, once."""
        demand = reservation.demand
        if complete and demand.output_tokens is None:
            self._outputs.learn(reservation.model, usage.completion_tokens // demand.choices)
        taken = reservation.taken
        if taken is not None:
            tokens = usage.prompt_tokens + usage.completion_tokens
            self._end(taken, 1, tokens if taken.limits.count_cached else tokens - usage.cached_tokens)

    def abandon(self, reservation: Reservation) -> None:
        """Give back what a reservation holds; reservations call this, once."""
        if reservation.taken is not None:
            self._end(reservation.taken, 0, 0)

    def _end(self, taken: Taken, requests: int, tokens: int) -> None:
        self._leases.pop(taken.lease, None)
        self._store.settle(taken, requests, tokens)

    def _output_tokens(self, model: ModelName, demand: Demand) -> int:
        asked = demand.output_tokens
        if asked is not None:
            return min(asked, demand.context_tokens)
        return min(self._outputs.estimate(model), max(1, demand.context_tokens - demand.prompt_tokens))

    async def _renew_leases(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT_S):
                    await self._store.changed()
            if self._leases:
                try:
                    await self._store.renew([(limits, lease) for lease, limits in self._leases.items()])
                except StoreUnavailableError as error:
                    logger.warning("leases could not be renewed: %s", error)


def _refusal(limits: LimitSet, taken: Taken, demand: Demand, headers: bytes) -> Refusal:
    reason = blocked(taken.limits, taken.verdict, taken.tokens)
    return Refusal(_error(limits, taken, reason, headers), _title(reason), near=_may_fit(taken, demand))


def _title(reason: Blocked) -> str:
    return reason.limit.title if isinstance(reason.limit, WindowLimit) else "concurrent requests"


def _error(limits: LimitSet, taken: Taken, reason: Blocked, headers: bytes) -> RateLimited:
    if reason.retry_after_ms is None:
        if taken.mode == "local" and all(w.amount >= taken.tokens for w in limits.windows if w.unit == "tokens"):
            return RateLimited(reason.message, retry_after_s=SHARE_RETRY_S, header_lines=headers)
        return RequestOverLimit(reason.message, header_lines=headers)
    kind = QuotaExceeded if isinstance(reason.limit, WindowLimit) and reason.limit.is_quota else RateLimited
    return kind(reason.message, retry_after_s=reason.retry_after_ms / 1000, header_lines=headers)


def _may_fit(taken: Taken, demand: Demand) -> bool:
    """Whether only tokens stand in the way, and so few that a prompt of fewer tokens than estimated would pass."""
    if demand.exact:
        return False
    verdict, limits = taken.verdict, taken.limits
    if any(held >= lease.amount for held, lease in zip(verdict.held, limits.leases, strict=True)):
        return False
    least = taken.tokens - demand.prompt_tokens + demand.prompt_tokens // LEAST_TOKENS_SHARE
    return all(
        not wait or (window.unit == "tokens" and used + least <= window.amount)
        for window, used, wait in zip(limits.windows, verdict.used, verdict.wait_us, strict=True)
    )


def _near_limit(taken: Taken, demand: Demand) -> bool:
    """Whether a prompt of as many tokens as it has bytes would have gone over a limit of tokens."""
    if demand.exact:
        return False
    more = (MOST_TOKENS_FACTOR - 1) * demand.prompt_tokens
    used = taken.verdict.used
    for place, window in taken.limits.of_unit["tokens"]:  # noqa: SIM110 - every request comes here
        if used[place] + more > window.amount:
            return True
    return False
