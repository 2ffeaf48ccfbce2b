"""Gemma 4 and DiffusionGemma: trained on tool calls and thoughts, declared by the checkpoint's own chat template.

The worker gets the tools with `tool_choice: "none"` and `skip_special_tokens: false`: the template renders the
declarations, nothing parses the reply, and its raw text comes back with all markers (measured on vLLM 0.32).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from gateway.dialects.constraints import CallSyntax
from gateway.dialects.control_tokens import MarkerGuard
from gateway.dialects.conversation import Conversation, normalise
from gateway.dialects.dialect import FORMATS, OpenAIHistory, Prepared, reply_rules
from gateway.dialects.enforcement import CallForm, Enforcement, enforce
from gateway.dialects.events import ReplyParser
from gateway.dialects.grammar import Marker, Text, seq
from gateway.dialects.json_calls import read_whole_json
from gateway.dialects.marked_parser import MarkedParser
from gateway.dialects.marked_syntax import GEMMA_4
from gateway.dialects.plain_text import is_plain
from gateway.dialects.template_switches import template_switches, wants_thinking
from gateway.dialects.tool_memory import ToolMemory
from gateway.dialects.tools import ToolPlan, declarations_of, plan_tools, verbatim
from gateway.values import Variant
from gateway.wire.chat import ChatRequest

_WITHHELD: Final = frozenset({"stop", "include_reasoning"})
"""Stop strings count in content only: the engine would find them in arguments and thoughts, too."""


@dataclass(frozen=True, slots=True)
class _Told:
    """What becomes of a request's tools, whatever the conversation is."""

    plan: ToolPlan
    tools: msgspec.Raw | None
    """As the template takes them, written already: every request with these tools is given the same."""
    neutralised: bool
    enforcement: Enforcement | None
    """Without a thought before the answer. None: a call has to be made, and how depends on what it is begun with."""


class Gemma4Dialect:
    """Marked calls on `/v1/chat/completions`."""

    def __init__(self) -> None:
        self._memory: Final = ToolMemory(_tell)

    def prepare(
        self, request: ChatRequest, variant: Variant, guard: MarkerGuard, new_id: Callable[[], str]
    ) -> Prepared:
        """Messages and tools as the template takes them, and a parser for markers, thoughts and stop strings."""
        told = self._memory.made_of(request, guard)
        plan = told.plan
        conversation = normalise(request.messages, variant, guard, tools=OpenAIHistory())
        fields: dict[str, object] = {"messages": conversation.messages, "skip_special_tokens": False}
        if told.tools is not None:
            fields["tools"] = told.tools
            fields["tool_choice"] = "none"
        prefix = _call_prefix(plan, conversation)
        thinking = variant.thinking and not prefix and wants_thinking(request)
        fields |= template_switches(request, variant, guard, thinking=thinking)
        if prefix:
            conversation.messages.append({"role": "assistant", "content": prefix})
        if prefix or conversation.prefill:
            fields |= {"add_generation_prompt": False, "continue_final_message": True}
        in_channel = thinking and conversation.messages[-1]["role"] == "tool"
        enforcement = None if in_channel else told.enforcement
        if enforcement is None:
            enforcement = enforce(request, plan, _FORM, prefix, in_thought=in_channel)
        restore = variant.family if conversation.neutralised or told.neutralised else None

        def make_parser() -> ReplyParser:
            rules = reply_rules(request, plan, new_id, restore=restore, own_stop=True, enforcement=enforcement)
            return MarkedParser(
                GEMMA_4, plan.known, rules, thinking=in_channel, prefix=prefix, whole_json=read_whole_json
            )

        return Prepared(
            fields=fields,
            parser=make_parser,
            leaves_alone=None if in_channel or plan.must_call or restore or request.stop else is_plain,
            withheld=_WITHHELD | FORMATS if enforcement.replaces_format else _WITHHELD,
            for_worker=enforcement.for_worker,
            judged=plan.must_call or bool(enforcement.checks),
            must_call=plan.must_call,
            legacy=plan.legacy,
        )


def _tell(request: ChatRequest, guard: MarkerGuard) -> _Told:
    plan = plan_tools(request, verbatim)
    declarations = declarations_of(plan, guard)
    tools = [
        {
            "type": "function",
            "function": {
                "name": function.name,
                "description": function.description,
                "parameters": function.parameters,
            },
        }
        for function in declarations.functions
    ]
    enforcement = None if plan.must_call else enforce(request, plan, _FORM, "")
    return _Told(
        plan, msgspec.Raw(msgspec.json.encode(tools)) if tools else None, declarations.neutralised, enforcement
    )


def _call_prefix(plan: ToolPlan, conversation: Conversation) -> str:
    """The beginning of a call that has to be made, for the model to go on with."""
    if not plan.must_call or conversation.prefill:
        return ""
    return _opening(plan.declared[0].wire_name) if len(plan.declared) == 1 else f"{GEMMA_4.openers[0]}call:"


def _opening(name: str) -> str:
    return f"{GEMMA_4.openers[0]}call:{name}{{"


_FORM: Final = CallForm(
    CallSyntax("marked", GEMMA_4.quote, GEMMA_4.markers),
    opening=_opening,
    closing=seq(Text("}"), Marker(GEMMA_4.end)),
    opener=GEMMA_4.openers[0],
    end=GEMMA_4.end,
    channel=GEMMA_4.channels,
)
