"""`POST /v1/chat/completions`."""

from collections.abc import Callable
from functools import partial

import msgspec

from gateway.dialects.events import ReplyParser
from gateway.errors import InvalidRequest, WorkerError
from gateway.observability.record import RequestRecord
from gateway.pipeline.admission import check_size, choose_for, refused
from gateway.pipeline.chat_request import ChatPlan, plan_chat
from gateway.pipeline.deliver import answer_headers, deliver_stream, fetch_reply, gather_stream
from gateway.pipeline.dispatch import WorkerCall
from gateway.pipeline.editors import ReplyEditor, UnusableReplyError
from gateway.pipeline.engine_replies import EngineEditor, mend_reply
from gateway.pipeline.fallback import serve_or_fall_back
from gateway.pipeline.gather import ReplyGatherer, untouched_reply
from gateway.pipeline.limits import count_prompt, hold, prompt_tokens_of, release
from gateway.pipeline.media import check_media
from gateway.pipeline.prompt_head import head_key
from gateway.pipeline.relay import ChunkEditor, StreamRelay, rename_pair
from gateway.pipeline.screening import InputScreening, screen_chat, screening_of
from gateway.pipeline.screening_reply import OutputScreening, ScreenedEditor, screening_of_answer
from gateway.pipeline.services import Inbound, Services, admit
from gateway.pipeline.stream_gate import gate_of
from gateway.ratelimit.estimates import asked_output_tokens
from gateway.ratelimit.limiter import Demand
from gateway.routing.fleet import ServedModel
from gateway.routing.selection import AUTO_NAMES
from gateway.values import Task, Usage
from gateway.wire.chat import ChatRequest, parse_chat_request
from gateway.wire.replies import ChatReply, RawReply, UsageBody, usage_body

TASKS: frozenset[Task] = frozenset({"chat"})
MAX_TRIES = 2
"""How often a model is asked whose calls are not what the request demands."""

_REPLY = msgspec.json.Decoder(ChatReply)
_RAW_REPLY = msgspec.json.Decoder(RawReply)
_ENCODER = msgspec.json.Encoder()


async def chat(services: Services, inbound: Inbound) -> None:
    """Serve one chat completion. Raises the GatewayError that the client gets."""
    record = inbound.record
    request = parse_chat_request(inbound.body)
    record.stream = bool(request.stream)
    if request.model in AUTO_NAMES and services.fleet.find(request.model) is None:
        model = choose_for(services, inbound, request)
        record.asked_model = request.model
    else:
        model = admit(services, inbound.key, request.model, TASKS)
    record.model = model.name
    screening = screening_of(services, inbound)
    if screening is not None:
        request = await screen_chat(screening, request, len(inbound.body))
    if model.name not in services.fallbacks:
        await _serve(services, inbound, model, request, screening)
        return
    serve = partial(_serve, services, inbound, request=request, screening=screening)
    await serve_or_fall_back(services, inbound, model, serve, lambda other: other.variant.task in TASKS)


async def _serve(
    services: Services, inbound: Inbound, model: ServedModel, request: ChatRequest, screening: InputScreening | None
) -> None:
    record = inbound.record
    tenant = inbound.key.tenant
    try:
        plan = plan_chat(services, model, request, tenant.engine_fields)
    except InvalidRequest as error:
        raise refused(services, inbound, request, error) from error
    await check_size(services, inbound, model, request, plan)
    if plan.media:
        await check_media(plan.media)
    call = WorkerCall(
        request_for=plan.request_for,
        request_id=inbound.worker_request_id,
        deadline=record.started + services.server.request_timeout_s,
        prompt_param="messages",
        key=head_key(tenant.cache_salt, model.served_name, plan.fields) if model.balance == "prefix" else None,
    )
    if not services.limiter.applies(inbound.key, model.name):
        await _answer(services, inbound, model, request, plan, call, screening)
        return
    demand = Demand(
        prompt_tokens=prompt_tokens_of(request, len(inbound.body)),
        output_tokens=asked_output_tokens(request.max_tokens, request.max_completion_tokens),
        context_tokens=model.context_tokens,
        choices=plan.choices,
    )
    held = await hold(services, inbound, model, demand, lambda: count_prompt(services, inbound, model, plan.prompt))
    try:
        await _answer(services, inbound, model, request, plan, call, screening)
    finally:
        release(held, inbound)


