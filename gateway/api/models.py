"""`GET /v1/models` and `/v1/models/{id}`: what the key may use."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from gateway.api.request_ids import new_request_id, request_id_of
from gateway.auth.keys import ApiKey, extract_key
from gateway.errors import InvalidApiKey, ModelNotFound
from gateway.pipeline.services import Services
from gateway.routing.fleet import ServedModel


class ModelCard(msgspec.Struct):
    """A model as clients see it; `max_model_len` as vLLM has it."""

    id: str
    created: int
    max_model_len: int
    object: str = "model"
    owned_by: str = "google"


class ModelList(msgspec.Struct):
    """The answer to `GET /v1/models`."""

    data: list[ModelCard]
    object: str = "list"


class ModelsEndpoint:
    """Lists the configured models, filtered by the key's tenant."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def list_models(self, request: Request) -> Response:
        """Answer with every model the key may use; aliases too with `?aliases=true`."""
        key = await self._key(request)
        aliases = request.query_params.get("aliases") in ("1", "true")
        cards = [
            _card(model, name)
            for model in self._services.fleet.models
            if key.may_use(model.name)
            for name in (model.name, *(model.aliases if aliases else ()))
        ]
        return _json(request, ModelList(cards))

    async def retrieve_model(self, request: Request) -> Response:
        """Answer with one model, by name or alias. A model the key may not use doesn't exist for it."""
        key = await self._key(request)
        name = request.path_params["model"]
        model = self._services.fleet.find(name)
        if model is None or not key.may_use(model.name):
            message = f"The model '{name[:128]}' does not exist. GET /v1/models lists those you may use."
            raise ModelNotFound(message, param="model")
        return _json(request, _card(model, name))

    async def _key(self, request: Request) -> ApiKey:
        key = await self._services.keys.identify(extract_key(request.scope["headers"]))
        if key is None:
            raise InvalidApiKey
        return key


def _card(model: ServedModel, name: str) -> ModelCard:
    return ModelCard(id=name, created=model.created, max_model_len=model.context_tokens)


def _json(request: Request, value: object) -> Response:
    headers = {"x-request-id": request_id_of(request.scope["headers"]) or new_request_id()}
    return Response(msgspec.json.encode(value), headers=headers, media_type="application/json")
