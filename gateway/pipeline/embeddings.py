"""`POST /v1/embeddings`.

The worker is always asked for numbers: `dimensions` and base64 are done here, because vLLM refuses `dimensions` unless
it was started for it, and fails on `encoding_format: null`.
"""

import base64
import math
import struct
from functools import partial

import msgspec

from gateway.errors import InvalidRequest
from gateway.pipeline.deliver import answer_headers, fetch_reply
from gateway.pipeline.dispatch import WorkerCall, WorkerRequest
from gateway.pipeline.fallback import serve_or_fall_back
from gateway.pipeline.limits import hold, release
from gateway.pipeline.screening import InputScreening, screening_of
from gateway.pipeline.services import Inbound, Services, admit
from gateway.ratelimit.estimates import estimate_prompt_tokens
from gateway.ratelimit.limiter import Demand
from gateway.routing.fleet import ServedModel
from gateway.routing.worker import Worker
from gateway.values import Task, Usage
from gateway.wire.embeddings import EmbeddingRequest, parse_embedding_request
from gateway.wire.replies import EmbeddingItem, EmbeddingReply

TASKS: frozenset[Task] = frozenset({"embedding"})
PATH = "/v1/embeddings"

_REPLY = msgspec.json.Decoder(EmbeddingReply)
_ENCODER = msgspec.json.Encoder()


async def embed(services: Services, inbound: Inbound) -> None:
    """Serve one embedding request. Raises the GatewayError that the client gets."""
    record = inbound.record
    request = parse_embedding_request(inbound.body)
    model = admit(services, inbound.key, request.model, TASKS)
    record.model = model.name
    screening = screening_of(services, inbound)
    if screening is not None:
        texts = await screening.prompt(request.input, "input", keep_end=False)
        request = msgspec.structs.replace(request, input=texts)
    if model.name not in services.fallbacks:
        await _serve(services, inbound, model, request, screening)
        return
    variant = model.variant
    serve = partial(_serve, services, inbound, request=request, screening=screening)
    await serve_or_fall_back(services, inbound, model, serve, lambda other: other.variant is variant)


async def _serve(
    services: Services,
    inbound: Inbound,
    model: ServedModel,
    request: EmbeddingRequest,
    screening: InputScreening | None,
) -> None:
    record = inbound.record
    ask = WorkerRequest(
        PATH, _ENCODER.encode({"model": model.served_name, "input": request.input, "encoding_format": "float"})
    )

    def request_for(_worker: Worker) -> WorkerRequest:
        return ask

    call = WorkerCall(
        request_for=request_for,
        request_id=inbound.worker_request_id,
        deadline=record.started + services.server.request_timeout_s,
        prompt_param="input",
    )
    estimate = estimate_prompt_tokens(len(inbound.body))
    demand = Demand(prompt_tokens=estimate, output_tokens=0, context_tokens=model.context_tokens, exact=True)
    held = await hold(services, inbound, model, demand, _no_count)
    try:
        if screening is not None and record.filter is None:
            await screening.clear(services)
        reply = await fetch_reply(services, model, call, record, _REPLY)
        record.usage = Usage(prompt_tokens=reply.usage.prompt_tokens, completion_tokens=0)
    finally:
        release(held, inbound)
    reply.model = model.name
    reply.data = [EmbeddingItem(item.index, _shaped(item.embedding, request)) for item in reply.data]
    await inbound.client.send_json(_ENCODER.encode(reply), answer_headers(record))


async def _no_count() -> None:
    """The estimate stands: inputs are all text."""


def _shaped(embedding: list[float] | str, request: EmbeddingRequest) -> list[float] | str:
    """Return the vector in the length and encoding the client asked for. Raises InvalidRequest."""
    vector = _floats(embedding)
    if request.dimensions is not None:
        vector = shorten(vector, request.dimensions)
    if request.encoding_format == "base64":
        return encode_vector(vector)
    return vector


def shorten(vector: list[float], dimensions: int) -> list[float]:
    """Return the first `dimensions` numbers at length 1 again (Matryoshka). Raises InvalidRequest if too few."""
    if dimensions > len(vector):
        message = f"This model's embeddings have {len(vector)} dimensions."
        raise InvalidRequest(message, param="dimensions")
    if dimensions == len(vector):
        return vector
    head = vector[:dimensions]
    norm = math.sqrt(math.fsum(x * x for x in head))
    return [x / norm for x in head] if norm else head


def encode_vector(vector: list[float]) -> str:
    """Return little-endian float32 in base64, as the OpenAI SDKs decode it."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")


def _floats(embedding: list[float] | str) -> list[float]:
    if isinstance(embedding, list):
        return embedding
    data = base64.b64decode(embedding)
    return list(struct.unpack(f"<{len(data) // 4}f", data))
