"""Which limits apply to a request, and what a client is told of the decision. Pure.

A limit is a window (requests or tokens over a time) or a number of leases (requests in flight), of a tenant, of one of
its keys, or of the tenant on one model. All that apply to a request are taken together or not at all.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final, Literal

from msgspec import Struct

from gateway.config.model import LimitSettings, ModelSettings, TenantSettings
from gateway.ratelimit.window import NEVER
from gateway.values import KeyId, ModelName, TenantId

Unit = Literal["requests", "tokens"]
US_PER_S: Final = 1_000_000
US_PER_MS: Final = 1_000
MINUTE_S: Final = 60
HOUR_S: Final = 3_600
DAY_S: Final = 86_400
LEASE_RETRY_US: Final = US_PER_S
"""When to try again after a refusal for concurrency: nobody knows when a request in flight ends."""

_PERIODS: Final = {MINUTE_S: "minute", HOUR_S: "hour", DAY_S: "day"}


@dataclass(frozen=True, slots=True)
class WindowLimit:
    """So many requests or tokens in any `length_us`."""

    key: str
    """Names the counter among the tenant's."""
    subject: str
    """Whose limit it is, for the message of a refusal: "tenant 'acme'"."""
    unit: Unit
    length_us: int
    amount: int

    @property
    def is_quota(self) -> bool:
        """Whether it is a budget of a day or more, for which no client waits."""
        return self.length_us >= DAY_S * US_PER_S

    @property
    def title(self) -> str:
        """`requests per minute`."""
        length_s = self.length_us / US_PER_S
        return f"{self.unit} per {_PERIODS.get(int(length_s), f'{length_s:g} s')}"


