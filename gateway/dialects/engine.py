"""`dialect: engine`: the worker parses. The request passes as it came, the reply's known quirks are mended."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from gateway.dialects.control_tokens import MarkerGuard
from gateway.dialects.conversation import normalise
from gateway.dialects.dialect import OpenAIHistory, Prepared, reply_rules
from gateway.dialects.plain_parser import PlainParser
from gateway.dialects.template_switches import template_switches, wants_thinking
from gateway.dialects.tool_memory import ToolMemory
from gateway.dialects.tools import HarmlessText, ToolPlan, declarations_of, plan_tools, verbatim
from gateway.values import Variant
from gateway.wire.chat import ChatRequest

_ENGINES_OWN: Final = (
    "kv_transfer_params",
    "metrics",
    "prompt_logprobs",
    "prompt_text",
    "prompt_token_ids",
    "routed_experts",
    "stop_reason",
    "token_ids",
)
"""Keys that vLLM adds to answers and OpenAI's clients don't know."""


@dataclass(frozen=True, slots=True)
class _Told:
    """What becomes of a request's tools, whatever the conversation is."""

    plan: ToolPlan
    tools: msgspec.Raw | None
    """As the client's, made harmless and written already: every request with these tools is given the same."""


class EngineDialect:
    """Tools and choice as the client sent them; no parser of ours."""

    def __init__(self) -> None:
        self._memory: Final = ToolMemory(_tell)

    def prepare(
        self, request: ChatRequest, variant: Variant, guard: MarkerGuard, new_id: Callable[[], str]
    ) -> Prepared:
        """Messages normalised, tools harmless; the schemas stay whole, the engine reads them."""
        told = self._memory.made_of(request, guard)
        plan = told.plan
        conversation = normalise(request.messages, variant, guard, tools=OpenAIHistory())
        fields: dict[str, object] = {"messages": conversation.messages}
        if told.tools is not None:
            fields["tools"] = told.tools
            named = {"type": "function", "function": {"name": plan.named}} if plan.named else plan.choice
            fields["tool_choice"] = named
            fields["parallel_tool_calls"] = plan.parallel
        fields |= template_switches(request, variant, guard, thinking=wants_thinking(request))
        if conversation.prefill:
            fields |= {"add_generation_prompt": False, "continue_final_message": True}
        if plan.known or not conversation.neutralised:
            return Prepared(fields=fields, must_call=plan.must_call, legacy=plan.legacy)
        rules = reply_rules(request, plan, new_id, restore=variant.family, own_stop=False)
        return Prepared(fields=fields, parser=lambda: PlainParser(rules))


def _tell(request: ChatRequest, guard: MarkerGuard) -> _Told:
    plan = plan_tools(request, verbatim)
    clean = HarmlessText(guard)
    no_schema: dict[str, Any] = {"type": "object", "properties": {}}
    tools = [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": function.description,
                "parameters": clean.value(tool.parameters, "tools") or no_schema,
            },
        }
        for tool, function in zip(plan.declared, declarations_of(plan, guard).functions, strict=True)
    ]
    return _Told(plan, msgspec.Raw(msgspec.json.encode(tools)) if tools else None)


def mend_choice(choice: dict[str, Any]) -> None:
    """Mends one choice of a worker's answer or chunk, in place, into what OpenAI's clients expect."""
    for key in _ENGINES_OWN:
        choice.pop(key, None)
    message: dict[str, Any] | None = choice.get("message") or choice.get("delta")
    if message is None:
        return
    mend_message(message)
    if choice.get("finish_reason") == "tool_calls" and "message" in choice and not message.get("tool_calls"):
        choice["finish_reason"] = "stop"


def mend_message(message: dict[str, Any]) -> None:
    """A message or delta: reasoning under both names, no empty list of calls, complete first deltas."""
    reasoning = message.get("reasoning") or message.get("reasoning_content")
    if reasoning:
        message["reasoning"] = message["reasoning_content"] = reasoning
    else:
        message.pop("reasoning", None)
        message.pop("reasoning_content", None)
    calls = message.get("tool_calls")
    if not calls:
        message.pop("tool_calls", None)
        return
    if message.get("content") == "":
        message["content"] = None
    for call in calls:
        function = call.setdefault("function", {})
        if function.get("name"):
            call.setdefault("type", "function")
            function.setdefault("arguments", "")
