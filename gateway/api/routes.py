"""Which path is served by what.

The paths that reach workers are served by the protocol directly, before ASGI: Starlette's router and middleware cost as
much as the rest of a request. Starlette serves the others, the 404 in OpenAI's shape, and the lifespan.
"""

from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from gateway.api.models import ModelsEndpoint
from gateway.api.protocol import RefusalObserver
from gateway.api.replies import error_body, error_headers
from gateway.api.request_ids import new_request_id, request_id_of
from gateway.api.status import StatusEndpoints
from gateway.api.usage import UsageEndpoint
from gateway.errors import GatewayError, InternalError, InvalidRequest, MethodNotAllowed, PathNotFound
from gateway.values import RequestId


class Lifespan(Protocol):
    """Opens and closes what the application owns."""

    def __call__(self, app: Starlette, /) -> AbstractAsyncContextManager[None]: ...


def build_starlette(
    models: ModelsEndpoint,
    status: StatusEndpoints,
    usage: UsageEndpoint,
    admin: Iterable[BaseRoute],
    lifespan: Lifespan,
    observer: RefusalObserver,
) -> Starlette:
    """Build the application for everything that doesn't reach a worker; `admin`: the routes of the admin API."""
    return Starlette(
        routes=[
            Route("/v1/models", models.list_models, methods=["GET"]),
            Route("/v1/models/{model:path}", models.retrieve_model, methods=["GET"]),
            Route("/v1/usage", usage.show, methods=["GET"]),
            Route("/healthz", status.healthz, methods=["GET"]),
            Route("/readyz", status.readyz, methods=["GET"]),
            Route("/metrics", status.metrics, methods=["GET"]),
            *admin,
        ],
        exception_handlers={
            GatewayError: _gateway_error,
            HTTPException: _RouteErrors(observer).answer,
            Exception: _internal_error,
        },
        lifespan=lifespan,
    )


def _answer(request: Request, error: GatewayError) -> Response:
    headers = {name.decode(): value.decode() for name, value in error_headers(error)}
    headers["x-request-id"] = request_id_of(request.scope["headers"]) or new_request_id()
    return Response(error_body(error), error.status, headers, media_type="application/json")


async def _gateway_error(request: Request, exc: Any) -> Response:
    return _answer(request, exc)


class _RouteErrors:
    """Answers requests that no route takes; they are logged and counted like those that the protocol refuses."""

    def __init__(self, observer: RefusalObserver) -> None:
        self._observer = observer

    async def answer(self, request: Request, exc: Any) -> Response:
        """Answer with the error of a status that Starlette's router gives."""
        path = request.url.path[:128]
        match exc.status_code:
            case 404:
                error: GatewayError = PathNotFound(f"Unknown path: {request.method} {path}.")
            case 405:
                headers: Mapping[str, str] = exc.headers or {}
                message = f"{request.method} is not allowed for {path}."
                error = MethodNotAllowed(message, allow=headers.get("Allow", "GET"))
            case _:
                error = InvalidRequest("The request can't be served.")
        response = _answer(request, error)
        self._observer.refused(RequestId(response.headers["x-request-id"]), error)
        return response


async def _internal_error(request: Request, exc: Exception) -> Response:
    del exc  # Starlette re-raises it for the server to log
    return _answer(request, InternalError())
