"""Reads `tenants`: keys, limits and what they may use."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from types import MappingProxyType
from typing import Final

from gateway.config.model import KeySettings, LimitSettings, TenantSettings
from gateway.config.section import GLOB, ID, SECRET, Form, Section
from gateway.values import KeyId, TenantId

_SHA256: Final = Form(re.compile(r"[0-9a-fA-F]{64}"), "64 hexadecimal digits")
_MAX_LIMIT: Final = 10**15
_MAX_PRIORITY: Final = 2**31 - 1
"""vLLM's priority is a C integer."""


def read_tenants(root: Section) -> tuple[TenantSettings, ...]:
    """`tenants`; none is allowed here, `serve` decides about it."""
    return tuple(_read_tenant(section) for section in root.children("tenants"))


def _read_tenant(section: Section) -> TenantSettings:
    models = section.texts("models", GLOB)
    settings = TenantSettings(
        id=TenantId(section.text("id", ID)),
        models=models if section.has("models") else ("*",),
        priority=section.integer("priority", 0, low=-_MAX_PRIORITY, high=_MAX_PRIORITY),
        limits=_read_limits(section, "limits"),
        model_limits=_read_model_limits(section),
        count_cached=section.boolean("count_cached", default=True),
        filter=section.optional_text("filter"),
        keys=tuple(_read_key(key) for key in section.children("keys")),
    )
    section.close()
    return settings


def _read_key(section: Section) -> KeySettings:
    settings = KeySettings(
        id=KeyId(section.text("id", ID)),
        secret_sha256=_read_digest(section),
        models=section.texts("models", GLOB) if section.has("models") else None,
        limits=_read_limits(section, "limits"),
        expires=_read_expiry(section),
    )
    section.close()
    return settings


def _read_digest(section: Section) -> bytes:
    secret = section.optional_text("secret", SECRET)
    digest = section.optional_text("secret_sha256", _SHA256)
    if section.has("secret") == section.has("secret_sha256"):
        section.report("secret", "give either `secret` or `secret_sha256`")
    elif secret is not None:
        return sha256(secret.encode("ascii")).digest()
    elif digest is not None:
        return bytes.fromhex(digest)
    return b""


def _read_expiry(section: Section) -> datetime | None:
    text = section.optional_text("expires")
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        section.report("expires", "must be a date or a time such as 2027-01-01 or 2027-01-01T12:00:00Z")
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _read_model_limits(section: Section) -> Mapping[str, LimitSettings]:
    return MappingProxyType({name: _limits_of(limits) for name, limits in section.entries("model_limits")})


def _read_limits(section: Section, key: str) -> LimitSettings | None:
    limits = section.child(key)
    return _limits_of(limits) if section.has(key) else None


def _limits_of(section: Section) -> LimitSettings:
    settings = LimitSettings(
        requests_per_minute=section.optional_integer("requests_per_minute", low=1, high=_MAX_LIMIT),
        requests_per_hour=section.optional_integer("requests_per_hour", low=1, high=_MAX_LIMIT),
        tokens_per_minute=section.optional_integer("tokens_per_minute", low=1, high=_MAX_LIMIT),
        tokens_per_day=section.optional_integer("tokens_per_day", low=1, high=_MAX_LIMIT),
        concurrent_requests=section.optional_integer("concurrent_requests", low=1, high=_MAX_LIMIT),
    )
    section.close()
    return settings
