"""`dialect: engine`: the worker parses. The request passes as it came; `pipeline/engine_replies.py` mends the reply."""

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
            return Prepared(fields=fields, judged=plan.must_call, must_call=plan.must_call, legacy=plan.legacy)
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
