"""What the key store holds: tenants and keys made at run time, and who changed what. Never a secret.

`version` of a record counts its changes. A change is made only to the version it was decided on, so that two
administrators can't undo each other's work unseen.
"""

from typing import Any, Literal, NamedTuple, TypeAlias

from msgspec import Struct

from gateway.config.model import LimitSettings
from gateway.values import KeyId, ModelName, RequestId, TenantId

KeyStatus = Literal["active", "revoked", "expired"]
ActorName = Literal["admin", "cli", "signal"]


class KeySecret(Struct, frozen=True):
    """A secret that opens as the key."""

    sha256: bytes
    until_s: float | None = None
    """Unix seconds; set when a rotation replaced it."""

    def __repr__(self) -> str:
        return f"KeySecret(***, until_s={self.until_s})"


class StoredKey(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An API key. Times are Unix seconds."""

    id: KeyId
    tenant: TenantId
    version: int
    secrets: tuple[KeySecret, ...]
    """The newest first."""
    created_s: float
    expires_s: float | None = None
    models: tuple[str, ...] | None = None
    """Globs, within those of the tenant; None: all of the tenant's."""
    limits: LimitSettings | None = None
    revoked_s: float | None = None

    @property
    def tenant_id(self) -> TenantId:
        """Whose key it is."""
        return self.tenant

    def status(self, now_s: float) -> KeyStatus:
        """Whether it opens anything, apart from its tenant."""
        if self.revoked_s is not None:
            return "revoked"
        return "expired" if self.expires_s is not None and now_s >= self.expires_s else "active"


class StoredTenant(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A tenant, as under `tenants` in the file."""

    id: TenantId
    version: int
    updated_s: float
    models: tuple[str, ...] = ("*",)
    priority: int = 0
    limits: LimitSettings | None = None
    model_limits: dict[ModelName, LimitSettings] = {}
    count_cached: bool = True
    filter: str | None = None


class Actor(Struct, frozen=True):
    """Who makes a change."""

    name: ActorName
    request_id: RequestId | None = None
    remote: str | None = None
    """Address of the client, or the name of the user of the shell."""


class AuditEntry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One change: who, what, when."""

    at_s: float
    actor: Actor
    action: str
    """`key.create`, `tenant.put` …"""
    target: str
    """Id of the key or tenant."""
    detail: dict[str, Any] = {}  # any JSON
    """What was asked for; has no place for a secret."""


Record: TypeAlias = StoredKey | StoredTenant


class Touched(NamedTuple):
    """What a change is about, as replicas are told. `config`: they are to read their file again."""

    kind: Literal["key", "tenant", "config"]
    id: str


class Change(NamedTuple):
    """One part of a change that is made as a whole or not at all."""

    touched: Touched
    action: Literal["put", "delete", "keep", "tell"]
    """`keep` only asks for the record to be as expected; `tell` changes nothing."""
    was: int
    """The version it has to have; 0: there must be none."""
    record: Record | None = None


class Found(NamedTuple):
    """A key with the tenant it belongs to, where the store has one of this id."""

    key: StoredKey
    tenant: StoredTenant | None
