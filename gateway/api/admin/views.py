"""Records as the admin API and `gateway keys` show them: never a secret, nor its hash."""

from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from msgspec import Struct

from gateway.auth.keys import FileKey, Tenant
from gateway.auth.records import AuditEntry, KeyStatus, StoredKey, StoredTenant
from gateway.config.model import LimitSettings
from gateway.errors import InvalidRequest

Source = Literal["file", "store"]


class KeyView(Struct):
    """A key."""

    id: str
    tenant: str
    source: Source
    status: KeyStatus
    created: str | None = None
    expires: str | None = None
    revoked: str | None = None
    models: tuple[str, ...] | None = None
    """None: all models of the tenant."""
    limits: dict[str, int] | None = None
    older_secrets_until: tuple[str, ...] = ()
    """When the secrets end that rotations have replaced."""


class NewKeyView(KeyView):
    """A key with its secret, shown once."""

    secret: str = ""


class TenantView(Struct):
    """A tenant, with the names of its keys."""

    id: str
    source: Source
    models: tuple[str, ...]
    priority: int
    limits: dict[str, int] | None
    model_limits: dict[str, dict[str, int]]
    count_cached: bool
    filter: str | None
    keys: tuple[str, ...]


class AuditView(Struct):
    """A change."""

    at: str
    actor: str
    remote: str | None
    request_id: str | None
    action: str
    target: str
    detail: dict[str, Any]  # any JSON


def key_view(key: FileKey | StoredKey, now_s: float) -> KeyView:
    """Show a key."""
    if isinstance(key, FileKey):
        expired = key.expires_at_s is not None and now_s >= key.expires_at_s
        return KeyView(
            id=key.key.key_id,
            tenant=key.key.tenant.id,
            source="file",
            status="expired" if expired else "active",
            expires=moment(key.expires_at_s),
            models=key.models,
            limits=_limits(key.key.limits),
        )
    ends = (secret.until_s for secret in key.secrets if secret.until_s is not None and secret.until_s > now_s)
    return KeyView(
        id=key.id,
        tenant=key.tenant,
        source="store",
        status=key.status(now_s),
        created=moment(key.created_s),
        expires=moment(key.expires_s),
        revoked=moment(key.revoked_s),
        models=key.models,
        limits=_limits(key.limits),
        older_secrets_until=tuple(text for text in map(moment, ends) if text is not None),
    )


def new_key_view(key: StoredKey, secret: str, now_s: float) -> NewKeyView:
    """Show a key together with its new secret."""
    return NewKeyView(**msgspec.structs.asdict(key_view(key, now_s)), secret=secret)


def tenant_view(tenant: Tenant | StoredTenant, keys: tuple[str, ...]) -> TenantView:
    """Show a tenant."""
    return TenantView(
        id=tenant.id,
        source="file" if isinstance(tenant, Tenant) else "store",
        models=tenant.models,
        priority=tenant.priority,
        limits=_limits(tenant.limits),
        model_limits={name: _limits(limits) or {} for name, limits in tenant.model_limits.items()},
        count_cached=tenant.count_cached,
        filter=tenant.filter,
        keys=keys,
    )


def audit_view(entry: AuditEntry) -> AuditView:
    """Show a change."""
    return AuditView(
        at=moment(entry.at_s) or "",
        actor=entry.actor.name,
        remote=entry.actor.remote,
        request_id=entry.actor.request_id,
        action=entry.action,
        target=entry.target,
        detail=entry.detail,
    )


def moment(unix_s: float | None) -> str | None:
    """Return a time as RFC 3339 in UTC, to the second."""
    return None if unix_s is None else datetime.fromtimestamp(int(unix_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_moment(text: str, param: str) -> float:
    """Return the Unix seconds of a date, a time, or a number of Unix seconds. Raises InvalidRequest."""
    try:
        if text.isascii() and text.isdigit():
            return min(float(text), 253_402_300_799)
        parsed = datetime.fromisoformat(text)
    except ValueError:
        message = f"'{param}' must be a date or a time such as 2027-01-01 or 2027-01-01T12:00:00Z."
        raise InvalidRequest(message, param=param) from None
    return (parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=UTC)).timestamp()


def _limits(limits: LimitSettings | None) -> dict[str, int] | None:
    if limits is None:
        return None
    return {name: value for name, value in msgspec.to_builtins(limits).items() if value is not None}