async def _answer(
    services: Services,
    inbound: Inbound,
    model: ServedModel,
    request: ChatRequest,
    plan: ChatPlan,
    call: WorkerCall,
    screening: InputScreening | None,
) -> None:
    """Ask the model, once more where its calls are not what the request demands; all tries are charged."""
    record = inbound.record
    if screening is not None and record.filter is None:
        await screening.clear(services)
    if not plan.prepared.judged:
        await _ask(services, inbound, model, request, plan, call, screening)
        return
    spent = Usage(0, 0)
    for attempt in range(MAX_TRIES):
        try:
            await _ask(services, inbound, model, request, plan, call, screening)
        except UnusableReplyError:
            if inbound.client.streaming or attempt + 1 == MAX_TRIES:
                raise
            spent = record.usage or spent
        else:
            break
        finally:
            if attempt and record.usage is not None:
                record.usage = spent.plus(record.usage)


async def _ask(
    services: Services,
    inbound: Inbound,
    model: ServedModel,
    request: ChatRequest,
    plan: ChatPlan,
    call: WorkerCall,
    screening: InputScreening | None,
) -> None:
    answer = None if screening is None else screening_of_answer(screening)
    if request.stream:
        await _stream(services, inbound, model, request, plan, call, answer)
        return
    record = inbound.record
    reply = await _reply(services, model, plan, call, record)
    if answer is not None:
        await answer.screen_chat(reply, services.classifier)
    await inbound.client.send_json(_ENCODER.encode(reply), answer_headers(record))


async def _stream(
    services: Services,
    inbound: Inbound,
    model: ServedModel,
    request: ChatRequest,
    plan: ChatPlan,
    call: WorkerCall,
    answer: OutputScreening | None,
) -> None:
    prepared = plan.prepared
    editor: ChunkEditor | None = None
    if prepared.parser is not None:
        editor = ReplyEditor(
            prepared.parser,
            model=model.name,
            choices=plan.choices,
            must_call=prepared.must_call,
            legacy=prepared.legacy,
        )
    elif model.dialect == "engine":
        editor = EngineEditor(
            model=model.name, choices=plan.choices, must_call=prepared.must_call, legacy=prepared.legacy
        )
    screened: ScreenedEditor | None = None
    if answer is not None:
        editor = screened = ScreenedEditor(answer, editor, model=model.name, choices=plan.choices)
    relay = StreamRelay(
        show_usage=bool(request.stream_options and request.stream_options.include_usage),
        rename=rename_pair(model.served_name, model.name),
        editor=editor,
    )
    await deliver_stream(services, model, call, inbound, relay, gate_of(answer, screened, services.classifier))


async def _reply(
    services: Services, model: ServedModel, plan: ChatPlan, call: WorkerCall, record: RequestRecord
) -> ChatReply:
    """Return the whole reply, in the client's terms."""
    if plan.prepared.parser is None:
        reply = await fetch_reply(services, model, call, record, _REPLY)
        record.usage = (reply.usage or UsageBody()).to_usage()
        mend_reply(reply, must_call=plan.prepared.must_call, legacy=plan.prepared.legacy)
    else:
        reply = await _read_reply(services, model, plan, plan.prepared.parser, call, record)
    if not reply.choices:
        raise WorkerError("The model's worker gave an answer without choices.")
    usage = (reply.usage or UsageBody()).to_usage()
    record.usage = usage
    reply.model = model.name
    reply.usage = usage_body(usage)
    return reply


async def _read_reply(
    services: Services,
    model: ServedModel,
    plan: ChatPlan,
    make_parser: Callable[[], ReplyParser],
    call: WorkerCall,
    record: RequestRecord,
) -> ChatReply:
    """Return the whole reply, its text read by the dialect."""
    prepared = plan.prepared
    raw: RawReply | None = None
    if not plan.may_stop_early:
        raw = await fetch_reply(services, model, call, record, _RAW_REPLY)
        if prepared.leaves_alone is not None and plan.choices == 1:
            reply = untouched_reply(raw, prepared.leaves_alone)
            if reply is not None:
                reply.usage = raw.usage
                return reply
    gatherer = ReplyGatherer(make_parser, choices=plan.choices, must_call=prepared.must_call, legacy=prepared.legacy)
    if raw is None:
        usage = await gather_stream(services, model, call, record, StreamRelay(show_usage=False, editor=gatherer))
    else:
        gatherer.add_reply(raw)
        usage = (raw.usage or UsageBody()).to_usage()
    record.usage = usage
    return gatherer.reply(usage_body(usage))
