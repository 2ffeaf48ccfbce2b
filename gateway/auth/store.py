"""The port to the keys and tenants that are made at run time: in this process, or in Redis for all replicas."""

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from typing import Final, Literal, Protocol

from gateway.auth.records import AuditEntry, Change, Found, StoredKey, StoredTenant, Touched
from gateway.values import KeyId, TenantId

MAX_RECORDS: Final = 20_000
"""Keys, and as many tenants."""
MAX_AUDIT_ENTRIES: Final = 10_000
"""Older ones are forgotten."""

Outcome = Literal["done", "conflict", "full"]
"""conflict: a record isn't of the version expected; nothing was changed."""


class StoreUnavailableError(Exception):
    """The store didn't answer, or answered nonsense. A change may have been made all the same."""


class KeyStore(Protocol):
    """Every method but `changes` may raise StoreUnavailableError."""

    touch_lease_s: float
    """How long after `changes` has yielded it may be taken for alive."""

    async def find(self, key_ids: Sequence[KeyId]) -> Mapping[KeyId, Found]:
        """Return those of the keys that exist, revoked and expired ones too."""
        ...

    async def tenant(self, tenant_id: TenantId) -> StoredTenant | None:
        """Return one tenant."""
        ...

    async def keys(self) -> Sequence[StoredKey]:
        """Return every key, in no order."""
        ...

    async def tenants(self) -> Sequence[StoredTenant]:
        """Return every tenant, in no order."""
        ...

    async def commit(self, changes: Iterable[Change], entry: AuditEntry) -> Outcome:
        """Make all the changes, note the entry and tell every replica; or do nothing of it."""
        ...

    async def audit(self, count: int) -> Sequence[AuditEntry]:
        """Return the last so many entries, newest first."""
        ...

    def changes(self) -> AsyncGenerator[Sequence[Touched], None]:
        """Yield what was changed, as it happens.

        The first batch comes when watching has begun and is empty; empty ones later say that nothing has changed until
        now. Raises StoreUnavailableError when changes may have been missed.
        """
        ...
