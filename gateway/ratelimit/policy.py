"""Which limits apply to a request, and what a client is told of the decision. Pure.

A limit is a window (requests or tokens over a time) or a number of leases (requests in flight), of a tenant, of one of
its keys, or of the tenant on one model. All that apply to a request are taken together or not at all.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal, NamedTuple, Protocol

from msgspec import Struct

from gateway.config.model import LimitSettings
from gateway.ratelimit.window import NEVER
from gateway.values import KeyId, LimitState, ModelName, TenantId

Unit = Literal["requests", "tokens"]
Scope = Literal["tenant", "key", "model"]
US_PER_S: Final = 1_000_000
US_PER_MS: Final = 1_000
MINUTE_S: Final = 60
HOUR_S: Final = 3_600
DAY_S: Final = 86_400
LEASE_RETRY_US: Final = US_PER_S
"""When to try again after a refusal for concurrency: nobody knows when a request in flight ends."""

MAX_KNOWN_KEYS: Final = 30_000
"""How many keys the book keeps the limits of; they are put together anew for keys that were pushed out."""

_PERIODS: Final = {MINUTE_S: "minute", HOUR_S: "hour", DAY_S: "day"}


class ScopedLimit(NamedTuple):
    """One limit of a key, as in the configuration."""

    scope: Scope
    model: ModelName | None
    """Of which model, where the scope is one."""
    name: str
    """`requests_per_minute`."""


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
    source: ScopedLimit | None = None

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
    source: ScopedLimit | None = None


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class LimitSet:
    """All limits of one tenant, key and model. The same object serves all their requests, and is compared as such."""

    tenant: TenantId
    windows: tuple[WindowLimit, ...] = ()
    leases: tuple[LeaseLimit, ...] = ()
    count_cached: bool = True
    """Whether prompt tokens that the engine had cached count like others."""
    of_unit: Mapping[Unit, tuple[tuple[int, WindowLimit], ...]] = field(init=False, repr=False)
    """The windows of each unit, with their places among all."""

    def __post_init__(self) -> None:
        """Sort the windows by unit once: every request asks."""
        units: tuple[Unit, ...] = ("requests", "tokens")
        numbered = tuple(enumerate(self.windows))
        object.__setattr__(
            self, "of_unit", {unit: tuple(each for each in numbered if each[1].unit == unit) for unit in units}
        )

    @property
    def counts_tokens(self) -> bool:
        """Whether any limit is one of tokens."""
        return bool(self.of_unit["tokens"])

    def share(self, replicas: int) -> "LimitSet":
        """Return what one of so many replicas may use on its own; never less than 1."""
        return LimitSet(
            self.tenant,
            tuple(replace(window, amount=max(1, window.amount // replicas)) for window in self.windows),
            tuple(replace(lease, amount=max(1, lease.amount // replicas)) for lease in self.leases),
            count_cached=self.count_cached,
        )


class LimitedTenant(Protocol):
    """What limits need to know of a tenant."""

    @property
    def id(self) -> TenantId: ...

    @property
    def limits(self) -> LimitSettings | None: ...

    @property
    def model_limits(self) -> Mapping[ModelName, LimitSettings]: ...

    @property
    def count_cached(self) -> bool: ...


class LimitedKey(Protocol):
    """What limits need to know of an API key. It is hashed by identity: other limits are another object."""

    @property
    def key_id(self) -> KeyId: ...

    @property
    def tenant(self) -> LimitedTenant: ...

    @property
    def limits(self) -> LimitSettings | None: ...

    def may_use(self, model: ModelName) -> bool:
        """Whether requests for the model are let in."""
        ...


class LimitBook:
    """The limits of the keys that were used lately, put together once for each key and model."""

    def __init__(self) -> None:
        self._found: dict[LimitedKey, dict[ModelName, LimitSet | None]] = {}

    def find(self, key: LimitedKey, model: ModelName) -> LimitSet | None:
        """Return the limits of one key on one model; None when there is none at all."""
        try:
            return self._found[key][model]
        except KeyError:
            found = _limit_set(key.tenant, [*_own_scopes(key), *_model_scopes(key.tenant, [model])])
            if key not in self._found and len(self._found) >= MAX_KNOWN_KEYS:
                del self._found[next(iter(self._found))]
            self._found.setdefault(key, {})[model] = found
            return found

    def forget(self) -> None:
        """Let go of keys that are used no more."""
        self._found.clear()


def all_limits(key: LimitedKey) -> LimitSet | None:
    """Return every limit that may apply to a key, on whatever model; None when there is none."""
    models = [model for model in sorted(key.tenant.model_limits) if key.may_use(model)]
    return _limit_set(key.tenant, [*_own_scopes(key), *_model_scopes(key.tenant, models)])


class _ScopeLimits(NamedTuple):
    """The limits of one scope, and how its counters and refusals name it."""

    scope: Scope
    model: ModelName | None
    place: str
    subject: str
    limits: LimitSettings | None


def _own_scopes(key: LimitedKey) -> Iterator[_ScopeLimits]:
    tenant = key.tenant
    yield _ScopeLimits("tenant", None, "t", f"tenant '{tenant.id}'", tenant.limits)
    yield _ScopeLimits("key", None, f"k:{key.key_id}", f"key '{key.key_id}'", key.limits)


def _model_scopes(tenant: LimitedTenant, models: Iterable[ModelName]) -> Iterator[_ScopeLimits]:
    for model in models:
        subject = f"tenant '{tenant.id}' on model '{model}'"
        yield _ScopeLimits("model", model, f"m:{model}", subject, tenant.model_limits.get(model))


def _limit_set(tenant: LimitedTenant, scopes: Iterable[_ScopeLimits]) -> LimitSet | None:
    windows: list[WindowLimit] = []
    leases: list[LeaseLimit] = []
    for scope, model, place, subject, limits in scopes:
        if limits is None:
            continue
        for name, field_name, unit, length_s, amount in _windows_of(limits):
            source = ScopedLimit(scope, model, field_name)
            windows.append(WindowLimit(f"{place}:{name}", subject, unit, length_s * US_PER_S, amount, source))
        if limits.concurrent_requests is not None:
            source = ScopedLimit(scope, model, "concurrent_requests")
            leases.append(LeaseLimit(f"{place}:live", subject, limits.concurrent_requests, source))
    if not windows and not leases:
        return None
    return LimitSet(tenant.id, tuple(windows), tuple(leases), count_cached=tenant.count_cached)


def _windows_of(limits: LimitSettings) -> Iterator[tuple[str, str, Unit, int, int]]:
    rows: tuple[tuple[str, str, Unit, int, int | None], ...] = (
        ("rpm", "requests_per_minute", "requests", MINUTE_S, limits.requests_per_minute),
        ("rph", "requests_per_hour", "requests", HOUR_S, limits.requests_per_hour),
        ("tpm", "tokens_per_minute", "tokens", MINUTE_S, limits.tokens_per_minute),
        ("tpd", "tokens_per_day", "tokens", DAY_S, limits.tokens_per_day),
    )
    for name, field_name, unit, length_s, amount in rows:
        if amount is not None:
            yield name, field_name, unit, length_s, amount


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


class Count(Struct, frozen=True, gc=False):
    """What every limit of a set has counted at a moment."""

    used: tuple[int, ...]
    """Of each window."""
    reset_us: tuple[int, ...]
    """Of each window: how long until everything that counts now has left it."""
    held: tuple[int, ...]
    """Of each number of leases."""


def limit_states(limits: LimitSet, count: Count) -> list[LimitState]:
    """Return where a caller stands with each of its limits that come from the configuration."""
    rows: list[tuple[WindowLimit | LeaseLimit, int, float | None]] = [
        (window, used, reset_us / US_PER_S)
        for window, used, reset_us in zip(limits.windows, count.used, count.reset_us, strict=True)
    ]
    rows += [(lease, held, None) for lease, held in zip(limits.leases, count.held, strict=True)]
    return [
        LimitState(
            scope=limit.source.scope,
            limit=limit.source.name,
            amount=limit.amount,
            used=used,
            remaining=max(0, limit.amount - used),
            reset_s=reset_s,
            model=limit.source.model,
        )
        for limit, used, reset_s in rows
        if limit.source is not None
    ]


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
    for place, window in limits.of_unit[unit]:
        left, wait = window.amount - verdict.used[place], verdict.wait_us[place]
        rank = window.length_us if wait == NEVER else wait
        if tightest is None or rank > best_wait or (rank == best_wait and left < best_left):
            tightest, best_wait, best_left = window, rank, left
    if tightest is None:
        return None
    return Standing(tightest.amount, max(0, best_left), _ceil_ms(best_wait) if best_wait else 0)


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
