"""`/admin/v1/tenants`."""

from starlette.requests import Request
from starlette.responses import Response

from gateway.api.admin.access import actor_of, read_body, reply
from gateway.api.admin.bodies import TENANT
from gateway.api.admin.views import TenantView, tenant_view
from gateway.auth.administration import KeyAdministration, NewTenant
from gateway.auth.keys import Tenant
from gateway.auth.records import StoredTenant
from gateway.errors import InvalidRequest
from gateway.values import TenantId


class TenantEndpoints:
    """Shows and changes tenants."""

    def __init__(self, administration: KeyAdministration) -> None:
        self._administration = administration

    async def list_tenants(self, request: Request) -> Response:
        """Answer with all tenants."""
        keys: dict[str, list[str]] = {}
        for key in await self._administration.keys():
            keys.setdefault(key.tenant_id, []).append(key.id)
        tenants = await self._administration.tenants()
        data = [tenant_view(tenant, tuple(keys.get(tenant.id, ()))) for tenant in tenants]
        return reply(request, {"object": "list", "data": data})

    async def show(self, request: Request) -> Response:
        """Answer with one tenant."""
        return reply(request, await self._view(await self._administration.tenant(_tenant_id(request))))

    async def put(self, request: Request) -> Response:
        """Make a tenant (201), or replace all its settings (200)."""
        tenant_id = _tenant_id(request)
        body = await read_body(request, TENANT)
        if body.id not in (None, tenant_id):
            raise InvalidRequest("'id' is another one than the path's.", param="id")
        new = NewTenant(
            id=tenant_id,
            models=body.models,
            priority=body.priority,
            limits=None if body.limits is None else body.limits.settings(),
            model_limits={name: limits.settings() for name, limits in body.model_limits.items()},
            count_cached=body.count_cached,
            filter=body.filter,
        )
        tenant, is_new = await self._administration.put_tenant(new, actor_of(request))
        return reply(request, await self._view(tenant), 201 if is_new else 200)

    async def delete(self, request: Request) -> Response:
        """Delete a tenant; its keys are revoked with it."""
        tenant, keys = await self._administration.delete_tenant(_tenant_id(request), actor_of(request))
        return reply(request, {"id": tenant.id, "object": "tenant", "deleted": True, "revoked_keys": keys})

    async def _view(self, tenant: Tenant | StoredTenant) -> TenantView:
        keys = await self._administration.keys(tenant.id)
        return tenant_view(tenant, tuple(key.id for key in keys))


def _tenant_id(request: Request) -> TenantId:
    return TenantId(request.path_params["tenant_id"])
