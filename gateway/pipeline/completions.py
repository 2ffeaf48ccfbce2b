"""`POST /v1/completions`: raw text in, raw text out.

The prompt is the client's own rendering, control tokens included: nothing is neutralised here. What the key may do is
what the model's chat could do too; there is no text of others in it to protect.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec

from gateway.dialects.stops import default_stop_token_ids
from gateway.pipeline.deliver import answer_headers, deliver_stream, fetch_reply
from gateway.pipeline.dispatch import WorkerCall, WorkerRequest
from gateway.pipeline.fallback import serve_or_fall_back
from gateway.pipeline.limits import hold, release
from gateway.pipeline.prompt_head import head_key
from gateway.pipeline.relay import StreamRelay, rename_pair
from gateway.pipeline.screening import InputScreening, screening_of
from gateway.pipeline.screening_reply import OutputScreening, ScreenedEditor, screening_of_answer
from gateway.pipeline.services import Inbound, Services, admit
from gateway.pipeline.stream_gate import gate_of
from gateway.ratelimit.estimates import estimate_prompt_tokens
from gateway.ratelimit.limiter import Demand
from gateway.routing.fleet import ServedModel
from gateway.routing.worker import Worker
from gateway.values import Task
from gateway.wire.completions import FORWARDED, CompletionRequest, parse_completion_request
from gateway.wire.replies import CompletionReply, UsageBody, usage_body

TASKS: frozenset[Task] = frozenset({"chat", "completion", "classification"})
PATH = "/v1/completions"

_REPLY = msgspec.json.Decoder(CompletionReply)
_ENCODER = msgspec.json.Encoder()


async def complete(services: Services, inbound: Inbound) -> None:
    """Serve one text completion. Raises the GatewayError that the client gets."""
    record = inbound.record
    request = parse_completion_request(inbound.body)
    record.stream = bool(request.stream)
    model = admit(services, inbound.key, request.model, TASKS)
    record.model = model.name
    screening = screening_of(services, inbound)
    if screening is not None:
        prompt = await screening.prompt(request.prompt, "prompt", keep_end=True)
        request = msgspec.structs.replace(request, prompt=prompt)
    if model.name not in services.fallbacks:
        await _serve(services, inbound, model, request, screening)
        return
    family = model.variant.family

    def fits(other: ServedModel) -> bool:
        """Whether it reads a raw prompt as the model does: of one family, and not a provider, which takes chats."""
        return other.variant.family == family and services.fleet.find(other.name) is other

    serve = partial(_serve, services, inbound, request=request, screening=screening)
    await serve_or_fall_back(services, inbound, model, serve, fits)


async def _serve(
    services: Services,
    inbound: Inbound,
    model: ServedModel,
    request: CompletionRequest,
    screening: InputScreening | None,
) -> None:
    record = inbound.record
    tenant = inbound.key.tenant
    fields = _worker_fields(model, request, tenant.engine_fields)
    default_stop_ids = default_stop_token_ids(model.variant.family)

    def request_for(worker: Worker) -> WorkerRequest:
        stop_ids = (worker.facts.stop_token_ids if worker.facts else ()) or default_stop_ids
        return WorkerRequest(PATH, _ENCODER.encode({**fields, "stop_token_ids": stop_ids}))

    call = WorkerCall(
        request_for=request_for,
        request_id=inbound.worker_request_id,
        deadline=record.started + services.server.request_timeout_s,
        prompt_param="prompt",
        key=head_key(tenant.cache_salt, model.served_name, fields) if model.balance == "prefix" else None,
    )
    texts = request.prompt if isinstance(request.prompt, list) and not isinstance(request.prompt[0], int) else [0]
    demand = Demand(
        prompt_tokens=estimate_prompt_tokens(len(inbound.body)),
        output_tokens=16 if request.max_tokens is None else request.max_tokens,
        context_tokens=model.context_tokens,
        choices=(request.n or 1) * len(texts),
    )
    held = await hold(services, inbound, model, demand, _no_count)
    try:
        if screening is not None and record.filter is None:
            await screening.clear(services)
        answer = None if screening is None else screening_of_answer(screening)
        await _answer(services, inbound, model, request, call, demand.choices, answer)
    finally:
        release(held, inbound)


async def _no_count() -> None:
    """The estimate stands: a raw prompt's bytes are all text."""


async def _answer(
    services: Services,
    inbound: Inbound,
    model: ServedModel,
    request: CompletionRequest,
    call: WorkerCall,
    choices: int,
    answer: OutputScreening | None,
) -> None:
    record = inbound.record
    if request.stream:
        editor = None if answer is None else ScreenedEditor(answer, None, model=model.name, choices=choices)
        relay = StreamRelay(
            show_usage=bool(request.stream_options and request.stream_options.include_usage),
            rename=rename_pair(model.served_name, model.name),
            editor=editor,
        )
        await deliver_stream(services, model, call, inbound, relay, gate_of(answer, editor, services.classifier))
        return
    reply = await fetch_reply(services, model, call, record, _REPLY)
    record.usage = (reply.usage or UsageBody()).to_usage()
    reply.model = model.name
    reply.usage = usage_body(record.usage)
    if answer is not None:
        await answer.screen_completion(reply, services.classifier)
    await inbound.client.send_json(_ENCODER.encode(reply), answer_headers(record))


def _worker_fields(
    model: ServedModel, request: CompletionRequest, engine_fields: Mapping[str, str | int]
) -> dict[str, Any]:
    fields: dict[str, Any] = {"model": model.served_name, **engine_fields}
    for name in FORWARDED:
        value = getattr(request, name)
        if value is not None:
            fields[name] = value
    if request.stream:
        fields["stream"] = True
        fields["stream_options"] = {"include_usage": True}
    return fields
