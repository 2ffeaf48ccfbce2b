"""Keys with limits, as the limiter needs them: without secrets, files and stores."""

from collections.abc import Collection, Mapping

from gateway.auth.keys import ApiKey, Tenant
from gateway.config.model import LimitSettings
from gateway.values import KeyId, ModelName, TenantId


def limited_key(
    tenant_limits: LimitSettings | None = None,
    key_limits: LimitSettings | None = None,
    model_limits: Mapping[ModelName, LimitSettings] | None = None,
    *,
    tenant: str = "acme",
    key_id: str = "acme-dev",
    count_cached: bool = True,
    allowed: Collection[str] = (),
) -> ApiKey:
    """A key of its own; limits of equal tenants and key ids are counted together nevertheless."""
    owner = Tenant(TenantId(tenant), limits=tenant_limits, model_limits=model_limits or {}, count_cached=count_cached)
    return ApiKey(KeyId(key_id), owner, frozenset(ModelName(name) for name in allowed), key_limits)
