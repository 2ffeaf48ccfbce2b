"""Keys and tenants in Redis, shared by all replicas.

All of it lives in one slot, `{PREFIX:auth}`, so that a change is one script also in a Redis Cluster: two hashes of JSON
records, a list for the audit log, and a stream of changes. Replicas read the stream with a blocking XREAD rather than
subscribe to a channel: a message that a subscriber misses is gone, what a reader of a stream missed is still there; and
each read, answered every `BLOCK_MS` even when nothing has changed, proves that none was missed. A read that isn't
answered within `READ_DEADLINE_S` means the connection or Redis is gone.
"""

import asyncio
import importlib.resources
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar, cast

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisClusterException, RedisError

from gateway.auth.records import AuditEntry, Change, Found, StoredKey, StoredTenant, Touched
from gateway.auth.store import MAX_AUDIT_ENTRIES, MAX_RECORDS, Outcome, StoreUnavailableError
from gateway.values import KeyId, TenantId

BLOCK_MS: Final = 250
READ_DEADLINE_S: Final = 0.6
"""Of one read of the stream, `BLOCK_MS` included: with it, a change whose message is lost is seen within a second."""
CALL_DEADLINE_S: Final = 2.0
"""Of one call of the admin API; look-ups for requests have a shorter one of their own."""
MAX_CHANGES: Final = 10_000
_BATCH: Final = 1_000
_OUTCOMES: Final[Mapping[int, Outcome]] = {1: "done", 0: "conflict", -1: "full"}

_T = TypeVar("_T")
_Fields = dict[bytes, bytes]
_ENCODER: Final = msgspec.json.Encoder()
_KEY: Final = msgspec.json.Decoder(StoredKey)
_TENANT: Final = msgspec.json.Decoder(StoredTenant)
_ENTRY: Final = msgspec.json.Decoder(AuditEntry)


class RedisKeyStore:
    """Implements `store.KeyStore`. The client belongs to its maker, and must not decode responses."""

    touch_lease_s = READ_DEADLINE_S

    def __init__(self, client: Redis, prefix: str) -> None:
        self._client = client
        place = f"{{{prefix}:auth}}"
        self._keys, self._tenants = f"{place}:keys", f"{place}:tenants"
        self._changes, self._audit = f"{place}:changes", f"{place}:audit"
        script = importlib.resources.files("gateway.auth").joinpath("lua/change.lua").read_text()
        self._change = client.register_script(script)

    async def find(self, key_ids: Sequence[KeyId]) -> Mapping[KeyId, Found]:
        """Return those of the keys that exist: one call for the keys, one for their tenants."""
        async with _mapped():
            keys = {key.id: key for key in await self._some(self._keys, key_ids, _KEY)}
            tenant_ids = sorted({key.tenant for key in keys.values()})
            tenants = {tenant.id: tenant for tenant in await self._some(self._tenants, tenant_ids, _TENANT)}
        return {key_id: Found(key, tenants.get(key.tenant)) for key_id, key in keys.items()}

    async def tenant(self, tenant_id: TenantId) -> StoredTenant | None:
        """Return one tenant."""
        async with _mapped():
            found = await self._some(self._tenants, [tenant_id], _TENANT)
        return found[0] if found else None

    async def keys(self) -> Sequence[StoredKey]:
        """Return every key."""
        async with _mapped():
            return await self._all(self._keys, _KEY)

    async def tenants(self) -> Sequence[StoredTenant]:
        """Return every tenant."""
        async with _mapped():
            return await self._all(self._tenants, _TENANT)

    async def commit(self, changes: Iterable[Change], entry: AuditEntry) -> Outcome:
        """Make all the changes or none, in one script."""
        arguments: list[bytes | str | int] = [_ENCODER.encode(entry), MAX_AUDIT_ENTRIES, MAX_CHANGES, MAX_RECORDS]
        for touched, action, was, record in changes:
            arguments += [touched.kind, touched.id, action, was, b"" if record is None else _ENCODER.encode(record)]
        places = [self._keys, self._tenants, self._changes, self._audit]
        async with _mapped():
            return _OUTCOMES[await self._change(keys=places, args=arguments)]

    async def audit(self, count: int) -> Sequence[AuditEntry]:
        """Return the newest entries."""
        async with _mapped():
            lines = await _answer(self._client.lrange(self._audit, 0, count - 1), list[bytes])
            return [_ENTRY.decode(line) for line in lines]

    async def changes(self) -> AsyncGenerator[Sequence[Touched], None]:
        """Yield what is changed from now on, with an empty batch at least every `BLOCK_MS`."""
        async with _mapped(READ_DEADLINE_S):
            latest = await _answer(self._client.xrevrange(self._changes, count=1), list[tuple[bytes, _Fields]])
        seen = latest[0][0] if latest else b"0-0"
        yield []
        while True:
            async with _mapped(READ_DEADLINE_S):
                read = self._client.xread({self._changes: seen}, count=_BATCH, block=BLOCK_MS)
                streams = await _answer(read, list[tuple[bytes, list[tuple[bytes, _Fields]]]])
            events = streams[0][1] if streams else []
            if events:
                seen = events[-1][0]
            yield list(_touched(fields for _, fields in events))

    async def _some(self, place: str, ids: Sequence[str], decoder: "msgspec.json.Decoder[_T]") -> list[_T]:
        if not ids:
            return []
        records = await _answer(self._client.hmget(place, list(ids)), list[bytes | None])
        return [decoder.decode(record) for record in records if record is not None]

    async def _all(self, place: str, decoder: "msgspec.json.Decoder[_T]") -> list[_T]:
        return [decoder.decode(record) async for record in self._scan(place)]

    async def _scan(self, place: str) -> AsyncIterator[bytes]:
        """Walk the hash in steps: neither Redis nor the event loop is held up by a long one."""
        seen: set[bytes] = set()
        entries = cast("AsyncIterator[tuple[bytes, bytes]]", self._client.hscan_iter(place, count=500))
        async for field, record in entries:
            if field not in seen:  # a scan may return an entry twice
                seen.add(field)
                yield record


def _touched(events: Iterable[_Fields]) -> Iterator[Touched]:
    for fields in events:
        kind, touched_id = fields.get(b"kind", b""), fields.get(b"id", b"").decode("utf-8", "replace")
        match kind:
            case b"key" | b"tenant" | b"config":
                yield msgspec.convert((kind.decode(), touched_id), Touched)
            case _:  # of a later version of the gateway
                continue


async def _answer(call: Any, kind: type[_T]) -> _T:
    """Await a call of redis-py, whose types name every kind of answer that any configuration gives."""
    del kind
    return cast("_T", await cast("Awaitable[Any]", call))


@asynccontextmanager
async def _mapped(deadline_s: float = CALL_DEADLINE_S) -> AsyncGenerator[None]:
    """Give a call its deadline, and turn what can go wrong with Redis into the port's error."""
    try:
        async with asyncio.timeout(deadline_s):
            yield
    except (RedisError, RedisClusterException, OSError, TimeoutError, msgspec.DecodeError) as error:
        # Redis' own messages may hold a password of the URL: only the kind is passed on.
        raise StoreUnavailableError(f"Redis: {type(error).__name__}") from error
