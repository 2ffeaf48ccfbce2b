"""Gemma 1 to 3n: told of their tools in the first turn, calls as text in turns (`/v1/chat/completions`, no `tools`)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.dialects.constraints import CallSyntax
from gateway.dialects.control_tokens import MarkerGuard
from gateway.dialects.conversation import Conversation, normalise, plain_messages
from gateway.dialects.dialect import FORMATS, Prepared, reply_rules
from gateway.dialects.enforcement import CallForm, Enforcement, enforce
from gateway.dialects.events import ReplyParser
from gateway.dialects.grammar import Text
from gateway.dialects.history import AnsweredCall
from gateway.dialects.plain_parser import PlainParser
from gateway.dialects.plain_text import is_plain
from gateway.dialects.prompted_head import Beginnings
from gateway.dialects.prompted_parser import PromptedParser
from gateway.dialects.prompted_text import PromptedStyle
from gateway.dialects.template_switches import template_switches
from gateway.dialects.tool_memory import ToolMemory
from gateway.dialects.tools import ToolPlan, declarations_of, plan_tools
from gateway.values import Variant
from gateway.wire.chat import ChatRequest

_STOP: Final = frozenset({"stop"})


@dataclass(frozen=True, slots=True)
class _Told:
    """What becomes of a request's tools, whatever the conversation is."""

    plan: ToolPlan
    text: str
    """What the first turn says of them."""
    neutralised: bool
    enforcement: Enforcement | None
    """None: a call has to be made, and how depends on what it is begun with."""
    beginnings: Beginnings


class PromptedDialect:
    """Asks for calls in one style, takes them in any."""

    def __init__(self, style: PromptedStyle) -> None:
        self._style: Final = style
        self._form: Final = CallForm(
            CallSyntax(style.notation), opening=style.beginning, closing=Text(style.closing), following=style.following
        )
        self._memory: Final = ToolMemory(self._tell)

    def prepare(
        self, request: ChatRequest, variant: Variant, guard: MarkerGuard, new_id: Callable[[], str]
    ) -> Prepared:
        """Messages with declarations, calls and results as text; a parser only where the text matters."""
        if request.tools is None and request.functions is None:
            plain = _without_tools(request, variant, guard)
            if plain is not None:
                return plain
        told = self._memory.made_of(request, guard)
        plan = told.plan
        conversation = normalise(
            request.messages, variant, guard, tools=_TextHistory(self._style, plan), declarations=told.text
        )
        fields: dict[str, object] = {"messages": conversation.messages}
        if request.chat_template_kwargs:
            fields |= template_switches(request, variant, guard, thinking=False)
        prefix = self._beginning(plan, conversation)
        if prefix:
            conversation.messages.append({"role": "assistant", "content": prefix})
        if prefix or conversation.prefill:
            fields |= {"add_generation_prompt": False, "continue_final_message": True}
        enforcement = told.enforcement or enforce(request, plan, self._form, prefix)
        restore = variant.family if conversation.neutralised or told.neutralised else None
        withheld = _STOP if plan.known else frozenset[str]()

        def make_parser() -> ReplyParser:
            rules = reply_rules(
                request, plan, new_id, restore=restore, own_stop=bool(plan.known), enforcement=enforcement
            )
            if plan.known:
                return PromptedParser(plan.known, rules, prefix=prefix, beginnings=told.beginnings)
            return PlainParser(rules)

        return Prepared(
            fields=fields,
            parser=make_parser if plan.known or restore else None,
            leaves_alone=None if plan.must_call or restore or request.stop else is_plain,
            withheld=withheld | FORMATS if enforcement.replaces_format else withheld,
            for_worker=enforcement.for_worker,
            judged=plan.must_call or bool(enforcement.checks),
            must_call=plan.must_call,
            legacy=plan.legacy,
        )

    def _tell(self, request: ChatRequest, guard: MarkerGuard) -> _Told:
        plan = plan_tools(request, self._style.write_name)
        declarations = declarations_of(plan, guard)
        return _Told(
            plan=plan,
            text=self._style.declare(declarations.functions) if declarations.functions else "",
            neutralised=declarations.neutralised,
            enforcement=None if plan.must_call else enforce(request, plan, self._form, ""),
            beginnings=Beginnings(plan.known),
        )

    def _beginning(self, plan: ToolPlan, conversation: Conversation) -> str:
        """The beginning of a call that has to be made, for the model to go on with."""
        if not plan.must_call or conversation.prefill:
            return ""
        return self._style.beginning(plan.declared[0].wire_name if len(plan.declared) == 1 else None)


def _without_tools(request: ChatRequest, variant: Variant, guard: MarkerGuard) -> Prepared | None:
    """The common request, in a few steps: no tools, plain text. None: it needs all of them."""
    messages = plain_messages(request.messages, system_role=False)
    if messages is None:
        return None
    fields: dict[str, object] = {"messages": messages}
    if request.chat_template_kwargs:
        fields |= template_switches(request, variant, guard, thinking=False)
    return Prepared(fields)


class _TextHistory:
    """Earlier calls as text."""

    def __init__(self, style: PromptedStyle, plan: ToolPlan) -> None:
        self._style = style
        self._wire_names = {tool.name: tool.wire_name for tool in plan.known}
        """By the client's names only: one tool's may be what another is called in the prompt."""

    def exchange(self, text: str, reasoning: str, calls: Sequence[AnsweredCall]) -> tuple[str, str]:
        """The texts of the model's turn and of the user's."""
        del reasoning  # these models have none
        written = [AnsweredCall(call.id, self._written_name(call.name), call.arguments, call.result) for call in calls]
        made = self._style.calls(written)
        return (f"{text}\n{made}" if text else made), self._style.results(written)

    def _written_name(self, name: str) -> str:
        """The name in the prompt; a tool that is no longer offered keeps the one it had."""
        return self._wire_names.get(name) or self._style.write_name(name)
