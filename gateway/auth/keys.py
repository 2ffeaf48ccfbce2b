"""The API keys of the configuration file, and how a request presents one.

Only SHA-256 digests are held. A digest is looked up in a table and then compared in constant time: what the look-up's
timing could tell is about digests, and nobody can choose a key by its digest.
"""

import hmac
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from hashlib import sha256
from types import MappingProxyType
from typing import Final

from gateway.config.model import MAX_SECRET_CHARS, ModelSettings, Settings, TenantSettings
from gateway.values import KeyId, ModelName, TenantId

_BEARER: Final = b"bearer "
_KEY_HEADERS: Final = frozenset({b"api-key", b"x-api-key"})


@dataclass(frozen=True, slots=True)
class Tenant:
    """Who a request is counted, limited and filtered for."""

    id: TenantId
    models: tuple[str, ...] = ("*",)
    """Globs, as in the file."""
    priority: int = 0


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key that was presented and is valid."""

    key_id: KeyId
    tenant: Tenant
    allowed: frozenset[ModelName]
    """The configured models that the tenant's globs match, by name or by alias."""

    def may_use(self, model: ModelName) -> bool:
        """Whether the configured model of this name (aliases resolved) is allowed."""
        return model in self.allowed


@dataclass(frozen=True, slots=True)
class _Entry:
    digest: bytes
    expires_at_s: float | None
    key: ApiKey


class KeyRing:
    """Every key that may open the gateway. Immutable: a reload builds another one."""

    def __init__(
        self, entries: Mapping[bytes, _Entry], *, anonymous: ApiKey | None, now_s: Callable[[], float]
    ) -> None:
        self._entries = entries
        self._anonymous = anonymous
        self._now_s = now_s

    @classmethod
    def from_settings(cls, settings: Settings, *, now_s: Callable[[], float]) -> "KeyRing":
        """The keys of the file; with `no_auth` a ring that takes everybody for the tenant `anonymous`.

        `now_s` is the wall clock: seconds since the epoch.
        """
        if settings.no_auth:
            return cls({}, anonymous=_anonymous_key(settings.models), now_s=now_s)
        entries = {
            entry.digest: entry for tenant in settings.tenants for entry in _tenant_entries(tenant, settings.models)
        }
        return cls(MappingProxyType(entries), anonymous=None, now_s=now_s)

    def authenticate(self, presented: str | None) -> ApiKey | None:
        """The key whose secret was presented; None when there is none, or it is unknown or expired.

        What can't be a key, being too long or not ASCII, isn't hashed at all.
        """
        if self._anonymous is not None:
            return self._anonymous
        if not presented or len(presented) > MAX_SECRET_CHARS or not presented.isascii():
            return None
        digest = sha256(presented.encode("ascii")).digest()
        entry = self._entries.get(digest)
        if entry is None or not hmac.compare_digest(entry.digest, digest):
            return None
        if entry.expires_at_s is not None and self._now_s() >= entry.expires_at_s:
            return None
        return entry.key


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


def _tenant_entries(settings: TenantSettings, models: tuple[ModelSettings, ...]) -> Iterable[_Entry]:
    tenant = Tenant(id=settings.id, models=settings.models, priority=settings.priority)
    allowed = frozenset(model.name for model in models if _allows(settings.models, model))
    for key in settings.keys:
        yield _Entry(
            digest=key.secret_sha256,
            expires_at_s=None if key.expires is None else key.expires.timestamp(),
            key=ApiKey(key_id=key.id, tenant=tenant, allowed=allowed),
        )


def _allows(globs: tuple[str, ...], model: ModelSettings) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs for name in (model.name, *model.aliases))


def _anonymous_key(models: tuple[ModelSettings, ...]) -> ApiKey:
    return ApiKey(
        key_id=KeyId("anonymous"),
        tenant=Tenant(id=TenantId("anonymous")),
        allowed=frozenset(model.name for model in models),
    )
