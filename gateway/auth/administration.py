"""Creating, rotating and revoking keys, and the tenants they belong to: the rules of the admin API and of the shell.

What the file says belongs to the file: its keys and tenants are listed here, and changing them is refused. Each change
is decided on the records as they are and made only if they still are; when somebody was faster, it is decided again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct

from gateway.auth.keys import FileKey, KeyRing, Tenant
from gateway.auth.made_keys import digest_of, make_key_id, make_secret
from gateway.auth.records import Actor, AuditEntry, Change, KeySecret, StoredKey, StoredTenant, Touched
from gateway.auth.store import MAX_RECORDS, KeyStore, Outcome
from gateway.config.model import LimitSettings
from gateway.config.problems import did_you_mean
from gateway.config.section import GLOB, ID
from gateway.errors import Conflict, GatewayError, InvalidRequest, NotFound
from gateway.values import KeyId, ModelName, TenantId

DEFAULT_OVERLAP_S: Final = 86_400.0
MAX_OVERLAP_S: Final = 365 * 86_400.0
MAX_SECRETS: Final = 4
"""Of one key at the same time."""
_ATTEMPTS: Final = 8
_FORGOTTEN_AT_ONCE: Final = 500
_CHARS_OF_WILDCARDS: Final = frozenset("*?[")

_T = TypeVar("_T")


class NewKey(Struct, frozen=True, kw_only=True):
    """What a key is to be."""

    tenant: TenantId
    id: KeyId | None = None
    models: tuple[str, ...] | None = None
    limits: LimitSettings | None = None
    expires_s: float | None = None


class NewTenant(Struct, frozen=True, kw_only=True):
    """What a tenant is to be."""

    id: TenantId
    models: tuple[str, ...] = ("*",)
    priority: int = 0
    limits: LimitSettings | None = None
    model_limits: Mapping[str, LimitSettings] = {}
    count_cached: bool = True
    filter: str | None = None


class MadeKey(Struct, frozen=True):
    """A key with its new secret, which nobody can tell a second time."""

    key: StoredKey
    secret: str

    def __repr__(self) -> str:
        return f"MadeKey({self.key.id})"


class KeyAdministration:
    """Every method may raise `store.StoreUnavailableError`, those that change something InvalidRequest and Conflict."""

    def __init__(self, store: KeyStore, ring: Callable[[], KeyRing], *, now_s: Callable[[], float]) -> None:
        """`ring` returns the file's keys and tenants as they are at the moment; `now_s` is the wall clock."""
        self._store = store
        self._ring = ring
        self._now_s = now_s

    # Keys

    async def keys(self, tenant: TenantId | None = None) -> Sequence[FileKey | StoredKey]:
        """Return all keys, or those of a tenant: first the file's, then the store's by id."""
        ring = self._ring()
        stored = [key for key in await self._store.keys() if key.id not in ring.keys]
        listed: list[FileKey | StoredKey] = [*ring.keys.values(), *sorted(stored, key=lambda key: key.id)]
        return [key for key in listed if tenant is None or key.tenant_id == tenant]

    async def key(self, key_id: KeyId) -> FileKey | StoredKey:
        """Return one key. Raises NotFound."""
        return self._ring().keys.get(key_id) or await self._stored_key(key_id)

    async def create_key(self, new: NewKey, actor: Actor) -> MadeKey:
        """Make a key. Raises NotFound for its tenant."""
        ring = self._ring()
        _check_id(new.id, "id")
        _check_globs(new.models or (), ring)
        now_s = self._now_s()
        if new.expires_s is not None and new.expires_s <= now_s:
            raise InvalidRequest("'expires' is in the past.", param="expires")

        async def attempt() -> tuple[Outcome, MadeKey]:
            key_id = new.id or make_key_id(new.tenant)
            guard = await self._guard_tenant(new.tenant)
            if key_id in ring.keys:
                raise Conflict(f"The key '{key_id}' is in the configuration file.", param="id")
            if new.id is not None and (await self._store.find([key_id])).get(key_id) is not None:
                raise Conflict(f"There is a key '{key_id}' already; a revoked key keeps its id.", param="id")
            made = self._made(key_id, new, now_s)
            changes = [*guard, Change(Touched("key", key_id), "put", 0, made.key)]
            detail = {"tenant": new.tenant, "models": new.models, "limits": new.limits, "expires_s": new.expires_s}
            outcome = await self._store.commit(changes, self._entry(actor, "key.create", key_id, detail))
            if outcome == "full" and await self._forget_dead_keys(actor):
                outcome = "conflict"  # there is room now: once more
            return outcome, made

        return await _until_done(attempt)

    async def rotate_key(self, key_id: KeyId, overlap_s: float, actor: Actor) -> MadeKey:
        """Give a key a new secret. Older ones live for `overlap_s` from now, or as long as they had.

        Raises NotFound.
        """
        if not 0 <= overlap_s <= MAX_OVERLAP_S:
            raise InvalidRequest(f"'overlap_s' must be from 0 to {MAX_OVERLAP_S:.0f}.", param="overlap_s")

        async def attempt() -> tuple[Outcome, MadeKey]:
            old = await self._changeable_key(key_id)
            now_s = self._now_s()
            status = old.status(now_s)
            if status != "active":
                raise Conflict(f"The key '{key_id}' is {status}; create another one.")
            secret = make_secret(key_id)
            older = _ending(old.secrets, now_s, overlap_s)
            if len(older) >= MAX_SECRETS:
                raise Conflict(
                    f"The key '{key_id}' has {len(older)} secrets that are still good: rotate with a shorter overlap."
                )
            key = msgspec.structs.replace(
                old, version=old.version + 1, secrets=(KeySecret(digest_of(secret) or b""), *older)
            )
            return await self._put_key(key, old, self._entry(actor, "key.rotate", key_id, {"overlap_s": overlap_s})), (
                MadeKey(key, secret)
            )

        return await _until_done(attempt)

    async def revoke_key(self, key_id: KeyId, actor: Actor) -> StoredKey:
        """End a key for good; a second time changes nothing. Raises NotFound."""

        async def attempt() -> tuple[Outcome, StoredKey]:
            old = await self._changeable_key(key_id)
            if old.revoked_s is not None:
                return "done", old
            key = _revoked(old, self._now_s())
            return await self._put_key(key, old, self._entry(actor, "key.revoke", key_id)), key

        return await _until_done(attempt)

    # Tenants

    async def tenants(self) -> Sequence[Tenant | StoredTenant]:
        """Return all tenants: first the file's, then the store's by id."""
        ring = self._ring()
        stored = [tenant for tenant in await self._store.tenants() if tenant.id not in ring.tenants]
        return [*ring.tenants.values(), *sorted(stored, key=lambda tenant: tenant.id)]

    async def tenant(self, tenant_id: TenantId) -> Tenant | StoredTenant:
        """Return one tenant. Raises NotFound."""
        found = self._ring().tenants.get(tenant_id) or await self._store.tenant(tenant_id)
        if found is None:
            raise _no_tenant(tenant_id)
        return found

    async def put_tenant(self, new: NewTenant, actor: Actor) -> tuple[StoredTenant, bool]:
        """Make a tenant, or give one all of its settings anew; returns it and whether it is new."""
        ring = self._ring()
        _check_id(new.id, "id")
        _check_globs(new.models, ring)
        _check_names(new.model_limits, ring)
        if new.filter is not None and new.filter not in ring.filters:
            raise InvalidRequest(f"No such filter: '{new.filter[:64]}'.", param="filter")

        async def attempt() -> tuple[Outcome, tuple[StoredTenant, bool]]:
            self._refuse_file_tenant(new.id)
            old = await self._store.tenant(new.id)
            was = 0 if old is None else old.version
            tenant = StoredTenant(
                id=new.id,
                version=was + 1,
                updated_s=self._now_s(),
                models=new.models,
                priority=new.priority,
                limits=new.limits,
                model_limits={ModelName(name): limits for name, limits in new.model_limits.items()},
                count_cached=new.count_cached,
                filter=new.filter,
            )
            detail = msgspec.to_builtins(new)
            entry = self._entry(actor, "tenant.put", new.id, detail)
            outcome = await self._store.commit([Change(Touched("tenant", new.id), "put", was, tenant)], entry)
            return outcome, (tenant, old is None)

        return await _until_done(attempt)

    async def delete_tenant(self, tenant_id: TenantId, actor: Actor) -> tuple[StoredTenant, int]:
        """Delete a tenant and revoke its keys; returns what it was, and how many keys went with it. Raises NotFound."""

        async def attempt() -> tuple[Outcome, tuple[StoredTenant, int]]:
            self._refuse_file_tenant(tenant_id)
            tenant = await self._store.tenant(tenant_id)
            if tenant is None:
                raise _no_tenant(tenant_id)
            now_s = self._now_s()
            keys = [key for key in await self._store.keys() if key.tenant == tenant_id and key.revoked_s is None]
            changes = [Change(Touched("tenant", tenant_id), "delete", tenant.version)]
            changes += [Change(Touched("key", k.id), "put", k.version, _revoked(k, now_s)) for k in keys]
            entry = self._entry(actor, "tenant.delete", tenant_id, {"revoked_keys": len(keys)})
            return await self._store.commit(changes, entry), (tenant, len(keys))

        return await _until_done(attempt)

    # The log of changes

    async def audit(self, count: int) -> Sequence[AuditEntry]:
        """Return the newest entries, newest first."""
        return await self._store.audit(count)

    async def tell_reload(self, replica: str, actor: Actor) -> None:
        """Note that the file was read again, and tell the other replicas to do so."""
        await self._store.commit(
            [Change(Touched("config", replica), "tell", 0)], self._entry(actor, "config.reload", "")
        )

    async def note(self, action: str, target: str, actor: Actor, detail: Mapping[str, Any] | None = None) -> None:
        """Note a change that was made elsewhere."""
        await self._store.commit((), self._entry(actor, action, target, detail))

    def _entry(self, actor: Actor, action: str, target: str, detail: Mapping[str, Any] | None = None) -> AuditEntry:
        kept = {name: value for name, value in (detail or {}).items() if value is not None}
        return AuditEntry(at_s=self._now_s(), actor=actor, action=action, target=target, detail=kept)

    def _made(self, key_id: KeyId, new: NewKey, now_s: float) -> MadeKey:
        secret = make_secret(key_id)
        key = StoredKey(
            id=key_id,
            tenant=new.tenant,
            version=1,
            secrets=(KeySecret(digest_of(secret) or b""),),
            created_s=now_s,
            expires_s=new.expires_s,
            models=new.models,
            limits=new.limits,
        )
        return MadeKey(key, secret)

    async def _guard_tenant(self, tenant_id: TenantId) -> list[Change]:
        """Return what keeps a tenant from being deleted while a key of it is made. Raises NotFound."""
        if tenant_id in self._ring().tenants:
            return []
        tenant = await self._store.tenant(tenant_id)
        if tenant is None:
            raise _no_tenant(tenant_id)
        return [Change(Touched("tenant", tenant_id), "keep", tenant.version)]

    async def _forget_dead_keys(self, actor: Actor) -> bool:
        """Make room in a full store: delete the oldest keys that are revoked or expired. False: there are none."""
        now_s = self._now_s()
        dead = sorted((k for k in await self._store.keys() if k.status(now_s) != "active"), key=lambda k: k.created_s)
        oldest = dead[:_FORGOTTEN_AT_ONCE]
        changes = [Change(Touched("key", key.id), "delete", key.version) for key in oldest]
        await self._store.commit(changes, self._entry(actor, "key.forget", "", {"keys": len(oldest)}))
        return bool(oldest)

    async def _stored_key(self, key_id: KeyId) -> StoredKey:
        found = (await self._store.find([key_id])).get(key_id)
        if found is None:
            raise NotFound(f"There is no key '{key_id[:64]}'.")
        return found.key

    async def _changeable_key(self, key_id: KeyId) -> StoredKey:
        if key_id in self._ring().keys:
            raise Conflict(f"The key '{key_id}' is in the configuration file: change it there, and reload.")
        return await self._stored_key(key_id)

    def _refuse_file_tenant(self, tenant_id: TenantId) -> None:
        if tenant_id in self._ring().tenants:
            raise Conflict(f"The tenant '{tenant_id}' is in the configuration file: change it there, and reload.")

    async def _put_key(self, key: StoredKey, old: StoredKey, entry: AuditEntry) -> Outcome:
        return await self._store.commit([Change(Touched("key", key.id), "put", old.version, key)], entry)


