"""`GET /admin/v1/usage`."""

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response

from gateway.api.admin.access import reply
from gateway.api.usage_query import read_query
from gateway.observability.usage import UsageStore
from gateway.values import TenantId


class AdminUsageEndpoint:
    """Shows the usage of one tenant or of all."""

    def __init__(self, store: UsageStore, now_s: Callable[[], float]) -> None:
        self._store = store
        self._now_s = now_s

    async def show(self, request: Request) -> Response:
        """Answer with a row per bucket, tenant, key and model; `?tenant=&key=&model=&granularity=&from=&to=`."""
        tenant = request.query_params.get("tenant")
        query = read_query(request.query_params, self._now_s())
        return reply(request, await query.answer(self._store, None if tenant is None else TenantId(tenant)))
