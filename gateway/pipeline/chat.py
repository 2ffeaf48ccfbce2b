"""`POST /v1/chat/completions`."""

from operator import attrgetter
from typing import Any

import msgspec
from msgspec import Struct

from gateway.dialects.control_tokens import MarkerRestorer
from gateway.dialects.conversation import Conversation, normalise
from gateway.dialects.stops import default_stop_token_ids
from gateway.observability.record import RequestRecord
from gateway.pipeline.deliver import answer_headers, deliver_stream, fetch_reply
from gateway.pipeline.dispatch import WorkerCall
from gateway.pipeline.editors import MarkerEditor
from gateway.pipeline.relay import StreamRelay, rename_pair
from gateway.pipeline.services import Inbound, Services, admit
from gateway.routing.fleet import ServedModel, Worker
from gateway.values import Task
from gateway.wire.chat import FORWARDED, ChatRequest, parse_chat_request
from gateway.wire.replies import NULL, ChatReply, UsageBody, usage_body

TASKS: frozenset[Task] = frozenset({"chat"})
PATH = "/v1/chat/completions"
OPERATORS_KWARGS = frozenset(
    {
        "add_generation_prompt",
        "chat_template",
        "continue_final_message",
        "conversation",
        "documents",
        "messages",
        "tokenize",
        "tools",
    }
)
"""Names in `chat_template_kwargs` that would reach past the template's switches."""

EMPTY_LIST = msgspec.Raw(b"[]")

_forwarded = attrgetter(*FORWARDED)
_REPLY = msgspec.json.Decoder(ChatReply)
_ENCODER = msgspec.json.Encoder()


async def chat(services: Services, inbound: Inbound) -> None:
    """Serve one chat completion. Raises the GatewayError that the client gets."""
    record = inbound.record
    request = parse_chat_request(inbound.body)
    record.stream = bool(request.stream)
    model = admit(services, inbound.key, request.model, TASKS)
    record.model = model.name
    prepared = prepare(services, model, request)
    call = WorkerCall(
        path=PATH,
        body_for=prepared.body_for,
        request_id=inbound.worker_request_id,
        deadline=record.started + services.server.request_timeout_s,
        prompt_param="messages",
    )
    if request.stream:
        relay = StreamRelay(
            show_usage=bool(request.stream_options and request.stream_options.include_usage),
            rename=rename_pair(model.served_name, model.name),
            editor=MarkerEditor(model.variant.family) if prepared.conversation.neutralised else None,
        )
        await deliver_stream(services, model, call, inbound, relay)
        return
    reply = await fetch_reply(services, model, call, record, _REPLY)
    _finish(reply, model, prepared, record)
    await inbound.client.send_json(_ENCODER.encode(reply), answer_headers(record))


class PreparedChat(Struct, frozen=True):
    """A chat request in the worker's terms, but for what depends on the worker."""

    fields: dict[str, Any]
    conversation: Conversation
    default_stop_ids: tuple[int, ...]

    def body_for(self, worker: Worker) -> bytes:
        """Return the JSON body for one worker."""
        facts = worker.facts
        stop_ids = facts.stop_token_ids if facts and facts.stop_token_ids else self.default_stop_ids
        return _ENCODER.encode({**self.fields, "stop_token_ids": stop_ids})


def prepare(services: Services, model: ServedModel, request: ChatRequest) -> PreparedChat:
    """Translate a request into what the model's workers take. Raises InvalidRequest."""
    family = model.variant.family
    conversation = normalise(request.messages, model.variant, services.guards[family])
    fields: dict[str, Any] = {"model": model.served_name, "messages": conversation.messages}
    fields.update(
        (name, value) for name, value in zip(FORWARDED, _forwarded(request), strict=True) if value is not None
    )
    limits = [limit for limit in (request.max_completion_tokens, request.max_tokens) if limit is not None]
    if limits:
        fields["max_tokens"] = min(limits)
    if conversation.prefill:
        fields["add_generation_prompt"] = False
        fields["continue_final_message"] = True
    kwargs = _template_kwargs(services, model, request)
    if kwargs:
        fields["chat_template_kwargs"] = kwargs
    if request.stream:
        fields["stream"] = True
        fields["stream_options"] = {"include_usage": True}
    return PreparedChat(fields, conversation, default_stop_token_ids(family))


def _template_kwargs(services: Services, model: ServedModel, request: ChatRequest) -> dict[str, Any]:
    """Return the switches for the chat template; `reasoning_effort` sets thinking where the variant can think."""
    kwargs: dict[str, Any] = {}
    if model.variant.thinking and request.reasoning_effort is not None:
        kwargs["enable_thinking"] = request.reasoning_effort != "none"
    guard = services.guards[model.variant.family]
    for name, value in (request.chat_template_kwargs or {}).items():
        if name not in OPERATORS_KWARGS:
            kwargs[name] = guard.neutralise(value) if isinstance(value, str) else value
    return kwargs


def _finish(reply: ChatReply, model: ServedModel, prepared: PreparedChat, record: RequestRecord) -> None:
    """Make a worker's reply the client's: our names, OpenAI's fields, text as it was meant."""
    usage = (reply.usage or UsageBody()).to_usage()
    record.usage = usage
    reply.model = model.name
    reply.usage = usage_body(usage)
    for choice in reply.choices:
        message = choice.message
        if message.tool_calls in (NULL, EMPTY_LIST):
            message.tool_calls = msgspec.UNSET
        if not message.reasoning and not message.reasoning_content:
            message.reasoning = message.reasoning_content = msgspec.UNSET
        elif message.reasoning_content is msgspec.UNSET:
            message.reasoning_content = message.reasoning
        if prepared.conversation.neutralised and message.content:
            restorer = MarkerRestorer(model.variant.family)
            message.content = restorer.feed(message.content) + restorer.finish()
