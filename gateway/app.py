"""Builds and owns every long-lived object: settings in, an application out that `server.py` serves."""

import asyncio
import contextlib
import dataclasses
import random
import secrets
import sys
import time
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.routing import BaseRoute

from gateway import __version__
from gateway.api.admin.routes import AdminServices, admin_routes
from gateway.api.inference import InferenceEndpoint
from gateway.api.models import ModelsEndpoint
from gateway.api.routes import build_starlette
from gateway.api.status import StatusEndpoints
from gateway.api.usage import UsageEndpoint
from gateway.auth.administration import KeyAdministration
from gateway.auth.directory import KeyDirectory
from gateway.auth.keys import KeyRing
from gateway.config.model import Settings
from gateway.config.process_place import ProcessPlace
from gateway.config.reload import ConfigFile, Loaded, Reloader
from gateway.dialects.control_tokens import MarkerGuard
from gateway.dialects.marked_syntax import call_markers
from gateway.dialects.stops import stop_markers
from gateway.filters.classifier_cache import VerdictCache
from gateway.filters.policy import PolicyBook
from gateway.filters.shieldgemma import answer_words
from gateway.observability.classifier_metrics import ClassifierMetrics
from gateway.observability.fleet_metrics import FleetMetrics
from gateway.observability.logs import RequestLog
from gateway.observability.metrics import Metrics
from gateway.observability.observer import RequestObserver
from gateway.observability.process_metrics import ProcessMetrics
from gateway.observability.routing_metrics import RoutingMetrics
from gateway.observability.usage import UsageRecorder
from gateway.pipeline.chat import chat
from gateway.pipeline.classify import FleetClassifier
from gateway.pipeline.completions import complete
from gateway.pipeline.embeddings import embed
from gateway.pipeline.fallback import build_providers, find_fallbacks
from gateway.pipeline.moderations import ModerationEndpoint
from gateway.pipeline.services import Services
from gateway.pipeline.worker_clients import WorkerClients
from gateway.ratelimit.build import build_store
from gateway.ratelimit.limiter import Limiter
from gateway.routing.adapter_engine import AdapterEngine
from gateway.routing.adapter_keeper import AdapterKeeper
from gateway.routing.discovery.keeper import FleetKeeper
from gateway.routing.fleet import Fleet, build_fleet
from gateway.routing.health import HealthMonitor
from gateway.routing.probe import EngineProbe
from gateway.routing.shared_load import LoadExchange
from gateway.routing.worker import Worker
from gateway.stores import open_stores
from gateway.upstream.providers import ProviderClient, load_litellm
from gateway.values import Family


@dataclass(frozen=True, slots=True)
class Application:
    """What serves requests on one event loop."""

    endpoints: Mapping[str, InferenceEndpoint]
    """By path."""
    rest: Starlette
    """All other paths, and the lifespan."""
    observer: RequestObserver
    fleet: Fleet
    reloader: Reloader


class _Parts:
    """What lives as long as the application, and isn't of one request."""

    def __init__(self, file: ConfigFile, loaded: Loaded, loop: asyncio.AbstractEventLoop) -> None:
        settings = loaded.settings
        self.settings = settings
        self.loop = loop
        self.replica = secrets.token_hex(6)
        self.rng = random.Random()  # noqa: S311  # spreads load, protects nothing
        self.fleet = build_fleet(settings.models, created=int(time.time()))
        self.clients = WorkerClients(loop)
        self.fleet.subscribe(self.clients)
        self.providers = build_providers(settings.fallback_providers, created=int(time.time()))
        limits = build_store(settings.redis, clock_us=_microseconds, replica=self.replica, rng=self.rng)
        self.limiter = Limiter(limits)
        self.stores = open_stores(settings.redis)
        self.keys = KeyDirectory(_ring(settings), self.stores.keys, config_touched=self._reload_for)
        self.policies = PolicyBook(
            settings.filters, log_content=settings.observability.log_content, salt=secrets.token_bytes(32)
        )
        self.reloader = Reloader(file, loaded, self._apply, now_s=time.time)
        self.keeper = FleetKeeper(self.fleet, settings.models, self.stores.overrides, rng=self.rng)
        self.adapters = AdapterKeeper(self.fleet, lambda: self.keeper.wishes, AdapterEngine(), refresh=self.keeper.look)
        board = self.stores.loads
        self.loads = None if board is None else LoadExchange(self.fleet, board, self.replica, rng=self.rng)
        self.usage = UsageRecorder(self.stores.usage)
        self.health = HealthMonitor(
            self.fleet,
            EngineProbe(stop_markers, _resolved_texts),
            rng=self.rng,
            on_silent=self.clients.give_up_waiting,
        )

    def _apply(self, changed: Settings) -> None:
        self.policies.use(changed.filters)
        self.keys.use(_ring(changed))
        self.limiter.forget_limits()

    def _reload_for(self, another: str) -> None:
        if another != self.replica:
            self.reloader.reload_soon()

    async def open_providers(self) -> None:
        """Import LiteLLM, which takes seconds, and make the providers' clients; nothing where there are none."""
        if self.providers:
            litellm = await asyncio.to_thread(load_litellm)
            for name, provider in self.providers.items():
                client = ProviderClient(self.settings.fallback_providers[name], litellm, self.loop)
                self.clients.use(provider.workers[0], client)

    async def close(self) -> None:
        """Close what no context manager does."""
        await self.reloader.close()
        await self.stores.close()
        self.clients.close()


