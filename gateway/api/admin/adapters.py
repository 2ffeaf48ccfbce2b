"""`/admin/v1/adapters`: LoRA adapters loaded and unloaded at the workers of their model, for all replicas.

An adapter is named as clients name it, `model@adapter`, and must be listed under `models[].adapters`.
"""

from collections.abc import Sequence
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from gateway.api.admin.access import actor_of, overrides_store, read_body, reply
from gateway.auth.administration import KeyAdministration
from gateway.errors import Conflict, InvalidRequest, NotFound
from gateway.routing.adapter_engine import AdapterOutcome
from gateway.routing.adapter_keeper import AdapterKeeper
from gateway.routing.discovery.keeper import FleetKeeper
from gateway.routing.discovery.overrides import AdapterWish, Overrides
from gateway.routing.fleet import Fleet, ServedModel

MULTI_STATUS: Final = 207


class AdapterBody(Struct, forbid_unknown_fields=True):
    """`POST /admin/v1/adapters`."""

    model: str
    """`model@adapter`."""
    path: Annotated[str, Meta(min_length=1, max_length=4_096, pattern=r"\A[^\x00-\x1f\x7f]+\Z")]
    """A directory on the workers' machines, or what else their engines take."""


class AdapterWorkerView(Struct):
    """An adapter at one worker, as this replica knows it."""

    id: str
    loaded: bool
    path: str | None
    """Where the engine says it is from."""
    problem: str | None


class AdapterView(Struct):
    """An adapter."""

    model: str
    base: str
    adapter: str
    """The engines' name for it."""
    wanted: str | None
    """loaded or unloaded, as the admin API was last told; null: what the engines were started with."""
    path: str | None
    workers: list[AdapterWorkerView]


BODY: Final = msgspec.json.Decoder(AdapterBody)


class AdapterEndpoints:
    """Shows, loads and unloads adapters."""

    def __init__(
        self, fleet: Fleet, keeper: FleetKeeper, adapters: AdapterKeeper, administration: KeyAdministration
    ) -> None:
        self._fleet = fleet
        self._keeper = keeper
        self._adapters = adapters
        self._administration = administration

    async def list_adapters(self, request: Request) -> Response:
        """Answer with every adapter of the file, and how it stands at each worker."""
        listed = [self._view(model, model.base) for model in self._fleet.models if model.base is not None]
        return reply(request, {"object": "list", "data": listed})

    async def load(self, request: Request) -> Response:
        """Load an adapter at every worker, now and whenever one comes up without it."""
        body = await read_body(request, BODY)
        model, base = self._named(body.model)
        wish = AdapterWish(base.name, model.served_name, body.path)
        return await self._fulfil(request, model, base, wish, "adapter.load")

    async def unload(self, request: Request) -> Response:
        """Unload an adapter from every worker, now and whenever one comes up with it."""
        model, base = self._named(request.path_params["name"])
        wish = AdapterWish(base.name, model.served_name)
        return await self._fulfil(request, model, base, wish, "adapter.unload")

    async def _fulfil(
        self, request: Request, model: ServedModel, base: ServedModel, wish: AdapterWish, action: str
    ) -> Response:
        """Keep the wish for all replicas, then have it fulfilled; what every engine refuses is not kept."""
        before = next((each for each in self._keeper.wishes if each.is_of_same(wish)), None)
        async with overrides_store():
            await self._keeper.change(lambda held: held.wish(wish))
        outcomes = await self._adapters.fulfil(wish)
        if outcomes and all(outcome.refused for outcome in outcomes):
            async with overrides_store():
                await self._keeper.change(lambda held: _take_back(held, wish, before))
            raise Conflict(_refusal(base, outcomes), param=None if wish.path is None else "path")
        detail = {"path": wish.path, "done": sum(outcome.fulfilled for outcome in outcomes), "workers": len(outcomes)}
        await self._administration.note(action, model.name, actor_of(request), detail)
        everywhere = all(outcome.fulfilled for outcome in outcomes)
        return reply(request, self._view(model, base), 200 if everywhere else MULTI_STATUS)

    def _named(self, name: str) -> tuple[ServedModel, ServedModel]:
        model = self._fleet.find(name)
        if model is not None and model.base is not None:
            return model, model.base
        if model is not None:
            message = f"'{name[:300]}' is a model: name an adapter of it that the file lists, as 'model@adapter'."
            raise InvalidRequest(message, param="model")
        message = f"There is no adapter '{name[:300]}': list it under 'adapters' of its model in the file, and restart."
        raise NotFound(message, param="model")

    def _view(self, model: ServedModel, base: ServedModel) -> AdapterView:
        wish = next((w for w in self._keeper.wishes if (w.model, w.adapter) == (base.name, model.served_name)), None)
        return AdapterView(
            model=model.name,
            base=base.name,
            adapter=model.served_name,
            wanted=None if wish is None else "unloaded" if wish.path is None else "loaded",
            path=None if wish is None else wish.path,
            workers=[AdapterWorkerView(*state) for state in self._adapters.states(model)],
        )


def _take_back(held: Overrides, wish: AdapterWish, before: AdapterWish | None) -> Overrides:
    """Return what was wished before, unless somebody has wished something else meanwhile."""
    if wish not in held.wishes:
        return held
    return held.without_wish(wish) if before is None else held.wish(before)


def _refusal(base: ServedModel, outcomes: Sequence[AdapterOutcome]) -> str:
    said = "; ".join(
        f"{worker.id}: {outcome.problem}" for worker, outcome in zip(base.workers[:3], outcomes, strict=False)
    )
    return f"No worker of '{base.name}' did it, so nothing has changed. {said}"
