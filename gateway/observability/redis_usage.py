"""Usage in Redis, shared by all replicas: a hash per tenant and bucket, which expires by itself."""

import asyncio
import importlib.resources
from collections.abc import AsyncGenerator, Awaitable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from typing import Final, cast

from redis.asyncio import Redis
from redis.exceptions import RedisClusterException, RedisError

from gateway.observability.usage import (
    KEPT,
    LENGTH_S,
    Counts,
    Granularity,
    Subject,
    UsageBatch,
    UsageRow,
    UsageUnavailableError,
    bucket_start,
)
from gateway.values import KeyId, ModelName, TenantId

CALL_DEADLINE_S: Final = 2.0
MAX_TENANTS: Final = 20_000
_COUNTERS: Final[Mapping[str, str]] = {
    "r": "requests",
    "p": "prompt_tokens",
    "c": "completion_tokens",
    "t": "cached_tokens",
    "e": "errors",
}
_SUBJECTS_PER_CALL: Final = 50
"""So that neither Redis nor the event loop is held up for a millisecond."""
_HASHES_PER_CALL: Final = 100
_SOURCE_LIVES_S: Final = 86_400
"""How long a batch may be given again."""
_MARGIN_S: Final = 300


class RedisUsageStore:
    """Implements `usage.UsageStore`. The client belongs to its maker, and must not decode responses."""

    def __init__(self, client: Redis, prefix: str) -> None:
        self._client = client
        self._place = f"{{{prefix}:usage}}"
        self._tenants = f"{self._place}:tenants"
        script = importlib.resources.files("gateway.observability").joinpath("lua/add_usage.lua").read_text()
        self._add = client.register_script(script)

    async def add(self, batch: UsageBatch) -> None:
        """Add a batch: one script per tenant, each of which is done once."""
        tenants: dict[TenantId, list[tuple[Subject, Counts]]] = {}
        for subject, counts in batch.counts:
            tenants.setdefault(subject.tenant, []).append((subject, counts))
        for tenant, counted in tenants.items():
            for part, some in enumerate(_parts(counted)):
                async with _mapped():
                    await self._add(
                        keys=[
                            *(self._bucket(tenant, kind, bucket_start(batch.minute_s, kind)) for kind in LENGTH_S),
                            self._tenants,
                            f"{self._place}:added:{batch.source}",
                        ],
                        args=[
                            *(LENGTH_S[kind] * (KEPT[kind] + 1) + _MARGIN_S for kind in LENGTH_S),
                            *(tenant, f"{tenant} {part}", batch.number, batch.minute_s),
                            *(LENGTH_S["day"] * (KEPT["day"] + 1), _SOURCE_LIVES_S),
                            *_fields(some),
                        ],
                    )

    async def read(self, granularity: Granularity, starts_s: Sequence[int], tenant: TenantId | None) -> list[UsageRow]:
        """Return what the buckets hold, a hundred of them in a pipeline."""
        tenants = await self._tenants_with_usage() if tenant is None else [tenant]
        places = [(start_s, one) for start_s in starts_s for one in tenants]
        rows: list[UsageRow] = []
        for at in range(0, len(places), _HASHES_PER_CALL):
            some = places[at : at + _HASHES_PER_CALL]
            async with _mapped():
                pipeline = self._client.pipeline(transaction=False)
                for start_s, one in some:
                    pipeline.hgetall(self._bucket(one, granularity, start_s))
                hashes = cast("list[dict[bytes, bytes]]", await pipeline.execute())
            for (start_s, one), fields in zip(some, hashes, strict=True):
                rows.extend(_rows(start_s, one, fields))
        return rows

    async def _tenants_with_usage(self) -> list[TenantId]:
        async with _mapped():
            newest = cast("Awaitable[list[bytes]]", self._client.zrevrange(self._tenants, 0, MAX_TENANTS - 1))
            return sorted(TenantId(one.decode()) for one in await newest)

    def _bucket(self, tenant: TenantId, granularity: Granularity, start_s: int) -> str:
        return f"{self._place}:{tenant}:{granularity}:{start_s}"


def _parts(counted: Sequence[tuple[Subject, Counts]]) -> Iterator[Sequence[tuple[Subject, Counts]]]:
    remaining = iter(counted)
    while part := list(islice(remaining, _SUBJECTS_PER_CALL)):
        yield part


def _fields(counted: Sequence[tuple[Subject, Counts]]) -> Iterator[str | int]:
    for subject, counts in counted:
        for letter, name in _COUNTERS.items():
            if amount := getattr(counts, name):
                yield f"{subject.key} {subject.model} {letter}"
                yield amount


def _rows(start_s: int, tenant: TenantId, fields: Mapping[bytes, bytes]) -> Iterator[UsageRow]:
    found: dict[Subject, Counts] = {}
    for field, amount in fields.items():
        key, model, letter = field.decode().split(" ")
        counts = found.setdefault(Subject(tenant, KeyId(key), ModelName(model)), Counts())
        setattr(counts, _COUNTERS[letter], int(amount))
    return (UsageRow(start_s, subject, counts) for subject, counts in found.items())


@asynccontextmanager
async def _mapped() -> AsyncGenerator[None]:
    """Give a call its deadline, and turn what can go wrong with Redis into the port's error."""
    try:
        async with asyncio.timeout(CALL_DEADLINE_S):
            yield
    except (RedisError, RedisClusterException, OSError, TimeoutError) as error:
        raise UsageUnavailableError(f"Redis: {type(error).__name__}") from error
