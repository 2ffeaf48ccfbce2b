"""The API keys and tenants of the configuration file, and how a request presents a key.

Only SHA-256 digests are held. A digest is looked up in a table and then compared in constant time: what the look-up's
timing could tell is about digests, and nobody can choose a key by its digest.

Tenants and keys made at run time stand beside those of the file, under one rule: an id in the file belongs to the file.
A stored tenant or key of the same id is as if it weren't there. A stored key may belong to a tenant of the file.
"""

import hmac
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from hashlib import blake2b
from types import MappingProxyType
from typing import Final

from gateway.auth.made_keys import digest_of
from gateway.auth.records import StoredKey, StoredTenant
from gateway.config.model import MAX_SECRET_CHARS, LimitSettings, ModelSettings, Settings, TenantSettings
from gateway.values import KeyId, ModelName, TenantId

_BEARER: Final = b"bearer "
_KEY_HEADERS: Final = frozenset({b"api-key", b"x-api-key"})


@dataclass(frozen=True, slots=True, eq=False)
class Tenant:
    """Who a request is counted, limited and filtered for."""

    id: TenantId
    models: tuple[str, ...] = ("*",)
    """Globs, as in the file."""
    priority: int = 0
    limits: LimitSettings | None = None
    """Across all keys."""
    model_limits: Mapping[ModelName, LimitSettings] = field(default_factory=lambda: MappingProxyType({}))
    """Further ones for single models, aliases resolved."""
    count_cached: bool = True
    """Whether cached prompt tokens count under limits of tokens."""
    filter: str | None = None
    """A name under `filters`."""
    cache_salt: str = field(init=False, repr=False)
    """What engines keep their caches of prompts apart by: one tenant can't find out by the time an answer takes whether
    another has sent the same. The same on every replica."""
    engine_fields: Mapping[str, str | int] = field(init=False, repr=False)
    """What a worker is told with every request: the salt, and the priority where there is one. vLLM 0.32 ignores it
    unless it was started with `--scheduling-policy priority`."""

    def __post_init__(self) -> None:
        salt = blake2b(self.id.encode(), digest_size=16, person=b"gw-cache-salt").hexdigest()
        fields: dict[str, str | int] = {"cache_salt": salt, **({"priority": self.priority} if self.priority else {})}
        object.__setattr__(self, "cache_salt", salt)
        object.__setattr__(self, "engine_fields", fields)  # a dict: what merges it is three times as fast


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class ApiKey:
    """A key that was presented and is valid. The same object as long as nothing about it changes."""

    key_id: KeyId
    tenant: Tenant
    allowed: frozenset[ModelName]
    """The configured models and providers that the tenant's globs match, and the key's, by name or by alias."""
    limits: LimitSettings | None = None
    """Of this key alone, besides the tenant's."""

    def may_use(self, model: ModelName) -> bool:
        """Whether the configured model of this name (aliases resolved) is allowed."""
        return model in self.allowed


@dataclass(frozen=True, slots=True)
class FileKey:
    """A key of the file, as the admin API shows it."""

    key: ApiKey
    models: tuple[str, ...] | None
    """Globs of this key alone."""
    digest: bytes = field(repr=False)
    expires_at_s: float | None

    @property
    def id(self) -> KeyId:
        """The key's public name."""
        return self.key.key_id

    @property
    def tenant_id(self) -> TenantId:
        """Whose key it is."""
        return self.key.tenant.id


