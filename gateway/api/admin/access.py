"""What every path of the admin API shares: who may call it, how bodies are read and answers written."""

import hmac
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Final, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from gateway.api.request_ids import new_request_id, request_id_of
from gateway.auth.keys import extract_key
from gateway.auth.records import Actor
from gateway.auth.store import StoreUnavailableError
from gateway.config.model import Secret
from gateway.config.problems import ConfigurationError
from gateway.errors import InvalidApiKey, InvalidRequest, RequestTooLarge, StoreUnavailable
from gateway.observability.usage import UsageUnavailableError
from gateway.routing.discovery.overrides import OverridesUnavailableError
from gateway.values import RequestId
from gateway.wire.decode import decode_request

MAX_BODY_BYTES: Final = 262_144

Endpoint = Callable[[Request], Awaitable[Response]]
T = TypeVar("T")
logger = logging.getLogger("gateway.admin")


class AdminAccess:
    """Lets in who presents the admin key."""

    def __init__(self, key: Secret) -> None:
        self._digest = sha256(key.reveal().encode("ascii")).digest()

    def guard(self, endpoint: Endpoint) -> Endpoint:
        """Return the endpoint behind the check of the key; what stops it becomes an error of the API."""

        async def guarded(request: Request) -> Response:
            self._check(request)
            try:
                return await endpoint(request)
            except (StoreUnavailableError, UsageUnavailableError) as error:
                logger.warning("%s %s: %s", request.method, request.url.path, error)
                raise StoreUnavailable from error
            except ConfigurationError as error:
                problems = "\n".join(str(problem) for problem in error.problems)
                message = f"The configuration was not reloaded; the one before stays in force.\n{problems}"
                raise InvalidRequest(message, code="invalid_configuration") from error

        return guarded

    def _check(self, request: Request) -> None:
        presented = extract_key(request.scope["headers"])
        digest = sha256((presented or "").encode("ascii")).digest()
        if not hmac.compare_digest(digest, self._digest):
            logger.warning(
                "%s %s refused: not the admin key, from %s", request.method, request.url.path, _host(request)
            )
            raise InvalidApiKey


def actor_of(request: Request) -> Actor:
    """Return who calls, for the log of changes. Keeps the request's id for the answer."""
    return Actor("admin", _request_id(request), _host(request))


async def read_body(request: Request, decoder: msgspec.json.Decoder[T]) -> T:
    """Return the decoded body; an empty one counts as `{}`. Raises RequestTooLarge and InvalidRequest."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY_BYTES:
            raise RequestTooLarge(f"The request body is over the admin API's limit of {MAX_BODY_BYTES:,} bytes.")
    return decode_request(decoder, bytes(body) or b"{}")


@asynccontextmanager
async def overrides_store() -> AsyncGenerator[None]:
    """Turn what a store of changes of the fleet raises into what the guard of every path knows."""
    try:
        yield
    except OverridesUnavailableError as error:
        raise StoreUnavailableError(str(error)) from error


def reply(request: Request, value: object, status: int = 200) -> Response:
    """Return a JSON answer. Nothing of it may be kept by caches: it may hold a new secret."""
    headers = {"x-request-id": _request_id(request), "cache-control": "no-store"}
    return Response(msgspec.json.encode(value), status, headers, media_type="application/json")


def _request_id(request: Request) -> RequestId:
    found: RequestId | None = getattr(request.state, "request_id", None)
    if found is None:
        found = request.state.request_id = request_id_of(request.scope["headers"]) or new_request_id()
    return found


def _host(request: Request) -> str | None:
    return None if request.client is None else request.client.host
