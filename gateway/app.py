"""Builds and owns every long-lived object: settings in, a running server out."""

import asyncio
import contextlib
import functools
import logging
import math
import random
import signal
import sys
import time
from collections.abc import AsyncGenerator, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import uvicorn
import uvloop
from starlette.applications import Starlette

from gateway import __version__
from gateway.api.inference import InferenceEndpoint
from gateway.api.models import ModelsEndpoint
from gateway.api.protocol import GatewayProtocol
from gateway.api.routes import build_starlette
from gateway.api.status import StatusEndpoints
from gateway.auth.keys import KeyRing
from gateway.config.model import Settings
from gateway.dialects.control_tokens import MarkerGuard
from gateway.dialects.marked_syntax import call_markers
from gateway.dialects.stops import stop_markers
from gateway.errors import GatewayError
from gateway.observability.logs import RequestLog, configure_logging
from gateway.observability.metrics import NO_ENDPOINT, Metrics
from gateway.observability.record import RequestRecord
from gateway.pipeline.chat import chat
from gateway.pipeline.completions import complete
from gateway.pipeline.embeddings import embed
from gateway.pipeline.services import Services
from gateway.ratelimit.limiter import Limiter
from gateway.ratelimit.memory_store import MemoryStore
from gateway.ratelimit.policy import LimitBook
from gateway.routing.fleet import Fleet, Worker, build_fleet
from gateway.routing.health import HealthMonitor
from gateway.upstream.vllm import WorkerClient
from gateway.values import RequestId

logger = logging.getLogger("gateway.app")

KEEP_ALIVE_S = 75
"""Longer than the idle time of common clients and balancers, so that they close first."""


class RequestObserver:
    """Turns each request's record into its log line and its metrics."""

    def __init__(self, metrics: Metrics, log: RequestLog) -> None:
        self._metrics = metrics
        self._log = log

    def begin(self) -> None:
        """Count a request that begins."""
        self._metrics.begin()

    def end(self, record: RequestRecord) -> None:
        """Log and count a request that has ended."""
        now = time.monotonic()
        self._metrics.end(record, now)
        self._log.write(record, now)

    def refused(self, request_id: RequestId, error: GatewayError) -> None:
        """Log and count a request that nobody served: not HTTP, or of no path."""
        record = RequestRecord(request_id, NO_ENDPOINT, time.monotonic())
        record.status = error.status
        record.error = error.code or error.type
        self._metrics.begin()
        self.end(record)


@dataclass(frozen=True, slots=True)
class Application:
    """What serves requests on one event loop."""

    endpoints: Mapping[str, InferenceEndpoint]
    """By path."""
    rest: Starlette
    """All other paths, and the lifespan."""
    observer: RequestObserver
    fleet: Fleet


def build_app(settings: Settings, loop: asyncio.AbstractEventLoop) -> Application:
    """Build the application for one event loop; its lifespan starts and ends what runs beside requests."""
    rng = random.Random()  # noqa: S311  # spreads load, protects nothing
    fleet = build_fleet(settings.models, created=int(time.time()))
    clients: Mapping[Worker, WorkerClient] = MappingProxyType(
        {
            worker: WorkerClient(worker.url, api_key=worker.api_key.reveal() if worker.api_key else None, loop=loop)
            for _, worker in fleet.workers()
        }
    )
    limiter = Limiter(MemoryStore(_microseconds), LimitBook(settings.tenants, settings.models))
    services = Services(
        server=settings.server,
        keys=KeyRing.from_settings(settings, now_s=time.time),
        fleet=fleet,
        clients=clients,
        guards=MappingProxyType({m.variant.family: MarkerGuard(m.variant.family) for m in fleet.models}),
        limiter=limiter,
        rng=rng,
        clock=time.monotonic,
    )
    metrics = Metrics([(model.name, worker) for model, worker in fleet.workers()], __version__)
    log = RequestLog(sys.stderr.buffer, loop)
    observer = RequestObserver(metrics, log)

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncGenerator[None]:
        try:
            async with limiter, HealthMonitor(fleet, stop_markers, call_markers, rng=rng):
                yield
        finally:
            for client in clients.values():
                client.close()
            log.close()

    endpoints = {
        "/v1/chat/completions": InferenceEndpoint("chat", chat, services, observer),
        "/v1/completions": InferenceEndpoint("completions", complete, services, observer),
        "/v1/embeddings": InferenceEndpoint("embeddings", embed, services, observer),
    }
    status = StatusEndpoints(fleet, metrics.render)
    rest = build_starlette(ModelsEndpoint(services), status, lifespan, observer)
    return Application(MappingProxyType(endpoints), rest, observer, fleet)


def _microseconds() -> int:
    return time.monotonic_ns() // 1000


class GatewayServer(uvicorn.Server):
    """uvicorn's server: says on standard output when it is ready, and ends with exit status 0 after a drain."""

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        """Start listening, then print the line that scripts wait for."""
        await super().startup(sockets)  # type: ignore[arg-type]
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            print(f"gateway ready on http://{shown}:{port}", flush=True)  # noqa: T201  # the contract's ready line

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Drain on SIGTERM and SIGINT; unlike uvicorn's own, the signal isn't raised again afterwards."""
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def serve(settings: Settings, *, config_path: Path) -> int:
    """Serve until SIGTERM or SIGINT, drain, and return the exit status."""
    del config_path
    configure_logging()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(settings))


async def _serve(settings: Settings) -> int:
    if settings.no_auth:
        logger.warning("--no-auth: everybody who reaches this gateway may use every model")
    app = build_app(settings, asyncio.get_running_loop())
    config = uvicorn.Config(
        app.rest,
        host=settings.server.host,
        port=settings.server.port,
        http=functools.partial(  # type: ignore[arg-type]  # called as the class is
            GatewayProtocol,
            endpoints=app.endpoints,
            observer=app.observer,
            write_timeout_s=settings.server.stream_idle_timeout_s,
        ),
        ws="none",
        lifespan="on",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=math.ceil(settings.server.drain_s),
    )
    server = GatewayServer(config)
    await server.serve()
    return 0 if server.started else 1
