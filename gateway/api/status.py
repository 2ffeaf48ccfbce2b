"""`/healthz`, `/readyz` and `/metrics`: for probes and Prometheus. No I/O."""

from collections.abc import Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from gateway.api.request_ids import new_request_id, request_id_of
from gateway.routing.fleet import Fleet


class StatusEndpoints:
    """Answers from what is known already; nothing is asked for it."""

    def __init__(self, fleet: Fleet, render_metrics: Callable[[], bytes]) -> None:
        self._fleet = fleet
        self._render_metrics = render_metrics

    async def healthz(self, request: Request) -> Response:
        """Answer 200 while the process runs."""
        return _json(request, 200, {"status": "ok"})

    async def readyz(self, request: Request) -> Response:
        """Answer 200 when every model has a worker that is up, else 503 with the reasons."""
        problems = self._fleet.problems()
        if problems:
            return _json(request, 503, {"status": "not ready", "models": problems})
        return _json(request, 200, {"status": "ready"})

    async def metrics(self, request: Request) -> Response:
        """Answer with the metrics in Prometheus' text format."""
        headers = {"x-request-id": request_id_of(request.scope["headers"]) or new_request_id()}
        return Response(self._render_metrics(), headers=headers, media_type="text/plain; version=0.0.4; charset=utf-8")


def _json(request: Request, status: int, value: object) -> Response:
    headers = {"x-request-id": request_id_of(request.scope["headers"]) or new_request_id()}
    return Response(msgspec.json.encode(value), status, headers, media_type="application/json")
