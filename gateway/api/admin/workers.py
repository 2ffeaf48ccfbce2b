"""`/admin/v1/workers`: which there are and how they do; adding, draining and deleting them for all replicas."""

from collections.abc import Callable, Iterable
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from gateway.api.admin.access import actor_of, overrides_store, read_body, reply
from gateway.auth.administration import KeyAdministration
from gateway.config.worker_url import worker_url
from gateway.errors import Conflict, InvalidRequest, NotFound
from gateway.routing.discovery.keeper import FleetKeeper, SourceState
from gateway.routing.discovery.overrides import AddedWorker, Overrides
from gateway.routing.fleet import Fleet, ServedModel, worker_id
from gateway.routing.worker import Worker
from gateway.values import WorkerId


class WorkerBody(Struct, forbid_unknown_fields=True):
    """`POST /admin/v1/workers`."""

    model: str
    """Name or alias."""
    url: str
    weight: Annotated[float, Meta(ge=0.001, le=1_000)] = 1.0


class WorkerView(Struct):
    """A worker as this replica knows it."""

    id: str
    model: str
    url: str
    source: str
    weight: float
    state: str
    problem: str | None
    draining: bool
    breaker: str
    """closed, open or half-open."""
    in_flight: int
    """Requests of this process that the worker has, streams included."""
    max_context_tokens: int | None


class SourceView(Struct):
    """Where workers of a model are found."""

    model: str
    kind: str
    name: str
    problem: str | None


WORKER: Final = msgspec.json.Decoder(WorkerBody)


class WorkerEndpoints:
    """Shows and changes workers."""

    def __init__(self, fleet: Fleet, keeper: FleetKeeper, administration: KeyAdministration) -> None:
        self._fleet = fleet
        self._keeper = keeper
        self._administration = administration

    async def list_workers(self, request: Request) -> Response:
        """Answer with all workers, or those of `?model=`, and with the sources that find them."""
        name = request.query_params.get("model")
        chosen = None if name is None else self._model(name)
        listed = [(model, worker) for model, worker in self._fleet.workers() if chosen in (None, model)]
        sources = [source for source in self._keeper.sources if chosen is None or source.model == chosen.name]
        return reply(request, {**_list(listed), "discovery": [_source_view(source) for source in sources]})

    async def add(self, request: Request) -> Response:
        """Let a worker join a model."""
        body = await read_body(request, WORKER)
        model = self._model(body.model)
        try:
            url = worker_url(body.url)
        except ValueError as error:
            raise InvalidRequest(f"'url' {error}.", param="url") from None
        added = AddedWorker(model.name, url, body.weight)
        if any(worker.id == worker_id(url) for worker in model.workers):
            raise Conflict(f"The model '{model.name}' has the worker '{worker_id(url)}' already.", param="url")

        def edit(held: Overrides) -> Overrides:
            if any((each.model, worker_id(each.url)) == (model.name, worker_id(url)) for each in held.added):
                raise Conflict(f"The model '{model.name}' has the worker '{worker_id(url)}' already.", param="url")
            return held.add(added)

        await self._change(request, edit, "worker.add", worker_id(url), msgspec.to_builtins(added))
        return reply(request, _list(self._found(worker_id(url))), 201)

    async def drain(self, request: Request) -> Response:
        """Send a worker nothing more; what it has goes on to its end."""
        found_id, _ = self._named(request)
        await self._change(request, lambda held: held.drain(found_id), "worker.drain", found_id)
        return reply(request, _list(self._found(found_id)))

    async def undrain(self, request: Request) -> Response:
        """Use a worker again; one that isn't there now will be in use when it comes back."""
        found_id = WorkerId(request.path_params["worker_id"])
        if found_id not in self._keeper.drained:
            found_id, _ = self._named(request)
        await self._change(request, lambda held: held.undrain(found_id), "worker.undrain", found_id)
        return reply(request, _list(self._found(found_id)))

    async def delete(self, request: Request) -> Response:
        """Let a worker leave that the admin API has added; what it has goes on to its end."""
        found_id, found = self._named(request)
        if any(worker.source != "admin" for _, worker in found):
            raise Conflict(
                f"The worker '{found_id}' is not one that the admin API has added: take it out of the configuration "
                "file, or drain it."
            )

        def edit(held: Overrides) -> Overrides:
            return held.without(lambda each: worker_id(each.url) == found_id).undrain(found_id)

        await self._change(request, edit, "worker.delete", found_id)
        return reply(request, _list(found))

    def _model(self, name: str) -> ServedModel:
        model = self._fleet.find(name)
        if model is None:
            raise NotFound(f"There is no model '{name[:128]}'.", param="model")
        return model.base or model

    def _named(self, request: Request) -> tuple[WorkerId, list[tuple[ServedModel, Worker]]]:
        found_id = WorkerId(request.path_params["worker_id"])
        found = self._found(found_id)
        if not found:
            raise NotFound(f"There is no worker '{found_id[:128]}'; GET /admin/v1/workers lists them.")
        return found_id, found

    def _found(self, found_id: str) -> list[tuple[ServedModel, Worker]]:
        return self._fleet.find_workers(found_id)

    async def _change(
        self,
        request: Request,
        edit: Callable[[Overrides], Overrides],
        action: str,
        target: str,
        detail: dict[str, Any] | None = None,
    ) -> None:
        """Make a change and note it in the log of changes."""
        async with overrides_store():
            await self._keeper.change(edit)
        await self._administration.note(action, target, actor_of(request), detail)


def _list(workers: Iterable[tuple[ServedModel, Worker]]) -> dict[str, Any]:
    return {"object": "list", "data": [_view(model, worker) for model, worker in workers]}


def _view(model: ServedModel, worker: Worker) -> WorkerView:
    return WorkerView(
        id=worker.id,
        model=model.name,
        url=worker.url,
        source=worker.source,
        weight=worker.weight,
        state=worker.state,
        problem=worker.problem or ("its engine hangs" if worker.hangs else None),
        draining=worker.draining,
        breaker=worker.breaker.state,
        in_flight=worker.in_flight,
        max_context_tokens=worker.facts.max_context_tokens if worker.facts else None,
    )


def _source_view(source: SourceState) -> SourceView:
    return SourceView(source.model, source.kind, source.name, source.problem or None)