@dataclass(frozen=True, slots=True)
class LeaseLimit:
    """So many requests in flight."""

    key: str
    subject: str
    amount: int


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class LimitSet:
    """All limits of one tenant, key and model. The same object serves all their requests, and is compared as such."""

    tenant: TenantId
    windows: tuple[WindowLimit, ...] = ()
    leases: tuple[LeaseLimit, ...] = ()

    @property
    def counts_tokens(self) -> bool:
        """Whether any limit is one of tokens."""
        return any(window.unit == "tokens" for window in self.windows)

    def share(self, replicas: int) -> "LimitSet":
        """Return what one of so many replicas may use on its own; never less than 1."""
        return LimitSet(
            self.tenant,
            tuple(replace(window, amount=max(1, window.amount // replicas)) for window in self.windows),
            tuple(replace(lease, amount=max(1, lease.amount // replicas)) for lease in self.leases),
        )


class LimitBook:
    """The limits of all tenants, by tenant, key and model."""

    def __init__(self, tenants: Iterable[TenantSettings], models: Iterable[ModelSettings]) -> None:
        names = {alias: model.name for model in models for alias in (*model.aliases, model.name)}
        self._tenants = {tenant.id: tenant for tenant in tenants}
        self._keys = {(tenant.id, key.id): key.limits for tenant in self._tenants.values() for key in tenant.keys}
        self._models = {
            (tenant.id, names.get(name, name)): limits
            for tenant in self._tenants.values()
            for name, limits in tenant.model_limits.items()
        }
        self._found: dict[tuple[TenantId, KeyId, ModelName], LimitSet | None] = {}

    def find(self, tenant: TenantId, key: KeyId, model: ModelName) -> LimitSet | None:
        """Return the limits of one caller on one model; None when there is none at all."""
        place = (tenant, key, model)
        try:
            return self._found[place]
        except KeyError:
            settings = self._tenants.get(tenant)
            found = None
            if settings is not None:
                found = _limit_set(
                    tenant,
                    ("t", f"tenant '{tenant}'", settings.limits),
                    (f"k:{key}", f"key '{key}'", self._keys.get((tenant, key))),
                    (f"m:{model}", f"tenant '{tenant}' on model '{model}'", self._models.get((tenant, model))),
                )
                self._found[place] = found
            return found


def _limit_set(tenant: TenantId, *scopes: tuple[str, str, LimitSettings | None]) -> LimitSet | None:
    windows: list[WindowLimit] = []
    leases: list[LeaseLimit] = []
    for place, subject, limits in scopes:
        if limits is None:
            continue
        for name, unit, length_s, amount in _windows_of(limits):
            windows.append(WindowLimit(f"{place}:{name}", subject, unit, length_s * US_PER_S, amount))
        if limits.concurrent_requests is not None:
            leases.append(LeaseLimit(f"{place}:live", subject, limits.concurrent_requests))
    return LimitSet(tenant, tuple(windows), tuple(leases)) if windows or leases else None


def _windows_of(limits: LimitSettings) -> Iterator[tuple[str, Unit, int, int]]:
    rows: tuple[tuple[str, Unit, int, int | None], ...] = (
        ("rpm", "requests", MINUTE_S, limits.requests_per_minute),
        ("rph", "requests", HOUR_S, limits.requests_per_hour),
        ("tpm", "tokens", MINUTE_S, limits.tokens_per_minute),
        ("tpd", "tokens", DAY_S, limits.tokens_per_day),
    )
    return ((name, unit, length_s, amount) for name, unit, length_s, amount in rows if amount is not None)


class Verdict(Struct, frozen=True, gc=False):
    """What a store has decided: all limits were taken, or none."""

    granted: bool
    at_us: int
    """When, by the store's clock."""
    used: tuple[int, ...]
    """Of each window, after the decision."""
    wait_us: tuple[int, ...]
    """Of each window: how long until a request of the same size has room (again); 0: it has; NEVER."""
    held: tuple[int, ...]
    """Of each number of leases, after the decision."""


class Standing(Struct, frozen=True, gc=False):
    """Where a client stands with one unit: the limit that is closest to stopping it."""

    limit: int
    remaining: int
    reset_ms: int
    """Until a request like this one has room; 0: it has."""


def standing(limits: LimitSet, verdict: Verdict, unit: Unit) -> Standing | None:
    """Return the tightest window of a unit: the longest wait, then the least that remains. None: there is no such
    limit.
    """
    tightest: WindowLimit | None = None
    best_wait = best_left = 0
    for window, used, wait in zip(limits.windows, verdict.used, verdict.wait_us, strict=True):
        if window.unit != unit:
            continue
        left = window.amount - used
        rank = window.length_us if wait == NEVER else wait
        if tightest is None or rank > best_wait or (rank == best_wait and left < best_left):
            tightest, best_wait, best_left = window, rank, left
    if tightest is None:
        return None
    return Standing(tightest.amount, max(0, best_left), _ceil_ms(best_wait))


def _ceil_ms(time_us: int) -> int:
    return -(-time_us // US_PER_MS)


@dataclass(frozen=True, slots=True)
class Blocked:
    """Why a request was refused: the limit that takes longest to have room for it."""

    limit: WindowLimit | LeaseLimit
    used: int
    cost: int
    retry_after_ms: int | None
    """None: no wait makes room, the request is larger than the limit."""

    @property
    def message(self) -> str:
        """The limit's name, its numbers, and what to do."""
        limit = self.limit
        if isinstance(limit, LeaseLimit):
            return (
                f"Concurrency limit reached for {limit.subject}: {self.used} of {limit.amount} concurrent requests are "
                "in flight. Retry when one of them has ended."
            )
        if self.retry_after_ms is None:
            return (
                f"Request too large for {limit.subject}: it needs {self.cost} {limit.unit}, and the limit is "
                f"{limit.amount} {limit.title}. Shorten the prompt, or ask for fewer tokens with 'max_tokens'."
            )
        wait = f"{self.retry_after_ms / 1000:g} s"
        return (
            f"Rate limit reached for {limit.subject}: {limit.amount} {limit.title}, {self.used} used, {self.cost} "
            f"needed. Retry in {wait}."
        )


def blocked(limits: LimitSet, verdict: Verdict, tokens: int) -> Blocked:
    """Return why a refusal was one. Waiting as long as it says makes room under every limit, if nothing else comes."""
    worst: Blocked | None = None
    for window, used, wait in zip(limits.windows, verdict.used, verdict.wait_us, strict=True):
        cost = tokens if window.unit == "tokens" else 1
        if wait == NEVER:
            return Blocked(window, used, cost, None)
        if wait and (worst is None or _ceil_ms(wait) > (worst.retry_after_ms or 0)):
            worst = Blocked(window, used, cost, _ceil_ms(wait))
    for lease, held in zip(limits.leases, verdict.held, strict=True):
        wait_ms = LEASE_RETRY_US // US_PER_MS
        if held >= lease.amount and (worst is None or wait_ms > (worst.retry_after_ms or 0)):
            worst = Blocked(lease, held, 1, wait_ms)
    if worst is None:
        raise AssertionError("a refusal has a reason")
    return worst
