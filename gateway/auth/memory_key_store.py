"""Keys and tenants in this process: for a gateway of one process without Redis. They end with it."""

import asyncio
import math
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence

from gateway.auth.records import AuditEntry, Change, Found, Record, StoredKey, StoredTenant, Touched
from gateway.auth.store import MAX_AUDIT_ENTRIES, MAX_RECORDS, Outcome
from gateway.values import KeyId, TenantId


class MemoryKeyStore:
    """Implements `store.KeyStore`. Used on one event loop."""

    touch_lease_s = math.inf

    def __init__(self) -> None:
        self._keys: dict[str, StoredKey] = {}
        self._tenants: dict[str, StoredTenant] = {}
        self._audit: deque[AuditEntry] = deque(maxlen=MAX_AUDIT_ENTRIES)
        self._watchers: set[_Watcher] = set()

    async def find(self, key_ids: Sequence[KeyId]) -> Mapping[KeyId, Found]:
        """Return those of the keys that exist."""
        keys = {key_id: self._keys[key_id] for key_id in key_ids if key_id in self._keys}
        return {key_id: Found(key, self._tenants.get(key.tenant)) for key_id, key in keys.items()}

    async def tenant(self, tenant_id: TenantId) -> StoredTenant | None:
        """Return one tenant."""
        return self._tenants.get(tenant_id)

    async def keys(self) -> Sequence[StoredKey]:
        """Return every key."""
        return list(self._keys.values())

    async def tenants(self) -> Sequence[StoredTenant]:
        """Return every tenant."""
        return list(self._tenants.values())

    async def commit(self, changes: Iterable[Change], entry: AuditEntry) -> Outcome:
        """Make all the changes or none."""
        changes = tuple(changes)
        for change in changes:
            if change.action == "tell":
                continue
            present = self._present(change.touched)
            if (present.version if present else 0) != change.was:
                return "conflict"
            if change.action == "put" and not change.was and self._is_full(change.touched):
                return "full"
        for change in changes:
            self._apply(change)
        self._audit.appendleft(entry)
        touched = [change.touched for change in changes if change.action != "keep"]
        for watcher in self._watchers:
            watcher.tell(touched)
        return "done"

    async def audit(self, count: int) -> Sequence[AuditEntry]:
        """Return the newest entries."""
        return [entry for entry, _ in zip(self._audit, range(count), strict=False)]

    async def changes(self) -> AsyncGenerator[Sequence[Touched], None]:
        """Yield what was changed."""
        watcher = _Watcher()
        self._watchers.add(watcher)
        try:
            yield []
            while True:
                yield await watcher.next_batch()
        finally:
            self._watchers.discard(watcher)

    def _present(self, touched: Touched) -> Record | None:
        return self._keys.get(touched.id) if touched.kind == "key" else self._tenants.get(touched.id)

    def _is_full(self, touched: Touched) -> bool:
        return len(self._keys if touched.kind == "key" else self._tenants) >= MAX_RECORDS

    def _apply(self, change: Change) -> None:
        match change.record:
            case StoredKey() as key:
                self._keys[key.id] = key
            case StoredTenant() as tenant:
                self._tenants[tenant.id] = tenant
            case None if change.action == "delete":
                (self._keys if change.touched.kind == "key" else self._tenants).pop(change.touched.id, None)
            case None:
                pass


class _Watcher:
    """What one reader of the changes hasn't seen yet; bounded by what is changed within one turn of the event loop."""

    def __init__(self) -> None:
        self._unseen: list[Touched] = []
        self._told = asyncio.Event()

    def tell(self, touched: Iterable[Touched]) -> None:
        self._unseen.extend(touched)
        self._told.set()

    async def next_batch(self) -> Sequence[Touched]:
        await self._told.wait()
        self._told.clear()
        batch, self._unseen = self._unseen, []
        return batch
