"""What the endpoints work with; built once in `app.py`."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from msgspec import Struct

from gateway.auth.directory import KeyDirectory
from gateway.auth.keys import ApiKey
from gateway.config.model import ServerSettings
from gateway.dialects.control_tokens import MarkerGuard
from gateway.errors import InvalidRequest, ModelNotAllowed, ModelNotFound
from gateway.filters.judging import Classifier
from gateway.filters.policy import PolicyBook
from gateway.observability.record import RequestRecord
from gateway.pipeline.client import Client
from gateway.pipeline.worker_clients import WorkerClients
from gateway.ratelimit.limiter import Limiter
from gateway.routing.fleet import Fleet, ServedModel
from gateway.values import Family, ModelName, RequestId, Task


@dataclass(frozen=True, slots=True)
class Services:
    """The long-lived objects that requests share."""

    server: ServerSettings
    keys: KeyDirectory
    fleet: Fleet
    clients: WorkerClients
    guards: Mapping[Family, MarkerGuard]
    limiter: Limiter
    policies: PolicyBook
    rng: random.Random
    clock: Callable[[], float]
    """Monotonic seconds; the event loop's clock has the same origin, but counts in milliseconds."""
    classifier: Classifier | None = None
    """Judges text for policies that ask for it."""
    fallbacks: Mapping[ModelName, tuple[ServedModel, ...]] = field(default_factory=lambda: MappingProxyType({}))
    """Who stands in for a model, in the order in which they are tried; only of models that have somebody."""


class Inbound(Struct):
    """One authenticated request on its way through the pipeline."""

    client: Client
    key: ApiKey
    body: bytes
    record: RequestRecord
    worker_request_id: RequestId
    """Ours, unique: vLLM makes the answer's id of it. The client's own id may repeat."""


def admit(services: Services, key: ApiKey, name: str, tasks: frozenset[Task]) -> ServedModel:
    """Return the model a request names, if there is one, the key may use it, and it can do the task.

    Raises ModelNotFound, ModelNotAllowed or InvalidRequest.
    """
    model = services.fleet.find(name)
    if model is None:
        message = f"The model '{name[:128]}' does not exist. GET /v1/models lists those you may use."
        raise ModelNotFound(message, param="model")
    if not key.may_use(model.name):
        message = f"Your key may not use the model '{name}'. GET /v1/models lists those you may use."
        raise ModelNotAllowed(message, param="model")
    if model.variant.task not in tasks:
        fit = [each.name for each in services.fleet.models if key.may_use(each.name) and each.variant.task in tasks]
        message = f"The model '{name}' is for {model.variant.task}, not for this endpoint."
        if fit:
            message += f" Of the models you may use, these are: {', '.join(fit[:3])}."
        raise InvalidRequest(message, param="model")
    return model
