"""The admin API and `/v1/usage` without a server: every object that app.py makes for them, over embedded stores."""

import contextlib
import random
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx2
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.api.admin.routes import AdminServices, admin_routes
from gateway.api.replies import error_body, error_headers
from gateway.api.usage import UsageEndpoint
from gateway.auth.administration import KeyAdministration
from gateway.auth.directory import KeyDirectory
from gateway.auth.keys import ApiKey, KeyRing
from gateway.auth.memory_key_store import MemoryKeyStore
from gateway.config.model import AdminSettings, Secret, Settings
from gateway.config.reload import ConfigFile, Reloader
from gateway.errors import GatewayError
from gateway.observability.usage import MemoryUsageStore
from gateway.routing.adapter_engine import AdapterEngine
from gateway.routing.adapter_keeper import AdapterKeeper
from gateway.routing.catalog import VARIANTS
from gateway.routing.discovery.keeper import FleetKeeper
from gateway.routing.discovery.overrides import MemoryOverrideStore
from gateway.routing.fleet import build_fleet
from gateway.values import LimitState
from tests.support.key_files import FILE

ADMIN_KEY = "admin-key-0123456789"
NOW_S = 1_800_000_000.0


class AdminWorld:
    """`app` serves it; the clocks stand at NOW_S until they are moved."""

    def __init__(
        self,
        path: Path,
        *,
        admin_key: str | None = ADMIN_KEY,
        file_text: str = FILE,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        """`transport`: of what is asked of workers about adapters."""
        self.now_s = NOW_S
        self.path = path
        path.write_text(file_text)
        self.keys = MemoryKeyStore()
        self.usage = MemoryUsageStore()
        file = ConfigFile(path, {}, VARIANTS)
        loaded = file.load()
        self.directory = KeyDirectory(self._ring(loaded.settings), self.keys, now_s=self._now)
        self.reloader = Reloader(file, loaded, self._apply, now_s=self._now)
        self.administration = KeyAdministration(self.keys, lambda: self.directory.ring, now_s=self._now)
        self.fleet = build_fleet(loaded.settings.models, created=0)
        self.overrides = MemoryOverrideStore()
        self.keeper = FleetKeeper(self.fleet, loaded.settings.models, self.overrides, rng=random.Random(1))
        services = AdminServices(
            self.administration,
            self.usage,
            self.reloader,
            "replica-1",
            self._now,
            self.fleet,
            self.keeper,
            AdapterKeeper(self.fleet, lambda: self.keeper.wishes, AdapterEngine(transport), refresh=self.keeper.look),
        )
        settings = None if admin_key is None else AdminSettings(Secret(admin_key))
        usage = UsageEndpoint(self.directory, self.usage, self._limits_of, self._now)
        self.app = Starlette(
            routes=[Route("/v1/usage", usage.show), *admin_routes(settings, services)],
            exception_handlers={GatewayError: _error, HTTPException: _route_error},
            lifespan=self._lifespan,
        )

    def _now(self) -> float:
        return self.now_s

    def _ring(self, settings: Settings) -> KeyRing:
        return KeyRing.from_settings(settings, now_s=self._now)

    def _apply(self, settings: Settings) -> None:
        self.directory.use(self._ring(settings))

    @contextlib.asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncGenerator[None]:
        async with self.directory:
            yield

    async def _limits_of(self, key: ApiKey) -> list[LimitState]:
        limits = key.tenant.limits
        amount = limits.requests_per_minute if limits else None
        return [] if amount is None else [LimitState("tenant", "requests_per_minute", amount, 1, amount - 1, 60.0)]


async def _error(request: Request, exc: Any) -> Response:
    del request
    headers = {name.decode(): value.decode() for name, value in error_headers(exc)}
    return Response(error_body(exc), exc.status, headers, media_type="application/json")


async def _route_error(request: Request, exc: Any) -> Response:
    del request
    return Response(b"{}", exc.status_code, exc.headers)
