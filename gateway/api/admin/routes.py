"""Which path of the admin API is served by what. Without an admin key none of them exists."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from gateway.api.admin.access import AdminAccess, Endpoint
from gateway.api.admin.adapters import AdapterEndpoints
from gateway.api.admin.keys import KeyEndpoints
from gateway.api.admin.operation import OperationEndpoints
from gateway.api.admin.tenants import TenantEndpoints
from gateway.api.admin.usage import AdminUsageEndpoint
from gateway.api.admin.workers import WorkerEndpoints
from gateway.auth.administration import KeyAdministration
from gateway.config.model import AdminSettings
from gateway.config.reload import Reloader
from gateway.observability.usage import UsageStore
from gateway.routing.adapter_keeper import AdapterKeeper
from gateway.routing.discovery.keeper import FleetKeeper
from gateway.routing.fleet import Fleet


@dataclass(frozen=True, slots=True)
class AdminServices:
    """What the admin API works with."""

    administration: KeyAdministration
    usage: UsageStore
    reloader: Reloader
    replica: str
    """Tells this process from the others."""
    now_s: Callable[[], float]
    """The wall clock."""
    fleet: Fleet
    keeper: FleetKeeper
    adapters: AdapterKeeper


def admin_routes(settings: AdminSettings | None, services: AdminServices) -> list[BaseRoute]:
    """Return the routes; none without `admin.key`."""
    if settings is None:
        return []
    guard = AdminAccess(settings.key).guard
    keys = KeyEndpoints(services.administration, services.now_s)
    tenants = TenantEndpoints(services.administration)
    usage = AdminUsageEndpoint(services.usage, services.now_s)
    operation = OperationEndpoints(services.reloader, services.administration, services.replica)
    workers = WorkerEndpoints(services.fleet, services.keeper, services.administration)
    adapters = AdapterEndpoints(services.fleet, services.keeper, services.adapters, services.administration)
    table: dict[str, dict[str, Endpoint]] = {
        "/keys": {"GET": keys.list_keys, "POST": keys.create},
        "/keys/{key_id}": {"GET": keys.show, "DELETE": keys.revoke},
        "/keys/{key_id}/rotate": {"POST": keys.rotate},
        "/tenants": {"GET": tenants.list_tenants},
        "/tenants/{tenant_id}": {"GET": tenants.show, "PUT": tenants.put, "DELETE": tenants.delete},
        "/usage": {"GET": usage.show},
        "/audit": {"GET": operation.audit},
        "/workers": {"GET": workers.list_workers, "POST": workers.add},
        "/workers/{worker_id}": {"DELETE": workers.delete},
        "/workers/{worker_id}/drain": {"POST": workers.drain},
        "/workers/{worker_id}/undrain": {"POST": workers.undrain},
        "/adapters": {"GET": adapters.list_adapters, "POST": adapters.load},
        "/adapters/{name:path}": {"DELETE": adapters.unload},
        "/config": {"GET": operation.config},
        "/config/reload": {"POST": operation.reload},
    }
    return [
        Route(f"/admin/v1{path}", guard(_by_method(methods)), methods=list(methods)) for path, methods in table.items()
    ]


def _by_method(endpoints: Mapping[str, Endpoint]) -> Endpoint:
    """Return one endpoint for all methods of a path, so that a 405 names them all."""

    async def endpoint(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        return await endpoints[method](request)

    return endpoint
