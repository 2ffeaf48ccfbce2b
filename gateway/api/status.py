"""`/healthz`, `/readyz` and `/metrics`: for probes and Prometheus. No I/O."""

from collections.abc import Callable, Iterable

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from gateway.api.request_ids import new_request_id, request_id_of
from gateway.pipeline.services import Services
from gateway.routing.discovery.keeper import SourceState


class StatusEndpoints:
    """Answers from what is known already; nothing is asked for it."""

    def __init__(
        self, services: Services, render_metrics: Callable[[], bytes], sources: Callable[[], Iterable[SourceState]]
    ) -> None:
        """`sources` returns where workers are found."""
        self._services = services
        self._render_metrics = render_metrics
        self._sources = sources

    async def healthz(self, request: Request) -> Response:
        """Answer 200 while the process runs."""
        return _json(request, 200, {"status": "ok"})

    async def readyz(self, request: Request) -> Response:
        """Answer 200 when every model has a worker that is up and limits can be counted or done without, else 503.

        Adapters that no worker has are told of, but the models of the file are served without them.
        Without Redis the gateway isn't ready where `redis.on_failure` is `closed`: it refuses requests then. Otherwise
        it serves on, and the answer only tells who counts.
        """
        services = self._services
        models = services.fleet.problems()
        limiter = services.limiter
        limits = {"mode": limiter.mode, **({"problem": limiter.problem} if limiter.problem else {})}
        ready = not models and limiter.mode != "closed"
        body: dict[str, object] = {"status": "ready" if ready else "not ready"}
        if models:
            body["models"] = models
        if adapters := services.fleet.adapter_problems():
            body["adapters"] = adapters
        if wrong := self._misconfigured():
            body["misconfigured"] = wrong
        if lost := self._lost_sources():
            body["discovery"] = lost
        body["limits"] = limits
        body["keys"] = {"in_touch": services.keys.in_touch}
        return _json(request, 200 if ready else 503, body)

    def _misconfigured(self) -> dict[str, dict[str, str]]:
        """Return, by model and worker, why workers aren't used although they answer: others may serve all the same."""
        wrong: dict[str, dict[str, str]] = {}
        for model, worker in self._services.fleet.workers():
            if worker.state == "misconfigured":
                wrong.setdefault(model.name, {})[worker.id] = worker.problem
        return wrong

    def _lost_sources(self) -> dict[str, dict[str, str]]:
        """Return, by model and source, why workers can't be found: those known before are in use all the same."""
        lost: dict[str, dict[str, str]] = {}
        for source in self._sources():
            if source.problem:
                lost.setdefault(source.model, {})[source.name] = source.problem
        return lost

    async def metrics(self, request: Request) -> Response:
        """Answer with the metrics in Prometheus' text format."""
        headers = {"x-request-id": request_id_of(request.scope["headers"]) or new_request_id()}
        return Response(self._render_metrics(), headers=headers, media_type="text/plain; version=0.0.4; charset=utf-8")


def _json(request: Request, status: int, value: object) -> Response:
    headers = {"x-request-id": request_id_of(request.scope["headers"]) or new_request_id()}
    return Response(msgspec.json.encode(value), status, headers, media_type="application/json")
