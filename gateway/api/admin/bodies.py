"""Bodies of the admin API, as they come."""

from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from gateway.config.model import LimitSettings

_Limit = Annotated[int, Meta(ge=1, le=10**15)]
_Priority = Annotated[int, Meta(ge=-(2**31 - 1), le=2**31 - 1)]
_Names = Annotated[tuple[str, ...], Meta(max_length=1_000)]


class LimitsBody(Struct, forbid_unknown_fields=True):
    """`limits`, as in the file."""

    requests_per_minute: _Limit | None = None
    requests_per_hour: _Limit | None = None
    tokens_per_minute: _Limit | None = None
    tokens_per_day: _Limit | None = None
    concurrent_requests: _Limit | None = None

    def settings(self) -> LimitSettings:
        """Return them as the configuration has them."""
        return LimitSettings(**msgspec.structs.asdict(self))


class KeyBody(Struct, forbid_unknown_fields=True):
    """`POST /admin/v1/keys`."""

    tenant: str
    id: str | None = None
    models: _Names | None = None
    limits: LimitsBody | None = None
    expires: str | None = None


class RotateBody(Struct, forbid_unknown_fields=True):
    """`POST /admin/v1/keys/{id}/rotate`."""

    overlap_s: float | None = None


class TenantBody(Struct, forbid_unknown_fields=True):
    """`PUT /admin/v1/tenants/{id}`: the tenant as in the file; what is left out gets its default."""

    id: str | None = None
    models: _Names = ("*",)
    priority: _Priority = 0
    limits: LimitsBody | None = None
    model_limits: Annotated[dict[str, LimitsBody], Meta(max_length=1_000)] = {}
    count_cached: bool = True
    filter: str | None = None


KEY: Final = msgspec.json.Decoder(KeyBody)
ROTATE: Final = msgspec.json.Decoder(RotateBody)
TENANT: Final = msgspec.json.Decoder(TenantBody)