def build_app(
    file: ConfigFile, loaded: Loaded, loop: asyncio.AbstractEventLoop, place: ProcessPlace | None = None
) -> Application:
    """Build the application for one event loop; its lifespan starts and ends what runs beside requests.

    `place`: where this process stands among several.
    Raises OSError for certificates that can't be read.
    """
    parts = _Parts(file, loaded, loop)
    questions, routed = ClassifierMetrics(), RoutingMetrics(lambda: parts.fleet.bases)
    metrics = _build_metrics(parts, (questions, routed))
    together = None if place is None else ProcessMetrics(place.metrics, place.name, metrics.families)
    log = RequestLog(sys.stderr.buffer, loop, shared=place is not None)
    observer = RequestObserver(metrics, routed, log, parts.usage)
    services = _build_services(parts)
    classifier = FleetClassifier(services, VerdictCache(secrets.token_bytes(32)), questions)
    services = dataclasses.replace(services, classifier=classifier)
    beside: tuple[contextlib.AbstractAsyncContextManager[object], ...] = (
        *(() if together is None else (together,)),
        *(() if parts.loads is None else (parts.loads,)),
        *(parts.limiter, parts.keys, parts.usage, parts.keeper, parts.health, parts.adapters),
    )

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncGenerator[None]:
        try:
            await parts.open_providers()
            async with contextlib.AsyncExitStack() as stack:
                for part in beside:
                    await stack.enter_async_context(part)
                yield
        finally:
            await parts.close()
            log.close()

    endpoints = {
        "/v1/chat/completions": InferenceEndpoint("chat", chat, services, observer),
        "/v1/completions": InferenceEndpoint("completions", complete, services, observer),
        "/v1/embeddings": InferenceEndpoint("embeddings", embed, services, observer),
        "/v1/moderations": InferenceEndpoint("moderations", ModerationEndpoint(classifier), services, observer),
    }
    render = metrics.render if together is None else together.render
    rest = build_starlette(
        ModelsEndpoint(services),
        StatusEndpoints(services, render, lambda: parts.keeper.sources),
        UsageEndpoint(parts.keys, parts.stores.usage, parts.limiter.standings, time.time),
        _admin(parts),
        lifespan,
        observer,
    )
    return Application(MappingProxyType(endpoints), rest, observer, parts.fleet, parts.reloader)


def _build_services(parts: _Parts) -> Services:
    models = (*parts.fleet.models, *parts.providers.values())
    return Services(
        server=parts.settings.server,
        keys=parts.keys,
        fleet=parts.fleet,
        clients=parts.clients,
        guards=MappingProxyType({model.variant.family: MarkerGuard(model.variant.family) for model in models}),
        limiter=parts.limiter,
        policies=parts.policies,
        rng=parts.rng,
        clock=time.monotonic,
        fallbacks=find_fallbacks(parts.settings.models, parts.fleet, parts.providers),
    )


def _build_metrics(parts: _Parts, further: Iterable[Collector]) -> Metrics:
    def workers() -> Iterator[tuple[str, Worker]]:
        return ((model.name, worker) for model, worker in parts.fleet.workers())

    return Metrics(
        workers,
        __version__,
        limits_mode=lambda: parts.limiter.mode,
        keys_in_touch=lambda: parts.keys.in_touch,
        further=(*further, FleetMetrics(workers, lambda: parts.keeper.sources)),
    )


def _admin(parts: _Parts) -> list[BaseRoute]:
    services = AdminServices(
        KeyAdministration(parts.stores.keys, lambda: parts.keys.ring, now_s=time.time),
        parts.stores.usage,
        parts.reloader,
        parts.replica,
        time.time,
        parts.fleet,
        parts.keeper,
        parts.adapters,
    )
    return admin_routes(parts.settings.admin, services)


def _resolved_texts(family: Family) -> tuple[str, ...]:
    """Return the texts, beside turn markers, whose token ids a worker of the family is asked for when it joins."""
    return (*call_markers(family), *answer_words(family))


def _ring(settings: Settings) -> KeyRing:
    return KeyRing.from_settings(settings, now_s=time.time)


def _microseconds() -> int:
    return time.monotonic_ns() // 1000
