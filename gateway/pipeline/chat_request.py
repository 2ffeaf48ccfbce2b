"""A chat request in the workers' terms: which route, which body, what the reply needs."""

import secrets
from collections.abc import Mapping
from operator import attrgetter
from typing import Any

import msgspec
from msgspec import Struct

from gateway.dialects.dialect import Prepared
from gateway.dialects.registry import dialect_for
from gateway.dialects.stops import default_stop_token_ids
from gateway.errors import InvalidRequest
from gateway.pipeline.dispatch import WorkerRequest
from gateway.pipeline.media import fetched_urls
from gateway.pipeline.services import Services
from gateway.routing.fleet import ServedModel
from gateway.routing.worker import Worker
from gateway.values import DialectName
from gateway.wire.chat import FORWARDED, ChatRequest, NamedToolChoice

CHAT_PATH = "/v1/chat/completions"
COMPLETIONS_PATH = "/v1/completions"
WITHOUT_TOOLS: DialectName = "gemma3-json"
"""Stands in for variants that have no tool use: without tools all prompted dialects are alike."""

CHAT_ONLY = frozenset(
    {
        "add_generation_prompt",
        "chat_template_kwargs",
        "continue_final_message",
        "include_reasoning",
        "logprobs",
        "messages",
        "mm_processor_kwargs",
        "thinking_token_budget",
        "tool_choice",
        "tools",
        "top_logprobs",
    }
)
"""Fields that the completions route doesn't know."""
TOKENISED = frozenset(
    {"add_generation_prompt", "chat_template_kwargs", "continue_final_message", "messages", "model", "tools"}
)
"""Fields that make a conversation's prompt."""

_forwarded = attrgetter(*FORWARDED)
_ENCODER = msgspec.json.Encoder()


class ChatPlan(Struct, frozen=True):
    """What is asked of a worker for one chat request, but for what depends on the worker."""

    prepared: Prepared
    fields: dict[str, Any]
    choices: int
    may_stop_early: bool
    """The client may have all it asked for before the model ends: the worker is asked for a stream, to be aborted."""
    default_stop_ids: tuple[int, ...]
    media: dict[str, str]
    """URLs that the engine would fetch."""

    @property
    def prompt(self) -> dict[str, Any]:
        """The body for `/tokenize`, which counts the prompt."""
        if "prompt" in self.fields:
            return {"model": self.fields["model"], "prompt": self.fields["prompt"], "add_special_tokens": False}
        return {name: value for name, value in self.fields.items() if name in TOKENISED}

    def request_for(self, worker: Worker) -> WorkerRequest:
        """Return the request for one worker."""
        facts = worker.facts
        stop_ids = facts.stop_token_ids if facts and facts.stop_token_ids else self.default_stop_ids
        fields = {**self.fields, "stop_token_ids": stop_ids}
        if self.prepared.for_worker is not None:
            fields.update(self.prepared.for_worker(facts.marker_ids if facts else {}))
        if self.prepared.endpoint == "completions":
            return WorkerRequest(COMPLETIONS_PATH, _ENCODER.encode(fields))
        if facts and facts.parses_calls and self.prepared.parser is not None and not _has_media(fields):
            return _around_the_parser(fields)
        return WorkerRequest(CHAT_PATH, _ENCODER.encode(fields))


def plan_chat(
    services: Services, model: ServedModel, request: ChatRequest, engine_fields: Mapping[str, str | int]
) -> ChatPlan:
    """Translate a request into what the model's workers take. Raises InvalidRequest.

    `engine_fields`: what the worker is told of the tenant.
    """
    if model.dialect is None and (request.tools is not None or request.functions is not None):
        param = "tools" if request.tools is not None else "functions"
        raise InvalidRequest(f"The model '{model.name}' has no tool calls.", param=param)
    family = model.variant.family
    dialect = dialect_for(model.dialect or WITHOUT_TOOLS)
    prepared = dialect.prepare(request, model.variant, services.guards[family], _new_call_id)
    withheld = prepared.withheld
    fields: dict[str, Any] = {
        name: value
        for name, value in zip(FORWARDED, _forwarded(request), strict=True)
        if value is not None and name not in withheld
    }
    fields["model"] = model.served_name
    fields.update(prepared.fields)
    fields.update(engine_fields)
    if request.max_tokens is not None or request.max_completion_tokens is not None:
        fields["max_tokens"] = min(filter(None, (request.max_tokens, request.max_completion_tokens)))
    may_stop_early = prepared.parser is not None and _may_stop_early(request, prepared)
    if request.stream or may_stop_early:
        fields["stream"] = True
        fields["stream_options"] = {"include_usage": True}
        if may_stop_early:
            fields["stream_options"]["continuous_usage_stats"] = True
    return ChatPlan(
        prepared=prepared,
        fields=fields,
        choices=request.n or 1,
        may_stop_early=may_stop_early,
        default_stop_ids=default_stop_token_ids(family),
        media=fetched_urls(fields.get("messages", ())) if len(model.variant.modalities) > 1 else {},
    )


def _may_stop_early(request: ChatRequest, prepared: Prepared) -> bool:
    if request.stop and "stop" in prepared.withheld:
        return True
    one_call = request.parallel_tool_calls is False or isinstance(request.tool_choice, NamedToolChoice)
    return prepared.legacy or (request.tools is not None and one_call)


def _around_the_parser(fields: Mapping[str, Any]) -> WorkerRequest:
    """Write a request for a worker whose own tool parser would take the calls out of the text and lose them.

    The completions route never parses: the worker's template makes the prompt's tokens first.
    """
    prompt = {name: value for name, value in fields.items() if name in TOKENISED}
    rest = {name: value for name, value in fields.items() if name not in CHAT_ONLY}
    rest.setdefault("max_tokens", None)  # the rest of the context, as on the chat route; left out it is 16

    def tokenised(tokens: list[int]) -> bytes:
        return _ENCODER.encode({**rest, "prompt": tokens, "add_special_tokens": False})

    return WorkerRequest(COMPLETIONS_PATH, _ENCODER.encode(prompt), tokenised)


def _has_media(fields: Mapping[str, Any]) -> bool:
    return any(
        isinstance(message.get("content"), list) and any(part.get("type") != "text" for part in message["content"])
        for message in fields["messages"]
    )


def _new_call_id() -> str:
    return f"call_{secrets.token_hex(12)}"