async def _until_done(attempt: Callable[[], Awaitable[tuple[Outcome, _T]]]) -> _T:
    for number in range(_ATTEMPTS):
        outcome, result = await attempt()
        if outcome == "done":
            return result
        if outcome == "full":
            raise Conflict(f"The store holds {MAX_RECORDS} of these already.")
        await asyncio.sleep(0.001 * number)
    raise Conflict("Somebody else changes the same at the moment. Please try again.")


def _revoked(key: StoredKey, now_s: float) -> StoredKey:
    return msgspec.structs.replace(key, version=key.version + 1, revoked_s=now_s)


def _ending(older: Iterable[KeySecret], now_s: float, overlap_s: float) -> tuple[KeySecret, ...]:
    """Return the secrets that are good for some time to come, and let them end with the overlap at the latest."""
    end_s = now_s + overlap_s
    ending = (KeySecret(s.sha256, end_s if s.until_s is None else min(s.until_s, end_s)) for s in older)
    return tuple(secret for secret in ending if (secret.until_s or 0) > now_s)


def _no_tenant(tenant_id: str) -> GatewayError:
    return NotFound(f"There is no tenant '{tenant_id[:64]}'.", param="tenant")


def _check_id(text: str | None, param: str) -> None:
    if text is not None and not ID.pattern.fullmatch(text):
        raise InvalidRequest(f"'{param}' must be {ID.says}.", param=param)


def _check_globs(globs: Iterable[str], ring: KeyRing) -> None:
    for glob in globs:
        if not GLOB.pattern.fullmatch(glob):
            raise InvalidRequest(f"'models' must be a list, each item {GLOB.says}.", param="models")
        if not _CHARS_OF_WILDCARDS & set(glob):
            _check_model(glob, ring, "models")


def _check_names(names: Iterable[str], ring: KeyRing) -> None:
    for name in names:
        _check_model(name, ring, "model_limits")


def _check_model(name: str, ring: KeyRing, param: str) -> None:
    names = {known for names in ring.names.values() for known in names}
    if name not in names:
        raise InvalidRequest(f"'{param}': no such model: '{name[:256]}'{did_you_mean(name, names)}.", param=param)
