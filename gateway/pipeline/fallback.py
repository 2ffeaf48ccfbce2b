"""Who answers when no worker of a model can: the models and providers that its `fallbacks` name, in their order.

Another is asked only while nothing of an answer has come and time is left, and the model's retry budget pays where a
worker had begun to work; what is wrong with the request itself is never mended by asking elsewhere. A stand-in serves
like any model: the key must be allowed to use it, its limits are the ones counted, and it must be able to take the
request. When none can, the client gets the error of the model it asked for.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from gateway.config.model import ModelSettings, ProviderSettings
from gateway.errors import GatewayError, NoWorkerAvailable, WorkerError, WorkerTimeout
from gateway.observability.record import RequestRecord
from gateway.pipeline.services import Inbound, Services
from gateway.routing.fleet import Fleet, ServedModel
from gateway.routing.worker import Worker
from gateway.values import ModelName, WorkerFacts, WorkerId

Serve = Callable[[ServedModel], Awaitable[None]]
"""Serves the request with one model. Raises the GatewayError that the client gets."""
UNSERVED: Final = (NoWorkerAvailable, WorkerError, WorkerTimeout)
"""The errors of a model that can't serve at the moment."""


def build_providers(providers: Mapping[str, ProviderSettings], *, created: int) -> Mapping[str, ServedModel]:
    """Return each provider as a model with one worker, of its own name, that is never probed: probes may cost money.

    LiteLLM translates tool calls: the gateway leaves them as OpenAI has them.
    """
    return MappingProxyType({name: _served(provider, created) for name, provider in providers.items()})


def _served(provider: ProviderSettings, created: int) -> ServedModel:
    worker = Worker(WorkerId(provider.name), url="", api_key=None, source="provider")
    worker.mark_up(WorkerFacts(max_context_tokens=None, stop_token_ids=()))
    return ServedModel(
        name=provider.name,
        variant=provider.variant,
        served_name=provider.name,
        dialect="engine",
        aliases=(),
        balance="least-load",
        workers=(worker,),
        created=created,
        context_length=provider.context_length,
    )


def find_fallbacks(
    models: Sequence[ModelSettings], fleet: Fleet, providers: Mapping[str, ServedModel]
) -> Mapping[ModelName, tuple[ServedModel, ...]]:
    """Return the stand-ins by the name of the model; only of models that have some."""
    found: dict[ModelName, tuple[ServedModel, ...]] = {}
    for model in models:
        named = [fleet.find(name) or providers.get(name) for name in model.fallbacks]
        stand_ins = tuple(each for each in named if each is not None)
        if stand_ins:
            found[model.name] = stand_ins
    return MappingProxyType(found)


async def serve_or_fall_back(
    services: Services, inbound: Inbound, model: ServedModel, serve: Serve, fits: Callable[[ServedModel], bool]
) -> None:
    """Serve a request with `model`, or with the first of its stand-ins that can.

    `fits` tells whether a stand-in's answers are of use to this endpoint. Raises the GatewayError that the client gets.
    """
    try:
        await serve(model)
    except UNSERVED as error:
        record = inbound.record
        if record.begun or not _may_go_on(services, model, record):
            raise
        if not await _another_served(services, inbound, model, serve, fits):
            raise error from None


def _may_go_on(services: Services, model: ServedModel, record: RequestRecord) -> bool:
    """Whether the request may go elsewhere: freely when it was refused, out of the retry budget when it was begun."""
    if record.refused or record.sent_at is None:
        return True
    return model.budget.take(services.clock(), sum(worker.in_flight for worker in model.workers))


async def _another_served(
    services: Services, inbound: Inbound, model: ServedModel, serve: Serve, fits: Callable[[ServedModel], bool]
) -> bool:
    """Try the stand-ins; True when one has answered. Raises what goes wrong once an answer has begun."""
    record = inbound.record
    worker, cause, limit_lines = record.worker, record.cause, record.limit_lines
    deadline = record.started + services.server.request_timeout_s
    for other in services.fallbacks[model.name]:
        if services.clock() >= deadline:
            break
        if not inbound.key.may_use(other.name) or not fits(other):
            continue
        record.model, record.fallback_from = other.name, model.name
        _begin_anew(record)
        try:
            await serve(other)
        except GatewayError:
            if record.begun:
                raise
        else:
            return True
    record.model, record.fallback_from = model.name, None
    record.worker, record.cause, record.limit_lines = worker, cause, limit_lines
    return False


def _begin_anew(record: RequestRecord) -> None:
    """Forget what the model before was asked: it is settled with, and must not be charged to the next."""
    record.sent_at = None
    record.refused = False
    record.usage = None
    record.frames = 0
    record.limit_lines = b""
