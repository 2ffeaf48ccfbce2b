"""Builds and owns every long-lived object: settings in, an application out that `server.py` serves."""

import asyncio
import contextlib
import dataclasses
import random
import secrets
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from starlette.applications import Starlette

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
from gateway.auth.memory_key_store import MemoryKeyStore
from gateway.auth.redis_client import open_redis
from gateway.auth.redis_key_store import RedisKeyStore
from gateway.auth.store import KeyStore
from gateway.config.model import RedisSettings, Settings
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
from gateway.observability.redis_usage import RedisUsageStore
from gateway.observability.routing_metrics import RoutingMetrics
from gateway.observability.usage import MemoryUsageStore, UsageRecorder, UsageStore
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
from gateway.routing.discovery.keeper import FleetKeeper
from gateway.routing.discovery.overrides import MemoryOverrideStore, OverrideStore
from gateway.routing.discovery.redis_overrides import RedisOverrideStore
from gateway.routing.fleet import Fleet, ServedModel, build_fleet
from gateway.routing.health import HealthMonitor
from gateway.routing.probe import EngineProbe
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


@dataclass(frozen=True, slots=True)
class _Records:
    """Where keys, tenants, usage and changes of workers are kept."""

    keys: KeyStore
    usage: UsageStore
    overrides: OverrideStore
    """What the admin API has changed about workers."""
    close: Callable[[], Awaitable[None]]


def build_app(
    file: ConfigFile, loaded: Loaded, loop: asyncio.AbstractEventLoop, place: ProcessPlace | None = None
) -> Application:
    """Build the application for one event loop; its lifespan starts and ends what runs beside requests.

    `place`: where this process stands among several.
    Raises OSError for certificates that can't be read.
    """
    settings = loaded.settings
    replica = secrets.token_hex(6)
    rng = random.Random()  # noqa: S311  # spreads load, protects nothing
    fleet = build_fleet(settings.models, created=int(time.time()))
    clients = WorkerClients(loop)
    fleet.subscribe(clients)
    providers = build_providers(settings.fallback_providers, created=int(time.time()))
    limits = build_store(settings.redis, clock_us=_microseconds, replica=replica, rng=rng)
    limiter = Limiter(limits)
    records = _build_records(settings.redis)

    def reload_for(another: str) -> None:
        if another != replica:
            reloader.reload_soon()

    keys = KeyDirectory(_ring(settings), records.keys, config_touched=reload_for)

    policies = PolicyBook(
        settings.filters, log_content=settings.observability.log_content, salt=secrets.token_bytes(32)
    )

    def apply(changed: Settings) -> None:
        policies.use(changed.filters)
        keys.use(_ring(changed))
        limiter.forget_limits()

    reloader = Reloader(file, loaded, apply, now_s=time.time)
    services = Services(
        server=settings.server,
        keys=keys,
        fleet=fleet,
        clients=clients,
        guards=MappingProxyType(
            {m.variant.family: MarkerGuard(m.variant.family) for m in (*fleet.models, *providers.values())}
        ),
        limiter=limiter,
        policies=policies,
        rng=rng,
        clock=time.monotonic,
        fallbacks=find_fallbacks(settings.models, fleet, providers),
    )
    questions = ClassifierMetrics()
    classifier = FleetClassifier(services, VerdictCache(secrets.token_bytes(32)), questions)
    services = dataclasses.replace(services, classifier=classifier)
    keeper = FleetKeeper(fleet, settings.models, records.overrides, rng=rng)
    routed = RoutingMetrics(lambda: fleet.bases)
    usage = UsageRecorder(records.usage)
    metrics = Metrics(
        lambda: ((model.name, worker) for model, worker in fleet.workers()),
        __version__,
        limits_mode=lambda: limiter.mode,
        keys_in_touch=lambda: keys.in_touch,
        further=(
            questions,
            routed,
            FleetMetrics(lambda: ((m.name, w) for m, w in fleet.workers()), lambda: keeper.sources),
        ),
    )
    together = None if place is None else ProcessMetrics(place.metrics, place.name, metrics.families)
    log = RequestLog(sys.stderr.buffer, loop, shared=place is not None)
    observer = RequestObserver(metrics, routed, log, usage)
    health = HealthMonitor(
        fleet, EngineProbe(stop_markers, _resolved_texts), rng=rng, on_silent=clients.give_up_waiting
    )
    beside: list[contextlib.AbstractAsyncContextManager[object]] = [limiter, keys, usage, keeper, health]
    if together is not None:
        beside.insert(0, together)

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncGenerator[None]:
        try:
            await _open_providers(settings, providers, clients, loop)
            async with contextlib.AsyncExitStack() as stack:
                for part in beside:
                    await stack.enter_async_context(part)
                yield
        finally:
            await reloader.close()
            await records.close()
            clients.close()
            log.close()

    endpoints = {
        "/v1/chat/completions": InferenceEndpoint("chat", chat, services, observer),
        "/v1/completions": InferenceEndpoint("completions", complete, services, observer),
        "/v1/embeddings": InferenceEndpoint("embeddings", embed, services, observer),
        "/v1/moderations": InferenceEndpoint("moderations", ModerationEndpoint(classifier), services, observer),
    }
    administration = KeyAdministration(records.keys, lambda: keys.ring, now_s=time.time)
    rest = build_starlette(
        ModelsEndpoint(services),
        StatusEndpoints(services, metrics.render if together is None else together.render, lambda: keeper.sources),
        UsageEndpoint(keys, records.usage, limiter.standings, time.time),
        admin_routes(
            settings.admin,
            AdminServices(administration, records.usage, reloader, replica, time.time, fleet, keeper),
        ),
        lifespan,
        observer,
    )
    return Application(MappingProxyType(endpoints), rest, observer, fleet, reloader)


def _resolved_texts(family: Family) -> tuple[str, ...]:
    """Return the texts, beside turn markers, whose token ids a worker of the family is asked for when it joins."""
    return (*call_markers(family), *answer_words(family))


async def _open_providers(
    settings: Settings, providers: Mapping[str, ServedModel], clients: WorkerClients, loop: asyncio.AbstractEventLoop
) -> None:
    """Import LiteLLM, which takes seconds, and make the providers' clients; nothing where there are no providers."""
    if providers:
        litellm = await asyncio.to_thread(load_litellm)
        for name, provider in providers.items():
            clients.use(provider.workers[0], ProviderClient(settings.fallback_providers[name], litellm, loop))


def _ring(settings: Settings) -> KeyRing:
    return KeyRing.from_settings(settings, now_s=time.time)


def _build_records(redis: RedisSettings | None) -> _Records:
    if redis is None:
        return _Records(MemoryKeyStore(), MemoryUsageStore(), MemoryOverrideStore(), _nothing)
    client = open_redis(redis)
    return _Records(
        RedisKeyStore(client, redis.prefix),
        RedisUsageStore(client, redis.prefix),
        RedisOverrideStore(client, redis.prefix),
        client.aclose,
    )


async def _nothing() -> None:
    """End what needs no end."""


def _microseconds() -> int:
    return time.monotonic_ns() // 1000