class KeyRing:
    """Every key and tenant of the file. Immutable: a reload builds another one."""

    def __init__(self, settings: Settings, *, now_s: Callable[[], float]) -> None:
        self.models = settings.models
        self.names = _names_of(settings)
        self.tenants: Mapping[TenantId, Tenant] = {t.id: _file_tenant(t, settings.models) for t in settings.tenants}
        file_keys = [key for tenant in settings.tenants for key in self._file_keys(tenant)]
        self.keys: Mapping[KeyId, FileKey] = {entry.key.key_id: entry for entry in file_keys}
        self.filters = frozenset(settings.filters)
        """The names that tenants may have as `filter`."""
        self.anonymous = _anonymous_key(self.names) if settings.no_auth else None
        """Whom everybody is taken for, with `--no-auth`."""
        self._by_digest = {} if settings.no_auth else {entry.digest: entry for entry in file_keys}
        self._now_s = now_s

    @classmethod
    def from_settings(cls, settings: Settings, *, now_s: Callable[[], float]) -> "KeyRing":
        """Build the ring of a configuration; `now_s` is the wall clock: seconds since the epoch."""
        return cls(settings, now_s=now_s)

    def authenticate(self, presented: str | None) -> ApiKey | None:
        """Return the file's key whose secret was presented; None when there is none, or it is unknown or expired."""
        if self.anonymous is not None:
            return self.anonymous
        digest = digest_of(presented)
        return None if digest is None else self.match(digest)

    def match(self, digest: bytes) -> ApiKey | None:
        """Return the file's key whose secret has this digest, unless it is expired."""
        entry = self._by_digest.get(digest)
        if entry is None or not hmac.compare_digest(entry.digest, digest):
            return None
        if entry.expires_at_s is not None and self._now_s() >= entry.expires_at_s:
            return None
        return entry.key

    def adopt(self, key: StoredKey, tenant: StoredTenant | None) -> ApiKey | None:
        """Build what a stored key opens as; None when the file has its id, or when there is no such tenant."""
        if key.id in self.keys:
            return None
        owner = self.tenants.get(key.tenant) or (None if tenant is None else self._stored_tenant(tenant))
        if owner is None:
            return None
        return self._api_key(owner, key.id, key.models, key.limits)

    def _api_key(
        self, tenant: Tenant, key_id: KeyId, models: tuple[str, ...] | None, limits: LimitSettings | None
    ) -> ApiKey:
        allowed = _allowed(tenant.models, self.names)
        if models is not None:
            allowed &= _allowed(models, self.names)
        return ApiKey(key_id=key_id, tenant=tenant, allowed=allowed, limits=limits)

    def _stored_tenant(self, tenant: StoredTenant) -> Tenant:
        return Tenant(
            id=tenant.id,
            models=tenant.models,
            priority=tenant.priority,
            limits=tenant.limits,
            model_limits=_resolved(tenant.model_limits, self.models),
            count_cached=tenant.count_cached,
            filter=tenant.filter,
        )

    def _file_keys(self, settings: TenantSettings) -> Iterable[FileKey]:
        tenant = self.tenants[settings.id]
        for key in settings.keys:
            yield FileKey(
                key=self._api_key(tenant, key.id, key.models, key.limits),
                models=key.models,
                digest=key.secret_sha256,
                expires_at_s=None if key.expires is None else key.expires.timestamp(),
            )


def extract_key(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The secret in `Authorization: Bearer`, `api-key` or `x-api-key`, from ASGI headers (names in lower case).

    None when there is none, when it can't be one, and when two different ones are sent: which of them a proxy in
    front has checked can't be known. Other authorization schemes are meant for somebody else and ignored.
    """
    found: bytes | None = None
    for name, value in headers:
        if name in _KEY_HEADERS:
            secret = value.strip()
        elif name == b"authorization" and value[:7].lower() == _BEARER:
            secret = value[7:].strip()
        else:
            continue
        if not secret or secret == found:
            continue
        if found is not None:
            return None
        found = secret
    if found is None or len(found) > MAX_SECRET_CHARS or not found.isascii():
        return None
    return found.decode("ascii")


def _file_tenant(settings: TenantSettings, models: tuple[ModelSettings, ...]) -> Tenant:
    return Tenant(
        id=settings.id,
        models=settings.models,
        priority=settings.priority,
        limits=settings.limits,
        model_limits=_resolved(settings.model_limits, models),
        count_cached=settings.count_cached,
        filter=settings.filter,
    )


_Names = Mapping[ModelName, tuple[str, ...]]
"""All names of each model and of each provider that may stand in for one."""


def _names_of(settings: Settings) -> _Names:
    names: dict[ModelName, tuple[str, ...]] = {model.name: (model.name, *model.aliases) for model in settings.models}
    names.update({provider.name: (provider.name,) for provider in settings.fallback_providers.values()})
    return MappingProxyType(names)


def _allowed(globs: tuple[str, ...], names: _Names) -> frozenset[ModelName]:
    return frozenset(
        model for model, known in names.items() if any(fnmatchcase(name, glob) for glob in globs for name in known)
    )


def _resolved(
    limits: Mapping[str, LimitSettings] | Mapping[ModelName, LimitSettings], models: tuple[ModelSettings, ...]
) -> Mapping[ModelName, LimitSettings]:
    """Return limits by the models' own names. A name that no model has any more stays, and limits nothing."""
    names = {alias: model.name for model in models for alias in (*model.aliases, model.name)}
    return MappingProxyType({names.get(name, ModelName(name)): value for name, value in limits.items()})


def _anonymous_key(names: _Names) -> ApiKey:
    return ApiKey(
        key_id=KeyId("anonymous"),
        tenant=Tenant(id=TenantId("anonymous")),
        allowed=frozenset(names),
    )
