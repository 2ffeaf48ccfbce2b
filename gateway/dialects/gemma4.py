"""Gemma 4 and DiffusionGemma: trained on tool calls and thoughts, declared by the checkpoint's own chat template.

The worker gets the tools with `tool_choice: "none"` and `skip_special_tokens: false`: the template renders the
declarations, nothing parses the reply, and its raw text comes back with all markers (measured on vLLM 0.32).
"""

from collections.abc import Callable
from typing import Final

from gateway.dialects.constraints import CallSyntax
from gateway.dialects.control_tokens import MarkerGuard
from gateway.dialects.conversation import Conversation, normalise
from gateway.dialects.dialect import FORMATS, OpenAIHistory, Prepared, reply_rules
from gateway.dialects.enforcement import CallForm, enforce
from gateway.dialects.grammar import Marker, Text, seq
from gateway.dialects.json_calls import read_whole_json
from gateway.dialects.marked_parser import MarkedParser
from gateway.dialects.marked_syntax import GEMMA_4
from gateway.dialects.template_switches import template_switches, wants_thinking
from gateway.dialects.tools import ToolPlan, declarations_of, plan_tools, verbatim
from gateway.values import Variant
from gateway.wire.chat import ChatRequest

_WITHHELD: Final = frozenset({"stop", "include_reasoning"})
"""Stop strings count in content only: the engine would find them in arguments and thoughts, too."""


class Gemma4Dialect:
    """Marked calls on `/v1/chat/completions`."""

    def prepare(
        self, request: ChatRequest, variant: Variant, guard: MarkerGuard, new_id: Callable[[], str]
    ) -> Prepared:
        """Messages and tools as the template takes them, and a parser for markers, thoughts and stop strings."""
        plan = plan_tools(request, verbatim)
        declarations = declarations_of(plan, guard)
        conversation = normalise(request.messages, variant, guard, tools=OpenAIHistory())
        fields: dict[str, object] = {"messages": conversation.messages, "skip_special_tokens": False}
        if declarations.functions:
            fields["tools"] = [
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
            fields["tool_choice"] = "none"
        prefix = _call_prefix(plan, conversation)
        thinking = variant.thinking and not prefix and wants_thinking(request)
        fields |= template_switches(request, variant, guard, thinking=thinking)
        if prefix:
            conversation.messages.append({"role": "assistant", "content": prefix})
        if prefix or conversation.prefill:
            fields |= {"add_generation_prompt": False, "continue_final_message": True}
        in_channel = thinking and conversation.messages[-1]["role"] == "tool"
        enforcement = enforce(request, plan, _FORM, prefix, in_thought=in_channel)
        restore = variant.family if conversation.neutralised or declarations.neutralised else None
        rules = reply_rules(request, plan, new_id, restore=restore, own_stop=True, enforcement=enforcement)
        return Prepared(
            fields=fields,
            parser=lambda: MarkedParser(
                GEMMA_4, plan.known, rules, thinking=in_channel, prefix=prefix, whole_json=read_whole_json
            ),
            withheld=_WITHHELD | FORMATS if enforcement.replaces_format else _WITHHELD,
            for_worker=enforcement.for_worker,
            judged=plan.must_call or bool(enforcement.checks),
            must_call=plan.must_call,
            legacy=plan.legacy,
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
