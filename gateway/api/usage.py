"""`GET /v1/usage`: what the key's tenant has used, and where it stands with its limits."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from gateway.api.request_ids import new_request_id, request_id_of
from gateway.api.usage_query import read_query, running_windows
from gateway.auth.directory import KeyDirectory
from gateway.auth.keys import ApiKey, extract_key
from gateway.errors import InvalidApiKey, StoreUnavailable
from gateway.observability.usage import UsageStore, UsageUnavailableError
from gateway.values import LimitState

LimitsOf = Callable[[ApiKey], Awaitable[Sequence[LimitState]]]
"""Asks where a key stands with each limit that applies to it."""


class UsageEndpoint:
    """Shows tenants their own usage; a second behind at most."""

    def __init__(self, keys: KeyDirectory, store: UsageStore, limits_of: LimitsOf, now_s: Callable[[], float]) -> None:
        self._keys = keys
        self._store = store
        self._limits_of = limits_of
        self._now_s = now_s

    async def show(self, request: Request) -> Response:
        """Answer with the running minute, hour and day; with `?granularity=` with the buckets of some time."""
        key = await self._keys.identify(extract_key(request.scope["headers"]))
        if key is None:
            raise InvalidApiKey
        now_s = self._now_s()
        try:
            if "granularity" in request.query_params:
                query = read_query(request.query_params, now_s)
                body: dict[str, Any] = await query.answer(self._store, key.tenant.id)
            else:
                windows = await running_windows(self._store, key.tenant.id, now_s)
                limits = await self._limits_of(key)
                body = {
                    "object": "usage",
                    "tenant": key.tenant.id,
                    "key": key.key_id,
                    "windows": windows,
                    "limits": limits,
                }
        except UsageUnavailableError:
            raise StoreUnavailable from None
        headers = {"x-request-id": request_id_of(request.scope["headers"]) or new_request_id()}
        return Response(msgspec.json.encode(body), headers=headers, media_type="application/json")
